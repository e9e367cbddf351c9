"""Standard normals from random words, in float32, by Box and Muller (1958) with every tail kept.

A pair (r cos t, r sin t) with r = sqrt(-2 ln u) takes one word for u and one for t. Two pairs are added and divided by
sqrt(2): the same normal, but so many combinations of words lead to each pair of float32 values that their low bits no
longer tell which sums are possible (Mironov 2012 for Laplace; Holohan & Braghin 2021, arXiv:2107.10138, for this cure).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

PAIRS = 1 << 15  # pairs worked on at a time: fewer lose to the fixed cost of the edges, more to the cache
EDGE = 1 << 20  # words this near to either end are refined: u below 2^-12 or above 1 - 2^-12
Words = NDArray[np.uint32]
Float32 = NDArray[np.float32]
MoreBits = Callable[[int], NDArray[np.uint64]]


def fill_normals(out: Float32, draw: Callable[[Words], None], more: MoreBits) -> None:
    """Fill `out` (n,) in place with independent standard normals, n >= 0.

    `draw` fills an array of uint32 with random bits, `more(k)` returns k words of 64 random bits. With Z exactly normal
    there is a coupling in which |out - Z| <= 2^-15 for every draw but a share of 2^-84, so the tails reach 10.9 standard
    deviations; docs/why/dp-noise.md derives both figures.

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> source, out = SecureSource(), np.empty(5, np.float32)
    >>> fill_normals(out, source.fill, source.bits)
    >>> bool(np.isfinite(out).all())
    True
    """
    size = max(1, min(PAIRS, (len(out) + 1) // 2))
    words, scratch = np.empty(4 * size, np.uint32), np.empty(2 * size, np.float32)
    for start in range(0, len(out), 2 * size):
        part = out[start : start + 2 * size]
        pairs = (len(part) + 1) // 2
        draw(words[: 4 * pairs])
        _fill_part(part, words[: 4 * pairs], scratch[: 2 * pairs], more)


def _fill_part(out: Float32, words: Words, scratch: Float32, more: MoreBits) -> None:
    """Write (2n,) or (2n - 1,) normals from (4n,) words, which are used up, and scratch (2n,)."""
    n = len(words) // 4
    radius, angle = to_half_radii(words[: 2 * n], more, scratch), _to_angles(words[2 * n :])
    np.multiply(np.cos(angle, out=scratch), radius, out=scratch)
    np.add(scratch[:n], scratch[n:], out=out[:n])
    np.multiply(np.sin(angle, out=angle), radius, out=angle)
    rest = len(out) - n
    np.add(angle[:rest], angle[n : n + rest], out=out[n:])


def _to_angles(words: Words) -> Float32:
    """Turn words in place into angles in [-pi, pi]: signed, as float32 is finer around zero."""
    out = words.view(np.float32)
    np.copyto(out, words.view(np.int32), casting="same_kind")
    return np.multiply(out, np.float32(2 * np.pi * 2.0**-32), out=out)


def to_half_radii(words: Words, more: MoreBits, scratch: Float32) -> Float32:
    """Turn words in place into sqrt(-ln u), u = (word + a fraction) / 2^32: what the sum of two pairs wants, r / sqrt(2).

    In the middle float32 suffices. Near 0 its 2^-32 would cut the tail at 6.7, near 1 its spacing would make small radii
    coarse: there 53 more bits are drawn and float64 is used, for one word in 2048. `scratch` is as long as `words`.
    """
    moved = np.add(words, np.uint32(EDGE), out=scratch.view(np.uint32))  # wraps around: both ends at once
    edge = np.flatnonzero(moved < np.uint32(2 * EDGE))
    exponents = _edge_exponents(words[edge], more(len(edge)))
    out = words.view(np.float32)
    np.copyto(out, words, casting="same_kind")
    out[edge] = 1  # zero may not divide
    np.log(np.divide(np.float32(2.0**32), out, out=out), out=out)  # ln (1 / u) is positive without another pass
    out[edge] = exponents
    return np.sqrt(out, out=out)


def _edge_exponents(words: Words, bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return -ln u for words near 0 and near 2^32, with 53 more bits each."""
    fraction, rest = (((b >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53 for b in (bits, ~bits))
    low = (words + fraction) * 2.0**-32
    high = (~words + rest) * 2.0**-32  # 1 - u, without the cancellation
    return np.where(words < EDGE, -np.log(low), -np.log1p(-np.minimum(high, 0.5)))
