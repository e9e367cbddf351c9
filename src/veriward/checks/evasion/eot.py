"""Expectation over transformation: a random model is climbed by the mean of its gradients, and judged by majority.

Athalye, Engstrom, Ilyas & Kwok 2018 (arXiv:1707.07397), section 2; Athalye, Carlini & Wagner 2018 (arXiv:1802.00420).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.core.streams import Stream


@dataclass(frozen=True)
class EOTPGD:
    """Projected gradient ascent on the mean over `draws` calls; does nothing where the model answers alike each time.

    A candidate is a success where the majority of the chase's votes are fooled, which is asked every `every` steps.
    """

    name: ClassVar[str] = "eot-pgd"
    reads: ClassVar[Reads] = "gradients"

    steps: int = 40
    restarts: int = 3
    draws: int = 8
    every: int = 4

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows of a random model."""
        for restart in range(self.restarts if chase.votes > 1 else 0):
            where = chase.active
            if len(where):
                self._ascend(chase, where, restart, stream.child(str(restart)))
                chase.verify()  # narrow majorities are lost again: the next start goes on with them

    def _ascend(self, chase: Chase, where: Tensor, restart: int, stream: Stream) -> None:
        ball, z = chase.ball(where), chase.clean[where].clone()
        if restart:
            z = ball.draw(stream.normal(chase.rows[where], z.shape[1:]).to(z.dtype))
        for step in range(1, self.steps + 1):
            gradient = self._mean(chase, ball.project(z), where)
            z = ball.clamp(ball.step(z, gradient, 2 * (1 - (step - 1) / self.steps)))
            if step % self.every and step < self.steps:
                continue
            candidate = ball.project(z)
            keep = ~chase.observe(where, candidate, chase.ask(candidate, where))
            where, ball, z = where[keep], ball[keep], z[keep]
            if not len(where):
                return

    def _mean(self, chase: Chase, z: Tensor, where: Tensor) -> Tensor:
        """Return the mean over draws of the margin's gradient, each draw of length one so that none drowns the rest."""
        total = torch.zeros_like(z)
        for _ in range(self.draws):
            _, gradient = chase.slope(z, where)
            length = gradient.flatten(1).norm(dim=1).clamp(min=torch.finfo(z.dtype).tiny)
            total += (gradient / length.view(-1, *[1] * (z.ndim - 1))).nan_to_num(0.0, 0.0, 0.0)
        return total
