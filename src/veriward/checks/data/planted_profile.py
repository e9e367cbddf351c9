"""Controls of the profile: a table with one leak, one constant and known gaps; and one of pure noise."""

from __future__ import annotations

import numpy as np

from veriward.checks.contract import Control
from veriward.checks.data.planted_splits import coin
from veriward.core.subject import Subject
from veriward.core.threat import Threat

ROWS, GAPS = 800, 80
SLACK = 1e-9


def planted_controls(threat: Threat) -> tuple[Control, ...]:
    """Return a table with planted flaws, and one of noise."""
    share = GAPS / ROWS
    flaws = {"leaking_columns": (1.0, 1.0), "constant_columns": (1.0, 1.0)}
    gaps = {"missing_share": (share - SLACK, share + SLACK)}
    quiet = {"leaking_columns": (0.0, 0.0), "constant_columns": (0.0, 0.0)}
    return (
        Control("planted flaws", _subject(planted=True), threat, flaws),
        Control("planted gaps", _subject(planted=True), threat, gaps, {"column": "noise"}),
        Control("noise", _subject(planted=False), threat, quiet),
    )


def _subject(*, planted: bool) -> Subject:
    generator = np.random.Generator(np.random.PCG64(11))
    y = generator.integers(0, 2, ROWS)
    noise, other = generator.normal(size=ROWS), generator.normal(size=ROWS)
    words = generator.choice(np.array(["a", "b", "c"], dtype=object), ROWS)
    fourth = generator.normal(size=ROWS)
    if planted:
        noise[:GAPS] = np.nan
        other, fourth = y + generator.normal(size=ROWS) * 0.01, np.ones(ROWS)
    rows = {"noise": noise, "other": other, "words": words, "fourth": fourth, "y": y}
    return Subject.model_validate(
        {
            "name": "planted",
            "task": "classification",
            "model": {"live": coin, "output": "probabilities"},
            "data": {"test": rows, "label": "y"},
            "input": {"kind": "tabular", "columns": ["other"]},
        }
    )
