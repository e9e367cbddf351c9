"""The rows of a split as they stand in their source: every column, whether the model reads it or not, in blocks.

Checks of the data look at all of a file, which may be larger than memory: a file of a table is read by DuckDB, block by
block; objects of the caller's are cut into views. The types of a CSV are found once, in a pass over all of it; a pass
that would find them again takes ten times as long.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from veriward.core.data import Table, check_lengths
from veriward.core.errors import DataError
from veriward.core.sources import (
    CSV,
    TABLES,
    Array,
    as_columns,
    check_file,
    check_header,
    connected,
    count_rows,
    read_columns,
    table_reader,
    text_literal,
)
from veriward.core.subject import Subject

BLOCK = 32_768  # rows
BLOCK_BYTES = 128 << 20  # of the file; rows of long texts come in smaller blocks
VECTOR = 2048  # rows that DuckDB hands over at a time
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
FLOATS = ("FLOAT", "DOUBLE", "DECIMAL", "UHUGEINT")
Block = tuple[int, dict[str, Array]]  # the number of its first row, and its columns
ColumnKind = Literal["integer", "number", "boolean", "text", "array"]


@dataclass(frozen=True)
class Rows:
    """The rows of one split. `columns` holds what is in memory; a table's file is opened anew for each pass."""

    where: str  # for messages
    names: tuple[str, ...]
    total: int
    path: Path | None = None
    columns: dict[str, Array] = field(default_factory=dict, repr=False)
    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)  # what each column holds
    reader: str | None = None  # SQL that names the file's table, its types found

    def width(self, name: str) -> int:
        """Return how many values a row has in a column: more than one in an array."""
        return math.prod(self.columns[name].shape[1:]) if self.kinds[name] == "array" else 1

    def blocks(self, size: int = BLOCK, names: Sequence[str] | None = None, *, texts: bool = False) -> Iterator[Block]:
        """Yield the rows in order, at most `size` at a time; `names` chooses columns.

        `texts` gives each cell of a file's table as text: whole numbers of 17 digits and more beside empty cells would
        lose their last digits as floats.
        """
        chosen = self.names if names is None else tuple(names)
        if not chosen or self.path is None:
            for start in range(0, self.total, size):
                yield start, {name: self.columns[name][start : start + size] for name in chosen}
            return
        columns = ", ".join(_cell(name, texts) for name in chosen)
        with self.query(f"SELECT {columns} FROM rows") as result:  # noqa: S608 -- names are quoted
            yield from _chunks(result, self._height(size), size)

    def _height(self, size: int) -> int:
        """Return how many rows to ask for at a time: fewer where rows are long."""
        assert self.path is not None
        each = self.path.stat().st_size / max(self.total, 1)
        return max(1, min(size, int(BLOCK_BYTES / max(each, 1))))

    def take(self, numbers: Array, names: Sequence[str] | None = None, *, longest: int = 1 << 10) -> dict[str, Array]:
        """Return the rows of these numbers (ascending); texts are cut after `longest` characters."""
        chosen = self.names if names is None else tuple(names)
        if self.path is None:
            return {name: _cut(self.columns[name][numbers], longest) for name in chosen}
        cells = ", ".join(
            f"left({quoted(n)}, {longest}) AS {quoted(n)}" if self.kinds[n] == "text" else quoted(n) for n in chosen
        )
        mark = next(f"#row{i}" for i in range(len(self.names) + 1) if f"#row{i}" not in self.names)
        numbered = f"SELECT *, row_number() OVER () - 1 AS {quoted(mark)} FROM rows"  # noqa: S608
        wanted = f"WHERE {quoted(mark)} IN (SELECT number FROM wanted) ORDER BY {quoted(mark)}"  # noqa: S608
        sql = f"SELECT {cells} FROM ({numbered}) {wanted}"  # noqa: S608 -- names are quoted
        with self.query(sql, wanted=numbers) as result:
            return as_columns(result.fetchnumpy())

    @contextmanager
    def query(self, sql: str, wanted: Array | None = None) -> Iterator[Any]:
        """Run SQL over the table `rows`, e.g. "SELECT count(*) FROM rows"; yields DuckDB's result.

        `wanted` becomes the column `number` of a table called so. Arrays with several dimensions are no columns of it.
        """
        with connected(self.where, self.path) as connection:
            if wanted is not None:
                connection.register("wanted", Table({"number": np.asarray(wanted, np.int64)}).frame())
            if self.path is None:
                connection.register("rows", self._frame())
            else:
                reader = self.reader or table_reader(self.path)
                connection.execute(f"CREATE VIEW rows AS SELECT * FROM {reader}")  # noqa: S608
            yield connection.execute(sql)

    def _frame(self) -> Any:
        flat = {name: column for name, column in self.columns.items() if column.ndim == 1}
        lower = [name.lower() for name in flat]
        twice = [name for name in flat if lower.count(name.lower()) > 1]
        if twice:
            raise DataError(f"{self.where}: two columns are called {twice[0]!r} but for capitals; rename one")
        return Table(flat).frame()


