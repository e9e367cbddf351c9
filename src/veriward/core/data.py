"""Rows with their labels, groups and persons. A Table is named columns; arrays are images, series or matrices."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.core.errors import DataError, some
from veriward.core.sources import ROW, Array, as_columns, count_rows, read_columns
from veriward.core.subject import Subject

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """Named columns of equal length."""

    columns: Mapping[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in their order."""
        return tuple(self.columns)

    def take(self, rows: Any) -> "Table":
        """Return some rows, in the order asked for."""
        return Table({name: column[rows] for name, column in self.columns.items()})

    def select(self, names: Sequence[str]) -> "Table":
        """Return some columns, in the order asked for; DataError names those that are missing."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise DataError(f"no column {some(missing)} among the inputs, which are {some(self.columns)}")
        return Table({name: self.columns[name] for name in names})

    def frame(self) -> "pd.DataFrame":
        """Return a pandas frame, for fitted pipelines that select columns by name."""
        import pandas as pd

        return pd.DataFrame(dict(self.columns), copy=False)

    def matrix(self) -> Array:
        """Return (n, columns) float64; DataError names a column that holds no numbers."""
        texts = [name for name, column in self.columns.items() if column.dtype == object]
        if texts:
            raise DataError(
                f"columns hold texts: {some(texts)}; the model takes numbers: encode them, or name input.columns without"
            )
        return np.column_stack([column.astype(np.float64) for column in self.columns.values()])


@dataclass(frozen=True)
class Split:
    """The rows of one split: x (n rows), y (n,), groups and ids beside them.

    `index` says where each row stands among the `total` rows of the file: a large file is sampled.
    """

    x: Any
    y: Array
    groups: Mapping[str, Array] = field(default_factory=dict)
    ids: Array | None = None
    index: Array = field(default_factory=lambda: np.empty(0, np.int64))
    total: int = 0

    def __len__(self) -> int:
        return len(self.y)


def load_split(subject: Subject, which: str) -> Split | None:
    """Return the "train" or "test" rows of a subject, None if it has none.

    Raises DataError for missing columns, empty splits, lengths that differ and labels that are missing or not finite.
    """
    source = getattr(subject.data, which)
    if source is None:
        return None
    where = f"data.{which}" + (f" ({source})" if isinstance(source, str) else "")
    if isinstance(source, str | Path):
        columns, total = read_columns(subject.place(str(source)))
    else:
        columns = _from_object(source, where)
        total = count_rows(columns)
    return _split(subject, columns, total, where)


def _from_object(source: Any, where: str) -> dict[str, Array]:
    try:
        return as_columns(source)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _split(subject: Subject, columns: dict[str, Array], total: int, where: str) -> Split:
    data = subject.data
    label = data.label or "y"
    index = columns.pop(ROW, None)
    for role, name in (("label", label), ("id", data.id), *(("groups", group) for group in data.groups)):
        if name is not None and name not in columns:
            raise DataError(f"{where}: no column {name!r} (data.{role}); there are: {_told(columns)}")
    check_lengths(columns, where)
    y = _labels(columns[label], label, where)
    beside = {label, data.id}
    x = _rows(columns, beside, data.groups)
    return Split(
        x=x,
        y=y,
        groups={name: columns[name] for name in data.groups},
        ids=columns[data.id] if data.id else None,
        index=np.arange(len(y)) if index is None else index.astype(np.int64),
        total=total,
    )


def _told(names: Mapping[str, Array]) -> str:
    """Return the columns' names, unless they look like a row: a file without a header must not be quoted."""
    numbers = sum(re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", name) is not None for name in names)
    if numbers > len(names) / 2:
        return f"{len(names)}, most of them called like numbers: is the header line missing?"
    return some(names)


def check_lengths(columns: Mapping[str, Array], where: str) -> None:
    """Raise DataError unless all columns have the same number of rows, and more than none."""
    lengths = {name: len(column) if column.ndim else -1 for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{where}: lengths differ: {lengths}; want one row per label")
    if not any(lengths.values()):
        raise DataError(f"{where}: no rows; an empty split shows nothing")


def _labels(y: Array, name: str, where: str) -> Array:
    y = y.reshape(len(y)) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1:
        raise DataError(f"{where}: label {name!r} has shape {y.shape}; want one label per row, (n,)")
    missing = np.array([v is None for v in y]) if y.dtype == object else ~np.isfinite(y.astype(np.float64))
    if missing.any():
        raise DataError(
            f"{where}: label {name!r} is missing or not finite in row {int(missing.argmax())}; drop such rows"
        )
    return y


def _rows(columns: Mapping[str, Array], beside: set[str | None], groups: Sequence[str]) -> Any:
    """An array called x is the input; otherwise every column that is not label or id is."""
    if "x" in columns and columns["x"].ndim > 1:
        return columns["x"]
    wide = [name for name, column in columns.items() if column.ndim > 1]
    if wide:
        raise DataError(f"arrays with several dimensions: {some(wide)}; call the input array x")
    return Table({name: column for name, column in columns.items() if name not in beside})


def take(x: Any, rows: Any) -> Any:
    """Return some rows of a Table or an array."""
    return x.take(rows) if isinstance(x, Table) else x[rows]
