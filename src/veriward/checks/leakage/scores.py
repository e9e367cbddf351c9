"""What a membership attack says of each row; the shadow-model checks turn it into areas and rates."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scores:
    """A score for each row, (rows,) float64: larger speaks for membership; NaN where the shadows do not allow one."""

    values: Array

    @property
    def unscored(self) -> int:
        """Rows without a score: too few shadows had them on a side, or the shadows do not differ on them."""
        return int(np.isnan(self.values).sum())

    def sides(self, member: Array) -> tuple[Array, Array]:
        """Return the scores of members and of the others, without the rows that have none. `member` (rows,) bool.

        >>> Scores(np.array([2.0, np.nan, 1.0])).sides(np.array([True, True, False]))
        (array([2.]), array([1.]))
        """
        scored = ~np.isnan(self.values)
        return self.values[scored & member], self.values[scored & ~member]
