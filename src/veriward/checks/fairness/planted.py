"""Controls of fairness: decisions are copied from a column, so each group's rate is exactly what was planted."""

from typing import Any

import numpy as np

from veriward.checks.contract import Control
from veriward.core.subject import Subject
from veriward.core.threat import Threat

ROWS = 400  # of each group
RATE, LOWER = 0.6, 0.3
SLACK = 1e-9


def planted_controls() -> tuple[Control, ...]:
    """Return a subject with a gap of 0.3 in who is selected, and one with none."""
    threat, at = Threat("unequal treatment", "labels"), {"attribute": "group"}

    def near(gap: float) -> dict[str, tuple[float, float]]:
        return {"demographic_parity_difference": (gap - SLACK, gap + SLACK)}

    return (
        Control("planted gap", _subject(LOWER), threat, near(RATE - LOWER), at),
        Control("no gap", _subject(RATE), threat, near(0.0), at),
    )


def decisions(x: object) -> np.ndarray[Any, Any]:
    """Return scores that choose class 1 exactly where the first column is 1."""
    chosen = np.asarray(x, dtype=np.float64)[:, :1]
    return np.concatenate([1 - chosen, chosen], axis=1)


def _subject(second_rate: float) -> Subject:
    """Rows alternate between deserving and not; the first `rate` of each group is selected."""
    order = np.arange(ROWS)
    chosen = np.concatenate([order < RATE * ROWS, order < second_rate * ROWS]).astype(np.float64)
    rows = {
        "x": np.stack([chosen, np.zeros(2 * ROWS)], axis=1),
        "y": np.tile([0, 1], ROWS),
        "group": np.repeat(np.array(["a", "b"], dtype=object), ROWS),
    }
    return Subject.model_validate(
        {
            "name": "planted",
            "task": "classification",
            "model": {"live": decisions, "output": "probabilities"},
            "data": {"test": rows, "groups": ["group"], "favourable": 1},
            "input": {"kind": "tabular", "bounds": (0.0, 1.0)},
        }
    )
