"""Two answers to the same rows: by how much did the second get worse? An exact test of the difference of two shares.

b rows got worse and c better, of n. The statistic is the studentised difference (b - c - n d) / sqrt(b + c + 1 - (b - c)^2
/ n) of Lu & Bean (1995, Stat. Med. 14) with one disagreement added, so that it is defined where no row disagrees. Its
p-value is not a normal tail: given a true drop d and a share s of rows that disagree, m = b + c is Binomial(n, s) and b,
given m, Binomial(m, (1 + d / s) / 2), so that the chance of a statistic at least as large is a sum of binomial tails. s
is unknown: the chance is maximised over a grid across its Clopper-Pearson interval at 1 - `SPENT`, and `SPENT` is added
(Berger & Boos 1994, J. Am. Stat. Assoc. 89(427)). The size is at most the level up to the grid, for every n.
"""

import math
from typing import TYPE_CHECKING, Any

from scipy.special import betainc, gammaln, ndtri, xlog1py, xlogy

from veriward.core.basis.kind import Basis, Kind
from veriward.core.intervals import clopper_pearson

if TYPE_CHECKING:
    import numpy as np

SPENT = 1e-4  # of every p-value, on how many rows disagree
GRID = (8, 64)  # shares of rows that disagree: with many rows the chance hardly depends on them, with few it does
SIGMAS = 5  # beyond them lies less than a hundredth of `SPENT`
MOST_TERMS = 1000  # of a sum; longer ones are thinned, their terms change slowly
_FAR = 40.0  # a normal score beyond all others
PRECISION = 1 / 500  # of the ends of an interval, in standard errors


class Paired(Kind):
    """A drop: the share of rows that got worse minus the share that got better."""

    def value(self, basis: Basis) -> float:
        """Return (b - c) / n."""
        return (basis["b"] - basis["c"]) / basis["n"] if basis["n"] else math.nan

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return the drops that neither test rejects at half of the error each."""
        level = (1 - confidence) / 2
        return _lower_end(basis, level), -_lower_end(_mirrored(basis), level)

    def p_below(self, basis: Basis, limit: float) -> float:
        """Return the exact p-value against "the drop is at least `limit`"."""
        return p_at_most(_mirrored(basis), -limit)

    def p_above(self, basis: Basis, limit: float) -> float:
        """Return the exact p-value against "the drop is at most `limit`"."""
        return p_at_most(basis, limit)

    def scaled(self, basis: Basis, factor: float) -> Basis:
        """Return the same shares of more rows by the normal law: a forecast, asked for dozens of times in a row."""
        n, value = basis["n"], self.value(basis)
        se = math.sqrt(max((basis["b"] + basis["c"] + 1) / n - value * value, 0.0) / (n * factor))
        return {"kind": "normal", "value": value, "se": se, "n": round(n * factor)}

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return the drop that would have shown if as many rows disagreed, by the normal law."""
        n = max(basis["n"], 1)
        disagree = max((basis["b"] + basis["c"]) / n, 1 / n)
        reach = (float(ndtri(1 - level)) + float(ndtri(power))) * math.sqrt(disagree / n)
        found = limit + reach if upwards else limit - reach
        return found if -1 <= found <= 1 else None


def _mirrored(basis: Basis) -> Basis:
    return {**basis, "b": basis["c"], "c": basis["b"]}


def p_at_most(basis: Basis, drop: float) -> float:
    """Return the p-value against "the drop is at most `drop`": small means that it is larger.

    >>> round(p_at_most({"b": 10, "c": 2, "n": 500}, 0.0), 3)
    0.012
    """
    import numpy as np

    b, c, n = int(basis["b"]), int(basis["c"]), int(basis["n"])
    if n == 0 or drop >= 1:
        return 1.0
    drop, m = max(drop, -1.0), b + c
    seen = _statistic(b - c, m, n, drop)
    low, high = (max(end, abs(drop)) for end in clopper_pearson(m, n, 1 - SPENT))
    shares = np.linspace(low, high, min(max(20_000 // n, GRID[0]), GRID[1]))[:, None]
    return min(1.0, float(_chances(seen, n, drop, shares).max()) + SPENT)


def _statistic(difference: float, m: float, n: int, drop: float) -> float:
    return (difference - n * drop) / math.sqrt(m + 1 - difference * difference / n)


def _chances(seen: float, n: int, drop: float, shares: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Return P(statistic >= seen) under a true drop, for each true share of rows that disagree, (shares, 1)."""
    import numpy as np

    reach = SIGMAS * np.sqrt(n * shares * (1 - shares)).max() + 10
    first, last = max(0.0, n * shares.min() - reach), min(float(n), n * shares.max() + reach)
    m = np.unique(np.rint(np.linspace(first, last, min(math.ceil(last - first) + 1, MOST_TERMS))))
    least = np.ceil((_least_difference(seen, m, n, drop) + m) / 2 - 1e-9)  # rows that got worse
    worse = np.clip((1 + drop / np.maximum(shares, 1e-300)) / 2, 0, 1)
    tail = betainc(np.clip(least, 1, None), np.clip(m - least + 1, 1e-9, None), worse)
    tail = np.where(least <= 0, 1.0, np.where(least > m, 0.0, tail))
    weight = gammaln(n + 1) - gammaln(m + 1) - gammaln(n - m + 1) + xlogy(m, shares) + xlog1py(n - m, -shares)
    weight = np.exp(weight - weight.max(1, keepdims=True))
    return np.asarray((weight * tail).sum(1) / weight.sum(1))


def _least_difference(seen: float, m: "np.ndarray[Any, Any]", n: int, drop: float) -> "np.ndarray[Any, Any]":
    """Return the smallest b - c whose statistic is at least `seen`, for each m: the root of a quadratic."""
    import numpy as np

    square = 1 + seen * seen / n
    inside = (n * drop) ** 2 - square * ((n * drop) ** 2 - seen * seen * (m + 1))
    root = (n * drop + math.copysign(1, seen) * np.sqrt(np.clip(inside, 0, None))) / square
    return np.asarray(np.where(inside < 0, -math.copysign(np.inf, -seen), root))


def _lower_end(basis: Basis, level: float) -> float:
    """Return the smallest drop that the rows do not reject at this level, rounded down.

    False position on the normal score of the p-value, in which the end is nearly linear.
    """
    n = max(int(basis["n"]), 1)
    value, wanted = (basis["b"] - basis["c"]) / n, float(ndtri(level))
    fine = PRECISION * math.sqrt(max(basis["b"] + basis["c"], 1)) / n
    low, high = -1.0, float(max(value, -1.0))
    scores = [-_FAR, float(ndtri(min(p_at_most(basis, high), 1 - 1e-9)))]
    if scores[1] <= wanted:
        return high
    guess = max(value + wanted * fine / PRECISION, -1.0)
    while high - low > fine:
        guess = min(max(guess, low + fine / 4), high - fine / 4)
        score = float(ndtri(min(p_at_most(basis, guess), 1 - 1e-9)))
        low, high, scores = (guess, high, [score, scores[1]]) if score <= wanted else (low, guess, [scores[0], score])
        step = (wanted - scores[0]) / (scores[1] - scores[0])
        # towards the end from the side that is known worse, by a little more than the line says
        guess = low + step * (high - low) + (fine / 3 if score <= wanted else -fine / 3)
    return low
