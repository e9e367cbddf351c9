"""A share of rows of which each was told by a test that may err: what was counted is taken back to what is true.

Let p be the share for which the statement is true and q the share for which the test says so. A test that says so of a
row for which it is false with a chance of at most a, and fails to say so of one for which it is true with a chance of at
most b, has p (1 - b) <= q <= p + (1 - p) a. Rows and tests are independent, so the count is binomial with q, and every
limit of q is one of p: from below (q - a) / (1 - a), from above q / (1 - b). No row's error needs a correction for the
number of rows. A bound from one side leaves the other error at zero: `Estimate.bound` says which end means something.
"""

from veriward.core.basis.kind import Basis
from veriward.core.basis.shares import Binomial
from veriward.core.intervals import clopper_pearson, lower_tail, upper_tail


class Tested(Binomial):
    """`{"k", "n", "false_yes": a, "false_no": b}`: k of n rows were told to be so."""

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return the Clopper-Pearson interval of q, taken back to p."""
        low, high = clopper_pearson(basis["k"], basis["n"], confidence)
        return _from_below(low, basis), _from_above(high, basis)

    def p_below(self, basis: Basis, limit: float) -> float:
        """Return the exact lower tail at the smallest q that a p of `limit` allows."""
        return lower_tail(basis["k"], basis["n"], _least(limit, basis))

    def p_above(self, basis: Basis, limit: float) -> float:
        """Return the exact upper tail at the largest q that a p of `limit` allows."""
        return upper_tail(basis["k"], basis["n"], _most(limit, basis))

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return the p whose least favourable q would have shown."""
        moved = _most(limit, basis) if upwards else _least(limit, basis)
        found = super().reach(basis, moved, upwards=upwards, level=level, power=power)
        if found is None:
            return None
        return _from_above(found, basis) if upwards else _from_below(found, basis)


def _least(p: float, basis: Basis) -> float:
    return p * (1 - float(basis["false_no"]))


def _most(p: float, basis: Basis) -> float:
    return p + (1 - p) * float(basis["false_yes"])


def _from_below(q: float, basis: Basis) -> float:
    error = float(basis["false_yes"])
    return max(0.0, (q - error) / (1 - error))


def _from_above(q: float, basis: Basis) -> float:
    return min(1.0, q / (1 - float(basis["false_no"])))
