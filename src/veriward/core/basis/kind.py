"""What every kind of basis answers. Authors give `interval` and `scaled`; p-values follow by bisection over the level."""

from collections.abc import Callable, Mapping
from typing import Any

Basis = Mapping[str, Any]
SMALLEST_LEVEL = 1e-12  # bisection over the level of an interval stops here


class Kind:
    """One kind of counts. The defaults suit a kind that has an interval and nothing better."""

    def value(self, basis: Basis) -> float:
        """Return the point estimate."""
        return float(basis["value"])

    def rows(self, basis: Basis) -> int:
        """Return how many rows stand behind the number."""
        return int(basis.get("n", 1))

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return (low, high)."""
        raise NotImplementedError

    def scaled(self, basis: Basis, factor: float) -> Basis:
        """Return the basis as if `factor` times the rows had shown the same."""
        return basis

    def p_below(self, basis: Basis, limit: float) -> float:
        """Return the p-value against "the truth is at least `limit`"."""
        return smallest_level(lambda level: self.interval(basis, 1 - level)[1] < limit)

    def p_above(self, basis: Basis, limit: float) -> float:
        """Return the p-value against "the truth is at most `limit`"."""
        return smallest_level(lambda level: self.interval(basis, 1 - level)[0] > limit)

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return the truth beyond `limit` that these rows would have shown at this level with this power, None if none.

        `upwards`: the truth lies above the limit, else below.
        """
        return None


def smallest_level(decided: Callable[[float], bool]) -> float:
    """Return the smallest level at which an interval decides, by bisection on its logarithm, rounded up."""
    low, high = SMALLEST_LEVEL, 1 - 1e-9
    if not decided(high):
        return 1.0
    if decided(low):
        return low
    while high / low > 1.0001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high


def grown(k: float, n: float, factor: float) -> list[int]:
    """Return [k, n] as if `factor` times the rows had shown the same share."""
    m = round(n * factor)
    return [round(k / n * m) if n else 0, m]
