"""The attack of Carlini & Wagner, 2017 (arXiv:1608.04644), section VI-A: the smallest Euclidean change by gradient descent.

Minimise |u|^2 + c max(-margin, -confidence), u in budgets, over w with z = middle + half tanh(w): the box holds by itself.
The weight c is found by binary search, row by row. The margin is their f6, and Adam their optimiser; its rate falls to
nothing here, which lands closer with fewer steps.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.core.ball import Ball
from veriward.core.streams import Stream

FIRST_WEIGHT, HARDER = 1.0, 10.0  # of the margin against a distance of one budget; times ten until it succeeds
EDGE = 1 - 1e-6  # tanh never reaches the ends of the box: the authors shrink it as little


@dataclass(frozen=True)
class CarliniWagner:
    """Descend to the nearest wrong row. `nearest`: keep looking for nearer successes after the first one."""

    name: ClassVar[str] = "carlini"
    reads: ClassVar[Reads] = "gradients"

    steps: int = 100
    searches: int = 6
    rate: float = 0.1
    confidence: float = 0.0
    nearest: bool = False

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        where = chase.active
        weight, small, large, reached = (
            torch.full((len(where),), start, dtype=torch.float64, device=where.device)
            for start in (FIRST_WEIGHT, 0.0, torch.inf, torch.inf)
        )
        for _ in range(self.searches):
            fooled, reached = self._descend(chase, where, weight, reached)
            large, small = torch.where(fooled, weight, large), torch.where(fooled, small, weight)
            middle = torch.where(small > 0, (small * large).sqrt(), large / HARDER)
            weight = torch.where(torch.isinf(large), small * HARDER, middle)
            if not self.nearest:
                left = ~chase.done[where]
                where, weight, small, large, reached = (part[left] for part in (where, weight, small, large, reached))
            if not len(where):
                return

    def _descend(self, chase: Chase, where: Tensor, weight: Tensor, reached: Tensor) -> tuple[Tensor, Tensor]:
        """Run one descent; return which rows were fooled anywhere, and the smallest share of the budget so far."""
        ball, path = chase.ball(where), _Path.of(chase.ball(where))
        fooled = torch.zeros(len(where), dtype=torch.bool, device=where.device)
        for step in range(self.steps + 1):
            z = path.z
            answer, gradient = chase.slope(z, where, "margin")
            fooled |= answer.fooled
            share = ball.share(z)
            nearer = answer.fooled & (share < reached) & (~chase.done[where] | self.nearest)
            if bool(nearer.any()):  # only what is nearer is told, so that the nearest is what remains
                self._tell(chase, where[nearer], ball[nearer], z[nearer])
                reached = torch.where(nearer, share, reached)
            if step == self.steps or (not self.nearest and bool(chase.done[where].all())):
                break
            push = torch.where(answer.margin.double() < self.confidence, weight, 0.0)
            path.move(push, gradient, step, self.rate * (1 - step / self.steps))
        return fooled, reached

    def _tell(self, chase: Chase, where: Tensor, ball: Ball, z: Tensor) -> None:
        candidate = ball.project(z)  # far ones may fool from the rim, too
        answer = chase.ask(candidate, where)
        chase.observe(where, candidate, answer)
        # a row that was broken before gets its nearer success, under the same two conditions
        holds = answer.fooled & chase.opened.domain.allowed(candidate, chase.clean[where], chase.threat)
        chase.found[where[holds]] = candidate[holds]


class _Path:
    """Where the descent stands: w of the tanh, and Adam's two memories (Kingma & Ba, 2015, algorithm 1)."""

    def __init__(self, ball: Ball, w: Tensor) -> None:
        self.ball, self.w = ball, w
        self.first, self.second = torch.zeros_like(w), torch.zeros_like(w)
        self.middle, self.half = (
            (ball.high.double() + ball.low.double()) / 2,
            (ball.high.double() - ball.low.double()) / 2,
        )

    @classmethod
    def of(cls, ball: Ball) -> "_Path":
        """Start at the rows themselves."""
        half = ((ball.high.double() - ball.low.double()) / 2).clamp(min=1e-300)
        part = (ball.clean.double() - (ball.high.double() + ball.low.double()) / 2) / half
        return cls(ball, torch.atanh((part * EDGE).clamp(-EDGE, EDGE)))

    @property
    def z(self) -> Tensor:
        """The rows where the descent stands, (n, ...)."""
        moved = (self.middle + self.half * torch.tanh(self.w)).to(self.ball.clean.dtype)
        inside = torch.minimum(torch.maximum(moved, self.ball.low), self.ball.high)
        return torch.where(self.ball.high > self.ball.low, inside, self.ball.clean)

    def move(self, push: Tensor, gradient: Tensor, step: int, rate: float) -> None:
        """Take one step down |u|^2 - push * margin."""
        radii = self.ball.radii.double().clamp(min=1e-300)
        away = torch.where(self.ball.radii > 0, 2 * (self.z - self.ball.clean).double() / radii.square(), 0.0)
        pull = push.view(-1, *[1] * (gradient.ndim - 1)) * gradient.double().nan_to_num(0.0, 0.0, 0.0)
        slope = (away.nan_to_num(0.0) - pull) * self.half * (1 - torch.tanh(self.w).square())
        self.first = 0.9 * self.first + 0.1 * slope
        self.second = 0.999 * self.second + 0.001 * slope.square()
        mean, spread = self.first / (1 - 0.9 ** (step + 1)), self.second / (1 - 0.999 ** (step + 1))
        self.w = self.w - rate * mean / (spread.sqrt() + 1e-8)
