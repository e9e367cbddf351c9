"""How many of many suspicions hold: weak slices, leaking columns. Error control over all of them is the check's.

`p` holds p-values that are adjusted for all that was looked at (Holm 1979), so that those at most .05 are a set in which
any error at all has a chance of 5 %. `of` is how many there were. The count is a lower bound: what was not seen may hold.
"""

from veriward.core.basis.kind import Basis, Kind

LEVEL = 0.05


class Flags(Kind):
    """A number of suspicions that hold."""

    def value(self, basis: Basis) -> float:
        """Return how many adjusted p-values are at most .05."""
        return float(self._shown(basis, LEVEL))

    def _shown(self, basis: Basis, level: float) -> int:
        return sum(p <= level for p in basis["p"])

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return what is shown at this level, and at the usual one: `Estimate.bound` says that it is a lower bound."""
        shown = float(self._shown(basis, 1 - confidence))
        return shown, max(shown, self.value(basis))

    def p_above(self, basis: Basis, limit: float) -> float:
        """Return the adjusted p-value of the suspicion that would carry the count beyond the limit."""
        ordered = sorted(basis["p"])
        place = max(int(limit), 0) if limit >= 0 else -1
        return (float(ordered[place]) if place < len(ordered) else 1.0) if place >= 0 else 0.0

    def p_below(self, basis: Basis, limit: float) -> float:
        """Return 1: that something was not seen shows nothing."""
        return 1.0
