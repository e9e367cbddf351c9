"""What an attacker may reach from each row: a ball in budgets, inside a box. Pure geometry on tensors.

The set is {z : low <= z <= high, ||(z - clean) / radii|| <= 1} under L-infinity, L2 or L1. With one eps for all numbers it
is the usual ball of radius eps; with radii of their own, budgets are shares: under L1 the shares add up to at most one.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["linf", "l2", "l1"]
SPARSE = 0.05  # of the numbers move in one step under L1: Croce & Hein 2021 (arXiv:2103.01208), section 3.2
HALVINGS = 40  # of the multiplier in the projection onto the L1 ball inside a box


@dataclass(frozen=True, eq=False)
class Ball:
    """Balls around n rows. `clean`, `low`, `high`, `radii` are (n, ...); a radius of 0 is a number that cannot move.

    `whole` (row-shaped) marks numbers that stay whole, `jump` those of which any change costs the whole budget under L2
    and L1: categories have no distances.
    """

    clean: Tensor
    low: Tensor
    high: Tensor
    radii: Tensor
    norm: Norm
    whole: Tensor | None = None
    jump: Tensor | None = None

    def __getitem__(self, keep: Tensor) -> "Ball":
        """Return the balls of some rows: a mask, or numbers."""
        clean, low, high, radii = (part[keep] for part in (self.clean, self.low, self.high, self.radii))
        return Ball(clean, low, high, radii, self.norm, self.whole, self.jump)

    def __len__(self) -> int:
        return len(self.clean)

    @cached_property
    def _inverse(self) -> Tensor:
        """1 / radii, 0 where nothing moves: the box holds such numbers in place."""
        return torch.where(self.radii > 0, 1 / self.radii.clamp(min=torch.finfo(self.radii.dtype).tiny), 0.0)

    @cached_property
    def reach(self) -> Tensor:
        """How much of the budget is spent on purpose, (n, 1, ...): short of 1 by what rounding z could add."""
        eps = torch.finfo(self.clean.dtype).eps
        size = torch.maximum(self.low.abs(), self.high.abs()).nan_to_num(0.0).double() * self._inverse.double()
        loss = eps * self._norm(size.flatten(1)) + 32 * eps
        return (1 - loss).clamp(min=0).to(self.clean.dtype).view(-1, *[1] * (self.clean.ndim - 1))

    def _norm(self, shares: Tensor) -> Tensor:
        if self.norm == "linf":
            return shares.amax(1)
        return shares.square().sum(1).sqrt() if self.norm == "l2" else shares.sum(1)

    def share(self, z: Tensor) -> Tensor:
        """Return how much of the budget each z spends, (n,) float64: 1 is all of it.

        >>> ball = flat_ball(torch.zeros(1, 2), 0.5, "l1")
        >>> ball.share(torch.tensor([[0.1, 0.2]])).item()
        0.6...
        """
        moved = (z.double() - self.clean.double()).abs().nan_to_num(0.0)
        radii = self.radii.double()
        spent = torch.where(moved > 0, moved / radii.clamp(min=1e-300), moved)
        if self.jump is not None and self.norm != "linf":
            spent = torch.where(self.jump.to(z.device) & (moved > 0), 1.0, spent)
        return self._norm(spent.flatten(1))

    def clamp(self, z: Tensor) -> Tensor:
        """Return points of the ball for any z, (n, ...); numbers are not made whole.

        The nearest points under L-infinity and L1; under L2 the box first and then the ball, as AutoAttack does.
        """
        inside = torch.clamp(z, self.low, self.high)
        if self.norm == "linf":
            return inside
        delta = inside - self.clean
        if self.norm == "l1":
            delta = self._thresholded(z - self.clean)
        spent = self._norm((delta * self._inverse).abs().nan_to_num(0.0).flatten(1)).view_as(self.reach)
        shrunk = self.clean + delta * (self.reach / spent.clamp(min=torch.finfo(spent.dtype).tiny)).clamp(max=1)
        return torch.where(
            torch.isnan(self.clean), self.clean, torch.minimum(torch.maximum(shrunk, self.low), self.high)
        )

    def _thresholded(self, delta: Tensor) -> Tensor:
        """Return the nearest delta of the weighted L1 ball in the box, by bisection of the multiplier.

        Croce & Hein 2021 (arXiv:2103.01208), proposition 3.1; they sort, which weights would not gain from.
        """
        delta, weight = delta.nan_to_num(0.0), self._inverse
        down, up = (self.low - self.clean).nan_to_num(0.0), (self.high - self.clean).nan_to_num(0.0)

        def at(multiplier: Tensor) -> Tensor:
            soft = (delta.abs() - multiplier * weight).clamp(min=0) * delta.sign()
            return torch.minimum(torch.maximum(soft, down), up)

        small = torch.zeros_like(self.reach)
        large = (delta.abs() * self.radii).flatten(1).amax(1).view_as(small)
        fits = self._norm((at(small) * weight).abs().flatten(1)).view_as(small) <= self.reach
        for _ in range(HALVINGS):
            middle = (small + large) / 2
            over = self._norm((at(middle) * weight).abs().flatten(1)).view_as(small) > self.reach
            small, large = torch.where(over, middle, small), torch.where(over, large, middle)
        return at(torch.where(fits, torch.zeros_like(large), large))

    def project(self, z: Tensor) -> Tensor:
        """Return points of the ball with whole numbers made whole: rounded, or cut towards the row under L2 and L1."""
        near = self.clamp(z)
        if self.whole is None:
            return near
        cut = torch.where(near > self.clean, torch.floor(near), torch.ceil(near))
        whole = torch.round(near) if self.norm == "linf" else cut
        moves = self.whole.to(z.device) & (self.low < self.high)
        return torch.minimum(torch.maximum(torch.where(moves, whole, near), self.low), self.high)

    def step(self, z: Tensor, gradient: Tensor, size: float | Tensor, share: float | Tensor = SPARSE) -> Tensor:
        """Return z moved by `size` budgets up the steepest way of the norm; not clamped. sizes: one, or (n, 1, ...).

        L-infinity: the sign; L2: the direction; L1: the signs of the best `share` of the numbers.
        """
        if self.norm == "linf":
            if isinstance(size, float | int):  # radii may be one number, laid out: addcmul is ten times slower then
                return torch.add(z, gradient.sign().mul_(self.radii), alpha=size)
            return z + size * self.radii * gradient.sign()
        steep = gradient * self.radii  # what a whole budget of each number brings
        if self.norm == "l2":
            length = steep.flatten(1).square().sum(1).sqrt().view_as(self.reach)
            return z + size * self.radii * steep / length.clamp(min=torch.finfo(z.dtype).tiny)
        return z + size * self.radii * self._sparse(steep, z, share)

    def toward(self, z: Tensor, gradient: Tensor, part: float) -> Tensor:
        """Return z moved by a part of the way to the point that the gradient likes best, inside the ball; L1 alone.

        There the best numbers stand at their ends, one after the other, until the budget is spent: the step of Frank &
        Wolfe (1956), "An algorithm for quadratic programming", for a ball in a box.

        >>> ball = flat_ball(torch.zeros(1, 3), 1.0, "l1", -0.6, 0.6)
        >>> ball.toward(ball.clean, torch.tensor([[1.0, -3.0, 2.0]]), 1.0)
        tensor([[ 0.0000, -0.6000,  0.4000]])
        """
        steep = gradient.nan_to_num(0.0) * self.radii
        room = torch.where(gradient > 0, self.high - self.clean, self.clean - self.low) * self._inverse
        room = torch.where(steep != 0, room, 0.0).flatten(1)
        order = steep.abs().flatten(1).argsort(dim=1, descending=True, stable=True)
        wanted = room.gather(1, order)
        left = (self.reach.flatten(1) - (wanted.cumsum(1) - wanted)).clamp(min=0)
        spent = torch.zeros_like(room).scatter_(1, order, torch.minimum(wanted, left)).view_as(z)
        moved = torch.lerp(z - self.clean, spent * self.radii * gradient.sign(), part)
        share = self._norm((moved * self._inverse).abs().flatten(1)).view_as(self.reach)
        inside = self.clean + moved * (self.reach / share.clamp(min=torch.finfo(z.dtype).tiny)).clamp(max=1)
        inside = torch.minimum(torch.maximum(inside, self.low), self.high)
        return torch.where(torch.isnan(self.clean), self.clean, inside)

    def _sparse(self, steep: Tensor, z: Tensor, share: float | Tensor) -> Tensor:
        """Return signs of the steepest numbers that can still move, over their count, (n, ...)."""
        up = steep > 0
        free = torch.where(up, z < self.high, z > self.low) & (self.radii > 0)
        value = torch.where(free, steep.abs(), 0.0).flatten(1)
        order = value.argsort(dim=1, descending=True, stable=True)
        width = value.shape[1]
        part = share if isinstance(share, Tensor) else torch.full((len(z), 1), share, dtype=z.dtype, device=z.device)
        most = (part.reshape(-1, 1) * width).ceil().clamp(min=1)
        rank = torch.empty_like(order).scatter_(1, order, torch.arange(width, device=z.device).expand_as(order))
        chosen = (rank < most) & (value > 0)
        count = chosen.sum(1, keepdim=True).clamp(min=1)
        return (chosen.to(z.dtype) / count).view_as(z) * steep.sign()

    def draw(self, noise: Tensor) -> Tensor:
        """Return starting points from standard normal noise, (n, ...): uniform in the box, or anywhere in the ball."""
        if self.norm == "linf":
            part = torch.special.ndtr(noise)
            return torch.minimum(torch.maximum(self.low + part * (self.high - self.low), self.low), self.high)
        length = self._norm(noise.flatten(1).abs()).view_as(self.reach)
        return self.clamp(self.clean + self.radii * noise / length.clamp(min=torch.finfo(noise.dtype).tiny))

    @property
    def can_move(self) -> bool:
        """Whether any number of any row can move at all."""
        return bool((self.high > self.low).any())


def flat_ball(clean: Tensor, eps: float, norm: Norm, low: float = -math.inf, high: float = math.inf) -> Ball:
    """Return balls of one radius inside bounds, for tests and models of plain arrays.

    >>> flat_ball(torch.zeros(1, 3), 1.0, "l2").clamp(torch.tensor([[3.0, 0.0, 4.0]])).norm().item()
    0.9999...
    """
    radii = torch.full_like(clean, eps)
    return Ball(clean, (clean - eps).clamp(min=low), (clean + eps).clamp(max=high), radii, norm)
