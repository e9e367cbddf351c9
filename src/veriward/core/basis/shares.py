"""Shares of rows: one, the gap between groups, the smallest of many; and counted facts."""

import math
from collections.abc import Sequence

from scipy.special import bdtri, bdtrik, ndtri

from veriward.core.basis.kind import Basis, Kind, grown
from veriward.core.intervals import (
    Counts,
    clopper_pearson,
    gap_interval,
    gap_value,
    lower_tail,
    upper_tail,
    worst_interval,
)


class Binomial(Kind):
    """A share of independent rows."""

    def value(self, basis: Basis) -> float:
        """Return k / n."""
        return basis["k"] / basis["n"] if basis["n"] else math.nan

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return the Clopper-Pearson interval."""
        return clopper_pearson(basis["k"], basis["n"], confidence)

    def p_below(self, basis: Basis, limit: float) -> float:
        """Return the exact lower tail."""
        return lower_tail(basis["k"], basis["n"], limit)

    def p_above(self, basis: Basis, limit: float) -> float:
        """Return the exact upper tail."""
        return upper_tail(basis["k"], basis["n"], limit)

    def scaled(self, basis: Basis, factor: float) -> Basis:
        """Return the same share of more rows."""
        k, n = grown(basis["k"], basis["n"], factor)
        return {**basis, "k": k, "n": n}

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return the exact answer."""
        share = 1 - limit if upwards else limit  # counting failures instead of successes turns ">" into "<"
        if not 0 < share < 1:
            return None
        n = basis["n"]
        critical = math.floor(float(bdtrik(level, n, share)))
        critical -= lower_tail(critical, n, share) > level
        if critical < 0:
            return None
        truth = float(bdtri(critical, n, power))  # P(X <= critical | truth) = power
        return 1 - truth if upwards else truth


class Gap(Kind):
    """The largest difference between the shares of groups, over one or more families of shares."""

    def value(self, basis: Basis) -> float:
        """Return the largest difference within a family."""
        return gap_value(basis["families"])

    def rows(self, basis: Basis) -> int:
        """Return the rows of all groups."""
        return sum(n for groups in basis["families"] for _, n in groups)

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return the simultaneous exact interval."""
        return gap_interval(basis["families"], confidence)

    def scaled(self, basis: Basis, factor: float) -> Basis:
        """Return the same shares of more rows."""
        return {**basis, "families": [[grown(k, n, factor) for k, n in groups] for groups in basis["families"]]}

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return the least favourable case: a gap between the two smallest groups, with shares around one half."""
        found = limit + _gap_reach(basis["families"], level, power) * (1 if upwards else -1)
        return found if 0 <= found <= 1 else None


def _gap_reach(families: Sequence[Counts], level: float, power: float) -> float:
    """Return by how much a gap must exceed a threshold to be seen, in the family that sees least."""
    each = (1 - level) ** (1 / sum(len(groups) for groups in families))
    reaches = []
    for groups in families:
        sizes = sorted(n for _, n in groups if n)[:2]
        width = sum(clopper_pearson(n // 2, n, each)[1] - (n // 2) / n for n in sizes)
        reaches.append(width + float(ndtri(power)) * math.sqrt(sum(0.25 / n for n in sizes)))
    return max(reaches)


class Worst(Kind):
    """The smallest share among many groups of rows; groups may overlap."""

    def value(self, basis: Basis) -> float:
        """Return the smallest share of a group that has rows."""
        return min((k / n for k, n in basis["groups"] if n), default=math.nan)

    def rows(self, basis: Basis) -> int:
        """Return how many rows were sorted into the groups."""
        return int(basis.get("n") or max((n for _, n in basis["groups"]), default=0))

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return the exact interval, Bonferroni over the groups, since they may overlap."""
        return worst_interval(basis["groups"], confidence)

    def p_below(self, basis: Basis, limit: float) -> float:
        """Return the smallest exact tail times the number of groups."""
        groups = basis["groups"]
        return min(1.0, len(groups) * min((lower_tail(k, n, limit) for k, n in groups), default=1.0))

    def p_above(self, basis: Basis, limit: float) -> float:
        """Return the largest exact tail: all groups must lie above, so each test is made at the full level."""
        return max((upper_tail(k, n, limit) for k, n in basis["groups"]), default=1.0)

    def scaled(self, basis: Basis, factor: float) -> Basis:
        """Return the same shares of more rows."""
        return {**basis, "groups": [grown(k, n, factor) for k, n in basis["groups"]], "n": round(basis["n"] * factor)}

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return what the smallest group would have shown."""
        sizes = [n for _, n in basis["groups"] if n]
        if upwards or not sizes:
            return None
        smallest = {"kind": "binomial", "k": 0, "n": min(sizes)}
        return Binomial().reach(smallest, limit, upwards=False, level=level / len(sizes), power=power)


class Census(Kind):
    """A counted fact: nothing was sampled."""

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return the fact twice."""
        return basis["value"], basis["value"]

    def p_below(self, basis: Basis, limit: float) -> float:
        """Return 0 or 1."""
        return 0.0 if basis["value"] < limit else 1.0

    def p_above(self, basis: Basis, limit: float) -> float:
        """Return 0 or 1."""
        return 0.0 if basis["value"] > limit else 1.0

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return the limit: a fact beyond it would have shown."""
        return limit
