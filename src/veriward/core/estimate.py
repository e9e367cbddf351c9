"""A number with its interval, n, unit and what it is of the truth; or the reason why there is none."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from veriward.core.note import Note, note

Bound = Literal["exact", "upper", "lower"]
MOST_FLAGS = 100  # p-values that a basis keeps


@dataclass(frozen=True)
class Estimate:
    """One measured number. `bound` says what it is of the truth: an attacked accuracy is an upper bound."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    method: str
    at: Mapping[str, Any] = field(default_factory=dict)
    confidence: float = 0.95
    bound: Bound = "exact"
    basis: Mapping[str, Any] = field(default_factory=dict)
    why: Note | None = None  # the reason where there is no value

    def __post_init__(self) -> None:
        if self.value is None:
            if self.why is None:
                raise ValueError(f"{self.metric}: a missing value needs its reason in `why`")
            return
        numbers = (self.low, self.value, self.high)
        if any(number is None or not math.isfinite(number) for number in numbers):
            raise ValueError(f"{self.metric}: [{self.low}, {self.high}] around {self.value}; want finite numbers")
        if not self.low <= self.value <= self.high:  # type: ignore[operator]  # finite: checked above
            raise ValueError(f"{self.metric}: {self.value} lies outside [{self.low}, {self.high}]")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for the dossier and the JSON report."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        why = self.why.to_dict() if self.why else None
        return {**data, "at": dict(self.at), "basis": dict(self.basis), "why": why}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Estimate":
        """Return the estimate that `to_dict` wrote."""
        return cls(**{**data, "why": Note.from_dict(data["why"]) if data["why"] else None})


def proportion(
    metric: str,
    successes: int,
    n: int,
    *,
    at: Mapping[str, Any] | None = None,
    bound: Bound = "exact",
    unit: str = "share of rows",
) -> Estimate:
    """Return a share of rows with its Clopper-Pearson interval; n = 0 is not estimable.

    >>> proportion("clean_accuracy", 90, 100).low
    0.823...
    """
    from veriward.core.intervals import clopper_pearson

    if n == 0:
        return not_estimable(metric, note("estimate.no_rows"), at=at, bound=bound, unit=unit)
    low, high = clopper_pearson(successes, n)
    basis = {"kind": "binomial", "k": int(successes), "n": int(n)}
    return Estimate(
        metric, successes / n, low, high, n, unit, "Clopper-Pearson", dict(at or {}), bound=bound, basis=basis
    )


def gap(
    metric: str,
    families: Sequence[Sequence[Sequence[int]]],
    *,
    at: Mapping[str, Any] | None = None,
    names: Sequence[str] = (),
) -> Estimate:
    """Return the largest gap between groups, with the simultaneous exact interval over all of them."""
    from veriward.core.intervals import gap_interval, gap_value

    counts = [[[int(k), int(n)] for k, n in groups] for groups in families]
    value = gap_value(counts)
    if math.isnan(value):
        return not_estimable(metric, note("estimate.one_group"), at=at, unit="difference of shares")
    low, high = gap_interval(counts)
    basis = {"kind": "gap", "families": counts, "groups": list(names)}
    n = sum(n for groups in counts for _, n in groups)
    method = "Clopper-Pearson over all groups, Sidak"
    return Estimate(metric, value, low, high, n, "difference of shares", method, dict(at or {}), basis=basis)


def census(metric: str, value: float, n: int, unit: str, *, at: Mapping[str, Any] | None = None) -> Estimate:
    """Return a counted fact: nothing was sampled, so there is no interval around it."""
    return Estimate(
        metric, value, value, value, n, unit, "census", dict(at or {}), basis={"kind": "census", "value": value}
    )


def not_estimable(
    metric: str, why: Note, *, at: Mapping[str, Any] | None = None, bound: Bound = "exact", unit: str = "", n: int = 0
) -> Estimate:
    """Return the result "cannot be estimated", with its reason: neither 0.0 nor a crash."""
    return Estimate(metric, None, None, None, n, unit, "not estimable", dict(at or {}), bound=bound, why=why)


