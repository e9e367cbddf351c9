"""Controls of fairness: answers are copied from a column, so each group's numbers are exactly what was planted."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from veriward.checks.contract import Control
from veriward.core.subject import Subject
from veriward.core.threat import Threat

ROWS = 400  # of each group
RATE, LOWER = 0.6, 0.3
SHIFT = 0.5  # by which one group is underestimated, in standard deviations of the target
ERROR = 0.1  # by which each prediction is off, up and down in turn
SLACK = 1e-9
THREAT = Threat("unequal treatment", "labels")
AT = {"attribute": "group"}


def planted_controls() -> tuple[Control, ...]:
    """Return a subject with a gap of 0.3 in who is selected and in calibration, and one with none."""

    def near(gap: float) -> dict[str, tuple[float, float]]:
        metrics = ("demographic_parity_difference", "calibration_difference")
        return dict.fromkeys(metrics, (gap - SLACK, gap + SLACK))

    return (
        Control("planted gap", _decided(LOWER), THREAT, near(RATE - LOWER), AT),
        Control("no gap", _decided(RATE), THREAT, near(0.0), AT),
    )


def predicted_controls() -> tuple[Control, ...]:
    """Return a model of numbers that underestimates one group by half a standard deviation, and one that does not."""

    def near(gap: float) -> dict[str, tuple[float, float]]:
        return {"residual_difference": (gap - SLACK, gap + SLACK)}

    return (
        Control("planted residual gap", _predicted(SHIFT), THREAT, near(SHIFT), AT),
        Control("no residual gap", _predicted(0.0), THREAT, near(0.0), AT),
    )


def decisions(x: object) -> np.ndarray[Any, Any]:
    """Return scores that choose class 1 exactly where the first column is 1."""
    chosen = np.asarray(x, dtype=np.float64)[:, :1]
    return np.concatenate([1 - chosen, chosen], axis=1)


def first(x: object) -> np.ndarray[Any, Any]:
    """Return the first column."""
    return np.asarray(x, dtype=np.float64)[:, 0]


def _decided(second_rate: float) -> Subject:
    """Rows alternate between deserving and not; the first `rate` of each group is selected."""
    order = np.arange(ROWS)
    chosen = np.concatenate([order < RATE * ROWS, order < second_rate * ROWS]).astype(np.float64)
    data = _rows(chosen, np.tile([0, 1], ROWS))
    return _subject("classification", decisions, "probabilities", {**data, "favourable": 1})


def _predicted(shift: float) -> Subject:
    """Predictions are right on average; from those of the second group `shift` standard deviations are taken."""
    truth = np.tile(np.linspace(0.0, 1.0, ROWS), 2)
    told = truth + np.tile([ERROR, -ERROR], ROWS) - shift * truth.std(ddof=1) * np.repeat([0.0, 1.0], ROWS)
    return _subject("regression", first, "value", _rows(told, truth))


def _rows(column: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> dict[str, Any]:
    group = np.repeat(np.array(["a", "b"], dtype=object), ROWS)
    return {"test": {"x": np.stack([column, np.zeros(2 * ROWS)], axis=1), "y": y, "group": group}, "groups": ["group"]}


def _subject(task: str, model: Callable[..., Any], output: str, data: Mapping[str, Any]) -> Subject:
    return Subject.model_validate(
        {
            "name": "planted",
            "task": task,
            "model": {"live": model, "output": output},
            "data": data,
            "input": {"kind": "tabular", "bounds": (-10.0, 10.0)},
        }
    )
