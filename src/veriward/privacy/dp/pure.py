"""Epsilon at delta 0, of mechanisms that have one."""

import math
from typing import TYPE_CHECKING

from veriward.core.errors import SettingsError
from veriward.privacy.dp.events import Event

if TYPE_CHECKING:
    from dp_accounting import DpEvent

UP = 1 + 1e-12  # epsilon rounds up


def pure_epsilon(event: Event) -> float:
    """Return the epsilon of an event at delta 0, an upper bound: epsilons add up.

    What is drawn at a rate q costs log(1 + q (exp(epsilon) - 1)) (Balle, Barthe & Gaboardi, 2018, arXiv:1807.01647,
    theorem 8). Raises SettingsError for Gaussian noise, which protects with no delta of 0, and for kinds without a bound.

    >>> import dp_accounting
    >>> from veriward.privacy.dp.relation import Relation
    >>> step = Event(dp_accounting.LaplaceDpEvent(4.0), (Relation.ADD_OR_REMOVE,), "full")
    >>> round(pure_epsilon(step.times(2)), 6)
    0.5
    """
    return _pure(event.dp) * UP


def _pure(event: "DpEvent") -> float:
    import dp_accounting as dp

    match event:
        case dp.NoOpDpEvent():
            return 0.0
        case dp.SelfComposedDpEvent():
            return float(event.count * _pure(event.event))
        case dp.ComposedDpEvent():
            return math.fsum(_pure(inner) for inner in event.events)
        case dp.PoissonSampledDpEvent():
            return _sampled(event.sampling_probability, _pure(event.event))
        case dp.LaplaceDpEvent() if event.noise_multiplier > 0:
            return float(1 / event.noise_multiplier)
        case dp.dp_event.DiscreteLaplaceDpEvent():
            return float(event.noise_parameter * event.sensitivity)
    raise SettingsError(
        f"delta = 0: {type(event).__name__.removesuffix('DpEvent')} noise has no epsilon there; want a delta above 0"
    )


def _sampled(rate: float, epsilon: float) -> float:
    """Return log(1 + rate (exp(epsilon) - 1)) for any epsilon."""
    if epsilon > 30:  # log(rate e^epsilon + 1 - rate), without the overflow
        return epsilon + math.log(rate + (1 - rate) * math.exp(-epsilon))
    return math.log1p(rate * math.expm1(epsilon))
