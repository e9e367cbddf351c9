"""Mechanisms that add noise to numbers: each a bound, a noise and an event. Every output lies on a public grid.

A float is rounded to the grid *before* the noise, and the noise is drawn on the grid: the low bits of a released number
tell nothing of the value below it (Mironov, 2012, "On significance of the least significant bits for differential
privacy"). The rounding moves two neighbours apart by up to one step per number, which the sensitivity pays.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike

from veriward.core.errors import DataError, SettingsError
from veriward.privacy.dp.analytic import gaussian_multiplier
from veriward.privacy.dp.discrete import (
    GAUSSIAN_DISTANCE,
    LAPLACE_DISTANCE,
    NORMAL_DISTANCE,
    NORMAL_LIMIT,
    SCALE_LIMIT,
    Integers,
    check_scale,
    discrete_gaussian,
    discrete_laplace,
    rounded_normal,
)
from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.released import (
    FINE_BITS,
    Released,
    check_delta,
    check_epsilon,
    check_sensitivity,
    check_size,
    off_grid,
    power_of_two_below,
    slack,
    to_grid,
)

if TYPE_CHECKING:
    from dp_accounting import DpEvent


class Mechanism(Protocol):
    """Bound, noise and event. `distance`: total variation between what is drawn and its law, for a whole release."""

    @property
    def epsilon(self) -> float:
        """What one release costs, together with delta."""

    @property
    def delta(self) -> float:
        """The chance of no protection, the sampler's distance included."""

    @property
    def distance(self) -> float:
        """The total variation distance of the sampler, which an accountant's delta pays as slack(epsilon, distance)."""

    @property
    def neighbouring(self) -> Relation:
        """The neighbouring relation under which the sensitivity was declared."""

    @property
    def unit(self) -> str:
        """What is protected."""

    def event(self) -> "DpEvent":
        """Return what an accountant needs to know."""


@dataclass(frozen=True)
class DiscreteLaplace:
    """Discrete Laplace noise on whole multiples of a grid: P(k) proportional to exp(-|k| epsilon / sensitivity).

    Ghosh, Roughgarden & Sundararajan, 2009 (arXiv:0811.2841), definition 2.1. `sensitivity`: L1, in grid steps.

    >>> from veriward.core.streams import Stream
    >>> from veriward.privacy.dp.noise import SimulatedSource
    >>> DiscreteLaplace(sensitivity=1, epsilon=1.0).release(40, SimulatedSource(Stream.of(1, "doc"))).source
    'simulation'
    """

    sensitivity: int
    epsilon: float
    size: int = 1
    grid: float = 1.0
    neighbouring: Relation = Relation.ADD_OR_REMOVE
    unit: str = "row"

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        check_sensitivity(self.sensitivity)
        check_size(self.size)
        if self.sensitivity != int(self.sensitivity):
            raise SettingsError(
                f"sensitivity = {self.sensitivity}; whole numbers change by whole steps: want an integer"
            )
        check_scale(self.scale, SCALE_LIMIT)

    @property
    def scale(self) -> float:
        """Of the noise, in grid steps."""
        return self.sensitivity / self.epsilon

    @property
    def distance(self) -> float:
        """See `Mechanism`."""
        return self.size * LAPLACE_DISTANCE

    @property
    def delta(self) -> float:
        """See `Mechanism`: that of the sampler alone."""
        return slack(self.epsilon, self.distance)

    def event(self) -> "DpEvent":
        """Return a DiscreteLaplaceDpEvent."""
        from dp_accounting.dp_event import DiscreteLaplaceDpEvent

        return DiscreteLaplaceDpEvent(1 / self.scale, int(self.sensitivity))

    def release(self, value: ArrayLike, source: Source) -> Released:
        """Return the noisy value, in its own shape: whole numbers for grid 1, else floats on the grid."""
        units = to_grid(value, self.grid, self.size)
        return self.release_units(units.reshape(np.shape(value)), source)

    def release_units(self, units: Integers, source: Source) -> Released:
        """Return the noisy value of `units` (size,) or (), already in grid steps."""
        noisy = units.reshape(-1) + discrete_laplace(self.scale, self.size, source)
        return _released(self, off_grid(noisy, self.grid, units), source)


@dataclass(frozen=True)
class Laplace:
    """Laplace noise on floats, drawn on a grid. Dwork, McSherry, Nissim & Smith, 2006, proposition 1; Mironov, 2012.

    `sensitivity`: L1, in units of the value, over all `size` numbers released together. Values beyond 2^60 grid steps are
    clamped there: 2^44 sensitivities for a single number at epsilon 1, fewer by a factor of `size` for several.

    >>> Laplace(sensitivity=2.0, epsilon=1.0).grid
    3.0517578125e-05
    """

    sensitivity: float
    epsilon: float
    size: int = 1
    neighbouring: Relation = Relation.ADD_OR_REMOVE
    unit: str = "row"

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        check_sensitivity(self.sensitivity)
        check_size(self.size)
        check_scale(self.on_grid.scale, SCALE_LIMIT)

    @property
    def grid(self) -> float:
        """The step of the outputs: a power of two, 2^-16 of the noise or less, the same whatever the value."""
        finer = FINE_BITS + (self.size - 1).bit_length()
        return power_of_two_below(min(self.sensitivity, self.sensitivity / self.epsilon)) * 2.0**-finer

    @cached_property
    def on_grid(self) -> DiscreteLaplace:
        """The mechanism that runs: rounding moves each number by up to one step more, so `size` steps are added."""
        steps = math.floor(self.sensitivity / self.grid) + self.size
        return DiscreteLaplace(steps, self.epsilon, self.size, self.grid, self.neighbouring, self.unit)

    @property
    def scale(self) -> float:
        """Of the noise, in units of the value."""
        return self.on_grid.scale * self.grid

    @property
    def distance(self) -> float:
        """See `Mechanism`."""
        return self.on_grid.distance

    @property
    def delta(self) -> float:
        """See `Mechanism`: that of the sampler alone."""
        return self.on_grid.delta

    def event(self) -> "DpEvent":
        """Return the DiscreteLaplaceDpEvent of what is drawn."""
        return self.on_grid.event()

    def release(self, value: ArrayLike, source: Source) -> Released:
        """Return the noisy value, floats on the grid in the shape of `value`."""
        return self.on_grid.release(value, source)


