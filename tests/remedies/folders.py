"""Small subjects with a recipe, in folders of their own."""

from pathlib import Path

import numpy as np

NET = """
from torch import nn

def build():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))

def summed(output, y):
    return nn.functional.cross_entropy(output, y)

def normed():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
"""
SUBJECT = """
name = "small"
[model]
path = "model.pt2"
output = "logits"
[data]
train = "data/train.csv"
test = "data/test.csv"
label = "bought"
classes = ["no", "yes"]
[recipe]
build = "net:build"
epochs = 4
batch_size = 50
learning_rate = 0.05
optimiser = "adam"
[threat.evasion]
eps = 0.1
"""


def table(rows: int, seed: int) -> str:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 4))
    y = np.where(x[:, 0] - x[:, 1] > 0, "yes", "no")
    lines = [",".join([*(f"{v:.4f}" for v in row), said]) for row, said in zip(x, y, strict=True)]
    return "\n".join(["a,b,c,d,bought", *lines]) + "\n"


def write(folder: Path, text: str = SUBJECT, rows: int = 400) -> Path:
    """Write data, code and subject.toml, and return the folder."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data/train.csv").write_text(table(rows, 0))
    (folder / "data/test.csv").write_text(table(200, 1))
    (folder / "net.py").write_text(NET)
    (folder / "subject.toml").write_text(text)
    return folder
