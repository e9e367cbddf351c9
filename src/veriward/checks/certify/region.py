"""What an attacker may reach, in float64, and the least value of a linear function there.

The set is {x : low <= x <= high, ||(x - clean) / radii|| <= 1}. Under L-infinity the box says it all. Under L2 and L1 the
minimum over ball and box together is taken by its dual: every multiplier gives a valid lower bound, and the best is exact.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from veriward.checks.certify.rounding import UNITS
from veriward.core.ball import Ball, Norm

WIDER = 1e-6  # of each budget: ends and radii are rounded where they are made, and the judge of attacks allows for that
NEAR = 2e-9  # in raw units, for the same reason in tables
TURNS = 12  # of the multiplier under L2; each fixes the numbers that reach their end


@dataclass(frozen=True, eq=False)
class Region:
    """Balls around n rows: `clean`, `low`, `high`, `radii` (n, ...) float64."""

    clean: Tensor
    low: Tensor
    high: Tensor
    radii: Tensor
    norm: Norm
    cast: float = 0.0  # by how much of its size a number changes when it becomes the model's own format

    @classmethod
    def of(cls, ball: Ball, dtype: torch.dtype, *, table: bool = False) -> "Region":
        """Return the region that holds all of a ball, for a model that computes in `dtype`.

        Whole numbers and categories may take any value between their ends here: more than the attacker can do.
        """
        clean, radii = ball.clean.double(), ball.radii.double() * (1 + WIDER)
        slack = WIDER * ball.radii.double() + (NEAR if table else 0.0)
        low, high = ball.low.double() - slack, ball.high.double() + slack
        if ball.norm == "linf":
            low, high = torch.maximum(low, clean - radii - slack), torch.minimum(high, clean + radii + slack)
        low, high = torch.minimum(low, clean), torch.maximum(high, clean)
        return cls(clean, low, high, radii, ball.norm, UNITS[dtype] if dtype != ball.clean.dtype else 0.0)

    def __getitem__(self, rows: Tensor | slice) -> "Region":
        """Return some of the rows, in any order and number."""
        clean, low, high, radii = (part[rows] for part in (self.clean, self.low, self.high, self.radii))
        return Region(clean, low, high, radii, self.norm, self.cast)

    def __len__(self) -> int:
        return len(self.clean)

    def minimum(self, a: Tensor) -> Tensor:
        """Return the least a x over each row's region, (n,); never more than it. a: (n, ...); one row serves for all.

        >>> ones = torch.ones(1, 2, dtype=torch.float64)
        >>> Region(0 * ones, -ones, ones, ones, "l1").minimum(torch.tensor([[3.0, -4.0]])).item()
        -4.0
        """
        if self.norm == "linf":
            if len(self) == 1:
                return a.flatten(1) @ self.high.flatten() - a.clamp(min=0).flatten(1) @ (self.high - self.low).flatten()
            return (a.clamp(min=0) * self.low + a.clamp(max=0) * self.high).flatten(1).sum(1)
        a = a.flatten(1)
        radii, clean = self.radii.flatten(1), self.clean.flatten(1)
        room = torch.where(a > 0, clean - self.low.flatten(1), self.high.flatten(1) - clean)
        most = torch.where(radii > 0, room / radii.clamp(min=1e-300), 0.0).clamp(max=1.0)
        steep = a.abs() * radii
        # what a number may move without any budget: a column in which only the judge's tolerance is left
        still = torch.where(radii > 0, 0.0, a.abs() * room).sum(1)
        gain = _spent_l1(steep, most) if self.norm == "l1" else _spent_l2(steep, most)
        return (a * clean).sum(1) - gain - still

    def corner(self, a: Tensor) -> Tensor:
        """Return where a x is least, (n, ...): under L2 and L1 the ball's point, clamped by whoever uses it."""
        if self.norm == "linf":
            return torch.where(a > 0, self.low, torch.where(a < 0, self.high, self.clean))
        steep = (a * self.radii).flatten(1)
        if self.norm == "l2":
            share: Tensor = steep / steep.norm(dim=1, keepdim=True).clamp(min=1e-300)
        else:
            best = torch.nn.functional.one_hot(steep.abs().argmax(1), steep.shape[1]).to(steep.dtype)
            share = best * steep.sign()
        moved: Tensor = share.view_as(a) * self.radii
        return self.clean - moved


def _spent_l1(steep: Tensor, most: Tensor) -> Tensor:
    """Return the most that a budget of 1 buys at prices `steep` per share, at most `most` of each: a knapsack, (n,)."""
    order = steep.detach().argsort(dim=1, descending=True, stable=True)
    dear, caps = steep.gather(1, order), most.gather(1, order)
    full = caps.detach().cumsum(1) >= 1
    first = full.int().argmax(1, keepdim=True)
    price = torch.where(full.any(1, keepdim=True), dear.gather(1, first), 0.0)
    return price.squeeze(1) + ((dear - price).clamp(min=0) * caps).sum(1)


def _spent_l2(steep: Tensor, most: Tensor) -> Tensor:
    """Return the most that shares of square sum 1, at most `most` each, buy at prices `steep`, (n,)."""
    price = _price_l2(steep.detach(), most)
    share = torch.minimum(steep.detach() / price.clamp(min=1e-300), most)
    loose = price.squeeze(1) / 2 + (steep * share - price / 2 * share.square()).sum(1)
    return torch.where(price.squeeze(1) > 0, loose, (steep * most).sum(1))


def _price_l2(steep: Tensor, most: Tensor) -> Tensor:
    """Return the multiplier, (n, 1): numbers that would go beyond their end stay there, the others share the rest."""
    held = torch.zeros_like(steep, dtype=torch.bool)
    price = torch.zeros_like(steep[:, :1])
    for _ in range(TURNS):
        rest = (1 - torch.where(held, most.square(), 0.0).sum(1, keepdim=True)).clamp(min=0)
        price = (torch.where(held, 0.0, steep.square()).sum(1, keepdim=True) / rest.clamp(min=1e-300)).sqrt()
        held = held | (steep > price * most)
    within = most.square().sum(1, keepdim=True) <= 1
    return torch.where(within, 0.0, price)
