"""The attackers who may change every number a little: one threat per norm and eps, the same for attacks and proofs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.ball import Norm
    from veriward.core.threat import Reach

DEFAULT_EPS = 0.03  # of the width of the bounds
ROBUSTNESS_ROWS = "robustness rows"  # the sample that attacks and proofs share


def ball_threats(opened: Opened, norm: Norm) -> tuple[Threat, ...]:
    """Return one threat per eps of the subject; without eps a table's columns bring their own budgets."""
    eps: Sequence[float | None] = opened.subject.threat.evasion.eps or (default_eps(opened),)
    return tuple(ball_threat(norm, opened.access, radius, goal=goal_of(opened.task)) for radius in eps)


def ball_threat(norm: Norm, access: Reach, eps: float | None, *, goal: str = "misclassify") -> Threat:
    """Return the threat of one ball."""
    knobs: dict[str, Any] = {"norm": norm} if eps is None else {"norm": norm, "eps": float(eps)}
    return Threat(goal, access, knobs, {"eps": "raw input units"})


def goal_of(task: str) -> str:
    """Return what the attacker of a task wants."""
    return "move" if task == "regression" else "misclassify"


def default_eps(opened: Opened) -> float | None:
    """Return 0.03 of the width of the bounds; tables say it per column."""
    domain = opened.domain
    return None if hasattr(domain, "columns") else DEFAULT_EPS * (domain.high - domain.low)  # type: ignore[attr-defined]


def refusal(opened: Opened, norm: Norm) -> Note | None:
    """Return why no attacker of this norm is assumed: the subject names others, or nothing can be moved."""
    norms = opened.subject.threat.evasion.norm
    if norm not in norms:
        return note("evasion.other_norm", norms=", ".join(norms))
    columns = getattr(opened.domain, "columns", None)
    if columns is not None and not any(column.movable for column in columns):
        return note("evasion.nothing_movable")
    return None
