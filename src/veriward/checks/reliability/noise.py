"""reliability/noise: does the model stay right when inputs are blurred, noisy, missing, stale or in the wrong unit?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import ROWS, Check, Control, Job
from veriward.checks.registry import register
from veriward.checks.reliability.asking import EVERYDAY, TASKS, answered, blocks, residuals, spread, truth
from veriward.checks.sampling import sample
from veriward.core.estimate import Estimate, drop, mean, not_estimable, proportion
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

Array = np.ndarray[Any, Any]
SEVERITIES: Mapping[str, tuple[int, ...]] = {"quick": (3,), "standard": (1, 3, 5), "thorough": (1, 2, 3, 4, 5)}


@register
class Noise(Check):
    """Common corruptions of pictures, and the accidents that happen to tables, each at several severities."""

    name = "reliability/noise"
    version = "1"
    question = "Does the model stay right when its inputs are noisy, blurred, missing, stale or in the wrong unit?"
    needs = ("labels",)
    tasks = TASKS

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse tables without a column that any trouble could befall."""
        from veriward.checks.reliability.disturb import suitable

        return None if suitable(opened) else note("reliability.nothing_to_disturb")

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one "threat": everyday use; nobody attacks."""
        return (EVERYDAY,)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return how many rows are disturbed, and how badly."""
        return {"budget": budget, "rows": ROWS[budget], "severities": list(SEVERITIES[budget])}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return a model that a little noise turns around, and one that it cannot reach."""
        from veriward.checks.reliability.planted import noise_controls

        return noise_controls(opened.task, table=hasattr(opened.domain, "columns"))

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Take the answers to the same rows clean and disturbed, and compare them row by row."""
        from veriward.checks.reliability.disturb import Disturb, deviations, suitable

        opened = job.opened
        rows = sample(job, "rows", len(opened.test), job.settings["rows"])
        parts = blocks(opened, rows)
        kinds = [(name, level) for name in suitable(opened) for level in job.settings["severities"]]
        items = [(name, level, part) for name, level in kinds for part in parts]
        work = Disturb(job.stream("trouble"), deviations(opened))
        clean = answered(job, rows)
        found = job.map("disturbed", work, items)
        results = [found[i : i + len(parts)] for i in range(0, len(found), len(parts))]
        told = {kind: _joined(result) for kind, result in zip(kinds, results, strict=True)}
        asked = {kind: answer for kind, answer in told.items() if answer is not None}
        compared = Compared(opened.task == "regression", clean, truth(opened, rows), asked)
        estimates = compared.estimates()
        return Evidence(
            self.name,
            self.version,
            threat,
            estimates,
            outcomes={name: spread(opened, rows, *values) for name, values in compared.outcomes().items()},
            rows=len(rows),
            witnesses=tuple(work.examples(opened, rows, compared.turned(), compared.answers)),
            assumptions=tuple(worst(estimates)),
            untested=(*_refused(told), *_open(opened)),
        )


def _joined(items: Sequence[Mapping[str, Any]]) -> Array | None:
    """Return the answers of all blocks, None if the model refused any."""
    if any(item["refused"] for item in items):
        return None
    return np.concatenate([item["answer"] for item in items])


def _refused(told: Mapping[tuple[str, int], Array | None]) -> list[Note]:
    names = dict.fromkeys(name for (name, _), answer in told.items() if answer is None)
    return [note("reliability.refused", corruption=name) for name in names]


def _open(opened: Opened) -> list[Note]:
    if hasattr(opened.domain, "columns"):
        return [note("reliability.no_other_accidents")]
    return [note("reliability.no_weather")]


def worst(estimates: Sequence[Estimate]) -> list[Note]:
    """Say which trouble hurts most, at which severity."""
    hurt = [
        e for e in estimates if e.metric in ("accuracy_drop", "error_increase") and e.value is not None and e.value > 0
    ]
    if not hurt:
        return []
    most = max(hurt, key=lambda e: e.value or 0.0)
    name, severity = most.at["corruption"], most.at["severity"]
    if most.metric == "error_increase":
        return [note("reliability.worst_increase", corruption=name, severity=severity, share=most.value)]
    return [note("reliability.worst_drop", corruption=name, severity=severity, share=most.value)]


@dataclass(frozen=True)
class Compared:
    """Answers to the same rows, clean and under each (trouble, severity)."""

    numbers: bool  # of a regression
    clean: Array
    truth: Array
    answers: Mapping[tuple[str, int], Array]

    def estimates(self) -> tuple[Estimate, ...]:
        """Return two numbers for each trouble and severity: what is left, and by how much the model got worse."""
        if self.numbers:
            off, unit = self._off(self.clean), "units of the target"
            whole = mean("mean_absolute_error", off, unit=unit) if np.isfinite(off).all() else None
            first = [whole or not_estimable("mean_absolute_error", note("reliability.too_large"), unit=unit)]
            return (*first, *(self._increase(kind) for kind in self.answers))
        first = [proportion("clean_accuracy", int(self._right.sum()), len(self.truth))]
        return (*first, *(estimate for kind in self.answers for estimate in self._fall(kind)))

    @property
    def _right(self) -> Array:
        return np.asarray(self.clean == self.truth)

    def _off(self, answers: Array) -> Array:
        return np.abs(residuals(answers, self.truth))

    def _fall(self, kind: tuple[str, int]) -> list[Estimate]:
        at = {"corruption": kind[0], "severity": kind[1]}
        right = self.answers[kind] == self.truth
        worse, better = int((self._right & ~right).sum()), int((right & ~self._right).sum())
        return [
            proportion("noisy_accuracy", int(right.sum()), len(right), at=at),
            drop("accuracy_drop", worse, better, len(right), at=at),
        ]

    def _increase(self, kind: tuple[str, int]) -> Estimate:
        from veriward.checks.reliability.residuals import error_increase

        at = {"corruption": kind[0], "severity": kind[1]}
        noisy, clean = self._off(self.answers[kind]), self._off(self.clean)
        if not (np.isfinite(noisy) & np.isfinite(clean)).all():
            return not_estimable(
                "error_increase", note("reliability.too_large"), at=at, unit="share of the clean error"
            )
        return error_increase(noisy, clean, at=at)

    def outcomes(self) -> dict[str, tuple[Array, float]]:
        """Return arrays over the rows that were asked, and what stands for the others."""
        if self.numbers:
            return {"absolute_error": (self._off(self.clean), np.nan)}
        kept = (
            np.mean([a == self.truth for a in self.answers.values()], axis=0) if self.answers else self._right * np.nan
        )
        return {"correct": (self._right.astype(np.int8), -1), "kept": (np.asarray(kept, np.float32), np.nan)}

    def turned(self) -> dict[tuple[str, int], Array]:
        """Return for each trouble which rows it turned from right to wrong, (n,): the mildest severity stands for all."""
        if self.numbers:
            return {}
        mildest: dict[str, tuple[str, int]] = {}
        for kind in sorted(self.answers, key=lambda kind: kind[1]):
            mildest.setdefault(kind[0], kind)
        return {kind: self._right & (self.answers[kind] != self.truth) for kind in mildest.values()}
