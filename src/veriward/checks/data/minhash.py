"""Texts that are nearly the same: MinHash over shingles of characters. Broder, 1997, "On the resemblance and containment of
documents", section 3; banded as in Leskovec, Rajaraman & Ullman, "Mining of Massive Datasets", section 3.4.

Shingles of characters need no words, so that Chinese works as English does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
SHINGLE = 4  # characters
BANDS, ROWS = 16, 4  # texts of resemblance .8 meet with a chance of 1 - (1 - .8^4)^16 = .9998
RESEMBLANCE = 0.8
SHORTEST = 20  # characters: shorter texts are the same by chance
MOST_MEETINGS = 50  # candidates looked at for one text


def shingles(text: str) -> Array:
    """Return the distinct shingles of a text as numbers, sorted uint64; a text shorter than one has none.

    >>> len(shingles("abcdabcd"))
    4
    """
    signs = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if len(signs) < SHINGLE:
        return np.empty(0, np.uint64)
    total = np.zeros(len(signs) - SHINGLE + 1, np.uint64)
    for place in range(SHINGLE):
        total = total * np.uint64(0x9E3779B97F4A7C15) + signs[place : place + len(total)]
    return np.unique(total ^ (total >> np.uint64(29)))


def signature(found: Array, multipliers: Array) -> Array:
    """Return the smallest hash of the shingles under each multiplier (h,) uint64, odd: its top 32 bits."""
    hashed = found[None, :] * multipliers[:, None]
    return np.asarray((hashed ^ (hashed >> np.uint64(31))).min(1))


def resemblance(a: Array, b: Array) -> float:
    """Return the share of the shingles that two texts have in common (Jaccard).

    >>> resemblance(np.array([1, 2, 3]), np.array([2, 3, 4]))
    0.5
    """
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common) if common else 0.0


def closest(texts: Sequence[str], pool: Sequence[str], generator: np.random.Generator) -> tuple[Array, Array]:
    """Return the largest resemblance (n,) of each text to one of the pool that it meets in a band, and that one's place.

    -1 where it meets none. Texts that resemble each other less than .5 often do not meet; the resemblance is exact.
    """
    multipliers = generator.integers(0, 2**63, BANDS * ROWS, np.uint64) * np.uint64(2) + np.uint64(1)
    sets = [shingles(text) for text in pool]
    tables = _banded(sets, multipliers)
    best, place = np.zeros(len(texts)), np.full(len(texts), -1, np.int64)
    for n, text in enumerate(texts):
        own = shingles(text)
        for other in _met(own, multipliers, tables):
            share = resemblance(own, sets[other])
            if share > best[n]:
                best[n], place[n] = share, other
    return best, place


def _bands(found: Array, multipliers: Array) -> list[bytes]:
    parts = signature(found, multipliers).reshape(BANDS, ROWS)
    return [bytes([band]) + part.tobytes() for band, part in enumerate(parts)]


def _banded(sets: Sequence[Array], multipliers: Array) -> dict[bytes, list[int]]:
    tables: dict[bytes, list[int]] = {}
    for n, found in enumerate(sets):
        for band in _bands(found, multipliers) if len(found) else ():
            tables.setdefault(band, []).append(n)
    return tables


def _met(found: Array, multipliers: Array, tables: dict[bytes, list[int]]) -> list[int]:
    if not len(found):
        return []
    met: dict[int, int] = {}
    for band in _bands(found, multipliers):
        for n in tables.get(band, ()):
            met[n] = met.get(n, 0) + 1
    return sorted(met, key=lambda n: (-met[n], n))[:MOST_MEETINGS]
