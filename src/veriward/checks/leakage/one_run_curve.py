"""What one training run says about a whole trade-off curve, not about one (epsilon, delta).

Mahloujifar, Melis & Chaudhuri, 2024 (arXiv:2410.22235), sections 3 and 4. With i the number of correct guesses among k on
m canaries, and p_i its chance, a mechanism whose events obey Q(A) >= least(P(A)) on neighbours P, Q has for every t

    sum over i >= t - 1 of p_i (k - i) / m  >=  least( sum over i >= t of p_i i / m ):

flip the coin of one canary, and who had it right has it wrong, with one correct guess fewer (`least` is convex: the mean
over canaries and coins goes inside). From a chance of at least `level` for c or more correct guesses this recursion forces
mass on c - 1, c - 2, ..., and where more than 1 is needed, no such mechanism has that chance.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from veriward.checks.leakage.one_run import check_confidence, check_counts
from veriward.privacy.dp.analytic import gaussian_delta
from veriward.privacy.dp.bounds import check_delta

STEPS = 50  # of bisection
MOST_MU = 50.0


class Curve(Protocol):
    """A claim of privacy, as the trade-off between neighbours P and Q, in either direction."""

    def least(self, chance: float) -> float:
        """Return the smallest chance that an event may have under Q which has this chance under P; rising in it."""


@dataclass(frozen=True)
class Gaussian:
    """mu-Gaussian differential privacy. Dong, Roth & Su, 2022 (arXiv:1905.02383), definition 2.4.

    >>> Gaussian(0.0).least(0.25)
    0.25
    """

    mu: float

    def least(self, chance: float) -> float:
        """Phi(Phi**-1(chance) - mu), see `Curve`."""
        from scipy.special import ndtr, ndtri

        return float(ndtr(ndtri(chance) - self.mu))


class Profile:
    """A claim as pairs (epsilon, delta), all of which hold at once, as an accountant gives them.

    P(A) <= e**epsilon Q(A) + delta, and the same for the complement with P and Q exchanged.

    >>> Profile([0.0], [0.125]).least(0.25)
    0.125
    """

    def __init__(self, epsilons: Sequence[float], deltas: Sequence[float]) -> None:
        import numpy as np

        self._grown, self._deltas = np.exp(np.asarray(epsilons, np.float64)), np.asarray(deltas, np.float64)

    def least(self, chance: float) -> float:
        """Return the strongest of all the bounds, see `Curve`."""
        of_event = (chance - self._deltas) / self._grown
        of_complement = 1 - self._deltas - self._grown * (1 - chance)
        return max(0.0, float(of_event.max()), float(of_complement.max()))


def refuted(claim: Curve, *, guesses: int, correct: int, canaries: int, confidence: float) -> bool:
    """Say whether so many correct guesses contradict a claim: true of a true claim with chance 1 - confidence at most.

    Arguments and errors as in `one_run_epsilon`.

    >>> refuted(Gaussian(0.3), guesses=200, correct=170, canaries=2000, confidence=0.999)
    True
    >>> refuted(Gaussian(1.0), guesses=200, correct=170, canaries=2000, confidence=0.999)
    False
    """
    check_counts(guesses, correct, canaries)
    level = check_confidence(confidence)
    right, wrong = level * correct / canaries, level * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        more = claim.least(right) - wrong
        if more <= 0:  # nothing is forced here, and so nothing further down
            return False
        right, wrong = right + i / (guesses - i) * more, wrong + more
        if (right + wrong) * canaries > guesses:
            return True
    return False


def one_run_mu(*, guesses: int, correct: int, canaries: int, confidence: float) -> float:
    """Return the largest mu whose Gaussian differential privacy the correct guesses rule out; 0 if none, 50 at most.

    Tighter than `one_run_epsilon` where the mechanism is Gaussian, as noisy sums are. `gaussian_epsilon` turns it into an
    epsilon. Arguments and errors as in `one_run_epsilon`.

    >>> round(one_run_mu(guesses=200, correct=170, canaries=2000, confidence=0.95), 2)
    0.51
    """

    def excluded(mu: float) -> bool:
        return refuted(Gaussian(mu), guesses=guesses, correct=correct, canaries=canaries, confidence=confidence)

    return largest(excluded, 0.0, MOST_MU)


def largest(excluded: Callable[[float], bool], low: float, high: float, steps: int = STEPS) -> float:
    """Return the largest value in [low, high] that is excluded, rounded down in `steps` halvings; `low` if none is."""
    if not excluded(low) or excluded(high):
        return high if excluded(low) else low
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if excluded(middle) else (low, middle)
    return low


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the epsilon of mu-Gaussian differential privacy at delta. Balle & Wang, 2018 (arXiv:1805.06530), theorem 8.

    >>> round(gaussian_epsilon(1 / 4.224679, 1e-6), 4)
    1.0
    >>> gaussian_epsilon(0.0, 1e-6)
    0.0
    """
    delta = check_delta(delta)
    if mu <= 0 or gaussian_delta(1 / mu, 0.0) <= delta:
        return 0.0
    high = mu * (mu / 2 + math.sqrt(2 * math.log(1 / delta)))  # the tail of the loss, N(mu**2 / 2, mu**2)
    return largest(lambda epsilon: gaussian_delta(1 / mu, epsilon) > delta, 0.0, high)
