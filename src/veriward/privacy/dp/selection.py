"""Mechanisms that choose one of several: by utility, or by chance around the truth."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from veriward.core.errors import DataError, SettingsError
from veriward.privacy.dp.discrete import CHOICE_DISTANCE, COIN_DISTANCE, below, choose, coins
from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.released import Released, check_epsilon, check_sensitivity, check_size, slack

if TYPE_CHECKING:
    from dp_accounting import DpEvent

CHANCE_BITS = 40  # randomised response lies with a chance that is a multiple of 2^-40, so that coins meet it exactly


@dataclass(frozen=True)
class Exponential:
    """Choose i with probability proportional to exp(epsilon u_i / (2 sensitivity)). McSherry & Talwar, 2007, section 3.

    `sensitivity`: the most that one row moves any one utility.

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> Exponential(sensitivity=1.0, epsilon=1.0).release([0.0, 2000.0], SecureSource()).value
    1
    """

    sensitivity: float
    epsilon: float
    neighbouring: Relation = Relation.ADD_OR_REMOVE
    unit: str = "row"

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        check_sensitivity(self.sensitivity)

    @property
    def distance(self) -> float:
        """See `mechanisms.Mechanism`."""
        return CHOICE_DISTANCE

    @property
    def delta(self) -> float:
        """That of the sampler alone."""
        return slack(self.epsilon, self.distance)

    def event(self) -> "DpEvent":
        """Return a ZCDpEvent of rho = epsilon^2 / 8 (Cesar & Rogers, 2021, arXiv:2004.07223: bounded range)."""
        from dp_accounting.dp_event import ZCDpEvent

        return ZCDpEvent(self.epsilon**2 / 8)

    def release(self, utilities: ArrayLike, source: Source, *, counts: ArrayLike | None = None) -> Released:
        """Return the index chosen among utilities (n,), n >= 1; `counts` (n,): how many candidates stand at each."""
        gaps = _gaps(utilities)
        weights = np.exp(self.epsilon / (2 * self.sensitivity) * gaps)
        if counts is not None:
            weights = weights * np.asarray(counts, np.float64)
        return _chosen(self, choose(weights, source), source)


@dataclass(frozen=True)
class ReportNoisyMax:
    """Choose the largest by permute-and-flip. McKenna & Sheldon, 2020 (arXiv:2010.12603), algorithm 1.

    Never further from the best, on average, than the exponential mechanism at the same epsilon (their theorem 2). Going
    through the candidates in random order, a coin of chance exp(epsilon (u_i - max) / (2 sensitivity)) takes one; since
    the coins do not depend on the order, that is a fair choice among all whose coin fell. `candidates`: how many.
    """

    sensitivity: float
    epsilon: float
    candidates: int
    neighbouring: Relation = Relation.ADD_OR_REMOVE
    unit: str = "row"

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        check_sensitivity(self.sensitivity)
        check_size(self.candidates)

    @property
    def distance(self) -> float:
        """See `mechanisms.Mechanism`."""
        return self.candidates * COIN_DISTANCE

    @property
    def delta(self) -> float:
        """That of the sampler alone."""
        return slack(self.epsilon, self.distance)

    def event(self) -> "DpEvent":
        """Return a ZCDpEvent of rho = epsilon^2 / 2 (Bun & Steinke, 2016, arXiv:1605.02065, proposition 1.4)."""
        from dp_accounting.dp_event import ZCDpEvent

        return ZCDpEvent(self.epsilon**2 / 2)

    def release(self, utilities: ArrayLike, source: Source) -> Released:
        """Return the index chosen among utilities (candidates,)."""
        gaps = _gaps(utilities)
        if len(gaps) != self.candidates:
            raise DataError(f"utilities: {len(gaps)} came; want {self.candidates}, as the mechanism was made for")
        chances = np.exp(self.epsilon / (2 * self.sensitivity) * gaps)
        fallen = np.flatnonzero(coins(chances, len(gaps), source))
        return _chosen(self, int(fallen[below(len(fallen), 1, source)[0]]), source)


@dataclass(frozen=True)
class RandomisedResponse:
    """Each row's category, replaced by a uniform one with a certain chance. Warner, 1965; Kairouz et al., 2016, k-ary.

    A local guarantee: it holds for each row against whoever collects the answers, with no delta. Rows that belong to
    the same person spend epsilon each.

    >>> round(RandomisedResponse(categories=2, epsilon=1.0).chance, 4)
    0.5379
    """

    categories: int
    epsilon: float
    unit: str = "row"

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        if self.categories < 2:
            raise SettingsError(f"categories = {self.categories}; want at least 2, or there is nothing to hide")

    @cached_property
    def chance(self) -> float:
        """That a row's category is drawn anew, uniformly: k / (e^epsilon + k - 1), rounded up to a multiple of 2^-40."""
        k = self.categories
        return min(
            1.0, math.ceil(k / (math.exp(self.epsilon) + k - 1) * (1 + 1e-12) * 2.0**CHANCE_BITS) * 2.0**-CHANCE_BITS
        )

    @property
    def neighbouring(self) -> Relation:
        """One row's category is replaced."""
        return Relation.REPLACE

    @property
    def distance(self) -> float:
        """None: coins and categories are drawn exactly."""
        return 0.0

    @property
    def delta(self) -> float:
        """None."""
        return 0.0

    def event(self) -> "DpEvent":
        """Return a RandomizedResponseDpEvent."""
        from dp_accounting.dp_event import RandomizedResponseDpEvent

        return RandomizedResponseDpEvent(self.chance, self.categories)

    def release(self, values: ArrayLike, source: Source) -> Released:
        """Return answers for categories 0 ... k - 1, in the shape of `values`; raises DataError for any other."""
        truth = np.asarray(values)
        if not (np.issubdtype(truth.dtype, np.integer) and bool(((truth >= 0) & (truth < self.categories)).all())):
            raise DataError(f"values: holds something else than whole numbers from 0 to {self.categories - 1}")
        lies = coins(self.chance, truth.size, source).reshape(truth.shape)
        drawn = below(self.categories, truth.size, source).reshape(truth.shape)
        answers = np.where(lies, drawn, truth)
        value = answers.item() if answers.ndim == 0 else answers
        return Released(value, self.epsilon, self.delta, self.unit, self.neighbouring, source.name)


def _gaps(utilities: ArrayLike) -> NDArray[np.float64]:
    """Return utilities (n,) minus their maximum."""
    found = np.asarray(utilities, np.float64).reshape(-1)
    if not len(found) or not np.isfinite(found).all():
        raise DataError("utilities: none came, or one is not a finite number; want at least one finite number")
    gaps: NDArray[np.float64] = found - found.max()
    return gaps


def _chosen(mechanism: Exponential | ReportNoisyMax, index: int, source: Source) -> Released:
    m = mechanism
    return Released(index, m.epsilon, m.delta, m.unit, m.neighbouring, source.name)
