"""The area under the ROC curve and its variance. DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44(3).

Computed from midranks as in Sun & Xu (2014), IEEE Signal Processing Letters 21(11), in O(n log n).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from veriward.core.estimate import Bound, Estimate, not_estimable
from veriward.core.note import note

Array = np.ndarray[Any, Any]


def midranks(values: Array) -> Array:
    """Return the rank of each value, (n,) from 1; ties share their mean rank.

    >>> midranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse.reshape(-1)])


def auc(positive: Array, negative: Array) -> tuple[float, float]:
    """Return the area (the chance that a positive scores above a negative, ties half) and its standard error.

    Raises ValueError for fewer than two rows on a side.

    >>> auc(np.array([2.0, 3.0]), np.array([0.0, 1.0]))
    (1.0, 0.0)
    """
    m, n = len(positive), len(negative)
    if m < 2 or n < 2:
        raise ValueError(f"auc: {m} positive and {n} negative rows; want at least two of each")
    joint = midranks(np.concatenate([positive, negative]))
    above = (joint[:m] - midranks(positive)) / n  # share of negatives below each positive
    below = 1 - (joint[m:] - midranks(negative)) / m
    variance = above.var(ddof=1) / m + below.var(ddof=1) / n
    return float(above.mean()), float(np.sqrt(variance))


def area(
    metric: str, positive: Array, negative: Array, *, at: Mapping[str, Any] | None = None, bound: Bound = "lower"
) -> Estimate:
    """Return the area with its interval: how well scores tell two sides apart; below two rows a side not estimable.

    A perfect separation has no spread of its own: its interval is that of no error in the smaller side.

    >>> found = area("auc", np.ones(50), np.zeros(50))
    >>> found.value, round(found.low, 3)
    (1.0, 0.929)
    """
    from scipy.special import ndtri

    fewest = min(len(positive), len(negative))
    if fewest < 2:
        return not_estimable(metric, note("estimate.too_few_a_side"), at=at, bound=bound, unit="probability")
    value, se = auc(positive, negative)
    quantile, n = float(ndtri(0.975)), len(positive) + len(negative)
    se = se or (1 - 0.025 ** (1 / fewest)) / quantile
    low, high = max(0.0, value - quantile * se), min(1.0, value + quantile * se)
    basis = {"kind": "normal", "value": value, "se": se, "n": n}
    return Estimate(metric, value, low, high, n, "probability", "DeLong", dict(at or {}), bound=bound, basis=basis)
