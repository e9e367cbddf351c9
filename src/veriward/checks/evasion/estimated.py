"""Gradients estimated from scores: two questions per random direction, on both sides of the point.

NES: Ilyas et al., 2018 (arXiv:1804.08598), section 2.1, normal directions, momentum and signs. SPSA: Uesato et al., 2018
(arXiv:1802.05666), algorithm 1, directions of plus and minus one, and Adam. Both raise the margin, and whole numbers and
categories are asked as the numbers they are.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.probing import blocks, box
from veriward.core.ball import Ball
from veriward.core.streams import Stream


@dataclass(frozen=True)
class NES:
    """Steps up an estimated gradient with momentum; `queries` of each row, `pairs` of questions per step."""

    name: ClassVar[str] = "nes"
    reads: ClassVar[Reads] = "scores"

    queries: int = 1000
    pairs: int = 25  # the paper asks 50 questions a step
    radius: float = 0.1  # of the budget, between the point and a question
    momentum: float = 0.9

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        where = chase.active
        ball = chase.ball(where)
        z, memory = ball.clean.clone(), torch.zeros_like(ball.clean)
        steps = steps_of(self.queries, self.pairs)
        for step in range(steps):
            noise = _Noise(stream.child("normal"), chase.rows[where], step * self.pairs, signs=False)
            estimate = estimated(chase, where, ball, z, noise, self.pairs, self.radius)
            memory = self.momentum * memory + (1 - self.momentum) * estimate
            slope = memory / ball.radii.clamp(min=torch.finfo(z.dtype).tiny)
            z = ball.clamp(ball.step(z, slope, 2 * (1 - step / steps)))
            candidate = ball.project(z)
            keep = ~chase.observe(where, candidate, chase.ask(candidate, where))
            if not bool(keep.any()):
                return
            where, ball, z, memory = where[keep], ball[keep], z[keep], memory[keep]


@dataclass(frozen=True)
class SPSA:
    """Adam on an estimated gradient, projected after each step; `queries` of each row, `pairs` of questions per step."""

    name: ClassVar[str] = "spsa"
    reads: ClassVar[Reads] = "scores"

    queries: int = 1000
    pairs: int = 25
    radius: float = 0.3  # of the budget: the paper's 0.01 at eps = 8 / 255
    rate: float = 0.3  # of the budget: the paper's 0.01 at eps = 8 / 255

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        where = chase.active
        ball = chase.ball(where)
        z, first, second = ball.clean.clone(), torch.zeros_like(ball.clean), torch.zeros_like(ball.clean)
        for step in range(steps_of(self.queries, self.pairs)):
            noise = _Noise(stream.child("signs"), chase.rows[where], step * self.pairs, signs=True)
            estimate = estimated(chase, where, ball, z, noise, self.pairs, self.radius)
            first, second = 0.9 * first + 0.1 * estimate, 0.999 * second + 0.001 * estimate.square()
            mean, spread = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
            move = mean / (spread.sqrt() + torch.finfo(z.dtype).tiny)
            z = ball.clamp(z + self.rate * ball.radii * move)
            candidate = ball.project(z)
            keep = ~chase.observe(where, candidate, chase.ask(candidate, where))
            if not bool(keep.any()):
                return
            where, ball = where[keep], ball[keep]
            z, first, second = z[keep], first[keep], second[keep]


def steps_of(queries: int, pairs: int) -> int:
    """Return how many steps a number of queries pays: two per pair, and one for the candidate.

    >>> steps_of(1000, 25)
    19
    """
    return max(1, queries // (2 * pairs + 1))


@dataclass(frozen=True)
class _Noise:
    """Random directions of rows, numbered from `start`."""

    stream: Stream
    rows: Tensor
    start: int
    signs: bool

    def draw(self, number: int, like: Tensor) -> Tensor:
        """Return one direction per row, (n, ...)."""
        shape = like.shape[1:]
        if self.signs:
            return (self.stream.uniform(self.rows, shape, self.start + number) < 0.5).to(like.dtype) * 2 - 1
        return self.stream.normal(self.rows, shape, self.start + number).to(like.dtype)


def estimated(chase: Chase, where: Tensor, ball: Ball, z: Tensor, noise: _Noise, pairs: int, radius: float) -> Tensor:
    """Return the estimated slope of the margin per budget, (n, ...): the mean of difference times direction."""
    around, total = box(ball), torch.zeros_like(z)
    for part in blocks(pairs, torch.cat([z, z])):
        ways = [noise.draw(number, z) for number in part]
        sides = [around.project(z + side * radius * ball.radii * way) for way in ways for side in (1, -1)]
        margins = chase.ask(torch.cat(sides), where.repeat(len(sides))).margin.view(len(sides), -1)
        for number, way in enumerate(ways):  # one after the other: the sum never depends on the blocks
            total += _shaped(margins[2 * number] - margins[2 * number + 1], z) * way
    return torch.where(ball.radii > 0, total / (2 * radius * pairs), 0.0)


def _shaped(values: Tensor, z: Tensor) -> Tensor:
    return values.to(z.dtype).view(-1, *[1] * (z.ndim - 1))
