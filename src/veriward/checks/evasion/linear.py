"""Controls of evasion: on a linear model the share of rows within reach of eps is a formula.

A row x of class y falls within eps exactly if its margin is below eps times the 1-norm of the weights (L-infinity).
"""

import torch
from torch import Tensor, nn

from veriward.checks.contract import Control
from veriward.checks.evasion.linf import linf_threat
from veriward.core.streams import Stream
from veriward.core.subject import Subject

ROWS, COLUMNS, REACH = 200, 20, 100.0
NEAR = (0.45, 0.55)  # around the truth of one half


def linear_controls(*, gradients: bool, table: bool) -> tuple[Control, ...]:
    """Return a subject of which half the rows fall, and the same one with no budget, of which none does."""
    stream = Stream.of(0, "linear control")
    x = stream.child("x").normal(torch.arange(ROWS), (COLUMNS,))
    weight = stream.child("w").normal(torch.arange(1), (COLUMNS,))[0]
    margin = (x @ weight).abs()
    eps = float((margin / weight.abs().sum()).median())
    subject = _subject(x, weight, gradients=gradients, table=table)
    access = "gradients" if gradients else "scores"
    path = f"{'white' if gradients else 'black'} box, {'table' if table else 'array'}"
    return (
        Control(f"linear, {path}", subject, linf_threat(access, eps), {"robust_accuracy": NEAR}),
        Control(f"no budget, {path}", subject, linf_threat(access, 0.0), {"robust_accuracy": (1.0, 1.0)}),
    )


def _subject(x: Tensor, weight: Tensor, *, gradients: bool, table: bool) -> Subject:
    model = _linear(weight) if gradients else LinearScores(weight)
    rows = x.numpy() if table else x.view(-1, 1, 4, 5).numpy()
    settings = {"kind": "tabular" if table else "image", "bounds": (-REACH, REACH)}
    return Subject.model_validate(
        {
            "name": "linear",
            "task": "classification",
            "model": {"live": model, "output": "logits"},
            "data": {"test": (rows, (x @ weight > 0).long().numpy())},
            "input": settings,
        }
    )


def _linear(weight: Tensor) -> nn.Module:
    layer = nn.utils.skip_init(nn.Linear, COLUMNS, 2, bias=False)  # draws nothing from the caller's generator
    layer.weight.data = torch.stack([torch.zeros_like(weight), weight])
    return nn.Sequential(nn.Flatten(), layer)


class LinearScores:
    """The same model, of which only the scores can be had."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, x: object) -> Tensor:
        """Return (n, 2) logits."""
        rows = torch.as_tensor(x).float().flatten(1)
        return torch.stack([torch.zeros(len(rows)), rows @ self.weight], dim=1)
