"""The cells of some rows of a split, block by block: texts, and numbers that may be identifiers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.core.data import Table
from veriward.core.rows import Rows, open_rows, quoted
from veriward.core.sources import ROW

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.streams import Stream
    from veriward.core.subject import Subject

Array = np.ndarray[Any, Any]
BLOCK = 16_384  # rows
VECTORS = BLOCK // 2048  # of DuckDB's
EXACT = 1 << 53  # whole numbers beyond it are rounded as floats
WIDEST = 2_000  # columns of a matrix


@dataclass(frozen=True)
class Wanted:
    """Rows `start` to `stop` of a split: all of them, or those in a sample of about `most` rows of the whole split."""

    start: int
    stop: int
    most: int | None = None
    stream: Stream | None = None


@dataclass(frozen=True)
class Source:
    """The rows of a split; `as_text`: columns of whole numbers that floats, which gaps make of them, would round."""

    rows: Rows
    as_text: tuple[str, ...] = ()


def open_splits(subject: Subject) -> dict[str, Source]:
    """Return the rows of each split that the subject has, the test split first."""
    found = {split: open_rows(subject, split) for split in ("test", "train")}
    return {split: Source(rows, _long_with_gaps(rows)) for split, rows in found.items() if rows is not None}


def already_read(opened: Opened) -> dict[str, Source]:
    """Return the test rows that the model is asked about, which are in memory; for arrays, the splits as they stand."""
    table = opened.test.x
    if not isinstance(table, Table):
        return open_splits(opened.subject)
    return {"test": Source(Rows("data.test", table.names, len(table), columns=dict(table.columns)))}


def _long_with_gaps(rows: Rows) -> tuple[str, ...]:
    """Return the columns of whole numbers beyond what a float holds that have empty cells: identity numbers have both."""
    names = [name for name, kind in rows.kinds.items() if kind == "integer"]
    if rows.path is None or not names:
        return ()
    asked = ", ".join(f"count(*) > count({quoted(n)}) AND max(abs({quoted(n)}::HUGEINT)) > {EXACT}" for n in names)
    with rows.query(f"SELECT {asked} FROM rows") as result:  # noqa: S608 -- names are quoted
        return tuple(name for name, long in zip(names, result.fetchone(), strict=True) if long)


def read(source: Source, wanted: Wanted) -> Iterator[tuple[Array, Mapping[str, Any]]]:
    """Yield (numbers of the rows, raw values by column) in the order of the file."""
    rows = source.rows
    if rows.path is not None:
        yield from _from_file(source, wanted)
        return
    chosen = np.arange(wanted.start, wanted.stop)
    if _samples(rows, wanted):
        assert wanted.stream is not None
        drawn = np.sort(wanted.stream.generator().permutation(rows.total)[: wanted.most])
        chosen = drawn[(drawn >= wanted.start) & (drawn < wanted.stop)]
    for at in range(0, len(chosen), BLOCK):
        part = chosen[at : at + BLOCK]
        yield part, {name: column[part] for name, column in rows.columns.items() if len(column) == rows.total}


def _samples(rows: Rows, wanted: Wanted) -> bool:
    return wanted.most is not None and rows.total > wanted.most


def _from_file(source: Source, wanted: Wanted) -> Iterator[tuple[Array, Mapping[str, Any]]]:
    rows = source.rows
    cells = ", ".join(_cell(name, name in source.as_text) for name in rows.names)
    first = f"SELECT {cells} FROM rows LIMIT {wanted.stop}"  # noqa: S608 -- what comes later is not read
    numbered = f"SELECT *, row_number() OVER () - 1 AS {quoted(ROW)} FROM ({first})"  # noqa: S608 -- the same
    where = f"{quoted(ROW)} >= {wanted.start}"
    if _samples(rows, wanted):
        assert wanted.most is not None and wanted.stream is not None
        share = int(wanted.most / rows.total * (2**64 - 1))  # each row by its own hash: about `most` rows, in one pass
        where += f" AND hash({quoted(ROW)}, {wanted.stream.key}) < {share}::UBIGINT"
    with rows.query(f"SELECT * FROM ({numbered}) WHERE {where}") as result:  # noqa: S608 -- numbers of ours
        while len(frame := result.fetch_df_chunk(VECTORS)):
            numbers = frame.pop(ROW).to_numpy().astype(np.int64)
            yield numbers, {str(name): frame[name] for name in frame.columns}


def _cell(name: str, as_text: bool) -> str:
    return f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" if as_text else quoted(name)


def is_readable(column: Array) -> bool:
    """Return whether a column, or a matrix of columns, can hold identifiers that a scan would recognise."""
    if column.ndim == 1:
        return column.dtype.kind in "OUSiuf"
    return column.ndim == 2 and column.dtype.kind in "iuf" and column.dtype.itemsize >= 8 and column.shape[1] <= WIDEST


def cells(name: str, raw: Any) -> Iterator[tuple[str, list[str] | None, Array]]:
    """Yield (column, its texts or None, its numbers or the places of the texts) of what a column holds.

    A cell that is neither text nor number counts by what it prints. Raises whatever a broken column raises.
    """
    values = raw.to_numpy() if hasattr(raw, "to_numpy") else np.asarray(raw)
    if values.ndim == 2:
        for number in range(values.shape[1]) if is_readable(values) else ():
            yield f"{name}{number}", None, values[:, number]  # as the rest of the house calls it
    elif values.dtype.kind in "iuf":
        yield name, None, values
    elif values.dtype.kind in "OUS":
        found = [(place, text) for place, value in enumerate(values.tolist()) if (text := _text(value)) is not None]
        yield name, [text for _, text in found], np.array([place for place, _ in found], dtype=np.int64)


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if value is None or (value is value and value != value):  # noqa: PLR0124 -- NaN, NaT
        return None
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)
