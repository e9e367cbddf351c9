"""Noisy counts of votes: the aggregators of PATE, each with its event and its bound for the votes at hand.

Papernot et al., 2018 (arXiv:1802.08908). A unit sits in the data of one teacher, so it moves one vote: two counts by one
each, and the largest count by one. That holds for a unit added, removed or replaced.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from veriward.core.errors import SettingsError
from veriward.privacy.dp.bounds import check_positive
from veriward.privacy.dp.discrete import (
    LAPLACE_DISTANCE,
    NORMAL_DISTANCE,
    NORMAL_LIMIT,
    Integers,
    discrete_laplace,
    rounded_normal,
)
from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.released import power_of_two_below

if TYPE_CHECKING:
    from dp_accounting import DpEvent

Floats = NDArray[np.float64]
Charge = Callable[["DpEvent", float], Any]  # called with event and distance before noise is drawn
UNANSWERED = -1
LAPLACE_GRID = 1 << 10  # steps to a vote: ties are rare
SIGMAS = (2.0**-20, 2.0**19)  # in votes: rounded normals have no grid for others


class Aggregator(Protocol):
    """Turns votes into labels. `event` and `distance`: for at most so many queries, and at most so many answers."""

    def event(self, queries: int, answers: int) -> "DpEvent":
        """Return what it costs, whatever the votes are."""

    def distance(self, queries: int, answers: int, classes: int) -> float:
        """Return the total variation distance of all noise drawn from its law."""

    def answer(self, votes: Integers, most: int, source: Source, charge: Charge) -> Integers:
        """Return labels (queries,) for votes (queries, classes), at most `most` of them answered, the others -1."""

    def dependent(self, votes: Integers, labels: Integers, orders: Floats) -> Floats:
        """Return Rényi divergences (orders,) that hold for these votes alone: private, like the votes."""


@dataclass(frozen=True)
class GNMax:
    """The class with the most votes after Gaussian noise of standard deviation `sigma`, in votes (section 3.2).

    Every answer is a Gaussian mechanism of sensitivity sqrt(2). Raises SettingsError for a sigma outside 2^-20 to 2^19.

    >>> GNMax(40.0).event(100, 100).count
    100
    """

    sigma: float

    def __post_init__(self) -> None:
        _check_sigma("sigma", self.sigma)

    def event(self, queries: int, answers: int) -> "DpEvent":
        """See `Aggregator`."""
        from dp_accounting import GaussianDpEvent, SelfComposedDpEvent

        return SelfComposedDpEvent(GaussianDpEvent(self.sigma / math.sqrt(2)), answers)

    def distance(self, queries: int, answers: int, classes: int) -> float:
        """See `Aggregator`."""
        return answers * classes * NORMAL_DISTANCE

    def answer(self, votes: Integers, most: int, source: Source, charge: Charge) -> Integers:
        """See `Aggregator`: the first `most` queries are answered."""
        labels = np.full(len(votes), UNANSWERED)
        asked = votes[:most]
        if len(asked):
            charge(self.event(len(asked), len(asked)), self.distance(len(asked), len(asked), votes.shape[1]))
            labels[: len(asked)] = _noisy(asked, self.sigma, source).argmax(1)
        return labels

    def dependent(self, votes: Integers, labels: Integers, orders: Floats) -> Floats:
        """See `Aggregator`: proposition 7 and theorem 6."""
        total = np.zeros(len(orders))
        for counts in votes[labels != UNANSWERED]:
            total += gaussian_bound(_log_other(counts, self.sigma), self.sigma, orders)
        return total


@dataclass(frozen=True)
class ConfidentGNMax:
    """`GNMax` of those queries whose largest count, after noise of its own, reaches `threshold`: algorithm 1.

    threshold: in votes, usually .6 to .8 of the teachers; `sigma_threshold` is usually larger than `sigma`.

    >>> ConfidentGNMax(threshold=200, sigma_threshold=150, sigma=40).event(640, 286).events[0].count
    640
    """

    threshold: float
    sigma_threshold: float
    sigma: float

    def __post_init__(self) -> None:
        check_positive("threshold", self.threshold)
        _check_sigma("sigma_threshold", self.sigma_threshold)
        _check_sigma("sigma", self.sigma)

    def event(self, queries: int, answers: int) -> "DpEvent":
        """See `Aggregator`: every query pays for the threshold, every answer for its label."""
        from dp_accounting import ComposedDpEvent

        return ComposedDpEvent([self._asking(queries), GNMax(self.sigma).event(answers, answers)])

    def _asking(self, queries: int) -> "DpEvent":
        from dp_accounting import GaussianDpEvent, SelfComposedDpEvent

        return SelfComposedDpEvent(GaussianDpEvent(self.sigma_threshold), queries)

    def distance(self, queries: int, answers: int, classes: int) -> float:
        """See `Aggregator`."""
        return (queries + answers * classes) * NORMAL_DISTANCE

    def answer(self, votes: Integers, most: int, source: Source, charge: Charge) -> Integers:
        """See `Aggregator`: the first `most` queries that reach the threshold are answered."""
        labels = np.full(len(votes), UNANSWERED)
        if not len(votes):
            return labels
        charge(self._asking(len(votes)), len(votes) * NORMAL_DISTANCE)
        units = _noisy(votes.max(1, keepdims=True), self.sigma_threshold, source)[:, 0]
        chosen = np.flatnonzero(units * _grid(self.sigma_threshold) >= self.threshold)[:most]
        labels[chosen] = GNMax(self.sigma).answer(votes[chosen], most, source, charge)
        return labels

    def dependent(self, votes: Integers, labels: Integers, orders: Floats) -> Floats:
        """See `Aggregator`: the threshold is a vote of two classes and sensitivity 1 (appendix A)."""
        from scipy.special import log_ndtr

        total = GNMax(self.sigma).dependent(votes, labels, orders)
        spread = _steps(self.sigma_threshold) * _grid(self.sigma_threshold)
        for top in votes.max(1):
            rounding = _grid(self.sigma_threshold)
            gap = max(0.0, abs(self.threshold - float(top)) - rounding)
            total += gaussian_bound(float(log_ndtr(-gap / spread)), math.sqrt(2) * self.sigma_threshold, orders)
        return total


@dataclass(frozen=True)
class LNMax:
    """The class with the most votes after Laplace noise of `scale`, in votes: Papernot et al., 2017 (arXiv:1610.05755).

    A moved vote is two counts that change by one: (2 / scale)-private for each answer. The noise is discrete, on 2^-10 of
    a vote. Raises SettingsError for a scale outside 2^-9 to 2^29.

    >>> LNMax(20.0).event(1, 1).count  # of one count each
    2
    """

    scale: float

    def __post_init__(self) -> None:
        if not 2.0**-9 <= check_positive("scale", self.scale) <= 2.0**29:
            raise SettingsError(f"scale = {self.scale}: want from 2^-9 to 2^29 votes, usually 5 to 100")

    def event(self, queries: int, answers: int) -> "DpEvent":
        """See `Aggregator`."""
        from dp_accounting import SelfComposedDpEvent
        from dp_accounting.dp_event import DiscreteLaplaceDpEvent

        return SelfComposedDpEvent(DiscreteLaplaceDpEvent(1 / (self.scale * LAPLACE_GRID), LAPLACE_GRID), 2 * answers)

    def distance(self, queries: int, answers: int, classes: int) -> float:
        """See `Aggregator`."""
        return answers * classes * LAPLACE_DISTANCE

    def answer(self, votes: Integers, most: int, source: Source, charge: Charge) -> Integers:
        """See `Aggregator`: the first `most` queries are answered."""
        labels = np.full(len(votes), UNANSWERED)
        asked = votes[:most]
        if len(asked):
            charge(self.event(len(asked), len(asked)), self.distance(len(asked), len(asked), votes.shape[1]))
            noise = discrete_laplace(self.scale * LAPLACE_GRID, asked.size, source).reshape(asked.shape)
            labels[: len(asked)] = (asked * LAPLACE_GRID + noise).argmax(1)
        return labels

    def dependent(self, votes: Integers, labels: Integers, orders: Floats) -> Floats:
        """See `Aggregator`: lemma 4 and theorem 3 of the paper of 2017, at most what two noisy counts cost."""
        from veriward.privacy.dp.divergences import discrete_laplace as divergence

        plain = 2 * divergence(1 / (self.scale * LAPLACE_GRID), LAPLACE_GRID, orders.tolist())
        total = np.zeros(len(orders))
        for counts in votes[labels != UNANSWERED]:
            # a discrete draw is within a step of a continuous one: floors of the exponentials that both are made of
            gaps = np.maximum(_gaps(counts) - 2 / LAPLACE_GRID, 0) / self.scale
            other = math.fsum((2 + gaps) * np.exp(-gaps) / 4)
            total += np.minimum(plain, pure_bound(math.log(other) if other < 1 else 0.0, 2 / self.scale, orders))
        return total


def gaussian_bound(log_other: float, sigma: float, orders: Floats) -> Floats:
    """Return divergences (orders,) of GNMax where another class than the first wins with probability exp(log_other).

    Theorem 6 with the orders of proposition 10; at most orders / sigma^2, which holds for all votes.

    >>> gaussian_bound(0.0, 10.0, np.array([2.0, 4.0])).tolist()
    [0.02, 0.04]
    """
    plain = orders / sigma**2
    if log_other >= 0:
        return plain
    low = sigma * math.sqrt(-log_other)
    high, held = low + 1, low / sigma**2  # held: the divergence at the order `low`
    if low <= 1 or -log_other <= held:
        return plain
    if log_other > (low - 1) * held - low * (math.log(high / (high - 1)) + math.log(low / (low - 1))):
        return plain
    kept = _log_rest(log_other)
    first = kept - _log_rest((log_other + held) * (low - 1) / low)
    second = high / sigma**2 - log_other / (high - 1)
    found = np.logaddexp(kept + (orders - 1) * first, log_other + (orders - 1) * second) / (orders - 1)
    return np.where(orders <= high, np.minimum(plain, np.maximum(found, 0.0)), plain)


def pure_bound(log_other: float, epsilon: float, orders: Floats) -> Floats:
    """Return divergences (orders,) of an epsilon-private choice whose other outcomes weigh exp(log_other) together.

    Papernot et al., 2017, theorem 3, and Bun & Steinke, 2016 (arXiv:1605.02065), proposition 1.4.

    >>> pure_bound(0.0, 0.1, np.array([2.0])).round(6).tolist()
    [0.01]
    """
    plain = np.minimum(orders * epsilon**2 / 2, epsilon)
    if log_other > -math.log1p(math.exp(epsilon)):
        return plain
    kept = _log_rest(log_other)
    unlikely = log_other + epsilon * (orders - 1)
    found = np.logaddexp(kept + (orders - 1) * (kept - _log_rest(epsilon + log_other)), unlikely)
    return np.minimum(plain, np.maximum(found, 0.0) / (orders - 1))


def _log_rest(log_q: float) -> float:
    """Return log(1 - q)."""
    return math.log(-math.expm1(log_q)) if log_q > -0.7 else math.log1p(-math.exp(log_q))


def _log_other(counts: Integers, sigma: float) -> float:
    """Return the logarithm of an upper bound, at most 0, of the chance that another class wins: proposition 7."""
    from scipy.special import log_ndtr

    spread = _steps(sigma) * _grid(sigma)
    gaps = np.maximum(_gaps(counts) - _grid(sigma), 0.0)  # rounding to the grid may help by a step
    return min(0.0, float(np.logaddexp.reduce(log_ndtr(-gaps / (math.sqrt(2) * spread)))))


def _gaps(counts: Integers) -> Floats:
    """Return how far each other class is behind the first, (classes - 1,)."""
    first = int(counts.argmax())
    return np.delete(counts[first] - counts, first).astype(np.float64)


def _grid(sigma: float) -> float:
    """Return the step of the noise: a power of two, at most one vote, 2^-20 to 2^-19 of sigma."""
    return min(1.0, 2 * power_of_two_below(sigma) / NORMAL_LIMIT)


def _steps(sigma: float) -> int:
    return math.ceil(sigma / _grid(sigma))


def _noisy(counts: Integers, sigma: float, source: Source) -> Integers:
    """Return counts plus noise, in grid steps: counts lie on the grid, so this is a Gaussian mechanism, then rounded."""
    noise = rounded_normal(_steps(sigma), counts.size, source).reshape(counts.shape)
    units: Integers = (counts / _grid(sigma)).astype(np.int64) + noise
    return units


def _check_sigma(name: str, sigma: float) -> None:
    if not SIGMAS[0] <= check_positive(name, sigma) <= SIGMAS[1]:
        raise SettingsError(f"{name} = {sigma}: want from 2^-20 to 2^19 votes, usually 10 to 200")
