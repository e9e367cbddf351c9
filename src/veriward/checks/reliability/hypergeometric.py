"""Are the rows of a slice wrong more often than the rest? Fisher's exact test, for many slices of the same rows at once.

If being wrong has nothing to do with the columns, the wrong rows are a random subset of all, so a slice of n of N rows
holds a hypergeometric number of the K wrong ones: the p-value is exact for every N. Fisher (1935), The Design of
Experiments, section 21; Holm (1979) makes the p-values of all slices hold together, however they overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
LEVEL = 0.05


def upper_tails(wrong: Sequence[int], sizes: Sequence[int], all_wrong: int, rows: int) -> Array:
    """Return P(X >= wrong) for each slice, X the wrong rows among `sizes` drawn from `rows` of which `all_wrong` are wrong.

    >>> upper_tails([2], [2], 2, 4).round(4).tolist()
    [0.1667]
    """
    log_factorial = _log_factorials(rows)
    return np.array([_tail(int(k), int(n), all_wrong, rows, log_factorial) for k, n in zip(wrong, sizes, strict=True)])


def _log_factorials(rows: int) -> Array:
    from scipy.special import gammaln

    return np.asarray(gammaln(np.arange(rows + 1) + 1.0))


def _tail(k: int, n: int, all_wrong: int, rows: int, lf: Array) -> float:
    lowest, highest = max(0, n - (rows - all_wrong)), min(n, all_wrong)
    if k <= lowest:
        return 1.0
    x = np.arange(k, highest + 1)
    if not len(x):
        return 0.0
    whole = lf[rows] - lf[n] - lf[rows - n]
    inside = lf[all_wrong] - lf[x] - lf[all_wrong - x]
    outside = lf[rows - all_wrong] - lf[n - x] - lf[rows - all_wrong - n + x]
    return float(min(1.0, np.exp(inside + outside - whole).sum()))


def power(rows: int, accuracy: float, slices: int, *, share: float = 0.1, fall: float = 0.3) -> float:
    """Return the chance that these rows show a slice of a tenth of them whose accuracy lies `fall` below the rest's.

    The slice is one of `slices` looked at and must pass Holm's first step, LEVEL / slices. The overall accuracy stays as it
    is; where there is no room for the whole fall, the slice is always wrong. Exact given the number of wrong rows, which
    is taken at its expectation.

    >>> power(2000, 0.8, 500) > 0.99
    True
    """
    n = round(share * rows)
    if not slices or not 0 < n < rows:
        return 0.0
    rest = min(1.0, accuracy + share * fall)
    inside = max(0.0, rest - fall)
    all_wrong = round(n * (1 - inside) + (rows - n) * (1 - rest))
    lf = _log_factorials(rows)
    critical = _smallest(n, all_wrong, rows, LEVEL / slices, lf)
    return 0.0 if critical is None else _at_least(critical, n, 1 - inside)


def _smallest(n: int, all_wrong: int, rows: int, level: float, lf: Array) -> int | None:
    """Return the smallest number of wrong rows in a slice of n that is rejected at a level, None if none is."""
    low, high = 0, min(n, all_wrong) + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _tail(middle, n, all_wrong, rows, lf) <= level else (middle + 1, high)
    return low if low <= min(n, all_wrong) else None


def _at_least(k: int, n: int, share: float) -> float:
    from veriward.core.intervals import upper_tail

    found = upper_tail(k, n, share)
    return float(found) if math.isfinite(found) else 0.0
