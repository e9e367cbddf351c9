"""Rényi divergences that `dp_accounting` lacks: the discrete Laplace mechanism, in closed form."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from dp_accounting import dp_event
from dp_accounting.rdp import RdpAccountant


class Renyi(RdpAccountant):  # type: ignore[misc]
    """dp_accounting's accountant, with discrete Laplace noise; a count of up to 2**53 grid steps costs no loop."""

    def _maybe_compose(self, event: dp_event.DpEvent, count: int, do_compose: bool) -> Any:
        if not isinstance(event, dp_event.DiscreteLaplaceDpEvent):
            return super()._maybe_compose(event, count, do_compose)
        if do_compose:
            curve = discrete_laplace(event.noise_parameter, event.sensitivity, self._orders)
            self._rdp += count * curve
        return None


def discrete_laplace(rate: float, shift: int, orders: Sequence[float]) -> "np.ndarray[Any, np.dtype[np.float64]]":
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