def quoted(name: str) -> str:
    """Return a column's name as SQL takes it.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def _cell(name: str, texts: bool) -> str:
    return f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" if texts else quoted(name)


def _cut(column: Array, longest: int) -> Array:
    if column.dtype != object or column.ndim > 1:
        return column
    return np.array([v[:longest] if isinstance(v, str) else v for v in column], dtype=object)


def _chunks(result: Any, height: int, size: int) -> Iterator[Block]:
    """Yield blocks of a result, which DuckDB computes as they are asked for, in the file's order."""
    start = 0
    while True:
        frame = result.fetch_df_chunk(max(min(height, size) // VECTOR, 1))
        if not len(frame):
            return
        columns = as_columns(frame)
        for top in range(0, len(frame), size):  # a vector may be larger than what was asked for
            yield start + top, {name: column[top : top + size] for name, column in columns.items()}
        start += len(frame)


def open_rows(subject: Subject, which: str) -> Rows | None:
    """Return the rows of "train" or "test", None if the subject has none.

    Raises DataError for what cannot be read, for columns of one name and for columns of different lengths.
    """
    source = getattr(subject.data, which)
    if source is None:
        return None
    where = f"data.{which}"
    if not isinstance(source, str | Path):
        return _in_memory(where, as_columns(source))
    path = subject.place(str(source))
    if not path.name.lower().endswith(TABLES):
        return _in_memory(f"{where} ({source})", read_columns(path)[0])
    check_file(path)
    state = path.stat()
    kinds, reader, total = _described(path, state.st_size, state.st_mtime_ns)
    if not total:
        raise DataError(f"{where} ({source}): no rows; an empty split shows nothing")
    return Rows(f"{where} ({source})", tuple(kinds), total, path, kinds=kinds, reader=reader)


def _in_memory(where: str, columns: dict[str, Array]) -> Rows:
    check_lengths(columns, where)
    kinds = {name: _kind_of_array(column) for name, column in columns.items()}
    return Rows(where, tuple(columns), count_rows(columns), columns=columns, kinds=kinds)


def _kind_of_array(column: Array) -> ColumnKind:
    if column.ndim > 1:
        return "array"
    kinds: dict[str, ColumnKind] = {"O": "text", "b": "boolean", "f": "number"}
    return kinds.get(column.dtype.kind, "integer")


def _kind_of_type(name: str) -> ColumnKind:
    plain = name.split("(", maxsplit=1)[0]
    if plain in INTEGERS:
        return "integer"
    return "number" if plain in FLOATS else "boolean" if plain == "BOOLEAN" else "text"


@lru_cache(maxsize=8)
def _described(path: Path, size: int, changed: int) -> tuple[dict[str, ColumnKind], str, int]:
    """Return the kinds of a file's columns, SQL that reads it without looking for types again, and its rows."""
    plain = table_reader(path)
    with connected(str(path), path) as connection:
        if plain.startswith("read_csv"):
            types, reader = _sniffed(connection, path)
        else:
            reader = plain
            described = connection.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()  # noqa: S608
            types = {str(row[0]): str(row[1]) for row in described}
        check_header(connection, plain, list(types), path)
        total = int(connection.execute(f"SELECT count(*) FROM {reader}").fetchone()[0])  # noqa: S608
    return {name: _kind_of_type(type_) for name, type_ in types.items()}, reader, total


def _sniffed(connection: Any, path: Path) -> tuple[dict[str, str], str]:
    file = table_reader(path).removeprefix("read_csv(").removesuffix(f", {CSV})")
    signs = "Delimiter, Quote, Escape, Comment, Columns"
    *found, columns = connection.execute(f"SELECT {signs} FROM sniff_csv({file}, {CSV})").fetchone()  # noqa: S608
    types = {str(column["name"]): str(column["type"]) for column in columns}
    delim, quote, escape, comment = (text_literal("" if sign == "(empty)" else sign) for sign in found)
    held = ", ".join(f"{text_literal(name)}: {text_literal(type_)}" for name, type_ in types.items())
    dialect = f"delim = {delim}, quote = {quote}, escape = {escape}, comment = {comment}"
    return types, f"read_csv({file}, auto_detect = false, header = true, {dialect}, columns = {{{held}}})"
