"""The classic gradient attacks: one loop, with the published loss, step and memory of each.

FGSM: Goodfellow et al., 2015 (arXiv:1412.6572), section 4. BIM: Kurakin et al., 2017 (arXiv:1607.02533), section 2.2.
MIM: Dong et al., 2018 (arXiv:1710.06081), algorithm 1. All three raise the cross-entropy from the row itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.goals import Loss
from veriward.core.streams import Stream

Slope = Callable[[Tensor, Tensor], Tensor]  # (z, where) -> the gradient of what is to be raised


@dataclass(frozen=True)
class Climb:
    """Steps of one size up the steepest way of the norm; `decay` is what stays of earlier gradients.

    `look`: the model is asked about every so many steps, and about the last one.
    """

    steps: int
    size: float  # share of the budget
    decay: float = 0.0
    look: int = 1

    def run(self, chase: Chase, where: Tensor, slope: Slope) -> None:
        """Climb from the rows themselves; rows leave at their first success."""
        ball = chase.ball(where)
        z = ball.clean.clone()
        memory = torch.zeros_like(z)
        for step in range(1, self.steps + 1):
            memory = self.decay * memory + unit(slope(ball.project(z), where))
            z = ball.clamp(ball.step(z, memory, self.size))
            if step % self.look and step < self.steps:
                continue
            candidate = ball.project(z)
            keep = ~chase.observe(where, candidate, chase.ask(candidate, where))
            if not bool(keep.any()):
                return
            where, ball, z, memory = where[keep], ball[keep], z[keep], memory[keep]


def unit(gradient: Tensor) -> Tensor:
    """Return gradients (n, ...) of L1 norm one; zero stays zero, what is no number becomes zero.

    >>> unit(torch.tensor([[3.0, -1.0], [0.0, 0.0]]))
    tensor([[ 0.7500, -0.2500],
            [ 0.0000,  0.0000]])
    """
    gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
    size = gradient.flatten(1).abs().sum(1).view(-1, *[1] * (gradient.ndim - 1))
    return gradient / size.clamp(min=torch.finfo(gradient.dtype).tiny)


def white(chase: Chase, loss: Loss) -> Slope:
    """Return the victim's own gradient as a slope."""
    return lambda z, where: chase.slope(z, where, loss)[1]


@dataclass(frozen=True)
class FGSM:
    """One step of the whole budget: the sign of the gradient under L-infinity, its direction under L2."""

    name: ClassVar[str] = "fgsm"
    reads: ClassVar[Reads] = "gradients"

    loss: Loss = "ce"

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        Climb(1, 1.0).run(chase, chase.active, white(chase, self.loss))


@dataclass(frozen=True)
class BIM:
    """The same in small steps, clamped into the ball after each; a grey level each in the paper."""

    name: ClassVar[str] = "bim"
    reads: ClassVar[Reads] = "gradients"

    steps: int = 10
    step_size: float | None = (
        None  # share of the budget; None: the whole budget is twice the way that the steps could go
    )
    loss: Loss = "ce"

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        Climb(self.steps, self.step_size or 2 / self.steps).run(chase, chase.active, white(chase, self.loss))


@dataclass(frozen=True)
class MIM:
    """The same with momentum: gradients of L1 norm one are added up, `decay` of them kept; steps of eps / steps."""

    name: ClassVar[str] = "mim"
    reads: ClassVar[Reads] = "gradients"

    steps: int = 10
    decay: float = 1.0
    step_size: float | None = None  # share of the budget; None: as published, the budget over the steps
    loss: Loss = "ce"

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        climb = Climb(self.steps, self.step_size or 1 / self.steps, self.decay)
        climb.run(chase, chase.active, white(chase, self.loss))