@dataclass(frozen=True)
class Gaussian:
    """Gaussian noise on floats, rounded to a grid; analytic calibration by Balle & Wang, 2018 (arXiv:1805.06530).

    Value and noise are rounded to the grid apart, which equals rounding their sum since the value lies on the grid:
    post-processing of the Gaussian mechanism, whatever the number of values. `sensitivity`: L2. `delta` is what the
    release costs in all; the sampler's share is taken off before calibrating. Values beyond 2^60 grid steps, 2^41 sigma, are
    clamped there.

    >>> mechanism = Gaussian(sensitivity=1.0, epsilon=1.0, delta=1e-6)
    >>> round(mechanism.sigma, 3)
    4.225
    """

    sensitivity: float
    epsilon: float
    delta: float
    size: int = 1
    neighbouring: Relation = Relation.ADD_OR_REMOVE
    unit: str = "row"

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        check_sensitivity(self.sensitivity)
        check_size(self.size)
        check_delta(self.delta, least=2 * slack(self.epsilon, self.distance))
        check_scale(self.steps, NORMAL_LIMIT)

    @property
    def distance(self) -> float:
        """See `Mechanism`."""
        return self.size * NORMAL_DISTANCE

    @cached_property
    def _wanted(self) -> float:
        return gaussian_multiplier(self.epsilon, self.delta - slack(self.epsilon, self.distance))

    @cached_property
    def grid(self) -> float:
        """The step of the outputs: a power of two, 2^-19 to 2^-18 of the noise, the same whatever the value."""
        return power_of_two_below(self._wanted * self.sensitivity) / (NORMAL_LIMIT >> 2)

    @property
    def _sensitivity_steps(self) -> float:
        return self.sensitivity / self.grid + math.sqrt(self.size)  # rounding: one step for each number, in L2

    @property
    def steps(self) -> int:
        """The standard deviation in grid steps, rounded up."""
        return math.ceil(self._wanted * self._sensitivity_steps)

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise, in units of the value."""
        return self.steps * self.grid

    def event(self) -> "DpEvent":
        """Return a GaussianDpEvent."""
        from dp_accounting.dp_event import GaussianDpEvent

        return GaussianDpEvent(self.steps / self._sensitivity_steps)

    def release(self, value: ArrayLike, source: Source) -> Released:
        """Return the noisy value, floats on the grid in the shape of `value`."""
        noisy = to_grid(value, self.grid, self.size) + rounded_normal(self.steps, self.size, source)
        return _released(self, off_grid(noisy, self.grid, value), source)


@dataclass(frozen=True)
class DiscreteGaussian:
    """Discrete Gaussian noise on whole numbers. Canonne, Kamath & Steinke, 2020 (arXiv:2004.00010), theorem 4.

    `sensitivity`: L2. It is sensitivity^2 / (2 sigma^2)-concentrated, in any number of dimensions; epsilon at `delta`
    follows by Bun & Steinke, 2016 (arXiv:1605.02065), proposition 1.3: a simple bound, accountants give less.

    >>> round(DiscreteGaussian(sensitivity=1.0, sigma=10.0, delta=1e-5).epsilon, 3)
    0.499
    """

    sensitivity: float
    sigma: float
    delta: float
    size: int = 1
    neighbouring: Relation = Relation.ADD_OR_REMOVE
    unit: str = "row"

    def __post_init__(self) -> None:
        check_sensitivity(self.sensitivity)
        check_scale(self.sigma, SCALE_LIMIT)
        check_size(self.size)
        check_delta(self.delta, least=4 * self.distance)
        check_epsilon(self.epsilon)
        check_delta(self.delta, least=2 * slack(self.epsilon, self.distance))

    @property
    def rho(self) -> float:
        """Of zero-concentrated differential privacy."""
        return self.sensitivity**2 / (2 * self.sigma**2)

    @property
    def epsilon(self) -> float:
        """At half of delta: the other half is more than the sampler costs."""
        return self.rho + 2 * math.sqrt(self.rho * math.log(2 / self.delta))

    @property
    def distance(self) -> float:
        """See `Mechanism`."""
        return self.size * GAUSSIAN_DISTANCE

    def event(self) -> "DpEvent":
        """Return a ZCDpEvent; a Gaussian event is close but proven for the continuous law alone."""
        from dp_accounting.dp_event import ZCDpEvent

        return ZCDpEvent(self.rho)

    def release(self, value: ArrayLike, source: Source) -> Released:
        """Return the noisy value, whole numbers in the shape of `value`, which must be whole."""
        units = to_grid(value, 1.0, self.size)
        if not np.array_equal(units, np.asarray(value, np.float64).reshape(-1)):
            raise DataError("value: holds numbers that are not whole; want whole numbers, or the Gaussian mechanism")
        return _released(self, off_grid(units + discrete_gaussian(self.sigma, self.size, source), 1.0, value), source)


def _released(mechanism: DiscreteLaplace | Gaussian | DiscreteGaussian, value: object, source: Source) -> Released:
    m = mechanism
    return Released(value, m.epsilon, m.delta, m.unit, m.neighbouring, source.name)
