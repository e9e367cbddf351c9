"""Controls of proxies: a model that reads an attribute which a second column copies, and one that reads neither.

The attribute is balanced, so a redrawn value differs from the row's own in half of the cases.
"""

from typing import Any

import numpy as np

from veriward.checks.contract import Control
from veriward.core.streams import Stream
from veriward.core.subject import Subject, Task
from veriward.core.threat import Threat

ROWS = 600  # of each split
HALF = (0.4, 0.6)  # half, give or take five standard errors
COPY = 0.9  # share of rows in which the second column says the same: an area of .9
TOLD, GUESSED = (0.85, 0.95), (0.4, 0.6)


def proxy_controls(task: Task) -> tuple[Control, ...]:
    """Return a subject whose answers are the attribute, with a copy beside it, and one where nothing is related."""
    threat, at = Threat("unequal treatment", "labels"), {"attribute": "group"}
    # half of the rows change by 1, which is two standard deviations of a balanced column
    effect = HALF if task == "classification" else (0.8, 1.2)
    planted = {"driver_effect": effect, "proxy_auc": TOLD, "output_auc": (0.99, 1.0)}
    none = {"driver_effect": (0.0, 0.0), "proxy_auc": GUESSED, "output_auc": GUESSED}
    suffix = "" if task == "classification" else ", values"
    return (
        Control(f"planted driver{suffix}", _subject(task, "group", COPY), threat, planted, at),
        Control(f"no driver{suffix}", _subject(task, "other", 0.5), threat, none, at),
    )


class Copy:
    """A model that answers with one column."""

    def __init__(self, column: str, task: Task) -> None:
        self.column, self.task = column, task

    def __call__(self, frame: Any) -> np.ndarray[Any, Any]:
        """Return values, or class numbers."""
        values = frame[self.column].to_numpy()
        return np.asarray(values.astype(np.int64 if self.task == "classification" else np.float64))


def _subject(task: Task, reads: str, copied: float) -> Subject:
    stream = Stream.of(0, f"proxies {reads}")
    data = {which: _rows(stream.child(which).generator(), copied) for which in ("train", "test")}
    return Subject.model_validate(
        {
            "name": "planted",
            "task": task,
            "model": {"live": Copy(reads, task), "output": "labels" if task == "classification" else "value"},
            "data": {**data, "label": "y", "groups": ["group"]},
            "input": {"kind": "tabular", "columns": ["group", "copy", "other"]},
        }
    )


def _rows(draw: np.random.Generator, copied: float) -> dict[str, Any]:
    group = draw.permutation(np.arange(ROWS) % 2)
    copy = np.where(draw.random(ROWS) < copied, group, 1 - group)
    other = draw.permutation(np.arange(ROWS) % 2)
    return {"group": group, "copy": copy, "other": other, "y": draw.permutation(np.arange(ROWS) % 2)}
