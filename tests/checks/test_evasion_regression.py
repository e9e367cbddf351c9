"""Predictions moved as far as they go: on a linear model that is a formula, under every norm and access."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from veriward.checks.balls import ball_threat

from .measure import measure, subject_of

ROWS, COLUMNS = 120, 8
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


class Line(nn.Module):
    """A linear prediction, (n,)."""

    def __init__(self, weight: np.ndarray) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.as_tensor(weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n,)."""
        return x @ self.weight + 3.0


def world(access: str) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    g = np.random.default_rng(0)
    x, weight = g.normal(size=(ROWS, COLUMNS)).astype(np.float32), g.normal(size=COLUMNS).astype(np.float32)
    start = x.astype(np.float64) @ weight.astype(np.float64) + 3.0
    y = start + g.normal(size=ROWS)
    model: Any = Line(weight) if access == "gradients" else (lambda rows: np.asarray(rows) @ weight + 3.0)
    subject = subject_of(model, x, y, output="value", task="regression", input={"bounds": (-100, 100)})
    return subject, weight.astype(np.float64), start, y


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_gradients_move_a_linear_prediction_by_the_dual_norm(norm: str) -> None:
    subject, weight, start, y = world("gradients")
    reach = 0.2 * np.linalg.norm(weight, DUAL[norm])
    threat = ball_threat(norm, "gradients", 0.2, goal="move")  # type: ignore[arg-type]
    found = measure(f"evasion/{norm}", subject, threat=threat)
    assert found.outcomes["change"] == pytest.approx(np.full(ROWS, reach), rel=0.02)
    moved = {e.metric: e for e in found.estimates}
    sure = np.abs(reach / np.abs(start) - 0.1) > 0.005
    assert np.array_equal((found.outcomes["moved"] == 1)[sure], (reach > 0.1 * np.abs(start))[sure])
    assert moved["moved_share"].bound == "lower"
    truth = np.sort(reach / np.abs(start))[int(np.ceil(0.95 * ROWS)) - 1]
    assert moved["relative_change_p95"].value == pytest.approx(truth, rel=0.02)
    error = np.abs(start - y)
    assert moved["error_increase"].value == pytest.approx(reach / error.mean(), rel=0.02)


def test_values_alone_move_predictions_and_never_beyond_the_formula() -> None:
    subject, weight, start, _ = world("scores")
    reach = 0.2 * np.abs(weight).sum()
    found = measure("evasion/linf", subject, threat=ball_threat("linf", "scores", 0.2, goal="move"))
    assert (found.outcomes["change"] <= reach * (1 + 1e-6)).all()
    assert np.median(found.outcomes["change"]) >= 0.9 * reach
    for witness in found.witnesses:
        was, became = float(witness.details["was"]), float(witness.details["became"])
        assert abs(became - was) > 0.1 * abs(start[witness.row]) * 0.99


def test_a_tolerance_in_units_of_the_target_and_no_budget() -> None:
    subject, *_ = world("gradients")
    wide = subject.model_copy(update={"threat": {}})
    described = type(subject).model_validate({**_described(wide), "threat": {"evasion": {"tolerance": "1000"}}})
    far = measure("evasion/linf", described, threat=ball_threat("linf", "gradients", 0.2, goal="move"))
    still = measure("evasion/linf", subject, threat=ball_threat("linf", "gradients", 0.0, goal="move"))
    for found in (far, still):
        assert (found.outcomes["moved"] == 0).all()
        assert not found.witnesses


def _described(subject: Any) -> dict[str, Any]:
    return {"model": subject.model, "data": subject.data, "input": subject.input, "task": "regression"}
