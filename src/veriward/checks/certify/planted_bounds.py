"""Controls of certify/bounds: models on which the share of rows out of an attacker's reach is a formula."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from veriward.checks.balls import ball_threat
from veriward.checks.certify.exact_linear import DUAL
from veriward.checks.contract import Control
from veriward.core.ball import Norm
from veriward.core.streams import Stream
from veriward.core.subject import Access, Subject

ROWS, COLUMNS, REACH = 200, 20, 100.0
NEAR = (0.45, 0.55)  # around the truth of one half
FOLDED = (0.2, 0.55)  # of a network: a bound may be short of the truth, never beyond it


def bounds_controls(norms: Sequence[Norm], access: Access, *, table: bool) -> tuple[Control, ...]:
    """Return for each norm a linear subject of which half the rows stand; for the first the same without a budget, too,
    and a folded one.
    """
    first, *others = norms
    rest = (_controls(norm, access, table=table)[0] for norm in others)
    return (*_controls(first, access, table=table), *rest)


def _controls(norm: Norm, access: Access, *, table: bool) -> tuple[Control, ...]:
    stream = Stream.of(0, "certificate control")
    x = stream.child("x").normal(torch.arange(ROWS), (COLUMNS,))
    weight = stream.child("w").normal(torch.arange(1), (COLUMNS,))[0]
    score = x @ weight
    dual = torch.linalg.vector_norm(weight, DUAL[norm])
    far = (score.abs() / dual).median()
    fold = score.abs().median() * 1.001  # the folded model asks whether |score| exceeds it; no row lies there
    folded = ((score.abs() - fold).abs() / dual).median()
    linear, bent = (
        _subject(Plane(weight), x, score > 0, table),
        _subject(Fold(weight, fold), x, score.abs() > fold, table),
    )
    threats = [ball_threat(norm, access, eps) for eps in (float(far), 0.0, float(folded))]
    return (
        Control(f"linear, {norm}", linear, threats[0], {"certified_accuracy": NEAR}),
        Control(f"no budget, {norm}", linear, threats[1], {"certified_accuracy": (1.0, 1.0)}),
        Control(f"folded, {norm}", bent, threats[2], {"certified_accuracy": FOLDED}),
    )


class Plane(nn.Module):
    """Two classes on the sides of a plane."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", torch.stack([torch.zeros_like(weight), weight]))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 2) logits."""
        return nn.functional.linear(x.flatten(1), self.get_buffer("weight"))


class Fold(nn.Module):
    """Two classes, between two planes and beyond them: |w x| against a threshold, by two ReLUs."""

    def __init__(self, weight: Tensor, threshold: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", torch.stack([weight, -weight]))
        self.register_buffer("last", torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        self.register_buffer("bias", torch.stack([threshold, torch.zeros_like(threshold)]))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 2) logits."""
        folded = nn.functional.linear(x.flatten(1), self.get_buffer("weight")).relu()
        return nn.functional.linear(folded, self.get_buffer("last"), self.get_buffer("bias"))


def _subject(model: nn.Module, x: Tensor, y: Tensor, table: bool) -> Subject:
    rows: Any = x.numpy() if table else x.view(-1, 1, 4, 5).numpy()
    return Subject.model_validate(
        {
            "name": "planted",
            "task": "classification",
            "model": {"live": model, "output": "logits"},
            "data": {"test": (rows, y.long().numpy())},
            "input": {"kind": "tabular" if table else "image", "bounds": (-REACH, REACH)},
        }
    )
