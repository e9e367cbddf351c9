"""Where the model's own slope is none, or lies: the slope of the model smoothed by noise, read from its scores.

Rounding, steps and ripples have no useful gradient; their mean over noise has. It is estimated from pairs of answers
(natural evolution strategies; Ilyas et al. 2018, arXiv:1804.08598, section 2), the way Tramer et al. 2020
(arXiv:2002.08347) broke activations with winners. A stand-in for the slope that the subject names is another matter: see
`adapters/backward.py` for the backward pass differentiable approximation of Athalye et al. 2018 (arXiv:1802.00420).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.symptoms import detached, slopes
from veriward.core.ball import Ball
from veriward.core.streams import Stream

WIDEST, NARROWEST = 0.5, 0.05  # of the budget: the noise at the first step and at the last
MOMENTUM = 0.8  # one estimate is mostly noise; several in a row are not


@dataclass(frozen=True)
class SmoothedPGD:
    """Ascend the smoothed margin on the rows whose own slope is flat or misleads; others are left alone."""

    name: ClassVar[str] = "smoothed-pgd"
    reads: ClassVar[Reads] = "scores"

    steps: int = 40
    pairs: int = 10

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows that need it; successes are noted in the chase."""
        where = chase.active
        where = where[needing(chase, where, stream.child("slopes"))]
        ball, z = chase.ball(where), chase.clean[where].clone()
        aim = chase.goal[where].aim(chase.raw(z), 1) if len(where) else where
        mean = torch.zeros_like(z)
        for step in range(self.steps):
            if not len(where):
                return
            part = step / self.steps
            width = WIDEST * (NARROWEST / WIDEST) ** part
            mean = MOMENTUM * mean + self._slope(chase, where, ball, z, aim, width, step, stream)
            z = ball.clamp(ball.step(z, mean, 0.5 * (1 - part)))
            candidate = ball.project(z)
            keep = ~chase.observe(where, candidate, chase.ask(candidate, where))
            where, ball, z, aim, mean = where[keep], ball[keep], z[keep], aim[keep], mean[keep]

    def _slope(
        self, chase: Chase, where: Tensor, ball: Ball, z: Tensor, aim: Tensor, width: float, step: int, stream: Stream
    ) -> Tensor:
        """Return the slope of the margin under noise of `width` budgets, from pairs of opposite candidates."""
        total, goal = torch.zeros_like(z), chase.goal[where]
        for pair in range(self.pairs):
            noise = stream.normal(chase.rows[where], z.shape[1:], step * self.pairs + pair).to(z.dtype)
            shift = width * ball.radii * noise
            up, down = (goal.loss(chase.raw(ball.project(z + sign * shift)), "margin", aim) for sign in (1, -1))
            total += (up - down).to(z.dtype).nan_to_num(0.0, 0.0, 0.0).view(-1, *[1] * (z.ndim - 1)) * noise
        return total / ball.radii.clamp(min=torch.finfo(z.dtype).tiny)


def needing(chase: Chase, where: Tensor, stream: Stream) -> Tensor:
    """Return which rows have no slope to go by, (n,): flat, not finite, contradicted by answers, or cut off."""
    if not hasattr(chase.opened.model, "forward"):
        return torch.full((len(where),), detached(chase.opened), device=where.device)
    if not len(where) or chase.votes > 1:
        return torch.zeros(len(where), dtype=torch.bool, device=where.device)
    _, gradient = chase.slope(chase.clean[where], where)
    steep = (gradient.flatten(1) != 0).any(1) & torch.isfinite(gradient.flatten(1)).all(1)
    return ~steep | slopes(chase, where, stream)[1]
