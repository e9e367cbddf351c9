"""Where attacks by labels begin: the box of the domain, and rows of the user's that are decided otherwise."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.checks.evasion.chase import Chase
from veriward.core.ball import Ball
from veriward.core.streams import Stream


@dataclass(frozen=True, eq=False)
class Room:
    """A ball and the box of the domain around it: questions may lie anywhere in the box, successes only in the ball."""

    ball: Ball
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, chase: Chase) -> "Room":
        """Return the room of all rows of a chase; what cannot move stays where it is."""
        ball, (floor, ceiling) = chase.whole_ball, bounds(chase.opened, chase.clean)
        still = ball.low >= ball.high
        low = torch.where(still, ball.clean, torch.minimum(floor, ball.low))
        high = torch.where(still, ball.clean, torch.maximum(ceiling, ball.high))
        return cls(ball, low, high)

    def __getitem__(self, keep: Tensor) -> "Room":
        return Room(self.ball[keep], self.low[keep], self.high[keep])

    @property
    def size(self) -> int:
        """How many numbers a row has."""
        return max(1, math.prod(self.low.shape[1:]))

    @property
    def smooth(self) -> bool:
        """Whether all that can move moves continuously: whole numbers and categories have no boundary to walk along."""
        whole = self.ball.whole
        return whole is None or not bool((whole.to(self.low.device) & (self.high > self.low)).any())

    def within(self, z: Tensor) -> Tensor:
        """Return z clamped into the box, (n, ...)."""
        return torch.minimum(torch.maximum(z, self.low), self.high)

    def pulled(self, z: Tensor, share: Tensor) -> Tensor:
        """Return the nearest points to z that lie `share` (n,) budgets or less from their clean rows."""
        part = share.to(z.dtype).view(-1, *[1] * (z.ndim - 1))
        radii = self.ball.radii * part
        low, high = self.low, self.high
        if self.ball.norm == "linf":
            low, high = torch.maximum(low, self.ball.clean - radii), torch.minimum(high, self.ball.clean + radii)
        return replace(self.ball, low=low, high=high, radii=radii).clamp(z)

    def direction(self, stream: Stream, rows: Tensor, number: int, like: Tensor) -> Tensor:
        """Return random directions of length one over what can move, (n, ...), in budgets."""
        noise = stream.normal(rows, like.shape[1:], number).to(like.dtype)
        noise = torch.where(self.high > self.low, noise, 0.0)
        length = noise.flatten(1).square().sum(1).sqrt().view(-1, *[1] * (like.ndim - 1))
        return noise / length.clamp(min=torch.finfo(like.dtype).tiny)


def bounds(opened: Opened, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends of the domain, broadcast like the rows."""
    columns = getattr(opened.domain, "columns", None)
    if columns is None:
        low, high = opened.domain.low, opened.domain.high  # type: ignore[attr-defined]
        return torch.full_like(clean, low), torch.full_like(clean, high)
    ends = [clean.new_tensor([getattr(column, end) for column in columns]) for end in ("low", "high")]
    return ends[0].expand_as(clean), ends[1].expand_as(clean)


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows of the user's, (m, ...), and the classes that the model gives them, (m,): of a regression model all zero."""

    rows: Tensor
    labels: Tensor

    @classmethod
    def of(cls, chase: Chase, most: int, stream: Stream) -> "Pool":
        """Return up to `most` training rows (test rows without train), those that a classifier decides rightly.

        They are the same for all rows of a check, so that rows never depend on their company.
        """
        opened = chase.opened
        which = "test" if opened.train is None else "train"
        rows = stream.generator().permutation(len(opened.split(which)))[:most].tolist()
        pool = opened.encoded(which, rows).to(chase.clean.device)
        if opened.task != "classification":
            return cls(pool, torch.zeros(len(pool), dtype=torch.int64, device=pool.device))
        raw, target = chase.raw(pool), opened.targets[which][rows].to(pool.device)
        label = raw if raw.ndim == 1 else raw.argmax(1)
        return cls(pool[label == target], label[label == target])


@dataclass(frozen=True, eq=False)
class Starts:
    """Where a walk begins: positions of rows `where` (m,), points `z` (m, ...), and the classes they were taken from."""

    where: Tensor
    z: Tensor
    labels: Tensor


def starts(chase: Chase, room: Room, pool: Pool, avoid: Tensor, stream: Stream) -> Starts:
    """Return for each active row that has one the nearest point that is decided otherwise.

    Points are rows of the pool, none of the classes in `avoid` (all rows, k), or, where the pool is empty, random ones of
    the box; what cannot move is kept from the clean row.
    """
    where = chase.active
    near = _Nearest(chase, room[where], where)
    for row, label in zip(pool.rows, pool.labels, strict=True):
        near.offer(torch.where(near.room.high > near.room.low, row, near.room.ball.clean), label, avoid[where])
    if not len(pool.rows):
        for number in range(3):
            noise = stream.uniform(chase.rows[where], near.found.shape[1:], number).to(near.found.dtype)
            near.offer(
                near.room.low + noise * (near.room.high - near.room.low), pool.labels.new_tensor(-2), avoid[where]
            )
    started = torch.isfinite(near.best)
    return Starts(where[started], near.found[started], near.labels[started])


class _Nearest:
    """The nearest adversarial point of each row so far."""

    def __init__(self, chase: Chase, room: Room, where: Tensor) -> None:
        self.chase, self.room, self.where = chase, room, where
        self.best = torch.full((len(where),), torch.inf, dtype=torch.float64, device=where.device)
        self.found, self.labels = room.ball.clean.clone(), torch.full_like(where, -1)

    def offer(self, point: Tensor, label: Tensor, avoid: Tensor) -> None:
        """Take a point over where it is nearer and decided otherwise; only those that would be nearer are asked."""
        trial = self.room.within(point)
        distance = self.room.ball.share(trial)
        asked = ((distance < self.best) & (avoid != label).all(1)).nonzero().squeeze(1)
        if len(asked):
            hits = asked[self.chase.ask(trial[asked], self.where[asked]).fooled]
            self.best[hits], self.found[hits], self.labels[hits] = distance[hits], trial[hits], label
