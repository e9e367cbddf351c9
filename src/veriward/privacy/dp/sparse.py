"""Above-threshold: which query is the first to pass a bar. Dwork & Roth, 2014, algorithm 1 (and theorem 3.23).

Of the variants that Lyu, Su & Li (2017, arXiv:1603.01699, figure 1) show to protect nothing, none is taken: the bar has
noise of its own, every query has noise of scale 4 / epsilon, no noisy answer is given, and the first pass ends it.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from veriward.core.errors import BudgetExceeded
from veriward.privacy.dp.discrete import LAPLACE_DISTANCE, SCALE_LIMIT, check_scale, discrete_laplace
from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.released import (
    FINE_BITS,
    check_epsilon,
    check_sensitivity,
    check_size,
    power_of_two_below,
    slack,
    to_grid,
)

if TYPE_CHECKING:
    from dp_accounting import DpEvent


@dataclass(frozen=True)
class AboveThreshold:
    """Answer below, below, ..., above: once. `sensitivity` bounds every query; `most` queries may be asked.

    Epsilon pays for the whole run, however long; the charge falls when `watch` is called.

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> watch = AboveThreshold(threshold=100.0, sensitivity=1.0, epsilon=1.0).watch(SecureSource())
    >>> watch.above(-1000.0), watch.above(1200.0)
    (False, True)
    """

    threshold: float
    sensitivity: float
    epsilon: float
    most: int = 1000
    neighbouring: Relation = Relation.ADD_OR_REMOVE
    unit: str = "row"

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        check_sensitivity(self.sensitivity)
        check_size(self.most)
        check_scale(4 * self.steps / self.epsilon, SCALE_LIMIT)

    @cached_property
    def grid(self) -> float:
        """The step to which queries are rounded before the noise."""
        return power_of_two_below(min(self.sensitivity, self.sensitivity / self.epsilon)) * 2.0**-FINE_BITS

    @property
    def steps(self) -> int:
        """The sensitivity in grid steps, one more for the rounding."""
        return math.floor(self.sensitivity / self.grid) + 1

    @property
    def distance(self) -> float:
        """See `mechanisms.Mechanism`: one draw for the bar, one for each query."""
        return (self.most + 1) * LAPLACE_DISTANCE

    @property
    def delta(self) -> float:
        """That of the samplers alone."""
        return slack(self.epsilon, self.distance)

    def event(self) -> "DpEvent":
        """Return a ZCDpEvent of rho = epsilon^2 / 2 (Bun & Steinke, 2016, arXiv:1605.02065, proposition 1.4)."""
        from dp_accounting.dp_event import ZCDpEvent

        return ZCDpEvent(self.epsilon**2 / 2)

    def watch(self, source: Source) -> "Watch":
        """Draw the noise of the bar and return what answers queries."""
        return Watch(self, source)


class Watch:
    """One run of above-threshold: it ends with the first query above, or after `most`."""

    def __init__(self, mechanism: AboveThreshold, source: Source) -> None:
        self._mechanism, self._source, self._left = mechanism, source, mechanism.most
        bar = to_grid(mechanism.threshold, mechanism.grid, 1)
        self._bar = bar + discrete_laplace(2 * mechanism.steps / mechanism.epsilon, 1, source)

    def above(self, value: float) -> bool:
        """Say whether a query's value, noise added, passes the noisy bar; the value itself is told to nobody.

        Raises BudgetExceeded once the run has ended.
        """
        if self._left == 0:
            raise BudgetExceeded("above-threshold has ended: a further answer costs a new run with its own epsilon")
        m = self._mechanism
        noisy = to_grid(value, m.grid, 1) + discrete_laplace(4 * m.steps / m.epsilon, 1, self._source)
        passed = bool((noisy >= self._bar)[0])
        self._left = 0 if passed else self._left - 1
        return passed

    def __repr__(self) -> str:
        return f"Watch(epsilon={self._mechanism.epsilon}, source={self._source.name})"
