"""Rényi divergences that `dp_accounting` lacks: discrete Laplace and sampled Laplace noise, and few orders of a search."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.rdp import RdpAccountant
from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS

PANELS = 1 << 12  # of the trapezoids below a sampled Laplace divergence
Curve = np.ndarray[Any, np.dtype[np.float64]]


class Renyi(RdpAccountant):  # type: ignore[misc]
    """dp_accounting's accountant, with discrete Laplace noise; a count of up to 2**53 grid steps costs no loop."""

    def _maybe_compose(self, event: dp_event.DpEvent, count: int, do_compose: bool) -> Any:
        curve = self._curve(event)
        if curve is None:
            return super()._maybe_compose(event, count, do_compose)
        if do_compose:
            self._rdp += count * curve()
        return None

    def _curve(self, event: dp_event.DpEvent) -> Callable[[], Curve] | None:
        """Return what computes the divergences of one event, None for what dp_accounting knows or nobody does."""
        match event:
            case dp_event.DiscreteLaplaceDpEvent():
                return lambda: discrete_laplace(event.noise_parameter, event.sensitivity, self._orders)
            case dp_event.PoissonSampledDpEvent(event=dp_event.LaplaceDpEvent(noise_multiplier=scale)):
                two_sided = self.neighboring_relation is not NeighboringRelation.REPLACE_ONE
                return (lambda: sampled_laplace(event.sampling_probability, scale, self._orders)) if two_sided else None
            case dp_event.RepeatAndSelectDpEvent() if not set(DEFAULT_RDP_ORDERS) <= set(self._orders):
                return (lambda: self._selected(event)) if self._wide().supports(event.event) else None
        return None

    def _wide(self) -> "Renyi":
        return Renyi(sorted({*self._orders, *(float(a) for a in DEFAULT_RDP_ORDERS)}), self.neighboring_relation)

    def _selected(self, event: dp_event.DpEvent) -> Curve:
        """Return the divergences of random stopping at our orders. Its bound at one order takes a second one, any at all:
        among three they were few to choose from (Papernot & Steinke, 2022, arXiv:2110.03620, theorem 2).
        """
        wide = self._wide()
        found = dict(zip(wide.orders, wide.compose(event).rdp, strict=True))
        return np.array([found[order] for order in self._orders])


def discrete_laplace(rate: float, shift: int, orders: Sequence[float]) -> Curve:
    """Return D_a(P || Q) at each order of P(x) ~ exp(-rate |x|) against Q(x) = P(x - shift), x a whole number.

    The sum of P**a Q**(1-a) is geometric in three parts: x <= 0, 0 < x < shift and x >= shift. With shift 1 it is the
    divergence of randomised response, the largest of all mechanisms that are (rate)-private (Bun & Steinke, 2016,
    arXiv:1605.02065, proposition 3.3).

    >>> round(float(discrete_laplace(1.0, 1, [2.0])[0]), 6)  # log((e**2 + e**-1) / (e + 1))
    0.735326
    """
    if shift == 0:
        return np.zeros(len(orders))
    if rate <= 0:
        return np.full(len(orders), math.inf)
    return np.array([_one(rate, shift, float(order)) for order in orders])


def _one(rate: float, shift: int, order: float) -> float:
    epsilon = rate * shift
    edge = -math.log1p(math.exp(-rate))  # log of tanh(rate / 2) / (1 - exp(-rate))
    below, above = (order - 1) * epsilon + edge, -order * epsilon + edge
    step = rate * (2 * order - 1)
    inside = -math.inf
    if shift > 1:
        # tanh(rate / 2) / (1 - exp(-step)) stays accurate where both are tiny: a grid of many steps
        ratio = math.tanh(rate / 2) / -math.expm1(-step)
        inside = (order - 1) * epsilon - step + math.log(ratio) + math.log(-math.expm1(-step * (shift - 1)))
    return max(0.0, float(np.logaddexp.reduce([below, inside, above])) / (order - 1))


def sampled_laplace(rate: float, scale: float, orders: Sequence[float]) -> Curve:
    """Return an upper bound, at each order, of the divergence of Laplace noise on a number that is there at a rate.

    P = (1 - rate) Lap(0) + rate Lap(1) against Q = Lap(0), which is the larger of both directions since x -> 1 - x takes
    one Laplace law into the other (Mironov, Talwar & Zhang, 2019, arXiv:1908.10530, theorem 5). P/Q is constant outside
    [0, 1]. Inside, the integrand is the exponential of a convex function, so trapezoids lie above it.

    >>> from dp_accounting.rdp.rdp_privacy_accountant import _laplace_rdp
    >>> whole = _laplace_rdp(0.5, 3.0)
    >>> 0 <= float(sampled_laplace(1.0, 2.0, [3.0])[0]) - whole < 1e-6
    True
    """
    if scale <= 0:
        return np.full(len(orders), math.inf)
    return np.array([_sampled(rate, 1 / scale, float(order)) for order in orders])


def _sampled(rate: float, epsilon: float, order: float) -> float:
    y = np.linspace(0.0, epsilon, PANELS + 1)  # x over the scale
    with np.errstate(divide="ignore"):
        ratio = np.logaddexp(np.log1p(-rate), math.log(rate) + 2 * y - epsilon)  # log P/Q at y
    inside = order * ratio - y - math.log(2)
    weights = np.full(PANELS + 1, math.log(epsilon / PANELS))
    weights[[0, -1]] -= math.log(2)
    edges = order * ratio[[0, -1]] - math.log(2) - np.array([0.0, epsilon])
    total = float(np.logaddexp.reduce(np.concatenate([inside + weights, edges])))
    return max(0.0, total) / (order - 1)
