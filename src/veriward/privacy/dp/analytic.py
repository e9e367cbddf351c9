"""The Gaussian mechanism, exactly. Balle & Wang, 2018 (arXiv:1805.06530), theorem 8 and section 3.2."""

import math

SAFETY = 1 + 1e-9  # rounding in the two tails, whose difference delta is


def gaussian_delta(multiplier: float, epsilon: float) -> float:
    """Return the smallest delta of N(0, multiplier^2) on a value of L2 sensitivity 1, at this epsilon >= 0.

    >>> round(gaussian_delta(4.224679, 1.0) * 1e6, 3)
    1.0
    """
    from scipy.special import log_ndtr

    middle, shift = -epsilon * multiplier, 0.5 / multiplier
    return math.exp(log_ndtr(middle + shift)) - math.exp(epsilon + log_ndtr(middle - shift))


def gaussian_multiplier(epsilon: float, delta: float) -> float:
    """Return the smallest noise multiplier (standard deviation over L2 sensitivity) that is (epsilon, delta)-private.

    epsilon > 0 and 0 < delta < 1 were checked. Rounded up, so that it never spends more.

    >>> round(gaussian_multiplier(1.0, 1e-6), 4)
    4.2247
    """
    low, high = 0.0, 1.0
    while gaussian_delta(high, epsilon) > delta:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if middle == 0 or gaussian_delta(middle, epsilon) > delta else (low, middle)
    return high * SAFETY
