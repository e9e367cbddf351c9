"""evasion/curve: at which size of change does the model begin to fall, and which size is worth testing?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.balls import ROBUSTNESS_ROWS, ball_threat, default_eps, refusal
from veriward.checks.contract import Check, Control, Job
from veriward.checks.registry import register
from veriward.checks.sampling import sample
from veriward.core.estimate import Estimate, from_basis, not_estimable, proportion
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.ball import Norm
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

LEVELS, FALL = 13, 2**-0.5  # sizes of the curve, each .71 of the one before: the largest is 64 times the smallest
BEYOND = 4.0  # times the largest eps of the subject
ROWS: Mapping[str, int | None] = {"quick": 100, "standard": 200, "thorough": 1000}
BLOCK = 256
Array = np.ndarray[Any, Any]


@register
class Curve(Check):
    """One pass over many sizes: a row broken at one size is broken at every larger one, a certified row at no smaller."""

    name = "evasion/curve"
    version = "1"
    question = "At which size of change does the model begin to fall, and which size is worth testing?"
    needs = ("labels",)
    metrics = ("accuracy_at", "median_distance")
    after = ("certify/bounds", "evasion/linf", "evasion/l2", "evasion/l1")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse tables whose columns have budgets of their own: there is no one size to vary."""
        if default_eps(opened) is None and opened.subject.threat.evasion.eps is None:
            return note("curve.no_size")
        return refusal(opened, opened.subject.threat.evasion.norm[0])

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return one threat per norm, at the largest size of the curve."""
        evasion = opened.subject.threat.evasion
        top = BEYOND * max(evasion.eps or (default_eps(opened) or 0.0,))
        domain = opened.domain
        width = top if hasattr(domain, "columns") else domain.high - domain.low  # type: ignore[attr-defined]
        sizes = {norm: min(top, width) if norm == "linf" else top for norm in evasion.norm}
        return tuple(ball_threat(norm, opened.access, size) for norm, size in sizes.items())

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return the effort as plain data."""
        return {"budget": budget, "rows": ROWS[budget], "steps": 20, "queries": 200}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return a linear model, of which the median distance is a formula."""
        from veriward.checks.evasion.linear import curve_controls

        return curve_controls(opened.subject.threat.evasion.norm[0], access=opened.access, table=_is_table(opened))

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Find for each row the smallest size at which an attack breaks it, from the smallest size upwards."""
        from veriward.checks.evasion.distances import FindDistances

        opened, settings = job.opened, job.settings
        rows = sample(job, ROBUSTNESS_ROWS, len(opened.test), settings["rows"], shared=True)
        known = _known(job, threat, rows)
        work = FindDistances(threat, sizes(threat), job.stream("attack"), settings["steps"], settings["queries"])
        blocks = [_block(rows, known, start) for start in range(0, len(rows), BLOCK)]
        found = job.map("distances", work, blocks)
        joined = {name: np.concatenate([item[name] for item in found]) for name in ("correct", "distance")}
        return _evidence(self, threat, opened, rows, joined)


def sizes(threat: Threat) -> tuple[float, ...]:
    """Return the sizes of the curve, ascending.

    >>> sizes(ball_threat("linf", "scores", 0.64))[-1]
    0.64
    """
    top = float(threat.knobs["eps"])
    return tuple(top * FALL**step for step in reversed(range(LEVELS)))


def _is_table(opened: Opened) -> bool:
    return hasattr(opened.domain, "columns")


def _known(job: Job, threat: Threat, rows: Array) -> dict[str, Array]:
    """Return what other checks know of each row: a size that breaks it, and a size up to which it is certified."""
    where = job.opened.test.index[rows]
    known = {"broken": np.full(len(rows), np.inf), "certified": np.zeros(len(rows))}
    norm: Norm = threat.knobs["norm"]
    for eps in job.opened.subject.threat.evasion.eps or (default_eps(job.opened) or 0.0,):
        same = ball_threat(norm, job.opened.access, eps)
        attack, proof = job.evidence(f"evasion/{norm}", same), job.evidence("certify/bounds", same)
        if attack is not None:
            spent = np.asarray(attack.outcomes["spent"][where], dtype=np.float64) * eps
            known["broken"] = np.fmin(known["broken"], spent)
        if proof is not None:
            known["certified"] = np.where(
                proof.outcomes["certified"][where] == 1, np.maximum(known["certified"], eps), known["certified"]
            )
    return known


def _block(rows: Array, known: Mapping[str, Array], start: int) -> dict[str, list[Any]]:
    part = slice(start, start + BLOCK)
    broken = [None if np.isinf(size) else float(size) for size in known["broken"][part]]
    return {"rows": rows[part].tolist(), "broken": broken, "certified": known["certified"][part].tolist()}


def _evidence(check: Check, threat: Threat, opened: Opened, rows: Array, joined: Mapping[str, Array]) -> Evidence:
    from veriward.checks.evasion.sizes_advice import advice

    distance = np.full(opened.test.total, np.nan, np.float32)
    distance[opened.test.index[rows]] = np.where(joined["correct"] == 1, joined["distance"], np.nan)
    return Evidence(
        check.name,
        check.version,
        threat,
        (_median(threat, joined), *_accuracies(threat, joined)),
        outcomes={"distance": distance},
        rows=len(rows),
        assumptions=advice(opened, threat.knobs["norm"], rows),
        untested=(note("curve.short_attack"),),
    )


def _accuracies(threat: Threat, joined: Mapping[str, Array]) -> Sequence[Estimate]:
    standing = np.where(joined["correct"] == 1, joined["distance"], -1.0)
    at = {"norm": threat.knobs["norm"]}
    return [
        proportion("accuracy_at", int((standing > size).sum()), len(standing), at={**at, "eps": size}, bound="upper")
        for size in sizes(threat)
    ]


def _median(threat: Threat, joined: Mapping[str, Array]) -> Estimate:
    from veriward.core.basis import interval
    from veriward.core.basis.quantiles import quantile_basis

    at, unit = {"norm": threat.knobs["norm"]}, "raw input units"
    right = joined["distance"][joined["correct"] == 1]
    if len(right) == 0:
        return not_estimable("median_distance", note("evasion.none_correct"), at=at, bound="upper", unit=unit)
    basis = quantile_basis(right, 0.5, least=0.0, most=np.inf)
    if not np.isfinite(interval(basis)[1]):
        beyond = note("curve.beyond", eps=float(threat.knobs["eps"]))
        return not_estimable("median_distance", beyond, at=at, bound="upper", unit=unit, n=len(right))
    return from_basis("median_distance", basis, unit=unit, method="order statistics", at=at, bound="upper")
