"""Digits of scikit-learn, and small nets trained on them in a second or two; the caller's generator is not touched."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn

EPS = 0.2  # of the pixels' width, L-infinity: an undefended net keeps nearly no row
ROWS, TEST = 1000, 150


@dataclass(frozen=True)
class Digits:
    """8 × 8 pictures in [0, 1], (n, 1, 8, 8), and their classes."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


@cache
def digits() -> Digits:
    """Return the digits in a fixed random order: ROWS to train on, TEST to attack."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    x = torch.as_tensor(data.images, dtype=torch.float32)[order, None] / 16
    y = torch.as_tensor(data.target)[order]
    return Digits(x[:ROWS], y[:ROWS], x[ROWS : ROWS + TEST], y[ROWS : ROWS + TEST])


def cnn(activation: Callable[[], nn.Module] = nn.ReLU, *, inputs: int = 1, width: int = 8) -> nn.Sequential:
    """Return two convolutions and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1),
        activation(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        activation(),
        nn.Flatten(),
        nn.Linear(2 * width * 16, 64),
        activation(),
        nn.Linear(64, 10),
    )


def mlp(*widths: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return linear layers of the given widths."""
    sizes = (64, *widths)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 10))


Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def plain_loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy."""
    return nn.functional.cross_entropy(net(x), y)


def hardened(eps: float, steps: int, size: float) -> Loss:
    """Return the cross-entropy of attacked rows: one step is Goodfellow et al. 2015, many are Madry et al. 2018."""

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        z = x.clone()
        for _ in range(steps):
            z.requires_grad_()
            (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(net(z), y), z)
            z = (x + (z.detach() + size * gradient.sign() - x).clamp(-eps, eps)).clamp(0, 1)
        return nn.functional.cross_entropy(net(z), y)

    return loss


def trained(
    build: Callable[[], nn.Module],
    loss: Loss = plain_loss,
    *,
    epochs: int = 10,
    rate: float = 4e-3,
    seed: int = 0,
    see: Callable[[Tensor], Tensor] | None = None,
) -> nn.Module:
    """Return a net trained with Adam, in evaluation mode; `see` changes what it sees in training."""
    data = digits()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build().train()
        steps = torch.optim.Adam(net.parameters(), rate)
        for _ in range(epochs):
            for part in torch.randperm(len(data.x)).split(64):
                x = see(data.x[part]) if see else data.x[part]
                steps.zero_grad()
                loss(net, x, data.y[part]).backward()
                steps.step()
    return net.eval().requires_grad_(False)