def from_basis(
    metric: str,
    basis: Mapping[str, Any],
    *,
    unit: str,
    method: str,
    at: Mapping[str, Any] | None = None,
    bound: Bound = "exact",
) -> Estimate:
    """Return the estimate that the counts of a basis give, with their 95 % interval.

    >>> from_basis("accuracy_drop", {"kind": "paired", "b": 40, "c": 20, "n": 900}, unit="", method="").value
    0.0222...
    """
    from veriward.core.basis import interval, rows, value

    middle, (low, high) = value(basis), interval(basis)
    low, high = min(low, middle), max(high, middle)  # of tests that are not each other's mirror
    return Estimate(
        metric, middle, low, high, rows(basis), unit, method, dict(at or {}), bound=bound, basis=dict(basis)
    )


def drop(metric: str, worse: int, better: int, n: int, *, at: Mapping[str, Any] | None = None) -> Estimate:
    """Return by how much a share fell between two answers to the same n rows; `worse` rows fell and `better` ones rose."""
    if n == 0:
        return not_estimable(metric, note("estimate.no_rows"), at=at, unit="difference of shares")
    basis = {"kind": "paired", "b": int(worse), "c": int(better), "n": int(n)}
    return from_basis(metric, basis, unit="difference of shares", method="exact paired, Berger-Boos", at=at)


def mean(metric: str, values: Any, *, unit: str, at: Mapping[str, Any] | None = None) -> Estimate:
    """Return the mean of values (n,) with Student's interval; fewer than two rows are not estimable."""
    import numpy as np

    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return not_estimable(metric, note("estimate.no_rows"), at=at, unit=unit, n=len(values))
    se = float(values.std(ddof=1)) / len(values) ** 0.5
    basis = {"kind": "mean", "value": float(values.mean()), "se": se, "n": len(values)}
    return from_basis(metric, basis, unit=unit, method="Student's t", at=at)


def mean_gap(metric: str, groups: Sequence[Any], *, unit: str, at: Mapping[str, Any] | None = None) -> Estimate:
    """Return the largest gap between the means of groups (an array of values each), all intervals simultaneous."""
    import numpy as np

    values = [np.asarray(group, dtype=np.float64) for group in groups]
    known = [[float(v.mean()), float(v.std(ddof=1)) / len(v) ** 0.5, len(v)] for v in values if len(v) > 1]
    if len(known) < 2:
        return not_estimable(metric, note("estimate.one_group"), at=at, unit=unit)
    return from_basis(metric, {"kind": "means", "groups": known}, unit=unit, method="Student's t, Sidak", at=at)


def worst_share(
    metric: str, groups: Sequence[Sequence[int]], n: int, *, at: Mapping[str, Any] | None = None
) -> Estimate:
    """Return the smallest share ([k, n] each) of groups that may overlap, exact by Bonferroni."""
    counts = [[int(k), int(size)] for k, size in groups if size]
    if not counts:
        return not_estimable(metric, note("estimate.no_rows"), at=at, unit="share of rows")
    basis = {"kind": "worst", "groups": counts, "n": int(n)}
    return from_basis(metric, basis, unit="share of rows", method="Clopper-Pearson, Bonferroni", at=at)


def flagged(
    metric: str,
    p_values: Sequence[float],
    n: int,
    *,
    unit: str,
    power: float = 1.0,
    at: Mapping[str, Any] | None = None,
) -> Estimate:
    """Return how many suspicions hold, by p-values already adjusted for all that was looked at: a lower bound.

    `power`: the chance that n rows show a suspicion of the size that matters; below .9 nothing passes.
    """
    kept = sorted(float(p) for p in p_values)[:MOST_FLAGS]
    basis = {"kind": "flags", "p": kept, "of": len(p_values), "n": int(n), "power": float(power)}
    return from_basis(metric, basis, unit=unit, method="Holm over all that was looked at", at=at, bound="lower")


def calibration(metric: str, bins: Sequence[Sequence[float]], *, at: Mapping[str, Any] | None = None) -> Estimate:
    """Return the expected calibration error of bins [right rows, rows, sum of predicted probabilities]."""
    counts = [[int(k), int(n), float(predicted)] for k, n, predicted in bins if n]
    if not counts:
        return not_estimable(metric, note("estimate.no_rows"), at=at, unit="probability")
    return from_basis(metric, {"kind": "binned", "bins": counts}, unit="probability", method="McDiarmid", at=at)
