"""Is a column in test what it is in train? The largest distance of two distributions, beyond a margin and beyond chance.

Massart 1990, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality", Ann. Probab. 18(3), corollary 1: the
empirical distribution of n rows strays by more than e anywhere with a chance of at most 2 exp(-2 n e^2), whatever the
distribution. Categories are put in the order of their texts, which makes the distance a lower bound of what differs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
MARGIN = 0.1


def distance(a: Array, b: Array) -> float:
    """Return the largest difference of the cumulative shares of two columns (n,) and (m,), by Kolmogorov and Smirnov.

    >>> distance(np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    0.5
    """
    _, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    shares = [np.cumsum(np.bincount(c, minlength=codes.max() + 1)) / len(c) for c in (codes[: len(a)], codes[len(a) :])]
    return float(np.abs(shares[0] - shares[1]).max())


def p_shift(a: Array, b: Array, margin: float = MARGIN) -> float:
    """Return the p-value against "the distributions of two columns differ by at most `margin`"; missing values are equal.

    >>> p_shift(np.zeros(500), np.ones(500)) < 1e-6, p_shift(np.zeros(500), np.zeros(500))
    (True, 1.0)
    """
    beyond = distance(ordered(a), ordered(b)) - margin
    if beyond <= 0:
        return 1.0
    stray = beyond / (1 / math.sqrt(2 * len(a)) + 1 / math.sqrt(2 * len(b)))  # the two share the distance
    return min(1.0, 4 * math.exp(-(stray**2)))


def ordered(column: Array) -> Array:
    """Return a column as numbers or texts that sort; what is missing is the largest number, or the first text."""
    if column.dtype == object:
        return np.array(["" if value is None else "v" + str(value) for value in column])
    values = column.astype(np.float64)
    return np.where(np.isnan(values), np.inf, values)
