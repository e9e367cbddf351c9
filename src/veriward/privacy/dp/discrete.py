"""Noise on whole numbers, in vectors, from 64-bit words: each sampler within 2^-40 of its law in total variation.

A `..._DISTANCE` is the total variation distance of one draw, proven where it is defined; a release adds it to delta. The
proofs take float64 `exp` to be right within 4 ulp (glibc and numpy document fewer) and the words to be uniform.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from veriward.core.errors import SettingsError
from veriward.privacy.dp.noise import Source

Integers = NDArray[np.int64]
Weights = NDArray[np.float64]
SCALE_LIMIT = 2.0**40  # of the discrete laws: above it their proofs end
NORMAL_LIMIT = 1 << 20  # of the rounded normal
LAPLACE_DISTANCE = 2.0**-43
GAUSSIAN_DISTANCE = 2.0**-41
NORMAL_DISTANCE = 2.0**-42
CHOICE_DISTANCE = 2.0**-42
COIN_DISTANCE = 2.0**-50


def check_scale(scale: float, most: float) -> None:
    """Raise SettingsError unless 0 < scale <= most, in grid steps."""
    if not 0 < scale <= most:
        raise SettingsError(
            f"noise of {scale:.4g} grid steps; want more than 0 and at most {most:.4g}: a larger epsilon, or fewer values"
        )


def coins(chance: float | Weights, size: int, source: Source) -> NDArray[np.bool_]:
    """Return (size,) coins, true with probability `chance` in [0, 1], one number or (size,); off by less than 2^-64.

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> coins(np.array([0.0, 1.0]), 2, SecureSource()).tolist()
    [False, True]
    """
    p = np.asarray(chance, np.float64)
    threshold = (np.minimum(p, 1 - 2.0**-53) * 2.0**64).astype(np.uint64)
    return (source.bits(size) < threshold) | (p >= 1)


def below(high: int, size: int, source: Source) -> Integers:
    """Return (size,) uniform whole numbers in [0, high), 1 <= high <= 2^62, exactly: words past a multiple are redrawn.

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> below(1, 3, SecureSource()).tolist()
    [0, 0, 0]
    """
    last = np.uint64((1 << 64) - (1 << 64) % high - 1)

    def propose(count: int) -> Integers:
        words = source.bits(count)
        return (words[words <= last] % np.uint64(high)).astype(np.int64)

    return _until(size, propose)


def geometric(scale: float, size: int, source: Source) -> Integers:
    """Return (size,) draws of P(k) proportional to exp(-k / scale), k >= 0; 0 < scale <= 2^40.

    The binary digits of such a k are independent, digit i being 1 with probability 1 / (1 + exp(2^i / scale)), since
    exp(-k / scale) is a product over digits. Digits beyond 45 scales are left out.
    """
    digits = max(0, math.ceil(math.log2(45 * scale)))
    out = np.zeros(size, np.int64)
    for digit in range(digits):
        out |= coins(digit_chance(digit, scale), size, source).astype(np.int64) << digit
    return out


def digit_chance(digit: int, scale: float) -> float:
    """Return the probability that this binary digit of a geometric draw is 1."""
    return 1 / (1 + math.exp(2.0**digit / scale))


def discrete_laplace(scale: float, size: int, source: Source) -> Integers:
    """Return (size,) draws of P(k) proportional to exp(-|k| / scale); the difference of two geometric draws.

    Distance at most 2^-43. A digit's chance p errs by p (1 - p) x 2^-53 for the rounding of x = 2^i / scale, where
    p x < 0.3, and by 6 ulp of p <= 1/2 for exp, sum and quotient: less than 2^-50.4. Two draws of at most 46 digits:
    92 * 2^-50.4 < 2^-43.8; what lies beyond 45 scales weighs 2 e^-45 < 2^-63. Both add up over independent digits.
    Law: Ghosh, Roughgarden & Sundararajan, 2009 (arXiv:0811.2841). Raises SettingsError for a scale outside (0, 2^40].

    >>> from veriward.core.streams import Stream
    >>> from veriward.privacy.dp.noise import SimulatedSource
    >>> len(discrete_laplace(2.0, 5, SimulatedSource(Stream.of(0, "doc"))))
    5
    """
    check_scale(scale, SCALE_LIMIT)
    return geometric(scale, size, source) - geometric(scale, size, source)


def discrete_gaussian(sigma: float, size: int, source: Source) -> Integers:
    """Return (size,) draws of P(k) proportional to exp(-k^2 / (2 sigma^2)); 0 < sigma <= 2^40.

    Canonne, Kamath & Steinke, 2020 (arXiv:2004.00010), algorithm 3: a discrete Laplace draw y of scale t = floor(sigma)
    + 1 is accepted with probability exp(-d^2 / 2), d = (|y| - sigma^2 / t) / sigma. Distance at most 2^-41: d errs by
    2^-51 (1 + d), so that probability by less than 2^-49. With proposals q and acceptance a, the law q a / Z changes by
    at most (2 TV(q) + |error of a|) / Z, and Z >= 0.45: (2 * 2^-43.8 + 2^-49) / 0.45 < 2^-41.

    Raises SettingsError for a sigma outside (0, 2^40].
    """
    check_scale(sigma, SCALE_LIMIT)
    scale = math.floor(sigma) + 1.0

    def propose(count: int) -> Integers:
        y = discrete_laplace(min(scale, SCALE_LIMIT), count, source)
        d = (np.abs(y) - sigma * (sigma / scale)) / sigma
        return y[coins(np.exp(-0.5 * d * d), count, source)]

    return _until(size, propose)


# P(k) proportional to exp(-k^2 / 2) for k = 0 ... 9; beyond lie 2^-72
_STEPS = np.exp(-0.5 * np.arange(10.0) ** 2)
_CUMULATIVE = (np.minimum(np.cumsum(_STEPS)[:-1] / _STEPS.sum(), 1 - 2.0**-53) * 2.0**64).astype(np.uint64)


def rounded_normal(scale: int, size: int, source: Source) -> Integers:
    """Return (size,) draws of round(scale * Z), Z standard normal; scale whole, 1 <= scale <= 2^20.

    Adding it to a whole number is adding scale * Z and rounding, so whatever protects with Z protects with this.
    Karney, 2016 (arXiv:1303.6257), algorithm N: |Z| = k + x, with k from exp(-k^2 / 2) and x uniform, is accepted with
    probability exp(-x (2k + x) / 2). Distance at most 2^-42: x has 64 bits, of whose cells at most one straddles each of
    the 2 scale + 1 edges between roundings of a unit, weighing (2 scale + 1) 2^-64 / 0.71 < 2^-42.4 in all; k errs by
    2^-47, the acceptance by 2^-50.

    Raises SettingsError for a scale outside [1, 2^20].
    """
    check_scale(scale, NORMAL_LIMIT)
    double = np.uint64(2 * scale)

    def propose(count: int) -> Integers:
        k = np.searchsorted(_CUMULATIVE, source.bits(count), side="right")
        x = source.bits(count)
        part = x * 2.0**-64
        keep = coins(np.exp(-0.5 * part * (2 * k + part)), count, source)
        k, x, negative = k[keep], x[keep], coins(0.5, int(keep.sum()), source)
        # floor(2 scale x / 2^64) without a 128-bit product
        high, low = x >> np.uint64(32), x & np.uint64(0xFFFFFFFF)
        halves = (double * high + (double * low >> np.uint64(32))) >> np.uint64(32)
        size_of = (2 * scale * k + halves.astype(np.int64) + 1) >> 1
        return np.where(negative, -size_of, size_of)

    return _until(size, propose)


def choose(weights: Weights, source: Source) -> int:
    """Return an index with probability proportional to its weight; weights (n,) >= 0, not all 0, n <= 2^30.

    Goes down a binary tree of sums, one word a level. Distance at most 2^-42: a sum over d levels errs by d 2^-53
    relative, hence a turn by (2d + 4) 2^-53, over 30 levels 1050 * 2^-53; the weights themselves may err by 2^-46.

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> choose(np.array([0.0, 3.0, 0.0]), SecureSource())
    1
    """
    depth = max(0, len(weights) - 1).bit_length()
    levels = [np.pad(weights, (0, (1 << depth) - len(weights)))]
    for _ in range(depth):
        levels.append(levels[-1][0::2] + levels[-1][1::2])
    index = 0
    for level in reversed(levels[:-1]):
        left, right = level[2 * index : 2 * index + 2]
        index = 2 * index + int(coins(right / (left + right), 1, source)[0])
    return index


def _until(size: int, propose: Callable[[int], Integers]) -> Integers:
    """Collect accepted proposals until there are `size`."""
    parts, lacking = [np.empty(0, np.int64)], size
    while lacking > 0:
        parts.append(propose(lacking + lacking // 2 + 8)[:lacking])
        lacking -= len(parts[-1])
    return np.concatenate(parts)
