"""How many rows a classifier gets right."""

import torch
from torch import nn

from veriward.adapters.recipe import Rows, as_taken


def right(module: nn.Module, rows: Rows, cut: float = 0.0) -> int:
    """Return how many rows a classifier gets right; a single score above `cut` names the second class."""
    count = 0
    with torch.no_grad():
        for x, y in zip(as_taken(module, rows.x).split(1024), rows.y.split(1024), strict=True):
            out = module(x)
            found = out.argmax(1) if out.ndim > 1 and out.shape[1] > 1 else (out.view(-1) > cut).long()
            count += int((found == y).sum())
    return count
