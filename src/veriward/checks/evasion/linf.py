"""evasion/linf: by how much can an attacker who may change every number by eps lower the accuracy?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import ROWS, Check, Control, Job
from veriward.checks.registry import register
from veriward.checks.sampling import sample
from veriward.core.errors import some
from veriward.core.estimate import Estimate, not_estimable, proportion
from veriward.core.evidence import MAX_WITNESSES, Evidence, Witness
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

DEFAULT_EPS = 0.03  # of the width of the bounds
BLOCK, WHOLE_BLOCK = 256, 1024  # rows per item: a few tiles; tree models and callables want whole batches


@dataclass(frozen=True)
class Effort:
    """What a budget buys."""

    rows: int | None
    steps: int
    restarts: int
    queries: int  # of Square, as a guard behind gradients
    queries_alone: int  # of Square, where there are no gradients


EFFORTS: Mapping[str, Effort] = {
    "quick": Effort(ROWS["quick"], 20, 2, 100, 300),
    "standard": Effort(ROWS["standard"], 40, 4, 300, 1000),
    "thorough": Effort(ROWS["thorough"], 100, 10, 2000, 5000),
}


@register
class Linf(Check):
    """PGD on the margin with restarts where the model gives gradients, then Square; in tables within their domain."""

    name = "evasion/linf"
    version = "1"
    question = "By how much can an attacker who may change every number of the input a little lower the accuracy?"
    needs = ("scores",)
    metrics = ("attack_success_rate", "clean_accuracy", "robust_accuracy")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse subjects whose attacker uses other norms, and tables in which nothing can be moved."""
        norms = opened.subject.threat.evasion.norm
        if "linf" not in norms:
            return note("evasion.other_norm", norms=", ".join(norms))
        columns = getattr(opened.domain, "columns", None)
        if columns is not None and not any(column.movable for column in columns):
            return note("evasion.nothing_movable")
        return None

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return one threat per eps of the subject."""
        eps: Sequence[float | None] = opened.subject.threat.evasion.eps or (_default_eps(opened),)
        return tuple(linf_threat(opened.access, radius) for radius in eps)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return the effort as plain data."""
        return {"budget": budget, **EFFORTS[budget].__dict__}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return linear models, on which the truth is a formula, reached as this subject is."""
        from veriward.checks.evasion.linear import linear_controls

        return linear_controls(gradients=opened.access == "gradients", table=hasattr(opened.domain, "columns"))

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Attack a seeded sample of the test rows; robust means that no attack of the plan broke the row."""
        from veriward.checks.evasion.pgd import PGD
        from veriward.checks.evasion.rows import AttackRows
        from veriward.checks.evasion.square import Square

        opened, effort = job.opened, Effort(**{k: v for k, v in job.settings.items() if k != "budget"})
        white = hasattr(opened.model, "forward")
        pgd = PGD(effort.steps, effort.restarts) if white else None
        work = AttackRows(threat, job.stream("attack"), pgd, Square(effort.queries if white else effort.queries_alone))
        rows = sample(job, "rows", len(opened.test), effort.rows)
        blocks = _blocks(rows, BLOCK if opened.format in ("module", "pt2", "safetensors", "served") else WHOLE_BLOCK)
        items = job.map("attack", work, blocks)
        return _evidence(self, threat, opened, rows, items, white)


def linf_threat(access: str, eps: float | None) -> Threat:
    """Return the threat of the check; without eps a table's columns bring their own budgets."""
    knobs: dict[str, Any] = {"norm": "linf"} if eps is None else {"norm": "linf", "eps": float(eps)}
    return Threat("misclassify", access, knobs, {"eps": "raw input units"})  # type: ignore[arg-type]  # validated


def _default_eps(opened: Opened) -> float | None:
    """Return 0.03 of the width of the bounds; tables say it per column."""
    domain = opened.domain
    return None if hasattr(domain, "columns") else DEFAULT_EPS * (domain.high - domain.low)  # type: ignore[attr-defined]


def _blocks(rows: np.ndarray[Any, Any], size: int) -> list[tuple[list[int], int]]:
    """Return items of work: row numbers, and how many examples each may keep, at most 20 in all."""
    parts = [rows[i : i + size].tolist() for i in range(0, len(rows), size)]
    share = MAX_WITNESSES // len(parts)
    return [(part, share or int(number < MAX_WITNESSES)) for number, part in enumerate(parts)]


