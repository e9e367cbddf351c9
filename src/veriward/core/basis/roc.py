"""A true positive rate at a false positive rate."""

from veriward.core import operating
from veriward.core.basis.kind import Basis, Kind, smallest_level


class Roc(Kind):
    """Hits around a threshold that was estimated itself (see `operating`)."""

    def value(self, basis: Basis) -> float:
        """Return the share of hits."""
        return operating.point(basis)[0] / int(basis["members"])

    def rows(self, basis: Basis) -> int:
        """Return the rows of both sides."""
        return int(basis["members"] + basis["non_members"])

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return the interval that knows of the threshold's error."""
        return operating.lower(basis, (1 - confidence) / 2), operating.upper(basis, (1 - confidence) / 2)

    def p_below(self, basis: Basis, limit: float) -> float:
        """Return the smallest level whose upper end lies below."""
        return smallest_level(lambda level: operating.upper(basis, level) < limit)

    def p_above(self, basis: Basis, limit: float) -> float:
        """Return the smallest level whose lower end lies above."""
        return smallest_level(lambda level: operating.lower(basis, level) > limit)

    def scaled(self, basis: Basis, factor: float) -> Basis:
        """Return the same curve of more rows."""
        return operating.scaled(basis, factor)

    def reach(self, basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
        """Return a rate above the limit that these rows would show."""
        return operating.reach_of(basis, limit, level, power) if upwards else None
