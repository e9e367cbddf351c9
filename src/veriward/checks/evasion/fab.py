"""FAB: the nearest point across a decision boundary. Croce & Hein, 2020 (arXiv:1907.02044), the targeted version.

Each step takes the boundary for the plane it looks like from here, and goes to the nearest point of the plane inside the
domain: part of the way from the last point, part of it from the clean row. Points across the boundary are kept if they are
the nearest so far, and the search goes on from nearer to the row. A distance is a share of the budgets: with one eps, a
share of one is the ball's radius.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.goals import Answer, Move
from veriward.checks.evasion.room import room
from veriward.core.ball import Ball
from veriward.core.streams import Stream

MOST_HOME, OVERSHOOT, BACK = 0.1, 1.05, 0.9  # alpha_max, eta and beta: section 4
NEAREST = 1e-8  # distances below count as this: section 3.2 divides by them


def onto(room: Ball, start: Tensor, slope: Tensor, height: Tensor) -> Tensor:
    """Return the shortest way from `start` to where a linear function is zero, in the box, (n, ...) float64.

    The function is `height` (n,) at the start and rises by `slope`; lengths are in budgets, in the norm of the room. Where
    the box does not reach so far, the way leads to its corner. Sections 3.1 and A of the paper; exact, by sorting.

    >>> from veriward.core.ball import flat_ball
    >>> onto(flat_ball(torch.zeros(1, 2), 1.0, "l2"), torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), torch.tensor([-1.0]))
    tensor([[0.1200, 0.1600]], dtype=torch.float64)
    """
    radii = room.radii.double().flatten(1)
    gain = (slope.double().flatten(1) * radii).nan_to_num(0.0)
    upwards = torch.where((height > 0)[:, None], gain < 0, gain > 0)
    ends = torch.where(upwards.view_as(start), room.high, room.low)
    most = ((ends.double() - start.double()).abs().flatten(1) / radii.clamp(min=1e-300)).nan_to_num(0.0)
    most = torch.where((gain != 0) & (radii > 0), most, 0.0)
    spent = _greedy if room.norm == "l1" else _level
    shares = spent(gain.abs(), most, height.double().abs()[:, None], even=room.norm == "linf")
    return (shares * radii * torch.where(upwards, 1.0, -1.0)).view(start.shape)


def _level(gain: Tensor, most: Tensor, need: Tensor, *, even: bool) -> Tensor:
    """Return the smallest shares (n, m), at most `most`, that bring `need`: all alike, or in proportion to their gains.

    Shares grow with one level until each meets its end; between two ends what they bring is linear in the level.
    """
    speed = torch.ones_like(gain) if even else gain
    ends = torch.where(speed > 0, most / speed.clamp(min=1e-300), 0.0)
    order = ends.argsort(dim=1, stable=True)
    sorted_ends = ends.gather(1, order)
    full = _before((gain * most).gather(1, order))  # brought by those at their ends
    pace = (gain * speed).gather(1, order)
    rest = pace.flip(1).cumsum(1).flip(1)  # how fast the others bring more
    reached = full + rest * sorted_ends >= need
    first = torch.where(reached.any(1, keepdim=True), reached.int().argmax(1, keepdim=True), gain.shape[1] - 1)
    level = (need - full.gather(1, first)) / rest.gather(1, first).clamp(min=1e-300)
    return torch.minimum(level.clamp(0, 1e300) * speed, most)


def _greedy(gain: Tensor, most: Tensor, need: Tensor, *, even: bool) -> Tensor:
    """Return the shares of least sum: the largest gains first, each up to its end."""
    order = gain.argsort(dim=1, descending=True, stable=True)
    brings = (gain * most).gather(1, order)
    taken = torch.minimum((need - _before(brings)).clamp(min=0), brings)
    shares = taken / gain.gather(1, order).clamp(min=1e-300)
    return torch.zeros_like(gain).scatter(1, order, shares)


def _before(values: Tensor) -> Tensor:
    """Return the sums of all columns before each; no differences, which infinite ends would spoil."""
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1].cumsum(1)], dim=1)


@dataclass
class Approach:
    """What a search has found: the nearest success of each row and its share of the budgets, infinite where none."""

    point: Tensor
    share: Tensor
    margin: Tensor

    @classmethod
    def of(cls, clean: Tensor) -> "Approach":
        """Return nothing found."""
        share = torch.full((len(clean),), torch.inf, dtype=torch.float64, device=clean.device)
        return cls(clean.clone(), share, torch.zeros_like(share))

    def note(self, rows: Tensor, z: Tensor, share: Tensor, answer: Answer) -> None:
        """Keep candidates z of the rows numbered `rows` that succeed nearer than all before."""
        better = answer.fooled & (share < self.share[rows])
        kept = rows[better]
        self.point[kept], self.share[kept] = z[better], share[better]
        self.margin[kept] = answer.margin[better].double()


@dataclass(frozen=True)
class FAB:
    """Cross the boundary towards each of the best wrong classes, and come nearer."""

    name: ClassVar[str] = "fab"
    reads: ClassVar[Reads] = "gradients"

    targets: int = 9
    steps: int = 100
    restarts: int = 1
    search: int = 3  # steps of the final search, section 3.4

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; a row leaves at its first success inside the ball."""
        for rank in range(1, min(self.targets, chase.goal.aims) + 1):
            for restart in range(self.restarts):
                where = chase.active
                if len(where):
                    self._search(chase, where, rank, restart, stream, Approach.of(chase.clean[where]), ends=True)

    def minimal(self, chase: Chase, stream: Stream) -> tuple[Tensor, Tensor]:
        """Return the nearest success of every row, (n, ...), and its share of the budgets, (n,) float64, or infinity.

        Shares above one lie outside the threat's ball: nothing is noted in the chase.
        """
        where = torch.arange(len(chase.clean), device=chase.clean.device)
        found = Approach.of(chase.clean)
        for rank in range(1, min(self.targets, chase.goal.aims) + 1):
            for restart in range(self.restarts):
                self._search(chase, where, rank, restart, stream, found, ends=False)
        return found.point, found.share

    def _search(
        self, chase: Chase, where: Tensor, rank: int, restart: int, stream: Stream, found: Approach, *, ends: bool
    ) -> None:
        """Search towards the class of a rank; `found` is of the rows `where`. With `ends`, successes in the ball end it."""
        walk = _Walk(
            chase, where, room(chase, where), chase.goal[where].aim(chase.raw(chase.clean[where]), rank), found, ends
        )
        x = walk.room.clean
        if restart:
            noise = stream.child(f"{rank} {restart}").normal(chase.rows[where], x.shape[1:]).to(x.dtype)
            x = _around(walk.room, noise, found.share.clamp(max=1.0) / 2)
        for _ in range(self.steps):
            if not len(walk.rows):
                return
            x = walk.step(x)
        walk.polish(self.search)


