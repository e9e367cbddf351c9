"""A small CNN on scikit-learn's handwritten digits, exported as `.pt2`: the first of the two demo subjects."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from veriward.core.streams import Stream

TRAIN_ROWS = 797  # of 1797: leaves 1000 test rows, enough to see a false positive rate of 1 %
EPOCHS, BATCH, LEARNING_RATE = 12, 64, 4e-3
SUBJECT = """\
# Handwritten digits, read by a small network that was trained without any defence.
name = "digits"
task = "classification"

[model]
path = "model.pt2"
output = "logits"

[input]
kind = "image"
bounds = [0.0, 1.0]

[data]
train = "train.npz"
test = "test.npz"
label = "y"

[threat.evasion]
norm = "linf"
eps = 0.15
"""


def write(folder: Path, seed: int = 0) -> Path:
    """Train the network, write model, data and subject.toml into `folder`, and return the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = load()
    for name, (x, y) in splits.items():
        np.savez(folder / f"{name}.npz", x=x, y=y)
    model = train(*splits["train"], seed=seed)
    rows = torch.export.Dim("rows", min=1)
    program = torch.export.export(model, (torch.from_numpy(splits["test"][0][:8]),), dynamic_shapes=({0: rows},))
    torch.export.save(program, folder / "model.pt2")
    path = folder / "subject.toml"
    path.write_text(SUBJECT, encoding="utf-8")
    return path


def load() -> dict[str, tuple[Any, Any]]:
    """Return the splits: x (n, 1, 8, 8) float32 in [0, 1], y (n,) int64."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = (digits.images / 16).astype(np.float32)[:, None], digits.target.astype(np.int64)
    order = Stream.of(0, "digits split").generator().permutation(len(x))
    first, rest = np.sort(order[:TRAIN_ROWS]), np.sort(order[TRAIN_ROWS:])
    return {"train": (x[first], y[first]), "test": (x[rest], y[rest])}


def build(stream: Stream) -> nn.Module:
    """Return the untrained network; its first weights come from the stream, not from torch's global generator."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )
    for name, parameter in model.named_parameters():
        draw = stream.child(name).normal(torch.arange(1), tuple(parameter.shape))[0]
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        parameter.data = draw * (2 / fan_in) ** 0.5 if parameter.ndim > 1 else torch.zeros_like(parameter)
    return model


def train(x: Any, y: Any, *, seed: int) -> nn.Module:
    """Fit the network with Adam; seconds on one core."""
    stream = Stream.of(seed, "digits training")
    with torch.random.fork_rng(devices=[]):  # building layers draws from the global generator: the caller's is kept
        model = build(stream)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    for epoch in range(EPOCHS):
        order = torch.from_numpy(stream.child(f"epoch {epoch}").generator().permutation(len(x)))
        for batch in order.split(BATCH):
            _step(model, optimiser, inputs[batch], labels[batch])
    return model.eval()


def _step(model: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimiser.step()
