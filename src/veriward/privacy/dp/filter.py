"""A privacy filter for spending that is decided while results come in: sums of Rényi divergences against fixed budgets.

Feldman & Zrnic, 2021 (arXiv:2008.11193), sections 3 and 4: if the divergences of order a that an adaptive sequence spends
sum to at most B on every path, the whole is (a, B)-Rényi private, also where each parameter depends on all earlier results;
stopping just before a sum would pass B is therefore a valid filter. It is a theorem about one order, fixed beforehand.

Here a few orders a_i are fixed, each with its share d_i of delta and the largest B_i such that (a_i, B_i) converts to
(epsilon, d_i). Going on while *some* sum is within its budget stays (epsilon, delta)-private: let A_i be the transcripts
at whose end i is the first order within its budget. They are disjoint and cover everything. Stop order i's own process
where its sum would pass B_i: by the theorem it is (epsilon, d_i)-private, and on A_i it was never stopped. So for all sets E
P(E and A_i) <= exp(epsilon) Q(E and A_i) + d_i, and summing over i gives P(E) <= exp(epsilon) Q(E) + sum of d_i.
Without the shares, each order at the whole delta, the sum would be delta times the number of orders.

A charge may pay for something that goes on while others are made: an epoch of shuffled batches, a watch of above-threshold.
A filter of a fixed order holds for interleaved mechanisms, too (Haney et al., 2023, arXiv:2309.05901), and the argument
above asks nothing else of the stopped processes. Distances of drawn noise add up along a path: each draw is coupled with
an exact one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from veriward.core.errors import SettingsError
from veriward.privacy.dp.bounds import check_delta, check_positive
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.relation import Relation

MULTIPLES = (
    1.25,
    1.6,
    3.0,
)  # of log(1/delta) / epsilon above 1: where the best orders of Gaussians, sampled or not, lie
RESERVE = 0.01  # of delta: for distances of drawn noise from its exact distribution, which no divergence sees
ROUNDING = 1e-12  # relative: what many additions may lose


@dataclass(frozen=True)
class Filter:
    """Orders fixed before anything is spent, with the budget of each; all values are of one ledger for ever."""

    epsilon: float
    delta: float
    orders: tuple[float, ...]

    def __post_init__(self) -> None:
        check_positive("epsilon", self.epsilon)
        check_delta(self.delta)
        if not self.orders or any(not (math.isfinite(a) and a > 1.01) for a in self.orders):
            raise SettingsError(f"orders = {self.orders}: want Rényi orders above 1.01, at least one")
        if max(self.budgets) <= 0:
            raise SettingsError(
                f"orders = {self.orders}: none of them can ever show epsilon {self.epsilon}; want larger orders"
            )

    @property
    def budgets(self) -> tuple[float, ...]:
        """The largest Rényi divergence of each order that converts to epsilon at its share of delta."""
        share = self.delta * (1 - RESERVE) / len(self.orders)
        return tuple(largest(self.epsilon, share, order) for order in self.orders)

    @property
    def distance_budget(self) -> float:
        """The total variation distance that the reserved part of delta pays for: (1 + exp(epsilon)) of each."""
        return self.delta * RESERVE / (1 + math.exp(min(self.epsilon, 700.0)))

    def allows(self, spent: Sequence[float], distance: float) -> bool:
        """Whether sums of divergences at the orders, and a sum of distances, stay within the budget."""
        within = any(s * (1 + ROUNDING) <= b for s, b in zip(spent, self.budgets, strict=True))
        return within and distance * (1 + ROUNDING) <= self.distance_budget

    def epsilon_of(self, spent: Sequence[float]) -> float:
        """Return the epsilon that sums of divergences convert to at this delta; 0 for nothing spent."""
        if not any(spent):
            return 0.0
        return max(0.0, min(self.epsilon + s - b for s, b in zip(spent, self.budgets, strict=True)))


def orders_for(epsilon: float, delta: float, plan: Event | None, relation: Relation) -> tuple[float, ...]:
    """Return orders to fix: three that suit most spending, or for a plan the one order at which it costs least.

    Three orders let 75 % to 95 % of what all orders with hindsight would (measured on Gaussians, sampled Gaussians and
    Laplace); an order that was chosen for the plan lets all of it, and possibly little of anything else.

    >>> [round(order, 1) for order in orders_for(3.0, 1e-5, None, Relation.ADD_OR_REMOVE)]
    [5.8, 7.1, 12.5]
    """
    check_positive("epsilon", epsilon)
    scale = -math.log(check_delta(delta)) / epsilon
    if plan is None:
        return tuple(1 + multiple * scale for multiple in MULTIPLES)
    from veriward.privacy.dp.accountants import ORDERS, curve

    wide = tuple(order for order in (*ORDERS, *(1 + scale * m for m in (1.25, 1.6, 2.0, 3.0))) if order > 1.01)
    budgets = np.array([largest(epsilon, delta * (1 - RESERVE), order) for order in wide])
    costs = curve(plan, relation, wide) / np.where(budgets > 0, budgets, math.nan)
    if np.isnan(costs).all():
        raise SettingsError(f"epsilon = {epsilon}: too small for Rényi orders up to {max(wide):g}; want a larger one")
    return (wide[int(np.nanargmin(costs))],)


def largest(epsilon: float, delta: float, order: float) -> float:
    """Return the largest Rényi divergence of an order that still gives (epsilon, delta); below 0 if none does.

    Canonne, Kamath & Steinke, 2020 (arXiv:2004.00010), proposition 12, solved for the divergence.
    """
    return epsilon - math.log1p(-1 / order) + math.log(delta * order) / (order - 1)
