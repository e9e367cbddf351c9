"""certify/bounds: for how many rows is it proved that no change within the budget turns the decision?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.balls import ROBUSTNESS_ROWS, ball_threats, refusal
from veriward.checks.contract import ROWS, Check, Control, Job
from veriward.checks.registry import register
from veriward.checks.sampling import sample
from veriward.core.estimate import proportion
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

BLOCK = 256  # rows per item
METHODS = ("none", "interval", "crown", "alpha", "exact", "search")  # by the numbers that rows come with


@dataclass(frozen=True)
class Spending:
    """What a budget buys: rows, and for each of them what `decide.Effort` says; `nodes` of the search in trees."""

    rows: int | None
    steps: int
    most: int
    hope: float
    nodes: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Spending:
        """Return the spending that the check's settings describe."""
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__})


SPENDING: Mapping[str, Spending] = {
    "quick": Spending(ROWS["quick"], 0, 1024, 2.5, 100),
    "standard": Spending(ROWS["standard"], 20, 2048, 3.5, 400),
    "thorough": Spending(ROWS["thorough"], 100, 1 << 14, 8.0, 4000),
}


@register
class Bounds(Check):
    """Deterministic certificates: bounds of networks, search in trees, and what is exact for linear models."""

    name = "certify/bounds"
    version = "1"
    question = "For how many rows is it proved that no change within the budget turns the decision?"
    metrics = ("certified_accuracy", "clean_accuracy")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse models whose inside is not known, or not understood: then the note names what."""
        from veriward.checks.certify.readable import unreadable

        return refusal(opened, opened.subject.threat.evasion.norm[0]) or unreadable(opened)

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the balls of all norms of the subject, those that attacks are measured in."""
        norms = opened.subject.threat.evasion.norm
        return tuple(threat for norm in norms for threat in ball_threats(opened, norm))

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return the effort as plain data."""
        return {"budget": budget, **SPENDING[budget].__dict__}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return linear models and a folded one, on which the truth is a formula, in each norm of the subject."""
        from veriward.checks.certify.planted_bounds import bounds_controls

        norms = opened.subject.threat.evasion.norm
        return bounds_controls(norms, opened.access, table=hasattr(opened.domain, "columns"))

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Bound the rows that attacks are tried on, each apart from the others."""
        from veriward.checks.certify.bound_rows import BoundRows

        opened, spending = job.opened, Spending.of(job.settings)
        rows = sample(job, ROBUSTNESS_ROWS, len(opened.test), spending.rows, shared=True)
        blocks = [rows[i : i + BLOCK].tolist() for i in range(0, len(rows), BLOCK)]
        items = job.map("bound", BoundRows(threat, spending), blocks)
        found = {name: np.concatenate([item[name] for item in items]) for name in items[0]}
        proved, correct = found["certified"], found["correct"]
        return Evidence(
            self.name,
            self.version,
            threat,
            (
                proportion("certified_accuracy", int(proved.sum()), len(rows), at=dict(threat.knobs), bound="lower"),
                proportion("clean_accuracy", int(correct.sum()), len(rows)),
            ),
            outcomes=_outcomes(opened, rows, found),
            rows=len(rows),
            assumptions=_assumptions(opened, found),
            untested=_untested(found),
        )


def _outcomes(opened: Opened, rows: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays over the whole test split: 1, 0, and -1 for rows that were not looked at; margins are NaN there."""
    where = opened.test.index[rows]
    outcomes: dict[str, Any] = {name: np.full(opened.test.total, -1, np.int8) for name in ("certified", "correct")}
    outcomes["margin"] = np.full(opened.test.total, np.nan, np.float32)
    for name, values in outcomes.items():
        values[where] = found[name]
    return outcomes


def _assumptions(opened: Opened, found: Mapping[str, Any]) -> tuple[Note, ...]:
    """Say what proved how many rows, and for what the proofs hold."""
    counts = dict(zip(METHODS, np.bincount(found["method"], minlength=len(METHODS)).tolist(), strict=True))
    forest = opened.network is None
    if counts["exact"] == sum(counts.values()) - counts["none"] > 0:
        notes = [note("certify.by_exact", rows=counts["exact"])]
    elif forest:
        notes = [note("certify.by_search", rows=counts["search"])]
    else:
        notes = [note("certify.by_bounds", interval=counts["interval"], crown=counts["crown"], alpha=counts["alpha"])]
    notes.append(note("certify.rounding_of_trees") if forest else note("certify.rounding"))
    if getattr(opened.domain, "rules", ()):
        notes.append(note("certify.rules_left_out"))
    if not forest and any(c.movable and c.kind != "numeric" for c in getattr(opened.domain, "columns", ())):
        notes.append(note("certify.fractions_allowed"))
    return tuple(notes)


def _untested(found: Mapping[str, Any]) -> tuple[Note, ...]:
    """Name what lies outside the balls, the rows that stay open, and what an expert would still try on them."""
    correct, proved, turned = (np.asarray(found[name]) == 1 for name in ("correct", "certified", "turned"))
    left = int((correct & ~proved & ~turned).sum())
    outside = note("certify.other_norms")
    return (note("certify.left_open", rows=left), outside) if left else (outside,)
