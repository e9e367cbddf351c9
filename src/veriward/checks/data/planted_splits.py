"""Controls of the splits: known numbers of copies, near copies and shared persons; and splits that share nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from veriward.checks.contract import Control
from veriward.core.subject import Subject
from veriward.core.threat import Threat

TRAIN, TEST, COLUMNS = 300, 200, 5
COPIES, NEAR, PERSONS = 20, 20, 30  # of the test rows; the persons' rows are the last
SLACK = 1e-9
CHANCE = 0.06  # of 200 unrelated rows, 1 % may look near: more than 12 in fewer than one of 10^5 draws


def planted_controls(threat: Threat) -> tuple[Control, ...]:
    """Return splits with planted overlap, and splits without."""

    def exactly(count: int) -> tuple[float, float]:
        return count / TEST - SLACK, count / TEST + SLACK

    planted = {"shared_rows": exactly(COPIES), "shared_ids": exactly(PERSONS)}
    near = NEAR / (TEST - COPIES)
    return (
        Control(
            "planted overlap", _subject(overlap=True), threat, {**planted, "near_shared_rows": (near, near + CHANCE)}
        ),
        Control(
            "splits apart",
            _subject(overlap=False),
            threat,
            {"shared_rows": (0.0, 0.0), "shared_ids": (0.0, 0.0), "near_shared_rows": (0.0, CHANCE)},
        ),
    )


def coin(x: object) -> np.ndarray[Any, Any]:
    """Return the same two scores for every row."""
    return np.full((len(np.asarray(x)), 2), 0.5)


def _subject(*, overlap: bool) -> Subject:
    generator = np.random.Generator(np.random.PCG64(7))
    train, test = generator.normal(size=(TRAIN, COLUMNS)), generator.normal(size=(TEST, COLUMNS))
    persons = {"train": np.arange(TRAIN), "test": np.arange(TRAIN, TRAIN + TEST)}
    if overlap:
        test[:COPIES] = train[:COPIES]
        jitter = generator.normal(size=(NEAR, COLUMNS)) * 1e-3
        test[COPIES : COPIES + NEAR] = train[COPIES : COPIES + NEAR] + jitter
        persons["test"][-PERSONS:] = persons["train"][-PERSONS:]
    rows = {
        which: {"x": x, "y": np.arange(len(x)) % 2, "person": persons[which]}
        for which, x in (("train", train), ("test", test))
    }
    return Subject.model_validate(
        {
            "name": "planted",
            "task": "classification",
            "model": {"live": coin, "output": "probabilities"},
            "data": {**rows, "id": "person"},
            "input": {"kind": "tabular", "bounds": (-50.0, 50.0)},
        }
    )
