"""A calibration error over bins of predicted probability, with an interval for any number of rows.

The error is sum_b |k_b - predicted_b| / n: k_b right rows of a bin against the sum of their predicted probabilities. Its
expectation is at least the truth (Jensen) and exceeds it by at most sum_b sqrt(n_b) / (2n), the standard deviations of
the bins' counts; and one row changes it by at most 1/n, so that it strays from its expectation by t with a chance of at
most 2 exp(-2 n t^2) (McDiarmid 1989, "On the method of bounded differences", lemma 1.2).
"""

import math

from veriward.core.basis.kind import Basis, Kind


class Binned(Kind):
    """An expected calibration error of the rows at hand."""

    def value(self, basis: Basis) -> float:
        """Return the plug-in error."""
        n = self.rows(basis)
        return sum(abs(k - predicted) for k, _, predicted in basis["bins"]) / n if n else math.nan

    def rows(self, basis: Basis) -> int:
        """Return the rows of all bins."""
        return sum(n for _, n, _ in basis["bins"])

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return the interval; it covers the truth whatever the probabilities are."""
        n, value = self.rows(basis), self.value(basis)
        stray = math.sqrt(math.log(2 / (1 - confidence)) / (2 * n))
        bias = sum(math.sqrt(size) for _, size, _ in basis["bins"]) / (2 * n)
        return max(0.0, value - stray - bias), min(1.0, value + stray)

    def scaled(self, basis: Basis, factor: float) -> Basis:
        """Return the same bins with more rows."""
        return {**basis, "bins": [[k * factor, round(n * factor), p * factor] for k, n, p in basis["bins"]]}

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return an error whose interval would lie above the limit."""
        if not upwards:
            return None
        n = self.rows(basis)
        strays = sum(math.sqrt(math.log(1 / share) / (2 * n)) for share in (level / 2, 1 - power))
        found = limit + strays + sum(math.sqrt(size) for _, size, _ in basis["bins"]) / (2 * n)
        return found if found <= 1 else None
