"""Small networks to attack, trained alike on every machine: two families of digits models, one of them held out.

scikit-learn's digits, enlarged to 28 × 28 by repeating pixels; 540 test rows. A model is trained in seconds and kept in a
temporary folder under a hash of everything that made it.
"""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

SIDE, TEST_ROWS, BATCH = 28, 540, 64


@dataclass(frozen=True)
class Recipe:
    """How a model is made. `eps` is both trained against (unless `steps` is 0) and attacked with."""

    name: str
    build: str
    eps: float
    steps: int = 0  # of the attack it is trained against: 0 none, 1 FGSM from a random start, more PGD
    epochs: int = 8
    seed: int = 0
    norm: str = "linf"


FAMILY = (
    Recipe("cnn", "cnn", 0.05),
    Recipe("cnn_fgsm", "cnn", 0.1, 1, 12),
    Recipe("cnn_pgd", "cnn", 0.1, 7, 12),
    Recipe("mlp_fgsm", "mlp", 0.1, 1, 20),
    Recipe("resnet_pgd", "resnet", 0.1, 3, 12),
    Recipe("wide_pgd", "wide", 0.1, 3, 10),
)
HELD_OUT = (
    Recipe("cnn_pgd_2", "cnn", 0.2, 7, 16, seed=5),
    Recipe("cnn_fgsm_2", "cnn", 0.15, 1, 14, seed=6),
    Recipe("mlp_pgd_2", "mlp", 0.2, 5, 25, seed=7),
    Recipe("resnet_fgsm_2", "resnet", 0.08, 1, 12, seed=8),
    Recipe("tanh_pgd_2", "tanh", 0.15, 5, 16, seed=9),
    Recipe("mlp_2", "mlp", 0.05, 0, 15, seed=10),
)


class Block(nn.Module):
    """Two convolutions with group normalisation beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.GroupNorm(4, after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.GroupNorm(4, after),
        )
        self.shortcut = nn.Conv2d(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, after, height / stride, width / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


def _cnn(activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1),
        activation(),
        nn.Conv2d(16, 32, 4, 2, 1),
        activation(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 100),
        activation(),
        nn.Linear(100, 10),
    )


def _mlp() -> nn.Module:
    layers = [nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*layers)


def _resnet() -> nn.Module:
    blocks = [Block(8, 8, 1), Block(8, 16, 2), Block(16, 32, 2)]
    stem = [nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.GroupNorm(4, 8), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))


def _wide() -> nn.Module:
    first, second = nn.Conv2d(1, 32, 4, 2, 1), nn.Conv2d(32, 64, 4, 2, 1)
    tail = [nn.Flatten(), nn.Linear(64 * 49, 512), nn.ReLU(), nn.Linear(512, 10)]
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), *tail)


BUILD: dict[str, Callable[[], nn.Module]] = {
    "cnn": _cnn,
    "mlp": _mlp,
    "resnet": _resnet,
    "wide": _wide,
    "tanh": lambda: _cnn(nn.Tanh),
}


def digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return (x, y) to train on and to test on: x (n, 1, 28, 28) float32 in [0, 1]."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    place = np.arange(SIDE) * 8 // SIDE
    x = (bunch.images / 16).astype(np.float32)[:, None][:, :, place][..., place]
    order = np.random.default_rng(20_26).permutation(len(x))
    test, train = order[:TEST_ROWS], order[TEST_ROWS:]
    return (x[train], bunch.target[train]), (x[test], bunch.target[test])


def trained(recipe: Recipe) -> nn.Module:
    """Return the model, in evaluation mode: from the temporary folder, or trained now."""
    made_of = repr(recipe) + Path(__file__).read_text(encoding="utf-8") + torch.__version__
    path = Path(tempfile.gettempdir()) / "veriward-evasion" / f"{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.pt"
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = BUILD[recipe.build]()
        if path.exists():
            model.load_state_dict(torch.load(path, weights_only=True))
        else:
            _train(model, recipe)
            path.parent.mkdir(exist_ok=True)
            torch.save(model.state_dict(), path)
    return model.eval().requires_grad_(False)


def _train(model: nn.Module, recipe: Recipe) -> None:
    (x, y), _ = digits()
    rows, labels = torch.from_numpy(x), torch.from_numpy(y).long()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
    for epoch in range(recipe.epochs):
        eps = recipe.eps * min(1.0, 2 * (epoch + 1) / recipe.epochs)  # rises: at once it would not learn at all
        for part in torch.randperm(len(rows)).split(BATCH):
            moved = _attacked(model, rows[part], labels[part], eps, recipe.steps)
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(moved), labels[part]).backward()
            optimiser.step()
        schedule.step()


def _attacked(model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int) -> Tensor:
    """Return rows moved against the model by plain steps of the sign."""
    if not steps:
        return x
    z = (x + eps * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    for _ in range(steps):
        z.requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(z), y), z)
        z = z.detach() + eps * (1.25 if steps == 1 else 2.5 / steps) * gradient.sign()
        z = torch.minimum(torch.maximum(z, x - eps), x + eps).clamp(0, 1)
    return z
