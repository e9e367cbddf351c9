"""Projected gradient ascent with restarts. Madry et al., 2018 (arXiv:1706.06083), section 2.1.

The loss is the margin, not cross-entropy, so that saturated probabilities still have a slope (Carlini & Wagner, 2017,
f6). The first start is the row itself and heads for the best wrong class; each further one starts at random and heads for
the next best class.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.core.streams import Stream


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
        ball, z, aim = chase.ball(where), chase.clean[where].clone(), None
        if restart:
            z = ball.draw(stream.normal(chase.rows[where], z.shape[1:]).to(z.dtype))
            aim = chase.goal[where].aim(chase.raw(ball.clean), restart)
        for step in range(self.steps + 1):
            candidate = ball.project(z)
            answer, gradient = chase.slope(candidate, where, "margin", aim)
            keep = ~chase.observe(where, candidate, answer)
            if step == self.steps or not bool(keep.any()):
                return
            if not bool(keep.all()):
                where, ball, z, gradient = where[keep], ball[keep], z[keep], gradient[keep]
                aim = aim[keep] if aim is not None else None
            # z itself is not rounded: whole numbers would never leave their place by steps of less than a half
            z = ball.clamp(ball.step(z, gradient, self.size(step)))

    def size(self, step: int) -> float:
        """Return the step's share of the budget: from twice the budget down to nothing, unless it is fixed."""
        return self.step_size or 2 * (1 - step / self.steps)
