"""A quantile of a number over rows, from its order statistics: exact whatever the distribution."""

import math
from collections.abc import Mapping
from typing import Any

from scipy.special import bdtr, bdtrc

from veriward.core.basis.kind import Basis, Kind

MOST_KEPT = 2000  # values in a basis; of more rows, evenly spaced order statistics stand for the rest


class Quantile(Kind):
    """The smallest number that a share q of the truth does not exceed.

    With n rows the count of those at or below it is binomial: order statistics bound it (David & Nagaraja 2003, section
    7.1). `values` are [rank from 1, value], ascending; ranks that were left out only widen the interval. JSON has no
    infinity: None is one, of the sign that its place asks for.
    """

    def value(self, basis: Basis) -> float:
        """Return the order statistic of rank ceil(q n), or the next one that is kept."""
        return self._at_least(basis, math.ceil(basis["q"] * basis["n"]))

    def interval(self, basis: Basis, confidence: float) -> tuple[float, float]:
        """Return the order statistics between which the quantile lies; the ends of what was seen where n is too small."""
        n, q, tail = basis["n"], basis["q"], (1 - confidence) / 2
        # rank r is a lower bound if P(fewer than r rows below the quantile) >= 1 - tail
        low = max((r for r, _ in basis["values"] if bdtrc(r - 1, n, q) >= 1 - tail), default=0)
        high = min((r for r, _ in basis["values"] if bdtr(r - 1, n, q) >= 1 - tail), default=n + 1)
        known: dict[int, float] = {rank: _read(value, math.inf) for rank, value in basis["values"]}
        least, most = _read(basis["least"], -math.inf), _read(basis["most"], math.inf)
        return known.get(low, least), known.get(high, most)

    def scaled(self, basis: Basis, factor: float) -> Basis:
        """Return the same values at the ranks of more rows."""
        n = max(round(basis["n"] * factor), 1)
        ranks = [[min(max(round(r * factor), 1), n), v] for r, v in basis["values"]]
        return {**basis, "n": n, "values": ranks}

    def _at_least(self, basis: Basis, rank: int) -> float:
        found = next((v for r, v in basis["values"] if r >= rank), basis["values"][-1][1])
        return _read(found, math.inf)


def _read(number: float | None, infinite: float) -> float:
    return infinite if number is None else float(number)


def quantile_basis(values: Any, q: float, *, least: float, most: float) -> Mapping[str, Any]:
    """Return the basis of a quantile of values (n,) that lie in [least, most] by their nature; they may be infinite.

    >>> basis = quantile_basis([1.0, 2.0, 3.0, 4.0], 0.5, least=0.0, most=9.0)
    >>> Quantile().value(basis), Quantile().interval(basis, 0.95)
    (2.0, (0.0, 9.0))
    """
    import numpy as np

    ordered = np.sort(np.asarray(values, dtype=np.float64))
    ranks = np.arange(1, len(ordered) + 1)
    if len(ranks) > MOST_KEPT:
        ranks = np.unique(np.linspace(1, len(ordered), MOST_KEPT).round().astype(int))
    kept = [[int(r), _told(float(ordered[r - 1]))] for r in ranks]
    return {"kind": "quantile", "q": q, "n": len(ordered), "values": kept, "least": _told(least), "most": _told(most)}


def _told(number: float) -> float | None:
    return number if math.isfinite(number) else None
