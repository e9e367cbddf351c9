"""What votes under Gaussian noise prove. Cohen, Rosenfeld & Kolter, 2019 (arXiv:1902.02918), theorem 1 and section 3.2.

The smoothed model g answers with the class that f gives most often when Gaussian noise is added to its input. If f gives
class c with a chance of at least p > 1/2, then g answers c for every input closer than sigma * Phi^-1(p) in L2. Chances
are known by votes alone, so every statement here is wrong with a chance of at most alpha.
"""

from typing import Any

import numpy as np
from scipy.special import bdtrc, betaincinv, ndtri

Array = np.ndarray[Any, Any]
ROUNDED = 1 - 1e-9  # incomplete beta function and normal quantile are computed, not exact


def chance_at_least(hits: Array, draws: int, alpha: float) -> Array:
    """Return the one-sided lower limit of each chance, (n,): Clopper & Pearson (1934) at the level alpha.

    >>> chance_at_least(np.array([0, 1000]), 1000, 0.001).round(4).tolist()
    [0.0, 0.9931]
    """
    hits = np.asarray(hits, dtype=np.float64)
    return np.where(hits > 0, betaincinv(np.maximum(hits, 1), draws - hits + 1, alpha), 0.0)


def radius(hits: Array, draws: int, alpha: float) -> Array:
    """Return how far each answer is certified, (n,), in standard deviations of the noise; 0: abstain (CERTIFY).

    `hits`: votes for a class that was chosen by other draws. Beyond every other class in L2, since p_B <= 1 - p_A.

    >>> radius(np.array([500, 1000]), 1000, 0.001).round(2).tolist()
    [0.0, 2.46]
    """
    chance = chance_at_least(hits, draws, alpha) * ROUNDED
    return np.where(chance > 0.5, ndtri(np.maximum(chance, 0.5)), 0.0)


def prediction(votes: Array, alpha: float) -> Array:
    """Return the class that g answers with, (n,), or -1: abstain (PREDICT). `votes` (n, classes).

    Not the class of g with a chance of at most alpha (proposition 2): the two-sided exact test that the two classes with
    most votes are equally likely.

    >>> prediction(np.array([[60, 40, 0], [5, 95, 0]]), 0.001).tolist()
    [-1, 1]
    """
    order = np.sort(votes, axis=1)
    best, both = order[:, -1], order[:, -2:].sum(1)
    p = np.where(best > 0, 2 * bdtrc(np.maximum(best - 1, 0), np.maximum(both, 1), 0.5), 1.0)
    return np.where((2 * best > both) & (p <= alpha), votes.argmax(1), -1)
