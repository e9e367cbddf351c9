"""Near duplicates: test rows closer to a training row than training rows are to each other.

A row is a point: numbers in standard deviations, a category one step from any other, pictures as their values; beyond
512 dimensions a random projection to 256 keeps distances (Johnson & Lindenstrauss 1984; Achlioptas 2003, "Database-friendly
random projections", J. Comput. Syst. Sci. 66(4), theorem 1.1). The distance that counts as near is an order statistic of
the distances from training rows to their nearest other training row: were test rows drawn as the training rows were, one
of them would lie below it with a chance of at most `LEVEL`, whatever the distribution (exchangeability).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
LEVEL = 0.01
WIDE, PROJECTED = 512, 256
CATEGORIES, BUCKETS = 32, 64
BLOCK = 512
FITTED = 8192  # rows that say how far numbers spread
STEP = 2**-0.5  # two categories lie sqrt(2) * STEP = 1 apart


@dataclass(frozen=True)
class Space:
    """How rows become points: learnt on training rows, the same for all."""

    centres: Mapping[str, tuple[float, float]]  # of numbers: mean and standard deviation
    codes: Mapping[str, Mapping[str, int]]  # of categories: their places; the others are hashed
    projection: Array | None = None

    def points(self, columns: Mapping[str, Array]) -> Array:
        """Return (n, dimensions) float32."""
        parts = [self._numbers(columns[name], *centre) for name, centre in self.centres.items()]
        parts += [self._categories(columns[name], codes) for name, codes in self.codes.items()]
        return np.concatenate(parts, axis=1) if parts else np.zeros((0, 0), np.float32)

    def _numbers(self, column: Array, mean: float, spread: float) -> Array:
        values = column.reshape(len(column), -1)
        if self.projection is None:
            return _standard(values, mean, spread)
        blocks = (values[i : i + BLOCK] for i in range(0, len(values), BLOCK))
        return np.concatenate([_standard(part, mean, spread) @ self.projection for part in blocks])

    def _categories(self, column: Array, codes: Mapping[str, int]) -> Array:
        width = len(codes) if len(codes) <= CATEGORIES else BUCKETS
        places = [codes.get(str(value), _bucket(str(value), width)) for value in column]
        points = np.zeros((len(column), width), np.float32)
        points[np.arange(len(column)), np.asarray(places, np.int64) % width] = STEP
        return points


def _standard(values: Array, mean: Any, spread: Any) -> Array:
    """Return numbers in standard deviations, float32; what is missing or infinite becomes the mean."""
    z = (values.astype(np.float64) - mean) / spread
    return np.asarray(np.nan_to_num(z, nan=0.0, posinf=0.0, neginf=0.0), np.float32)


def _bucket(text: str, width: int) -> int:
    from zlib import crc32

    return crc32(text.encode("utf-8", "surrogatepass")) % max(width, 1)


def learn(columns: Mapping[str, Array], generator: np.random.Generator) -> Space:
    """Return the space of training rows; an array is x alone, columns that never vary are left out."""
    centres: dict[str, Any] = {}
    codes: dict[str, dict[str, int]] = {}
    projection = None
    for name, column in columns.items():
        if column.dtype == object:
            known = sorted({str(value) for value in column})
            if len(known) > 1:
                codes[name] = {value: place for place, value in enumerate(known)}
            continue
        centre = _centre(column)
        if centre is not None:
            centres[name] = centre
        width = int(np.prod(column.shape[1:]))
        if column.ndim > 1 and width > WIDE:
            projection = generator.standard_normal((width, PROJECTED), np.float32) / np.float32(PROJECTED**0.5)
    return Space(centres, codes, projection)


def _centre(column: Array) -> tuple[Any, Any] | None:
    """Return mean and standard deviation: of each column of a matrix, of all values of pictures together."""
    values = column[:FITTED].astype(np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    axis = 0 if column.ndim <= 2 else None
    with np.errstate(all="ignore"):
        present = np.isfinite(values).sum(axis)
        mean = np.nansum(values, axis) / np.maximum(present, 1)
        spread = np.sqrt(np.nansum((values - mean) ** 2, axis) / np.maximum(present, 1))
    if not np.isfinite(spread).all() or not (spread > 0).any():
        return None
    return mean, np.where(spread > 0, spread, np.inf)  # a constant is no distance


def nearest(points: Array, pool: Array, own: Array | None = None) -> tuple[Array, Array]:
    """Return the distance (n,) from each point to its nearest of the pool, and that one's place (n,).

    `own` (n,) are the places of the points themselves in the pool, which do not count.
    """
    distance, place = np.empty(len(points)), np.empty(len(points), np.int64)
    lengths = (pool.astype(np.float64) ** 2).sum(1).astype(np.float32)
    for top in range(0, len(points), BLOCK):
        part = points[top : top + BLOCK]
        squares = lengths - 2 * (part @ pool.T)
        if own is not None:
            squares[np.arange(len(part)), own[top : top + BLOCK]] = np.inf
        found = squares.argmin(1)
        # the expansion loses small distances to rounding: the winner is measured again
        gaps = part.astype(np.float64) - pool[found].astype(np.float64)
        distance[top : top + BLOCK], place[top : top + BLOCK] = np.sqrt((gaps**2).sum(1)), found
    return distance, place


def threshold(reference: Array, level: float = LEVEL) -> float | None:
    """Return the distance below which a row like the reference ones falls with a chance of at most `level`.

    The k-th smallest of r, k = level (r + 1) rounded down; None where r is too small.

    >>> threshold(np.arange(1.0, 100.0))
    1.0
    """
    k = int(level * (len(reference) + 1) + 1e-9)
    return float(np.partition(reference, k - 1)[k - 1]) if k else None
