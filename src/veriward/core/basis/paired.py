"""Two answers to the same rows: by how much did the second get worse? An exact test of the difference of two shares.

Given how many rows disagree (m = b + c), b is Binomial(m, (1 + d / s) / 2), where d is the true drop and s the true share
of rows that disagree; for d = 0 this is McNemar's exact test. s is unknown: it is replaced by the end of its
Clopper-Pearson interval at a tenth of the level that speaks most for the hypothesis, and that tenth is added to the
p-value (Berger & Boos 1994, J. Am. Stat. Assoc. 89(427)). The size is therefore at most the level, for every n.
"""

import math

from scipy.special import ndtri

from veriward.core.basis.kind import Basis, Kind, grown, smallest_level
from veriward.core.intervals import clopper_pearson, upper_tail

SHARE = 0.1  # of the level, spent on how many rows disagree
PRECISION = 1e-5


class Paired(Kind):
    """A drop: the share of rows that got worse minus the share that got better."""

    def value(self, basis: Basis) -> float:
        """Return (b - c) / n."""
        return (basis["b"] - basis["c"]) / basis["n"] if basis["n"] else math.nan

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return the drops that neither test rejects at half of the error each."""
        level = (1 - confidence) / 2
        return lower_end(basis, level), upper_end(basis, level)

    def p_below(self, basis: Basis, limit: float) -> float:
        """Return the exact p-value against "the drop is at least `limit`"."""
        return p_at_least({**basis, "b": basis["c"], "c": basis["b"]}, -limit)

    def p_above(self, basis: Basis, limit: float) -> float:
        """Return the exact p-value against "the drop is at most `limit`"."""
        return p_at_least(basis, limit)

    def scaled(self, basis: Basis, factor: float) -> Basis:
        """Return the same shares of more rows."""
        (b, n), (c, _) = grown(basis["b"], basis["n"], factor), grown(basis["c"], basis["n"], factor)
        return {**basis, "b": b, "c": c, "n": n}

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return the drop that would have shown if as many rows disagreed, by the normal law."""
        n = max(basis["n"], 1)
        disagree = max((basis["b"] + basis["c"]) / n, 1 / n)
        reach = (float(ndtri(1 - level * (1 - SHARE))) + float(ndtri(power))) * math.sqrt(disagree / n)
        found = limit + reach if upwards else limit - reach
        return found if -1 <= found <= 1 else None


def p_at_least(basis: Basis, drop: float) -> float:
    """Return the p-value against "the drop is at most `drop`": the smallest level at which that is rejected.

    >>> round(p_at_least({"b": 10, "c": 2, "n": 500}, 0.0), 4)  # McNemar's exact test, one-sided
    0.0193
    """
    if drop == 0 or not -1 < drop < 1:
        return _mcnemar(basis) if drop == 0 else 1.0
    return smallest_level(lambda level: rejected(basis, drop, level))


def rejected(basis: Basis, drop: float, level: float) -> bool:
    """Return whether the rows reject "the drop is at most `drop`" at a level. Levels are nested: more rejects more."""
    if drop <= 0 and _mcnemar(basis) <= level:  # a drop of at most 0 is a weaker claim, and needs no share
        return True
    if drop == 0 or not -1 < drop < 1 or not basis["n"]:
        return False
    b, m = int(basis["b"]), int(basis["b"] + basis["c"])
    low, high = clopper_pearson(m, int(basis["n"]), 1 - 2 * SHARE * level)
    # of the shares that are possible, the one under which b is largest; rows disagree at least as often as |drop|
    disagree = max(low if drop > 0 else high, abs(drop))
    return upper_tail(b, m, (1 + drop / disagree) / 2) <= (1 - SHARE) * level


def _mcnemar(basis: Basis) -> float:
    return upper_tail(int(basis["b"]), int(basis["b"] + basis["c"]), 0.5)


def lower_end(basis: Basis, level: float) -> float:
    """Return the smallest drop that the rows do not reject at this level."""
    low, high = -1.0, max((basis["b"] - basis["c"]) / max(basis["n"], 1), -1.0)
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(basis, middle, level) else (low, middle)
    return low


def upper_end(basis: Basis, level: float) -> float:
    """Return the largest drop that the rows do not reject at this level."""
    return -lower_end({**basis, "b": basis["c"], "c": basis["b"]}, level)
