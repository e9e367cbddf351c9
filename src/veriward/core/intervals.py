"""Exact intervals and tails of counts. Clopper & Pearson (1934), Biometrika 26(4); only scipy.special is needed."""

import math
from collections.abc import Sequence

from scipy.special import bdtr, bdtrc, betaincinv


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a share; n = 0 gives [0, 1].

    Raises ValueError unless 0 <= successes <= n and 0 < confidence < 1.

    >>> clopper_pearson(0, 300)
    (0.0, 0.01222...)
    """
    if not 0 <= successes <= n or not 0 < confidence < 1:
        raise ValueError(f"clopper_pearson: {successes} of {n} at {confidence}; want 0 <= successes <= n, 0 < c < 1")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def lower_tail(successes: int, n: int, share: float) -> float:
    """Return P(X <= successes) for X ~ Binomial(n, share): the exact p-value against "the share is at least this".

    >>> lower_tail(0, 2, 0.5)
    0.25
    """
    return 1.0 if successes >= n or share <= 0 else float(bdtr(successes, n, min(share, 1.0)))


def upper_tail(successes: int, n: int, share: float) -> float:
    """Return P(X >= successes) for X ~ Binomial(n, share): the exact p-value against "the share is at most this".

    >>> upper_tail(2, 2, 0.5)
    0.25
    """
    return 1.0 if successes <= 0 or share >= 1 else float(bdtrc(successes - 1, n, max(share, 0.0)))


Counts = Sequence[Sequence[int]]  # [successes, n] of each group


def simultaneous(groups: Counts, confidence: float) -> list[tuple[float, float]]:
    """Return one interval per group that all hold together (Sidak 1967: the groups' rows are independent)."""
    each = confidence ** (1 / max(len(groups), 1))
    return [clopper_pearson(k, n, each) for k, n in groups]


def gap_value(families: Sequence[Counts]) -> float:
    """Return the largest difference of shares within a family; groups without rows do not count."""
    spans = [[k / n for k, n in groups if n] for groups in families]
    return max((max(s) - min(s) for s in spans if len(s) > 1), default=math.nan)


def gap_interval(families: Sequence[Counts], confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the largest gap between groups, over one or more families of shares.

    A family is e.g. the true positive rates of all groups; equalised odds has two. All shares of all families are
    covered together, so every function of them is: the truth lies inside with at least this confidence, whatever the
    sizes of the groups. A group without rows has the interval [0, 1].

    >>> low, high = gap_interval([[[50, 100], [80, 100]]])
    >>> 0 < low < 0.3 < high < 0.5
    True
    """
    flat = simultaneous([counts for groups in families for counts in groups], confidence)
    low, high, start = 0.0, 0.0, 0
    for groups in families:
        part = flat[start : start + len(groups)]
        start += len(groups)
        low = max(low, max(p[0] for p in part) - min(p[1] for p in part))
        high = max(high, max(p[1] for p in part) - min(p[0] for p in part))
    return low, high


def worst_interval(groups: Counts, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the smallest share of groups that may overlap, exact by Bonferroni from below.

    From above, the truth is at most the share of the group that looks worst, whichever that is.

    >>> low, high = worst_interval([[80, 100], [10, 20]])
    >>> 0.2 < low < 0.5 < high < 0.8
    True
    """
    seen = [counts for counts in groups if counts[1]]
    if not seen:
        return 0.0, 1.0
    each = 1 - (1 - confidence) / len(seen)
    ends = [clopper_pearson(k, n, each) for k, n in seen]
    return min(low for low, _ in ends), min(high for _, high in ends)
