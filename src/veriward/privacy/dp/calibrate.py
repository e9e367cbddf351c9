"""The smallest noise for a budget: a root of log epsilon in log sigma, found roughly, corrected and checked exactly."""

import math
from collections.abc import Callable

from veriward.core.errors import SettingsError

Epsilon = Callable[[float], float]
LEAST, MOST = 1e-5, 1e9  # of noise multipliers
CLOSE = 1e-6  # how far below the budget, relative to it, the answer may stay
TRIES = 12  # of exact evaluations


def smallest(target: float, *, rough: Epsilon, exact: Epsilon) -> float:
    """Return a sigma with exact(sigma) <= target, to a millionth the smallest one.

    Both functions fall as sigma grows; `rough` is the quicker and looser. SettingsError if no sigma up to 1e9 suffices.

    >>> smallest(0.5, rough=lambda s: 1.1 / s, exact=lambda s: 1 / s) - 2.0 < 1e-5
    True
    """
    sigma = _root(target, rough)
    low, high, slope = LEAST, 2 * MOST, _slope(sigma, rough(sigma), sigma * 1.05, rough(sigma * 1.05))
    found = exact(sigma)
    for _ in range(TRIES):
        low, high = (low, sigma) if found <= target else (sigma, high)
        if target * (1 - 2 * CLOSE) <= found <= target or high / low < 1 + CLOSE:
            break
        new = _next(sigma, found, target * (1 - CLOSE), slope, low, high)
        sigma, found, slope = new, exact(new), _slope(sigma, found, new, exact(new))
    return high if high <= MOST else _nudged(exact, low, target)


def _next(sigma: float, found: float, goal: float, slope: float, low: float, high: float) -> float:
    """Return the secant's next sigma in logarithms, or the middle where that leaves the bracket."""
    if 0 < found < math.inf:
        guess = sigma * math.exp(max(-1.0, min(1.0, (math.log(found) - math.log(goal)) / slope)))
        if low < guess < high:
            return guess
    return math.sqrt(low * high)


def _slope(sigma: float, found: float, other: float, there: float) -> float:
    """Return -d log epsilon / d log sigma between two points; what no such curve has gives 1, the slope of a Gaussian."""
    run = math.log(other) - math.log(sigma)
    fall = (_log(found) - _log(there)) / run if run else 0.0
    return fall if 0.3 < fall < 50 else 1.0


def _nudged(exact: Epsilon, sigma: float, target: float) -> float:
    """Return the first sigma above that keeps the budget, by steps that grow."""
    step = CLOSE
    while sigma <= MOST:
        sigma *= 1 + step
        if exact(sigma) <= target:
            return sigma
        step *= 2
    raise SettingsError(
        f"epsilon = {target}: no noise multiplier up to {MOST:g} suffices; want a larger epsilon or delta"
    )


def _root(target: float, rough: Epsilon) -> float:
    """Return about where rough(sigma) is target: a bracket by powers of two, then regula falsi (Illinois)."""
    low = high = 1.0
    while rough(high) > target and high < MOST:
        low, high = high, high * 2
    while low > LEAST and rough(low) <= target:
        low, high = low / 2, low
    return _illinois(lambda x: _log(rough(math.exp(x))) - math.log(target), math.log(low), math.log(high))


def _illinois(height: Callable[[float], float], low: float, high: float) -> float:
    """Return about the root of a falling function in sigma's logarithm (Dowell & Jarratt, 1971)."""
    left, right, side = height(low), height(high), 0
    for _ in range(30):
        if high - low < 1e-5 or left == right:
            break
        middle = (low * right - high * left) / (right - left)
        found = height(middle)
        if abs(found) < 1e-5:
            return math.exp(middle)
        if found > 0:
            low, left, right = middle, found, right / 2 if side == 1 else right
            side = 1
        else:
            high, right, left = middle, found, left / 2 if side == -1 else left
            side = -1
    return math.exp(high)


def _log(value: float) -> float:
    return math.log(min(max(value, 1e-300), 1e300))
