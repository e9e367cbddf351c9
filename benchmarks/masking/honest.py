"""Models that hide nothing: plain, robust, wide, small, badly trained. An alarm on one of them is a false one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.masking.nets import cnn, hardened, mlp, trained


@dataclass(frozen=True)
class Honest:
    """A model and how it is made; `output` says what it answers."""

    name: str
    build: Callable[[], nn.Module]
    output: str = "logits"


class Residual(nn.Module):
    """Blocks with a way around them, normalised in groups."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, width, 3, padding=1), nn.Linear(width, 10)
        self.blocks = nn.ModuleList(self._block(width) for _ in range(2))

    def _block(self, width: int) -> nn.Module:
        norm = nn.GroupNorm(4, width)
        return nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, 10)."""
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.head(x.mean((2, 3)))


def normalised() -> nn.Module:
    """Return convolutions with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 16, 10),
    )


def pooled() -> nn.Module:
    """Return convolutions with the largest of neighbours."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 16, 48),
        nn.ReLU(),
        nn.Linear(48, 10),
    )


def soft(net: nn.Module) -> nn.Module:
    """Return a net that tells probabilities."""
    return nn.Sequential(net, nn.Softmax(1)).eval()


def smoothed_labels(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy with labels of .9."""
    return nn.functional.cross_entropy(net(x), y, label_smoothing=0.1)


def noisy(x: Tensor) -> Tensor:
    """Return pictures with noise, for training alone."""
    return (x + 0.2 * torch.randn_like(x)).clamp(0, 1)


HONEST: tuple[Honest, ...] = (
    Honest("linear", lambda: trained(mlp)),
    Honest("cnn", lambda: trained(cnn)),
    Honest("cnn, wide", lambda: trained(lambda: cnn(width=24), epochs=6)),
    Honest("cnn, tanh", lambda: trained(lambda: cnn(nn.Tanh))),
    Honest("cnn, gelu", lambda: trained(lambda: cnn(nn.GELU))),
    Honest("cnn, leaky", lambda: trained(lambda: cnn(nn.LeakyReLU))),
    Honest("cnn, long training", lambda: trained(cnn, epochs=40)),
    Honest("cnn, hardly trained", lambda: trained(cnn, epochs=1, rate=1e-3)),
    Honest("cnn, smoothed labels", lambda: trained(cnn, smoothed_labels)),
    Honest("cnn, noisy training", lambda: trained(cnn, see=noisy)),
    Honest("cnn, probabilities", lambda: soft(trained(cnn)), "probabilities"),
    Honest("cnn, robust at .2", lambda: trained(cnn, hardened(0.2, 5, 0.08), epochs=20)),
    Honest("cnn, robust at .1", lambda: trained(cnn, hardened(0.1, 5, 0.04), epochs=15)),
    Honest(
        "cnn, robust, probabilities",
        lambda: soft(trained(cnn, hardened(0.2, 5, 0.08), epochs=15, seed=1)),
        "probabilities",
    ),
    Honest("wide, robust", lambda: trained(lambda: cnn(width=16), hardened(0.2, 5, 0.08), epochs=10)),
    Honest("mlp", lambda: trained(lambda: mlp(100, 50))),
    Honest("mlp, sigmoid", lambda: trained(lambda: mlp(64, activation=nn.Sigmoid), epochs=20)),
    Honest("mlp, robust", lambda: trained(lambda: mlp(128, 64), hardened(0.2, 5, 0.08), epochs=20)),
    Honest("batch normalised", lambda: trained(normalised)),
    Honest("residual, groups", lambda: trained(Residual, epochs=15)),
    Honest("max pooling", lambda: trained(pooled)),
    Honest("batch normalised, robust", lambda: trained(normalised, hardened(0.15, 4, 0.06))),
)
