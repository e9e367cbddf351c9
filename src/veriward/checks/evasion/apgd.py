"""Auto-PGD: ascent with momentum that halves its own step. Croce & Hein, 2020 (arXiv:2003.01690), algorithm 1.

A row's step begins at twice the budget. At checkpoints it is halved, and the row goes back to its best point, where fewer
than three steps in four raised the loss, or where the best loss has not risen since a checkpoint that halved nothing.
Under L1 the climb is APGD-L1 (Croce & Hein, 2021, arXiv:2103.01208, algorithm 1): steps of few numbers, as few as the best
point has moved, and no momentum. With `targets` it is APGD-T: one climb towards each of the best wrong classes.
"""

import math
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.room import room
from veriward.core.ball import Ball
from veriward.core.streams import Stream

MOMENTUM = 0.75  # of the new step against the last one: alpha, section 3
RISING = 0.75  # of the steps must raise the loss: rho, section 3
STAGES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # budgets and shares of the steps: arXiv:2103.01208, section 3.4
SPARSE_CHECK, SPARSER, SPARSE_DECAY, SPARSE_LEAST = 0.04, 0.95, 1.5, 0.1  # the same, algorithm 1
SPARSE_FIRST = 0.2  # of the numbers move in the first step


def checkpoints(steps: int) -> tuple[int, ...]:
    """Return the steps after which a row's step size is judged: ceil(p steps), section 3.

    >>> checkpoints(100)
    (22, 41, 57, 70, 80, 87, 93, 99)
    """
    before, part, found = 0, 22, []  # in hundredths: 0.22 + 0.19 is no 0.41 in binary
    while part < 100:
        found.append(-(-part * steps // 100))
        before, part = part, part + max(part - before - 3, 6)
    return tuple(sorted({step for step in found if 0 < step < steps}))


def begin(ball: Ball, noise: Tensor) -> Tensor:
    """Return random starts from standard normal noise, (n, ...), as AutoAttack draws them; inside the ball.

    L-infinity: uniform, the largest number at its end; L2: on the sphere; L1: the nearest point of the ball to noise as
    wide as the box, which few numbers move.
    """
    if ball.norm == "linf":
        even = 2 * torch.special.ndtr(noise) - 1
        top = even.abs().flatten(1).amax(1).view(-1, *[1] * (noise.ndim - 1))
        return ball.clamp(ball.clean + ball.radii * even / top.clamp(min=torch.finfo(noise.dtype).tiny))
    return ball.draw(noise) if ball.norm == "l2" else ball.clamp(ball.clean + noise * (ball.high - ball.low))


@dataclass
class Climb:
    """Rows on their way up: `z` now and `before`, the `best` point with its loss, and each row's own step.

    All fields are (n, ...) or, like `loss`, (n,); `size` and `share` are (n, 1, ...).
    """

    where: Tensor
    z: Tensor
    before: Tensor
    gradient: Tensor
    loss: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    size: Tensor  # of the step, in budgets
    share: Tensor  # of the numbers that move in a step, under L1
    rises: Tensor  # of the loss since the last checkpoint
    checked: Tensor  # the best loss at the last checkpoint
    halved: Tensor  # whether that checkpoint halved the step
    moved: Tensor  # how many numbers the best point had moved there, under L1

    def __getitem__(self, keep: Tensor) -> "Climb":
        return Climb(**{part.name: getattr(self, part.name)[keep] for part in fields(self)})

    @classmethod
    def start(cls, where: Tensor, ball: Ball, z: Tensor, loss: Tensor, gradient: Tensor, *, fresh: bool) -> "Climb":
        """Return a climb at its first point, of which loss and gradient are known."""
        rows = loss.view(-1, *[1] * (z.ndim - 1))
        moved = moves(z, ball.clean)
        share = torch.full_like(rows, SPARSE_FIRST, dtype=z.dtype)
        if not fresh:  # it comes from a climb in a larger ball: as sparse as that one got
            share = fewer(moved, z)
        nothing = torch.zeros_like(loss)
        return cls(
            where=where,
            z=z,
            before=z,
            gradient=gradient,
            loss=loss,
            best=z,
            best_gradient=gradient,
            best_loss=loss,
            size=torch.full_like(share, 1.0 if ball.norm == "l1" else 2.0),
            share=share,
            rises=nothing,
            checked=loss,
            halved=nothing.bool(),
            moved=torch.full_like(moved, z[0].numel()) if fresh else moved,
        )

    def advance(self, ball: Ball, momentum: float) -> None:
        """Step up the steepest way of the norm, then keep part of the last step; z stays in the ball."""
        new = ball.clamp(ball.step(self.z, self.gradient, self.size, self.share))
        if ball.norm != "l1" and momentum < 1:
            new = ball.clamp(self.z + momentum * (new - self.z) + (1 - momentum) * (self.z - self.before))
        self.before, self.z = self.z, new

    def arrive(self, loss: Tensor, gradient: Tensor) -> None:
        """Take note of the loss and the gradient at z."""
        self.rises = self.rises + (loss > self.loss)
        better = loss > self.best_loss
        wide = better.view(-1, *[1] * (self.z.ndim - 1))
        self.best = torch.where(wide, self.z, self.best)
        self.best_gradient = torch.where(wide, gradient, self.best_gradient)
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.loss, self.gradient = loss, gradient

    def halve(self, steps: int) -> None:
        """Judge the last `steps` steps by conditions 1 and 2 of section 3."""
        stuck = ~self.halved & (self.best_loss <= self.checked)
        self.halved = (self.rises < RISING * steps) | stuck
        back = self.halved.view_as(self.size)
        self.size = torch.where(back, self.size / 2, self.size)
        self._return(back)

    def sparsen(self, ball: Ball) -> None:
        """Judge by how many numbers the best point moves: where it got sparser, begin again there with whole steps."""
        moved = moves(self.best, ball.clean)
        sparser = (moved < SPARSER * self.moved).view_as(self.size)
        slower = (self.size / SPARSE_DECAY).clamp(min=SPARSE_LEAST)
        self.size = torch.where(sparser, torch.ones_like(self.size), slower)
        self.share = fewer(moved, self.z)
        self.moved = moved
        self._return(sparser)

    def _return(self, back: Tensor) -> None:
        self.z = torch.where(back, self.best, self.z)
        self.gradient = torch.where(back, self.best_gradient, self.gradient)
        self.loss = torch.where(back.flatten(), self.best_loss, self.loss)
        self.checked, self.rises = self.best_loss, torch.zeros_like(self.rises)


def moves(z: Tensor, clean: Tensor) -> Tensor:
    """Return how many numbers of each row differ from the clean one, (n,) float64; missing ones do not."""
    return ((z - clean).nan_to_num(0.0) != 0).flatten(1).sum(1).double()


def fewer(moved: Tensor, z: Tensor) -> Tensor:
    """Return the share of the numbers that the next steps move, (n, 1, ...): so many over 1.5, rounded down.

    Rounded up, as it is elsewhere, two numbers would stay two for ever, and on a linear model one is best.
    """
    count = (moved / SPARSE_DECAY).floor().clamp(min=1)
    return ((count - 0.5) / z[0].numel()).to(z.dtype).view(-1, *[1] * (z.ndim - 1))  # the step rounds up


@dataclass(frozen=True)
class APGD:
    """Ascend a loss with steps that size themselves. `targets`: climb towards each of so many wrong classes instead."""

    name: ClassVar[str] = "apgd"
    reads: ClassVar[Reads] = "gradients"

    loss: Literal["ce", "dlr", "margin"] = "ce"
    targets: int = 0
    steps: int = 100
    restarts: int = 1
    wide: bool = False  # begin in balls of three and of two budgets, as AutoAttack does under L1

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        for rank in range(1, min(self.targets, chase.goal.aims) + 1) if self.targets else (0,):
            for restart in range(self.restarts):
                where = chase.active
                if len(where):
                    self._climb(chase, where, rank, stream.child(f"{self.loss} {rank} {restart}"))

    def _climb(self, chase: Chase, where: Tensor, rank: int, stream: Stream) -> None:
        aim = chase.goal[where].aim(chase.raw(chase.clean[where]), rank) if rank else None
        stages = STAGES if self.wide else ((1.0, 1.0),)
        balls = [room(chase, where, times) for times, _ in stages]
        noise = stream.normal(chase.rows[where], balls[0].clean.shape[1:])
        z = begin(balls[0], noise.to(balls[0].clean.dtype))
        for number, (ball, (_, part)) in enumerate(zip(balls, stages, strict=True)):
            first, last = number == 0, number == len(stages) - 1
            steps = math.ceil(part * self.steps)
            z = self._stage(chase, where, ball, ball.clamp(z), aim, steps, fresh=first, counts=last)

    def _stage(
        self,
        chase: Chase,
        where: Tensor,
        ball: Ball,
        z: Tensor,
        aim: Tensor | None,
        steps: int,
        *,
        fresh: bool,
        counts: bool,
    ) -> Tensor:
        """Climb in one ball; return the best points. Rows leave at their first success, if successes count here."""
        checks, last = self._checks(steps, ball), 0
        # z itself is not rounded: whole numbers would never leave their place by steps of less than a half
        candidate = ball.project(z)
        answer, loss, gradient = chase.rise(candidate, where, self.loss, aim)
        climb = Climb.start(where, ball, z, loss, gradient, fresh=fresh)
        for step in range(1, steps + 1):
            if counts:
                keep = ~chase.observe(climb.where, candidate, answer)
                if not bool(keep.all()):
                    climb, ball, aim = climb[keep], ball[keep], aim[keep] if aim is not None else None
                if not len(climb.where):
                    return climb.best
            climb.advance(ball, MOMENTUM if step > 1 else 1.0)
            candidate = ball.project(climb.z)
            answer, loss, gradient = chase.rise(candidate, climb.where, self.loss, aim)
            climb.arrive(loss, gradient)
            if step in checks:
                climb.sparsen(ball) if ball.norm == "l1" else climb.halve(step - last)
                last = step
        if counts:
            chase.observe(climb.where, candidate, answer)
        return climb.best

    def _checks(self, steps: int, ball: Ball) -> frozenset[int]:
        if ball.norm == "l1":
            every = max(int(SPARSE_CHECK * self.steps), 1)
            return frozenset(range(every, steps + 1, every))
        return frozenset(checkpoints(steps))
