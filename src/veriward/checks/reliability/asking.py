"""What all checks of reliability share: which rows they ask about, and what the model answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veriward.core.threat import Threat

if TYPE_CHECKING:
    import numpy as np

    from veriward.adapters.opened import Opened
    from veriward.checks.contract import Job

    Array = np.ndarray[Any, Any]

ROWS: Mapping[str, int | None] = {"quick": 2_000, "standard": 20_000, "thorough": None}  # one query each
EVERYDAY = Threat("everyday", "labels")
TASKS = ("classification", "regression")
TILE, LARGEST = 64, 8192  # rows of an item
MOST_NUMBERS = 1 << 24  # in an item: 64 MiB of float32


@dataclass(frozen=True)
class Ask:
    """Ask the model about a block of test rows as they are."""

    def __call__(self, opened: Opened, rows: Sequence[int]) -> Mapping[str, Any]:
        """Return the answers, (n,): class numbers or values."""
        return {"answer": answers(opened, opened.domain.decode(opened.encoded("test", list(rows))))}


def answers(opened: Opened, x: Any) -> Array:
    """Return what the model answers to rows as it takes them, (n,): class numbers int32, or values float64."""
    import numpy as np

    if hasattr(opened.model, "values"):
        return np.asarray(opened.model.values(x).cpu().numpy(), dtype=np.float64)
    return np.asarray(opened.model.labels(x).cpu().numpy(), dtype=np.int32)


def answered(job: Job, rows: Array) -> Array:
    """Return the model's answers to these test rows, (n,), block by block."""
    import numpy as np

    found = job.map("answers", Ask(), blocks(job.opened, rows))
    return np.concatenate([item["answer"] for item in found])


def blocks(opened: Opened, rows: Array, most: int = LARGEST) -> list[list[int]]:
    """Return the rows cut into items of work, whole tiles each; large rows travel in small company."""
    numbers = max(opened.domain.encode(opened.test.x, [0]).numel(), 1)
    size = min(max(MOST_NUMBERS // numbers // TILE * TILE, TILE), most)
    return [rows[i : i + size].tolist() for i in range(0, len(rows), size)]


def truth(opened: Opened, rows: Array) -> Array:
    """Return the class numbers or values that test rows have, (n,)."""
    import numpy as np

    return np.asarray(opened.targets["test"][rows].cpu().numpy())


def residuals(answers: Array, y: Array) -> Array:
    """Return predicted minus true numbers, (n,): infinite where the difference is larger than any number."""
    import numpy as np

    with np.errstate(over="ignore"):
        return np.asarray(answers - y)


def spread(opened: Opened, rows: Array, values: Array, nothing: float) -> Array:
    """Return values of the rows that were asked, over the whole test split; `nothing` elsewhere."""
    import numpy as np

    out = np.full(opened.test.total, nothing, values.dtype)
    out[opened.test.index[rows]] = values
    return out


def told(names: Sequence[str], *, private: bool) -> list[str]:
    """Return the names of a column's groups; those of a private column are numbered instead.

    >>> told(["f", "m"], private=True)
    ['#1', '#2']
    """
    return [f"#{number}" for number in range(1, len(names) + 1)] if private else list(names)
