"""Means and other numbers with a standard error; exact for normal rows, and for many rows of any kind nearly so.

Unbounded numbers have no exact interval (Bahadur & Savage 1956, Ann. Math. Statist. 27(4)); the method is printed with
each, so that nobody takes it for one.
"""

import math

from scipy.special import ndtr, ndtri, stdtr, stdtrit

from veriward.core.basis.kind import Basis, Kind


class Normal(Kind):
    """An estimate with a standard error."""

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return value and standard error times the normal quantile."""
        half = float(ndtri(0.5 + confidence / 2)) * basis["se"]
        return basis["value"] - half, basis["value"] + half

    def p_below(self, basis: Basis, limit: float) -> float:
        """Return the normal tail."""
        return self._tail(basis, basis["value"] - limit)

    def p_above(self, basis: Basis, limit: float) -> float:
        """Return the normal tail."""
        return self._tail(basis, limit - basis["value"])

    def _tail(self, basis: Basis, distance: float) -> float:
        se = basis["se"]
        return float(ndtr(distance / se)) if se > 0 else float(distance >= 0)

    def scaled(self, basis: Basis, factor: float) -> Basis:
        """Return the same value with the standard error of more rows."""
        return {**basis, "se": basis["se"] / factor**0.5, "n": round(basis["n"] * factor)}

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return the normal answer; the p-value is one-sided."""
        reach = (float(ndtri(1 - level)) + float(ndtri(power))) * basis["se"]
        return float(limit + reach if upwards else limit - reach)


class Mean(Normal):
    """A mean of n rows, by Student's t with n - 1 degrees of freedom."""

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return value and standard error times Student's quantile."""
        half = quantile(0.5 + confidence / 2, basis["n"]) * basis["se"]
        return basis["value"] - half, basis["value"] + half

    def _tail(self, basis: Basis, distance: float) -> float:
        se = basis["se"]
        return float(stdtr(max(basis["n"] - 1, 1), distance / se)) if se > 0 else float(distance >= 0)


class Means(Kind):
    """The largest difference between the means of groups; the groups' rows are independent."""

    def value(self, basis: Basis) -> float:
        """Return the largest difference."""
        means = [mean for mean, _, n in basis["groups"] if n]
        return max(means) - min(means) if len(means) > 1 else math.nan

    def rows(self, basis: Basis) -> int:
        """Return the rows of all groups."""
        return sum(n for _, _, n in basis["groups"])

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return the interval in which all differences lie together: each mean at its own (Sidak 1967).

        From below, a pair's difference is at least the sum of its gaps; from above, at most the spread of all ends.
        """
        groups = [group for group in basis["groups"] if group[2]]
        each = confidence ** (1 / max(len(groups), 1))
        ends = []
        for mean, se, n in groups:
            half = quantile(0.5 + each / 2, n) * se
            ends.append((mean - half, mean + half))
        if len(ends) < 2:
            return 0.0, 0.0
        lows, highs = sorted(low for low, _ in ends), sorted(high for _, high in ends)
        low = lows[-1] - highs[0]  # of one group with itself it is negative
        top = max(range(len(ends)), key=lambda i: ends[i][1])
        bottom = min(range(len(ends)), key=lambda i: ends[i][0])
        apart = highs[-1] - lows[0]
        high = apart if top != bottom else max(highs[-1] - lows[1], highs[-2] - lows[0])
        return max(low, 0.0), high

    def scaled(self, basis: Basis, factor: float) -> Basis:
        """Return the same means with the standard errors of more rows."""
        return {**basis, "groups": [[m, se / factor**0.5, round(n * factor)] for m, se, n in basis["groups"]]}

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return the least favourable case: the two groups whose means are known worst."""
        groups = sorted((group for group in basis["groups"] if group[2]), key=lambda group: -group[1])
        if not upwards or len(groups) < 2:
            return None
        each, pair = (1 - level) ** (1 / len(groups)), groups[:2]
        width = sum(quantile(0.5 + each / 2, n) * se for _, se, n in pair)
        return float(limit + width + float(ndtri(power)) * math.sqrt(sum(se * se for _, se, _ in pair)))


def quantile(share: float, n: int) -> float:
    """Return Student's quantile for the mean of n rows; of a single row nothing is known.

    >>> round(quantile(0.975, 11), 3)
    2.228
    """
    return float(stdtrit(n - 1, share)) if n > 1 else math.inf
