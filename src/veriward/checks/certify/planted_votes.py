"""Controls of smoothing: a linear model, which noise does not change, and one whose answers noise makes a lottery.

For two classes and a linear f, the smoothed model is f itself, and the exact radius of each row is its distance from the
plane: certificates reach nearly as far and no farther (Cohen et al. 2019, section 4.1).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from veriward.checks.balls import ball_threat
from veriward.checks.certify.smoothing import GOAL
from veriward.checks.contract import Control
from veriward.core.streams import Stream
from veriward.core.subject import Subject

ROWS, COLUMNS, REACH = 40, 20, 100.0
FAST = 1e4  # waves per unit: noise of any size sees all of them


def smoothing_controls(*, gradients: bool, table: bool) -> tuple[Control, ...]:
    """Return a linear subject of which half the rows stand in the ball, and a lottery of which none does."""
    stream = Stream.of(0, "smoothing control")
    x = stream.child("x").normal(torch.arange(ROWS), (COLUMNS,))
    weight = stream.child("w").normal(torch.arange(1), (COLUMNS,))[0]
    distance = ((x @ weight).abs() / weight.norm()).sort().values
    eps = float((distance[ROWS // 2 - 1] + distance[ROWS // 2]) / 2)
    access = "gradients" if gradients else "scores"
    threat = replace(ball_threat("l2", access, eps), goal=GOAL)  # type: ignore[arg-type]  # one of the accesses
    path = f"{'white' if gradients else 'black'} box, {'table' if table else 'array'}"
    y = (x @ weight > 0).long()
    truth = {"certified_accuracy": (0.3, 0.5), "robust_accuracy": (0.5, 0.7 if gradients else 1.0)}
    chance = {"certified_accuracy": (0.0, 0.0), "abstained_share": (0.9, 1.0)}
    return (
        Control(f"linear votes, {path}", _subject(Plane(weight), x, y, gradients, table), threat, truth),
        Control(f"lottery, {path}", _subject(Lottery(weight), x, y, gradients, table), threat, chance),
    )


class Plane(nn.Module):
    """Two classes on the sides of a plane."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def margin(self, x: Tensor) -> Tensor:
        """Return the score of the second class, (n,)."""
        return x.flatten(1) @ self.get_buffer("weight")

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 2) logits."""
        margin = self.margin(x)
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


class Lottery(Plane):
    """Two classes in stripes so fine that noise meets both equally often."""

    def margin(self, x: Tensor) -> Tensor:
        """Return a wave across the plane, (n,)."""
        return torch.sin(FAST * super().margin(x))


def _subject(model: Plane, x: Tensor, y: Tensor, gradients: bool, table: bool) -> Subject:
    live: Any = model if gradients else _scores(model)
    rows = x.numpy() if table else x.view(-1, 1, 4, 5).numpy()
    return Subject.model_validate(
        {
            "name": "votes",
            "task": "classification",
            "model": {"live": live, "output": "logits"},
            "data": {"test": (rows, y.numpy())},
            "input": {"kind": "tabular" if table else "image", "bounds": (-REACH, REACH)},
        }
    )


def _scores(model: Plane) -> Callable[[Any], Tensor]:
    return lambda rows: model(torch.as_tensor(rows).float())
