"""A number with its interval, n, unit and what it is of the truth; or the reason why there is none."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from veriward.core.note import Note, note

Bound = Literal["exact", "upper", "lower"]


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
