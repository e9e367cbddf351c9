"""The attack on a smoothed model: ascent of the margin in expectation over the noise.

Salman et al., 2019 (arXiv:1906.04584), section 2.2: PGD on the logarithm of the mean probability over m draws of noise,
the same draws for a row at every step (Athalye et al., 2018, arXiv:1802.00420, section 4.2, on expectation over
transformations). It proposes; whether the smoothed model really answers otherwise is told by votes under fresh noise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from veriward.adapters.model import logarithms
from veriward.core.ball import Ball
from veriward.core.streams import Stream
from veriward.core.subject import Output

MOST_ROWS, MOST_NUMBERS = 1024, 1 << 21  # of disturbed rows that carry gradients at a time
ENOUGH = 2.0  # a margin of log-probabilities at which a row has fallen: the other class is seven times as likely


@dataclass(frozen=True)
class EOT:
    """Ascend the margin of mean probabilities inside the ball, from the row itself and then from random starts."""

    draws: int = 16
    steps: int = 20
    restarts: int = 1

    def run(self, soft: "Soft", ball: Ball, y: Tensor, rows: Tensor, stream: Stream) -> tuple[Tensor, Tensor]:
        """Return the best candidates, like the ball's rows, and their margins (n,). `rows` (n,) number the noise."""
        found, best = ball.clean.clone(), torch.full((len(ball),), -math.inf, dtype=torch.float64, device=y.device)
        size = max(ball.clean[0].numel(), 1) if len(ball) else 1
        height = max(1, min(MOST_ROWS, MOST_NUMBERS // size) // self.draws)
        for where in torch.arange(len(ball), device=y.device).split(height):
            for restart in range(self.restarts):
                open_ = where[best[where] < ENOUGH]
                if len(open_):
                    noise = stream.child(f"noise {restart}").normal(rows[open_], (self.draws, *ball.clean.shape[1:]))
                    start = stream.child(f"start {restart}").normal(rows[open_], ball.clean.shape[1:])
                    z = self._start(ball[open_], start.to(ball.clean.dtype), restart)
                    found[open_], best[open_] = self._ascend(
                        soft, ball[open_], y[open_], z, noise, (found[open_], best[open_])
                    )
        return found, best

    @staticmethod
    def _start(ball: Ball, noise: Tensor, restart: int) -> Tensor:
        return ball.draw(noise) if restart else ball.clean.clone()

    def _ascend(
        self, soft: "Soft", ball: Ball, y: Tensor, z: Tensor, noise: Tensor, so_far: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        found, best = so_far
        where = torch.arange(len(z), device=z.device)
        for step in range(self.steps + 1):
            candidate = ball.project(z)
            margin, gradient = soft.slope(candidate, noise, y)
            better = margin > best[where]
            found[where[better]], best[where[better]] = candidate[better], margin[better]
            keep = best[where] < ENOUGH
            if step == self.steps or not bool(keep.any()):
                break
            where, ball, z, noise, y = where[keep], ball[keep], z[keep], noise[keep], y[keep]
            z = ball.clamp(ball.step(z, gradient[keep], 2 * (1 - step / self.steps)))
        return found, best


@dataclass(frozen=True)
class Soft:
    """The mean probabilities of a model under noise, differentiable. `forward` gives scores (n, classes)."""

    forward: Callable[[Tensor], Tensor]
    output: Output
    scale: Tensor

    def margin(self, z: Tensor, noise: Tensor, y: Tensor) -> Tensor:
        """Return log mean probability of the best other class minus that of y, (n,) float64; noise is (n, m, ...)."""
        noisy = z[:, None] + noise.to(z.dtype) * self.scale.to(z.device, z.dtype)
        chances: Tensor = logarithms(self.forward(noisy.flatten(0, 1)), self.output).unflatten(0, noisy.shape[:2])
        mean = chances.logsumexp(1) - math.log(noise.shape[1])
        right = mean.gather(1, y[:, None]).squeeze(1)
        others: Tensor = mean.scatter(1, y[:, None], -torch.inf).amax(1)
        return others - right

    def slope(self, z: Tensor, noise: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the margin (n,) and its gradient by z."""
        with torch.enable_grad():
            x = z.detach().requires_grad_()
            margin = self.margin(x, noise, y)
            (gradient,) = torch.autograd.grad(margin.sum(), x)
        return margin.detach(), gradient.nan_to_num(0.0)
