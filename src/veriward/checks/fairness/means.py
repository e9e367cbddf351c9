"""Gaps between the means of groups: residuals, predictions, and how far predicted probabilities miss.

Student's t knows no error where all values of a group are alike, and little where they are skewed. So no group's mean is
told more exactly than chance allows: one unseen row in n may lie as far off as the values of all groups spread; and
a share of outcomes is known no better than Clopper and Pearson (1934) know it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.fairness.compare import FEWEST, ends
from veriward.core.estimate import Estimate, from_basis, not_estimable
from veriward.core.intervals import clopper_pearson
from veriward.core.note import note

if TYPE_CHECKING:
    from veriward.core.groups import Attribute

Array = np.ndarray[Any, Any]
LEVELS = (0.05, 1e-2, 1e-3, 1e-4, 1e-5)  # of two-sided intervals: what limits, groups and Holm's family ask for
ROUNDING = 1e-12
CALIBRATED = "Student's t, no narrower than Clopper-Pearson"


@dataclass(frozen=True)
class Means:
    """The mean of each group's values with its standard error; NaN where fewer than two rows tell nothing."""

    mean: Array
    se: Array
    rows: Array


def means(values: Array, attribute: Attribute) -> Means:
    """Return the means of each group's values (n,), finite.

    >>> from veriward.core.groups import cut
    >>> found = means(np.array([0.0, 2.0, 5.0]), cut("g", np.array(["a", "a", "b"])))
    >>> found.mean.tolist(), round(float(found.se[0]), 3)
    ([1.0, 5.0], 1.258)
    """
    groups, rows = len(attribute.groups), attribute.sizes
    mean = np.bincount(attribute.number, values, groups) / np.maximum(rows, 1)
    squares = np.bincount(attribute.number, (values - mean[attribute.number]) ** 2, groups)
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        se = np.sqrt(squares / (rows - 1) / rows)
        se = np.maximum(se, spread / rows)
    if np.ptp(values) <= ROUNDING * np.abs(values).max():
        se = np.zeros_like(mean)  # all alike: what is left is rounding
    return Means(mean, np.where(rows > 1, se, np.nan), rows)


def calibrated(right: Array, predicted: Array, attribute: Attribute) -> Means:
    """Return each group's mean of outcome minus predicted probability; right (n,) booleans, predicted (n,) in [0, 1].

    Given the rows, outcomes are independent with chances of their own, and the binomial's tails are wider than those of
    their sum (Hoeffding 1956, Ann. Math. Statist. 27(3), theorem 4): Clopper and Pearson's interval holds.
    """
    found = means(right - predicted, attribute)
    hits = np.bincount(attribute.number, right, len(attribute.groups)).astype(int)
    exact = [_spread(int(k), int(n)) for k, n in zip(hits, found.rows, strict=True)]
    return Means(found.mean, np.maximum(found.se, exact), found.rows)


def _spread(k: int, n: int) -> float:
    """Return the standard error with which Student's interval reaches as far as Clopper and Pearson's at every level."""
    from veriward.core.basis.means import quantile

    if n < 2:
        return float("nan")
    reaches = []
    for level in LEVELS:
        low, high = clopper_pearson(k, n, 1 - level)
        reaches.append(max(k / n - low, high - k / n) / quantile(1 - level / 2, n))
    return max(reaches)


def mean_gap(
    metric: str, found: Means, at: Mapping[str, Any], *, unit: str, method: str = "Student's t, Sidak"
) -> Estimate:
    """Return the largest gap between the means of groups; those of one row tell nothing and are left out."""
    known = [[float(m), float(se), int(n)] for m, se, n in zip(found.mean, found.se, found.rows, strict=True) if n > 1]
    if len(known) < FEWEST:
        return not_estimable(metric, note("fairness.nothing_to_compare"), at=at, unit=unit)
    if not any(se for _, se, _ in known):
        return not_estimable(metric, note("fairness.all_alike"), at=at, unit=unit, n=int(found.rows.sum()))
    return from_basis(metric, {"kind": "means", "groups": known}, unit=unit, method=method, at=at)


def group_means(
    metric: str, found: Means, groups: Sequence[str], at: Mapping[str, Any], *, unit: str, method: str = "Student's t"
) -> list[Estimate]:
    """Return the mean of each group that is told."""
    estimates = []
    for number in ends(found.mean):
        here, n = {**at, "group": groups[number]}, int(found.rows[number])
        se = float(found.se[number])
        if n < 2 or se == 0:
            why = note("fairness.one_row") if n < 2 else note("fairness.all_alike")
            estimates.append(not_estimable(metric, why, at=here, unit=unit, n=n))
            continue
        basis = {"kind": "mean", "value": float(found.mean[number]), "se": se, "n": n}
        estimates.append(from_basis(metric, basis, unit=unit, method=method, at=here))
    return estimates