def _around(room: Ball, noise: Tensor, share: Tensor) -> Tensor:
    """Return points that spend a share (n,) of the budgets, from normal noise."""
    wide = share.to(noise.dtype).view(-1, *[1] * (noise.ndim - 1))
    if room.norm == "linf":
        noise = 2 * torch.special.ndtr(noise) - 1
    length = room.share(room.clean + noise * room.radii).to(noise.dtype).view_as(wide)
    x = room.clean + wide * room.radii * noise / length.clamp(min=1e-12)
    return torch.minimum(torch.maximum(x, room.low), room.high)


@dataclass
class _Walk:
    """The rows that are searched: their positions in the chase, and in what has been found."""

    chase: Chase
    where: Tensor
    room: Ball
    aim: Tensor
    found: Approach
    ends: bool
    rows: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.rows = torch.arange(len(self.where), device=self.where.device)

    def step(self, x: Tensor) -> Tensor:
        """Return the next points: towards the plane from x and from the clean rows, and back where they succeed."""
        _, height, slope = self.chase.rise(x, self.where, "margin", self.aim)
        height = self._above(height)
        clean = self.room.clean
        home = height - ((x - clean).double() * slope.double()).nan_to_num(0.0).flatten(1).sum(1)
        here, there = onto(self.room, x, slope, height), onto(self.room, clean, slope, home)
        far, near = (self._length(way).clamp(min=NEAREST) for way in (here, there))
        part = (far / (far + near)).clamp(max=MOST_HOME).view(-1, *[1] * (x.ndim - 1))
        new = (1 - part) * (x.double() + OVERSHOOT * here) + part * (clean.double() + OVERSHOOT * there)
        x = torch.minimum(torch.maximum(new.to(x.dtype), self.room.low), self.room.high)
        answer, gone = self._try(self.outwards(x))
        wide = answer.fooled.view(-1, *[1] * (x.ndim - 1))
        return self._keep(torch.where(wide, clean + (x - clean) * BACK, x), ~gone)

    def polish(self, steps: int) -> None:
        """Move each success along its line to the clean row, to where the margin would be zero if it were linear."""
        if not len(self.rows) or not steps:
            return
        below, low = self.room.clean, self.chase.start[self.where]
        for _ in range(steps):
            point, top = self.found.point[self.rows], self.found.margin[self.rows]
            part = -low / (top - low).clamp(min=1e-300)
            part = (part + 1e-3 * (1 - part)).clamp(0, 1)  # a little beyond: on the line itself nothing is decided
            z = self.outwards(below + part.view(-1, *[1] * (point.ndim - 1)).to(point.dtype) * (point - below))
            answer, gone = self._try(z)
            fell = answer.fooled.view(-1, *[1] * (point.ndim - 1))
            below, low = torch.where(fell, below, z), torch.where(answer.fooled, low, answer.margin.double())
            below, low = self._keep(below, ~gone), low[~gone]

    def outwards(self, x: Tensor) -> Tensor:
        """Return x with whole numbers made whole: away from the clean row, since nearer would not cross the boundary."""
        if self.room.whole is None:
            return x
        away = torch.where(x > self.room.clean, x.ceil(), x.floor())
        whole = torch.where(self.room.whole.to(x.device) & (x != self.room.clean), away, x)
        return torch.minimum(torch.maximum(whole, self.room.low), self.room.high)

    def _try(self, z: Tensor) -> tuple[Answer, Tensor]:
        """Ask about candidates; return the answers, and which succeed inside the ball and end their search."""
        answer, share = self.chase.ask(z, self.where), self.room.share(z)
        self.found.note(self.rows, z, share, answer)
        gone = torch.zeros_like(answer.fooled)
        inside = (answer.fooled & (share <= 1)).nonzero().squeeze(1)
        if self.ends and len(inside):
            part = Answer(answer.margin[inside], answer.fooled[inside])
            gone[inside] = self.chase.observe(self.where[inside], z[inside], part)
        return answer, gone

    def _keep(self, x: Tensor, keep: Tensor) -> Tensor:
        if bool(keep.all()):
            return x
        self.where, self.aim, self.rows = (part[keep] for part in (self.where, self.aim, self.rows))
        self.room = self.room[keep]
        return x[keep]

    def _above(self, height: Tensor) -> Tensor:
        """Return how far beyond success a targeted margin is: a prediction has to move by its tolerance."""
        goal = self.chase.goal
        return height.double() - (goal.tolerance[self.where] if isinstance(goal, Move) else 0.0)

    def _length(self, way: Tensor) -> Tensor:
        """Return the length of ways in budgets, (n,)."""
        shares = (way.flatten(1) / self.room.radii.double().flatten(1).clamp(min=1e-300)).abs()
        if self.room.norm == "linf":
            return shares.amax(1)
        return shares.square().sum(1).sqrt() if self.room.norm == "l2" else shares.sum(1)
