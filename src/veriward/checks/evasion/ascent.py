"""Projected gradient ascent with restarts. Madry et al., 2018 (arXiv:1706.06083), section 2.1.

The loss is the margin, not cross-entropy, so that saturated probabilities still have a slope (Carlini & Wagner, 2017,
f6). The first start is the row itself and heads for the best wrong class; each further one starts at random and heads for
the next best class.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from veriward.adapters.modules import TILE
from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.goals import Answer
from veriward.core.ball import Ball
from veriward.core.streams import Stream

Sizes = Callable[[int], float]


@dataclass(frozen=True)
class PGD:
    """Ascend the margin inside the ball."""

    name: ClassVar[str] = "pgd"
    reads: ClassVar[Reads] = "gradients"

    steps: int = 40
    restarts: int = 4
    step_size: float | None = None  # share of each number's budget; None: falls from 2 to 0, which breaks more rows

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        for restart in range(self.restarts):
            where = chase.active
            if len(where):
                self._ascend(chase, where, restart, stream.child(str(restart)))

    def _ascend(self, chase: Chase, where: Tensor, restart: int, stream: Stream) -> None:
        z, aim = chase.clean[where], None
        if restart:
            aim = chase.goal[where].aim(chase.raw(z), restart)[None]
            z = drawn(chase, where, stream)
        climb(chase, where, z[None], aim, self.steps, self.size)

    def size(self, step: int) -> float:
        """Return the step's share of the budget: from twice the budget down to nothing, unless it is fixed."""
        return self.step_size or falling(step, self.steps)


def falling(step: int, steps: int) -> float:
    """Return the share of the budget of a step out of `steps`: from 2 down to nothing.

    >>> falling(0, 40), falling(30, 40)
    (2.0, 0.5)
    """
    return 2 * (1 - step / steps)


def drawn(chase: Chase, where: Tensor, stream: Stream, number: int = 0) -> Tensor:
    """Return random starts in the balls of rows, (n, ...)."""
    noise = stream.normal(chase.rows[where], chase.clean.shape[1:], number)
    return chase.ball(where).draw(noise.to(chase.clean.dtype))


def moved(ball: Ball, z: Tensor, gradient: Tensor, size: float) -> Tensor:
    """Return z after a step of `size` budgets; under L1, where a budget is few numbers, half as much of the whole way."""
    if ball.norm == "l1":
        return ball.toward(z, gradient, min(size / 2, 1.0))
    return ball.clamp(ball.step(z, gradient, size))


def climb(chase: Chase, where: Tensor, z: Tensor, aim: Tensor | None, steps: int, size: Sizes) -> Tensor:
    """Ascend the margin from `z` (lanes, n, ...): several ways at once for each of the rows `where` (n,).

    `aim` (lanes, n) holds their directions. A row leaves with all its lanes at its first success. Returns the largest
    margin of each lane, (lanes, n) float64.
    """
    run = Lanes(
        where, z.flatten(0, 1), None if aim is None else aim.flatten(), chase.ball(where.repeat(len(z))), len(z)
    )
    if not len(where):  # a program of one fixed size of batch has no batch of none
        return run.top
    for step in range(steps):
        candidate = run.ball.project(run.z) if run.ball.whole is not None else run.z
        answer, gradient = chase.slope(candidate, run.many, "margin", run.aim)
        left = run.observe(chase, candidate, answer)
        if not bool(left.any()):
            return run.top
        # z itself is not rounded: whole numbers would never leave their place by steps of less than a half
        run.z = moved(run.ball, run.z, gradient, size(step))
        run.compact(left)
    candidate = run.ball.project(run.z)
    run.observe(chase, candidate, chase.ask(candidate, run.many))
    return run.top


@dataclass
class Lanes:
    """Rows that climb, all of them in lane 0, then all of them in lane 1, and so on."""

    where: Tensor  # (n,)
    z: Tensor  # (lanes * n, ...)
    aim: Tensor | None  # (lanes * n,)
    ball: Ball
    count: int
    top: Tensor = field(init=False)  # (lanes, n at the start)
    place: Tensor = field(init=False)  # of the rows that are left among those at the start
    many: Tensor = field(init=False)  # `where`, for each lane

    def __post_init__(self) -> None:
        n, device = len(self.where), self.where.device
        self.top = torch.full((self.count, n), -torch.inf, dtype=torch.float64, device=device)
        self.place, self.many = torch.arange(n, device=device), self.where.repeat(self.count)

    def observe(self, chase: Chase, candidate: Tensor, answer: Answer) -> Tensor:
        """Show the chase one lane after the other; return which rows are left, (n,)."""
        n = len(self.where)
        for lane in range(self.count):
            part = slice(lane * n, (lane + 1) * n)
            chase.observe(self.where, candidate[part], answer[part])
        best = torch.maximum(self.top[:, self.place], answer.margin.double().view(self.count, n))
        self.top[:, self.place] = best
        return ~chase.done[self.where]

    def compact(self, left: Tensor) -> None:
        """Drop rows that are broken, once that saves a tile: fewer rows in a tile cost as much."""
        n, rest = self.count * len(left), self.count * int(left.sum())
        if -(-n // TILE) == -(-rest // TILE):
            return
        keep = left.repeat(self.count)
        self.where, self.place, self.many = self.where[left], self.place[left], self.many[keep]
        self.z, self.ball = self.z[keep], self.ball[keep]
        self.aim = None if self.aim is None else self.aim[keep]
