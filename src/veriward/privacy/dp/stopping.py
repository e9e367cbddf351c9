"""How often a search trains: the laws for which random stopping is proved, drawn by their inverse distribution."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from veriward.core.errors import SettingsError
from veriward.privacy.dp.noise import Source

Floats = NDArray[np.float64]
STOPPING_DISTANCE = 2.0**-40  # total variation of a draw from its law
MOST_MEAN = 500.0  # trainings; the proof of the distance ends there
MOST_TRAININGS = 1 << 20
WORD_BITS = 62


def trainings(mean: float, shape: float, source: Source) -> int:
    """Return the number of trainings, which must stay secret (see `search`). `mean` from 1 to 500, `shape` >= 0.

    shape inf is Poisson's law (0 has a chance of exp(-mean)); else the truncated negative binomial one of Papernot &
    Steinke, 2022 (arXiv:2110.03620), definition 1: P(k) ~ (1 - gamma)^k times the product over l < k of (l + shape) /
    (l + 1), k >= 1; shape 1 is geometric, 0 logarithmic. Distance at most 2^-40: the k-th of the factors multiplied into a
    chance errs by 4 ulp, (4 mean + 8) 2^-53 on average; each chance is cut to 2^-62, at most 2^20 of them; what lies
    beyond the last weighs less than 2^-60. Raises SettingsError for a law that reaches too far.

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> trainings(1.0, 1.0, SecureSource())
    1
    """
    least, thresholds = _thresholds(float(mean), float(shape))
    word = source.bits(1)[0] >> np.uint64(64 - WORD_BITS)
    return least + int(np.searchsorted(thresholds, word, side="right"))


@lru_cache(maxsize=8)
def _thresholds(mean: float, shape: float) -> tuple[int, NDArray[np.uint64]]:
    """Return the least number, and the word below which each but the last is drawn: whole numbers add up exactly."""
    least, chances = law(mean, shape)
    shares = (chances * 2.0**WORD_BITS).astype(np.uint64)
    return least, np.cumsum(shares)[:-1]


def law(mean: float, shape: float) -> tuple[int, Floats]:
    """Return the least number of trainings, and the chances of it and of the numbers after it.

    >>> least, chances = law(2.0, 1.0)
    >>> least, chances[:3].tolist()
    (1, [0.5, 0.25, 0.125])
    """
    if not (1 <= mean <= MOST_MEAN and shape >= 0):
        raise SettingsError(
            f"mean = {mean}, shape = {shape}: want 1 to {MOST_MEAN:g} trainings on average, and a shape of 0 or above"
        )
    if shape == math.inf:
        return 0, _normalised(mean / np.arange(1.0, mean + 12 * math.sqrt(mean) + 60))
    rate = gamma(mean, shape)
    reach = 45 * max(1.0, shape) / rate
    if reach > MOST_TRAININGS:
        raise SettingsError(
            f"mean = {mean}, shape = {shape}: may train {MOST_TRAININGS} times; want a smaller mean or shape"
        )
    k = np.arange(1.0, reach)
    return 1, _normalised((1 - rate) * (k + shape) / (k + 1))


def _normalised(ratios: Floats) -> Floats:
    """Return chances (n + 1,) whose neighbours have these ratios (n,)."""
    weights = np.concatenate([[1.0], np.cumprod(ratios)])
    found: Floats = weights / math.fsum(weights)
    return found


def gamma(mean: float, shape: float) -> float:
    """Return a gamma at which the truncated negative binomial law has at most this mean, by bisection to 1e-12.

    Cost falls as gamma grows, and the accountant solves the same equation from below: what is drawn costs no more than
    what is accounted.

    >>> round(gamma(10.0, 1.0), 9)
    0.1
    """
    low, high = 0.0, 1.0
    while mean > 1 and high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle, shape) > mean else (low, middle)
    return high


def expected(rate: float, shape: float) -> float:
    """Return the mean of the truncated negative binomial law at a gamma in (0, 1): Papernot & Steinke, 2022, section 2.

    >>> expected(0.25, 1.0)
    4.0
    """
    if shape == 0:
        return (1 / rate - 1) / -math.log(rate)
    return shape * (1 - rate) / (rate * -math.expm1(shape * math.log(rate)))
