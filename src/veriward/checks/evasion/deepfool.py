"""DeepFool: step to the nearest face of the model's linear picture until the decision turns.

Moosavi-Dezfooli, Fawzi & Frossard, 2016 (arXiv:1511.04599), algorithm 2 and equations 9 to 11 for other norms. Distances
are in budgets, so that numbers with radii of their own cost what the threat says; numbers that stand at an end of the box
take no part in a step that would push them out.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.goals import Goal, Move
from veriward.core.ball import Ball
from veriward.core.streams import Stream


@dataclass(frozen=True)
class DeepFool:
    """Nearest of the best `faces` wrong classes, again and again; the answer is overshot a little, as published."""

    name: ClassVar[str] = "deepfool"
    reads: ClassVar[Reads] = "gradients"

    steps: int = 50
    faces: int = 9  # of the best wrong classes; the authors' code looks at ten classes, the right one among them
    overshoot: float = 0.02

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        where = chase.active
        ball, z = chase.ball(where), chase.clean[where].clone()
        aims = self._aims(chase, where, chase.raw(ball.clean))
        for _ in range(self.steps):
            step, length = self._shift(chase, where, ball, z, aims)
            z = z + step
            candidate = ball.project(ball.clean + (1 + self.overshoot) * (z - ball.clean))
            keep = ~chase.observe(where, candidate, chase.ask(candidate, where))
            keep &= (length > 0) & (ball.share(z) < 2)  # past the boundary, or too far out to come back
            if not bool(keep.any()):
                return
            where, ball, z, aims = where[keep], ball[keep], z[keep], [aim[keep] for aim in aims]

    def _aims(self, chase: Chase, where: Tensor, raw: Tensor) -> list[Tensor]:
        goal = chase.goal[where]
        return [goal.aim(raw, rank) for rank in range(1, min(self.faces, goal.aims) + 1)]

    def _shift(self, chase: Chase, where: Tensor, ball: Ball, z: Tensor, aims: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the step to the nearest face, (n, ...), and its length in budgets, (n,)."""
        raw, goal = chase.raw(z), chase.goal[where]
        nearest = torch.full((len(z),), torch.inf, dtype=torch.float64, device=z.device)
        best = torch.zeros_like(z)
        for aim in aims:
            gradient = chase.slope(z, where, "margin", aim)[1]
            step, distance = to_face(ball, z, gradient, beyond(goal, raw, aim))
            closer = distance < nearest
            best = torch.where(_as(closer, z), step, best)
            nearest = torch.where(closer, distance, nearest)
        return best, nearest


def beyond(goal: Goal, raw: Tensor, aim: Tensor) -> Tensor:
    """Return how far outputs are beyond the boundary towards `aim`, (n,): negative before it."""
    value = goal.loss(raw, "margin", aim)
    return value - goal.tolerance if isinstance(goal, Move) else value


def to_face(ball: Ball, z: Tensor, gradient: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shortest step (n, ...) in budgets that lifts `value` (n,) to zero along `gradient`, and its length (n,).

    With q the dual norm of the slopes per budget: |value| / q long, spread as the norm's steepest ascent is.

    >>> from veriward.core.ball import flat_ball
    >>> ball = flat_ball(torch.zeros(1, 2), 1.0, "l2")
    >>> to_face(ball, ball.clean, torch.tensor([[3.0, 4.0]]), torch.tensor([-1.0]))[1].item()
    0.2...
    """
    free = torch.where(gradient > 0, z < ball.high, z > ball.low) & (ball.radii > 0)
    steep = torch.where(free, gradient * ball.radii, 0.0).nan_to_num(0.0, 0.0, 0.0)
    flat, need = steep.flatten(1).double(), (-value.double()).clamp(min=0)
    if ball.norm == "linf":
        dual, direction = flat.abs().sum(1), flat.sign()
    elif ball.norm == "l2":
        dual = flat.square().sum(1).sqrt()
        direction = flat / dual.clamp(min=1e-300)[:, None]
    else:
        dual, first = flat.abs().max(1)
        direction = torch.zeros_like(flat).scatter_(1, first[:, None], flat.gather(1, first[:, None]).sign())
    length = torch.where(dual > 0, need / dual.clamp(min=1e-300), torch.inf)
    way = torch.where(dual > 0, length, 0.0)[:, None] * direction
    moved = (way.view_as(z) * ball.radii.double()).to(z.dtype)
    return torch.minimum(torch.maximum(z + moved, ball.low), ball.high) - z, length


def _as(mask: Tensor, z: Tensor) -> Tensor:
    return mask.view(-1, *[1] * (z.ndim - 1))
