"""The rows of a split as they stand in their source: every column, whether the model reads it or not, in blocks.

Checks of the data look at all of a file, which may be larger than memory: a file of a table is read by DuckDB, block by
block; objects of the caller's are cut into views.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from veriward.core.errors import DataError
from veriward.core.sources import TABLES, Array, as_columns, connected, count_rows, read_columns, table_reader
from veriward.core.subject import Subject

BLOCK = 32_768  # rows
Block = tuple[int, dict[str, Array]]  # the number of its first row, and its columns


@dataclass(frozen=True)
class Rows:
    """The rows of one split. `columns` holds what is in memory; a table's file is opened anew for each pass."""

    where: str  # for messages
    names: tuple[str, ...]
    total: int
    path: Path | None = None
    columns: dict[str, Array] = field(default_factory=dict, repr=False)

    def blocks(self, size: int = BLOCK, names: Sequence[str] | None = None) -> Iterator[Block]:
        """Yield the rows in order, at most `size` at a time; `names` chooses columns."""
        chosen = self.names if names is None else tuple(names)
        if self.path is None:
            for start in range(0, self.total, size):
                yield start, {name: self.columns[name][start : start + size] for name in chosen}
            return
        with self.query(_select(chosen)) as result:
            yield from _chunks(result, size)

    @contextmanager
    def query(self, sql: str) -> Iterator[Any]:
        """Run SQL over the table `rows`, e.g. "SELECT count(*) FROM rows"; yields DuckDB's result."""
        with connected(self.where) as connection:
            if self.path is None:
                import pandas as pd

                flat = {name: column for name, column in self.columns.items() if column.ndim == 1}
                connection.register("rows", pd.DataFrame(flat, copy=False))
            else:
                connection.execute(f"CREATE VIEW rows AS SELECT * FROM {table_reader(self.path)}")  # noqa: S608
            yield connection.execute(sql)


def _select(names: Sequence[str]) -> str:
    return f"SELECT {', '.join(quoted(name) for name in names)} FROM rows"  # noqa: S608 -- names are quoted


def quoted(name: str) -> str:
    """Return a column's name as SQL takes it.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def _chunks(result: Any, size: int) -> Iterator[Block]:
    """Yield blocks of a result: DuckDB gives vectors of 2048 rows."""
    start, vectors = 0, max(size // 2048, 1)
    while True:
        frame = result.fetch_df_chunk(vectors)
        if not len(frame):
            return
        yield start, as_columns(frame)
        start += len(frame)


def open_rows(subject: Subject, which: str) -> Rows | None:
    """Return the rows of "train" or "test", None if the subject has none. Raises DataError for what cannot be read."""
    source = getattr(subject.data, which)
    if source is None:
        return None
    where = f"data.{which}"
    if not isinstance(source, str | Path):
        columns = as_columns(source)
        return Rows(where, tuple(columns), count_rows(columns), columns=columns)
    path = subject.place(str(source))
    if not path.name.lower().endswith(TABLES):
        columns, total = read_columns(path)
        return Rows(where, tuple(columns), total, columns=columns)
    if not path.is_file():
        raise DataError(f"{where} ({source}): no such file")
    probe = Rows(where, (), 0, path)
    with probe.query("DESCRIBE rows") as described:
        names = tuple(str(row[0]) for row in described.fetchall())
    with probe.query("SELECT count(*) FROM rows") as counted:
        total = int(counted.fetchone()[0])
    return Rows(where, names, total, path)
