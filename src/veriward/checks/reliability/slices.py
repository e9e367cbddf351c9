"""reliability/slices: is there a part of the rows in which the model is worse than elsewhere, beyond chance?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import Check, Control, Job
from veriward.checks.registry import register
from veriward.checks.reliability.asking import EVERYDAY, ROWS, TASKS, answered, residuals, spread, truth
from veriward.checks.sampling import sample
from veriward.core.errors import some
from veriward.core.estimate import Estimate, flagged, not_estimable, proportion, worst_share
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.reliability.candidates import Slices
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

Array = np.ndarray[Any, Any]
MOST: Mapping[str, int] = {"quick": 300, "standard": 1000, "thorough": 5000}  # slices looked at
TOLD = 10
LARGE_ERROR = 0.8  # a predicted number counts as wrong where its error lies above this quantile of all errors


@dataclass(frozen=True)
class Scanned:
    """Every slice with its wrong rows and the p-value that Holm adjusted over all of them; `order`: the worst first."""

    slices: Slices
    wrong: Array
    p: Array
    order: Array


def scan(slices: Slices, wrong: Array) -> Scanned:
    """Test every slice against the rest of the rows; wrong (n,) of booleans."""
    from veriward.checks.reliability.hypergeometric import upper_tails
    from veriward.core.judge import holm

    counts, rows = slices.counts(wrong), len(wrong)
    raw = upper_tails(counts.tolist(), slices.sizes.tolist(), int(wrong.sum()), rows)
    order = np.lexsort((-counts / np.maximum(slices.sizes, 1), raw))
    return Scanned(slices, counts, np.array(holm(raw.tolist())), order)


@register
class WorstSlices(Check):
    """Every category and quarter of every column and pairs of them, each tested exactly, with Holm over all of them."""

    name = "reliability/slices"
    version = "1"
    question = "Is there a part of the rows in which the model is wrong more often than elsewhere, beyond chance?"
    needs = ("labels",)
    tasks = TASKS
    reads = ("model", "test", "input", "groups")

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one "threat": everyday use; nobody attacks."""
        return (EVERYDAY,)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return how many rows are asked about, and how many slices are looked at."""
        return {"budget": budget, "rows": ROWS[budget], "slices": MOST[budget]}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return a subject with one weak slice, and one whose errors lie everywhere alike."""
        from veriward.checks.reliability.planted import slice_controls

        return slice_controls(opened.task, table=hasattr(opened.domain, "columns"))

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Choose the slices without the answers, then test each."""
        from veriward.checks.reliability.candidates import features, slices

        opened = job.opened
        rows = sample(job, "rows", len(opened.test), job.settings["rows"])
        columns, left = features(opened, rows)
        candidates = slices(columns, len(rows), job.settings["slices"])
        wrong = is_wrong(opened, answered(job, rows), truth(opened, rows))
        found = scan(candidates, wrong)
        return Evidence(
            self.name,
            self.version,
            threat,
            tuple(estimates(found, wrong)),
            outcomes={"slice": _member(opened, rows, found)},
            rows=len(rows),
            assumptions=tuple(_assumptions(opened, found, len(rows))),
            untested=tuple(_untested(found, left)),
        )


def is_wrong(opened: Opened, answers: Array, y: Array) -> Array:
    """Return which rows count as wrong, (n,): another class, or an error above the 80 % quantile of all errors."""
    if opened.task == "classification":
        return np.asarray(answers != y)
    size = np.minimum(np.abs(residuals(answers, y)), np.finfo(np.float64).max)
    return np.asarray(size > np.quantile(size, LARGE_ERROR, method="lower"))


def estimates(found: Scanned, wrong: Array) -> Iterator[Estimate]:
    """Yield the number of weak slices, also of those weaker by a margin, the worst accuracy, and the ten that look worst."""
    from veriward.checks.reliability import shortfall
    from veriward.checks.reliability.hypergeometric import power
    from veriward.core.judge import holm

    slices, n = found.slices, len(wrong)
    if not slices.parts:
        why = note("reliability.no_slices", rows=_fewest(n), total=n)
        for at in ({}, {"margin": shortfall.MARGIN}):
            yield not_estimable("weak_slices", why, at=at, unit="slices", bound="lower", n=n)
        yield not_estimable("worst_slice_accuracy", why, unit="share of rows", n=n)
        return
    seen = power(n, 1 - float(wrong.mean()), len(slices.parts)) if n // 10 >= _fewest(n) else 0.0
    yield flagged("weak_slices", found.p.tolist(), n, unit="slices", power=seen)
    raw = shortfall.p_values(found.wrong.tolist(), slices.sizes.tolist(), int(wrong.sum()), n)
    seen = shortfall.power(n, 1 - float(wrong.mean()), len(slices.parts)) if seen else 0.0
    yield flagged("weak_slices", holm(raw), n, unit="slices", power=seen, at={"margin": shortfall.MARGIN})
    right = slices.sizes - found.wrong
    yield worst_share("worst_slice_accuracy", np.stack([right, slices.sizes], axis=1).tolist(), n)
    for slice_ in found.order[:TOLD]:
        yield _one(slices.name(slice_), int(right[slice_]), int(slices.sizes[slice_]), len(slices.parts))


def _fewest(n: int) -> int:
    from veriward.checks.reliability.candidates import fewest

    return fewest(n)


def _one(name: str, right: int, size: int, looked_at: int) -> Estimate:
    """Return the accuracy of a slice that was chosen for looking bad: an interval that holds for all slices together.

    Its point value flatters no one: a slice chosen for its errors has on average fewer of them on other rows, so it is a
    lower bound. What a limit may fail on is `worst_slice_accuracy`.
    """
    from veriward.core.intervals import clopper_pearson

    confidence = 1 - 0.05 / looked_at
    low, high = clopper_pearson(right, size, confidence)
    plain = proportion(
        "slice_accuracy", right, size, at={"slice": name}, bound="lower", unit="share of the slice's rows"
    )
    method = "Clopper-Pearson, Bonferroni"
    return Estimate(**{**plain.__dict__, "low": low, "high": high, "confidence": confidence, "method": method})


def _member(opened: Opened, rows: Array, found: Scanned) -> Array:
    inside = found.slices.rows(int(found.order[0])) if len(found.order) else np.zeros(len(rows), bool)
    return spread(opened, rows, inside.astype(np.int8), -1)


def _assumptions(opened: Opened, found: Scanned, n: int) -> Iterator[Note]:
    yield note("reliability.slices_looked_at", slices=len(found.slices.parts), rows=_fewest(n))
    if opened.task == "regression":
        yield note("reliability.large_error", share=1 - LARGE_ERROR)
    if n < len(opened.test):
        yield note("reliability.sampled", rows=n, total=len(opened.test))


def _untested(found: Scanned, left: Sequence[str]) -> Iterator[Note]:
    yield note("reliability.no_deeper_slices")
    if found.slices.dropped:
        yield note("reliability.slices_dropped", slices=found.slices.dropped)
    if left:
        yield note("reliability.columns_not_sliced", columns=some(left))