def _evidence(
    check: Check,
    threat: Threat,
    opened: Opened,
    rows: np.ndarray[Any, Any],
    items: Sequence[Mapping[str, Any]],
    white: bool,
) -> Evidence:
    joined = {
        name: np.concatenate([i[name] for i in items]) for name in ("correct", "by_gradient", "by_scores", "spent")
    }
    broken = joined["by_gradient"] | joined["by_scores"]
    at = dict(threat.knobs)
    witnesses = sorted((Witness(**w) for item in items for w in item["witnesses"]), key=_price)
    return Evidence(
        check.name,
        check.version,
        threat,
        _estimates(joined["correct"], broken, at),
        outcomes=_outcomes(opened, rows, joined["correct"], broken, joined["spent"]),
        rows=len(rows),
        alarms=_alarms(joined, items, white),
        witnesses=tuple(witnesses[:MAX_WITNESSES]),
        assumptions=_assumptions(opened, threat),
        untested=_untested(white),
    )


def _price(witness: Witness) -> tuple[float, float]:
    """Sort tables by how many columns change and then by how much; pictures by how much alone."""
    columns = 0 if "clean" in witness.details else witness.details["changed"]
    return columns, witness.size


def _estimates(correct: Any, broken: Any, at: Mapping[str, Any]) -> tuple[Estimate, ...]:
    n, right, fell = len(correct), int(correct.sum()), int(broken.sum())
    success = (
        proportion("attack_success_rate", fell, right, at=at, bound="lower", unit="share of correct rows")
        if right
        else not_estimable("attack_success_rate", note("evasion.none_correct"), at=at, bound="lower")
    )
    return (
        proportion("robust_accuracy", right - fell, n, at=at, bound="upper"),
        proportion("clean_accuracy", right, n),
        success,
    )


def _outcomes(opened: Opened, rows: Any, correct: Any, broken: Any, spent: Any) -> dict[str, Any]:
    """Return arrays over the whole test split: 1, 0, and -1 for rows that were not attacked."""
    where = opened.test.index[rows]
    columns = {"correct": correct, "broken": broken, "robust": correct & (1 - broken)}
    outcomes: dict[str, Any] = {name: np.full(opened.test.total, -1, np.int8) for name in columns}
    for name, values in columns.items():
        outcomes[name][where] = values
    outcomes["spent"] = np.full(opened.test.total, np.nan, np.float32)
    outcomes["spent"][where] = spent
    return outcomes


def _alarms(joined: Mapping[str, Any], items: Sequence[Mapping[str, Any]], white: bool) -> tuple[Note, ...]:
    """Return signs of masked gradients. Carlini et al. 2019 (arXiv:1902.06705), section 5.2."""
    right = max(int(joined["correct"].sum()), 1)
    left = max(right - int(joined["by_gradient"].sum()), 1)
    surprise, flat = int(joined["by_scores"].sum()), sum(item["flat_gradients"] for item in items)
    stuck = sum(item["stuck"] for item in items)
    found = []
    if stuck / right > 0.01:
        found.append(note("evasion.rows_break_rules", rows=stuck, correct=right))
    if white and surprise >= 3 and surprise / left > 0.05:
        found.append(note("evasion.black_box_beats_white_box", rows=surprise, left=left))
    robust = max(right - int(joined["by_gradient"].sum()) - surprise, 1)
    if white and flat >= 3 and flat / robust > 0.02:
        found.append(note("evasion.flat_gradients", rows=flat, robust=robust))
    rejected = sum(item["rejected"] for item in items)
    if any(item["random"] for item in items) or (rejected >= 3 and rejected / right > 0.01):
        found.append(note("evasion.random_model"))
    if any(item["probabilities_as_logits"] for item in items):
        found.append(note("evasion.probabilities_as_logits"))
    return tuple(found)


def _assumptions(opened: Opened, threat: Threat) -> tuple[Note, ...]:
    if hasattr(opened.domain, "columns"):
        moved = [column.name for column in opened.domain.columns if column.movable]
        notes = [note("evasion.columns_moved", columns=some(moved))]
        silent = [c.name for c in opened.domain.columns if c.movable and c.change is None and c.eps is None]
        if silent and threat.knobs.get("eps") is None:
            notes.append(note("evasion.default_budget", columns=some(silent)))
        return tuple(notes)
    if opened.subject.threat.evasion.eps is None and "eps" in threat.knobs:
        return (note("evasion.default_eps", eps=threat.knobs["eps"]),)
    return ()


def _untested(white: bool) -> tuple[Note, ...]:
    """Name what an expert would still try."""
    missing = [note("evasion.no_certificate"), note("evasion.no_decision_or_transfer")]
    return tuple(missing if white else [note("evasion.no_gradients"), *missing])
