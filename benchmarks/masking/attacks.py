"""Attacks of the benchmark's own, apart from the product: plain PGD as toolboxes have it, and the adaptive one.

A decision is that of the majority of VOTES calls, so that a lucky draw of a random model is no success.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

VOTES = 9
Model = Callable[[Tensor], Tensor]


def fooled(model: Model, x: Tensor, y: Tensor, votes: int) -> Tensor:
    """Return which rows most calls decide otherwise than y, (n,)."""
    with torch.no_grad():
        wrong = sum((model(x).argmax(1) != y).int() for _ in range(votes))
    return torch.as_tensor(wrong) * 2 > votes


def plain_pgd(model: Model, x: Tensor, y: Tensor, eps: float, *, votes: int = 1, steps: int = 40) -> float:
    """Return the robust accuracy under PGD of Madry et al. 2018: cross-entropy, steps of 2.5 eps / steps, one start."""
    z = x.clone()
    for _ in range(steps):
        z.requires_grad_()
        try:
            (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(z), y, reduction="sum"), z)
        except RuntimeError:  # the answers do not hang on the input
            gradient = torch.zeros_like(z)
        step = z.detach() + 2.5 * eps / steps * gradient.nan_to_num(0.0).sign()
        z = (x + (step - x).clamp(-eps, eps)).clamp(0, 1)
    broken = fooled(model, z.detach(), y, votes) | fooled(model, x, y, votes)
    return 1 - float(broken.float().mean())


def adaptive(
    model: Model, standin: Model, x: Tensor, y: Tensor, eps: float, *, votes: int = 1, steps: int = 40
) -> float:
    """Return the robust accuracy under margin PGD on the stand-in's gradient, averaged over calls (BPDA and EOT)."""
    broken = fooled(model, x, y, votes)
    for start in range(2):
        z = x if not start else (x + eps * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
        for step in range(steps):
            gradient = torch.zeros_like(z)
            for _ in range(1 if votes == 1 else 6):
                z = z.detach().requires_grad_()
                scores = standin(z)
                right = scores.gather(1, y[:, None])[:, 0]
                margin = scores.scatter(1, y[:, None], -torch.inf).amax(1) - right
                gradient += torch.autograd.grad(margin.sum(), z)[0]
            size = 2 * eps * (1 - step / steps)
            z = (x + (z.detach() + size * gradient.sign() - x).clamp(-eps, eps)).clamp(0, 1)
            if votes == 1 or step % 8 == 7:
                broken |= fooled(model, z, y, votes)
    return 1 - float(broken.float().mean())
