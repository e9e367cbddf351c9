"""Controls of evasion: on a linear model the share of rows within reach of eps is a formula.

A row x of class y falls within eps exactly if its margin is below eps times the dual norm of the weights.
"""

import torch
from torch import Tensor, nn

from veriward.checks.balls import ball_threat
from veriward.checks.contract import Control
from veriward.core.ball import Norm
from veriward.core.streams import Stream
from veriward.core.subject import Access, Subject

ROWS, COLUMNS, REACH = 200, 20, 100.0
NEAR = (0.45, 0.55)  # around the truth of one half
DUAL = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}


def linear_controls(norm: Norm, *, access: Access, table: bool) -> tuple[Control, ...]:
    """Return a subject of which half the rows fall, and the same one with no budget, of which none does."""
    stream = Stream.of(0, "linear control")
    x = stream.child("x").normal(torch.arange(ROWS), (COLUMNS,))
    weight = stream.child("w").normal(torch.arange(1), (COLUMNS,))[0]
    margin = (x @ weight).abs()
    eps = float((margin / torch.linalg.vector_norm(weight, DUAL[norm])).median())
    gradients = access == "gradients"
    subject = _subject(x, weight, gradients=gradients, table=table)
    path = f"{'white' if gradients else 'black'} box, {'table' if table else 'array'}"
    threats = [ball_threat(norm, "gradients" if gradients else "scores", radius) for radius in (eps, 0.0)]
    return (
        Control(f"linear, {path}", subject, threats[0], {"robust_accuracy": NEAR}),
        Control(f"no budget, {path}", subject, threats[1], {"robust_accuracy": (1.0, 1.0)}),
    )


def curve_controls(norm: Norm, *, access: Access, table: bool) -> tuple[Control, ...]:
    """Return the same linear model for a curve of sizes: half of the rows fall at the median distance."""
    (control, _) = linear_controls(norm, access=access, table=table)
    median = float(control.threat.knobs["eps"])
    threat = ball_threat(norm, control.threat.access, 4 * median)
    near = {"median_distance": (0.9 * median, 1.15 * median)}
    return (Control(f"{control.name}, distances", control.subject, threat, near),)


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
