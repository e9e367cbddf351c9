"""Projected gradient descent on the margin. Madry et al., 2018 (arXiv:1706.06083), section 2.1.

The margin instead of the cross-entropy: it does not saturate (Carlini & Wagner 2017, arXiv:1608.04644, section V). The
first run starts at the row itself; each further one starts at random and heads for the next best class.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from veriward.checks.evasion.chase import Chase, comparable, margins
from veriward.core.streams import Stream


@dataclass(frozen=True)
class PGD:
    """Ascend the margin inside the threat's box."""

    steps: int = 40
    restarts: int = 4
    step_size: float | None = None  # share of each number's budget; None: falls from 2 to 0, which breaks more rows

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        for restart in range(self.restarts):
            where = chase.active
            if len(where):
                self._ascend(chase, where, restart, stream.child(f"pgd {restart}"))

    def _ascend(self, chase: Chase, where: Tensor, restart: int, stream: Stream) -> None:
        clean = chase.clean[where]
        low, high = chase.opened.domain.box(clean, chase.threat)
        reach = torch.maximum(high - clean, clean - low)
        z, target = clean.clone(), None
        if restart:
            noise = stream.uniform(chase.rows[where], clean.shape[1:]).to(clean.dtype)
            z = chase.opened.domain.project(low + noise * (high - low), clean, chase.threat)
            target = _ranked(chase.scores(clean), chase.y[where], restart)
        for step in range(self.steps + 1):
            candidate = chase.opened.domain.project(z, clean, chase.threat)
            fooled, gradient = input_gradient(chase, candidate, chase.y[where], target)
            keep = ~chase.observe(where, candidate, fooled)
            if step == self.steps or not bool(keep.any()):
                return
            where, clean, z, gradient, reach, low, high = (
                part[keep] for part in (where, clean, z, gradient, reach, low, high)
            )
            target = target[keep] if target is not None else None
            # z itself is not rounded: whole numbers would never leave their place by steps of less than a half
            z = torch.minimum(torch.maximum(z + self.size(step) * reach * gradient.sign(), low), high)

    def size(self, step: int) -> float:
        """Return the step's share of the budget: from twice the budget down to nothing, unless it is fixed."""
        return self.step_size or 2 * (1 - step / self.steps)


def input_gradient(chase: Chase, z: Tensor, y: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return whether z fools the model and the gradient of its (targeted) margin by z; parameters stay out of it."""
    with torch.enable_grad():
        x = z.detach().requires_grad_()
        raw = chase.opened.model.forward(x)  # type: ignore[union-attr]  # planned only for gradients
        scores = comparable(raw, chase.opened.output)
        (gradient,) = torch.autograd.grad(margins(scores, y, target).sum(), x)
    return raw.detach().argmax(1) != y, gradient


def _ranked(scores: Tensor, y: Tensor, rank: int) -> Tensor:
    """Return the wrong class of the given rank (1 is the best), (n,); ranks beyond the last begin again."""
    order = scores.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order[:, (rank - 1) % max(scores.shape[1] - 1, 1)]
