"""Rows from wherever they are: files and objects become named numpy arrays. numpy and pandas end here."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from veriward.core.canonical import derive_key
from veriward.core.encoding import advice
from veriward.core.errors import DataError, DependencyMissing

Array = np.ndarray[Any, Any]
ROW = "#row"  # where a sampled row stood in its file
LARGE_BYTES = 2 << 30  # files above are sampled by DuckDB, never held in memory as a whole
SAMPLE_ROWS = 200_000
# DuckDB would read "yes" as a boolean and codes as dates: only numbers are numbers, and "true" and "false" booleans
CSV = "header = true, skip = 0, sample_size = -1, auto_type_candidates = ['BIGINT', 'DOUBLE', 'VARCHAR']"
TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


def read_columns(path: Path, *, seed: int = 0) -> tuple[dict[str, Array], int]:
    """Return the columns (or arrays) of a file and how many rows it has; larger files give a seeded sample.

    The sample carries its row numbers under "#row". Raises DataError for what is missing, unreadable or of an unknown kind.
    """
    check_file(path)
    if path.name.lower().endswith(TABLES):
        return _read_table(path, seed)
    reader = {".npz": _read_npz, ".safetensors": _read_safetensors}.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: files of kind {path.suffix!r} are not read; want .csv, .parquet, .npz or .safetensors"
        )
    columns = reader(path)
    return columns, count_rows(columns)


def check_file(path: Path) -> None:
    """Raise DataError unless a file is there, may be read and holds something."""
    if not path.is_file():
        raise DataError(
            f"{path}: {'a folder' if path.is_dir() else 'no such file'}; want .csv, .parquet, .npz or .safetensors"
        )
    if not os.access(path, os.R_OK) or path.stat().st_size == 0:
        raise DataError(f"{path}: {'empty' if os.access(path, os.R_OK) else 'may not be read'}; want a file with rows")


def count_rows(columns: Mapping[str, Array]) -> int:
    """Return how many rows named arrays have; what is a single number has none."""
    return next((len(column) for column in columns.values() if column.ndim), 0)


def as_columns(source: Any) -> dict[str, Array]:
    """Return named arrays from an object of the caller's: (x, y), a mapping, pandas, polars, pyarrow or DuckDB.

    >>> {name: a.shape for name, a in as_columns(([[0.0, 1.0]], [1])).items()}
    {'x': (1, 2), 'y': (1,)}
    """
    if isinstance(source, tuple) and len(source) == 2:
        source = {"x": source[0], "y": source[1]}
    if isinstance(source, Mapping) and "x" in source and hasattr(source["x"], "columns"):
        frame = as_columns(source["x"])  # a data frame beside its labels
        source = {**frame, **{name: value for name, value in source.items() if name != "x"}}
    if hasattr(source, "fetchnumpy"):
        source = source.fetchnumpy()
    names = _names(source)
    _check_distinct([str(name) for name in names])
    return {str(name): _array(source[name], str(name)) for name in names}


def _names(source: Any) -> list[Any]:
    if isinstance(source, Mapping):
        return list(source)
    for attribute in ("column_names", "columns"):  # pyarrow; pandas and polars
        names = getattr(source, attribute, None)
        if names is not None:
            return [str(name) for name in names]
    raise DataError(
        f"data of type {type(source).__name__}: not understood; "
        "want (x, y), a dictionary of arrays, or a pandas, polars, pyarrow or DuckDB table"
    )


def _array(values: Any, name: str) -> Array:
    """Return one column as a numpy array: numbers as numbers, missing ones as NaN, texts as objects."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # numpy has no such type
            values = values.float()
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ma.MaskedArray):
        values = _unmask(values)
    array = np.asarray(values)
    if array.dtype.kind in "UST":
        return array.astype(object)
    if array.dtype.kind == "M":
        return np.array([None if v == "NaT" else v for v in np.datetime_as_string(array)], dtype=object)
    if array.dtype == object:
        return _objects(array, name)
    if array.dtype.kind not in "biuf":
        raise DataError(f"column {name!r}: values of type {array.dtype} are not understood; want numbers or texts")
    return array


def _unmask(values: Any) -> Array:
    missing = np.ma.getmaskarray(values)
    if not missing.any():
        return np.asarray(values.data)
    if values.dtype.kind in "iuf":
        return np.asarray(values.astype(np.float64).filled(np.nan))
    array = np.asarray(values.data).astype(object)
    array[missing] = None
    return array


def _objects(array: Array, name: str) -> Array:
    """Numbers in an object column become numbers; texts stay, with None for what is missing."""
    present = [v for v in array.ravel() if not _missing(v)]
    if present and all(isinstance(v, bool | np.bool_) for v in present) and len(present) == array.size:
        return array.astype(bool)
    if present and all(isinstance(v, int | float | np.number) or _decimal(v) for v in present):
        return np.array([np.nan if _missing(v) else float(v) for v in array.ravel()]).reshape(array.shape)
    if array.ndim > 1:
        raise DataError(f"array {name!r}: holds objects; want numbers")
    return np.array([None if _missing(v) else str(v) for v in array], dtype=object)


def _missing(value: Any) -> bool:
    """Return whether a cell is empty; pandas' NA refuses to be compared, an array in a cell compares to many."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return (isinstance(value, float | np.floating) or _decimal(value)) and bool(value != value)  # noqa: PLR0124


def _decimal(value: Any) -> bool:
    return type(value).__name__ == "Decimal"


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: _array(archive[name], name) for name in archive.files}
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (ValueError, OSError, EOFError, KeyError) as error:
        why = "objects, which are never unpickled" if "pickle" in str(error) else str(error)
        raise DataError(f"{path}: not a readable .npz of plain arrays ({why}); save it with numpy.savez") from None
    except Exception as error:  # zipfile and zlib raise their own kinds
        raise DataError(f"{path}: damaged ({type(error).__name__}: {error}); save it again") from None


def _read_safetensors(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: not readable as safetensors ({error}); save it again") from None


def _read_table(path: Path, seed: int) -> tuple[dict[str, Array], int]:
    with connected(str(path), path) as connection:
        return _query(connection, path, seed)


@contextlib.contextmanager
def connected(where: str, path: Path | None = None) -> Iterator[Any]:
    """Yield a DuckDB connection in memory that loads no extensions; its errors become DataErrors about `where`.

    Of a text file at `path` that is not UTF-8 the error says what it probably is, and how to convert it. Raises
    DependencyMissing without DuckDB.
    """
    try:
        import duckdb
    except ImportError:
        raise DependencyMissing("reading tables needs DuckDB: pip install duckdb") from None
    settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    with duckdb.connect(":memory:", config=settings) as connection:
        try:
            connection.execute("SET enable_progress_bar = false")  # it writes into what others read from stdout
            yield connection
        except duckdb.Error as error:
            first = str(error).splitlines()[0]  # the lines below quote the file's own rows
            text = path is not None and path.suffix != ".parquet" and path.is_file()
            found = advice(path) if text and path is not None else None
            why = f"{first}; {found or 'it is not UTF-8'}" if found or "utf-8" in str(error) else first
            raise DataError(
                f"{where}: not a readable table ({why}); want UTF-8, a header line and one row per line"
            ) from None


def table_reader(path: Path) -> str:
    """Return the SQL that names a file's table: "read_csv('adult.csv', ...)"."""
    plain = re.sub(r"[*?\[]", r"[\g<0>]", str(path))  # a star in a file's name is no pattern
    literal = text_literal(plain)
    return f"read_parquet({literal})" if path.suffix.lower() == ".parquet" else f"read_csv({literal}, {CSV})"


def text_literal(text: str) -> str:
    """Return a text as SQL takes it.

    >>> text_literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def _query(connection: Any, path: Path, seed: int) -> tuple[dict[str, Array], int]:
    reader = table_reader(path)
    columns = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()]  # noqa: S608
    check_header(connection, reader, columns, path)
    if path.stat().st_size <= LARGE_BYTES:
        result = connection.execute(f"SELECT * FROM {reader}").fetchnumpy()  # noqa: S608
        table = {name: _truths(_array(result[name], name)) for name in columns}
        return table, len(next(iter(table.values()), ()))
    return _sampled(connection, reader, columns, seed)


def check_header(connection: Any, reader: str, columns: list[str], path: Path) -> None:
    """Raise DataError for a header line that is none: unprintable, of one cell though lines have more, names twice."""
    if any(not name.isprintable() for name in columns):
        raise DataError(f"{path}: the header line is not text; want UTF-8, a header line and one row per line")
    if len(columns) == 1 and re.search(r"[,;\t|]", columns[0]):
        raise DataError(f"{path}: lines differ in how many cells they have; want the same columns in every line")
    try:
        _check_distinct([name.lower() for name in _written(connection, reader, columns)])
    except DataError as error:
        raise DataError(f"{path}: {error} (capitals do not count)") from None


def _written(connection: Any, reader: str, columns: list[str]) -> list[str]:
    """Return the names as they stand in a file: DuckDB tells a second "a" as "a_1", which others use as a name."""
    lower = {name.lower() for name in columns}
    if not any(name.lower().rpartition("_")[0] in lower for name in columns):
        return columns
    if reader.startswith("read_parquet"):
        query = f"SELECT name FROM {reader.replace('read_parquet', 'parquet_schema')} OFFSET 1"  # noqa: S608
        return [row[0] for row in connection.execute(query).fetchall()]
    first = reader.replace(CSV, "header = false, skip = 0, all_varchar = true")
    return [str(cell) for cell in connection.execute(f"SELECT * FROM {first} LIMIT 1").fetchone()]  # noqa: S608


def _check_distinct(names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two columns are called {twice!r}; rename one")


def _truths(column: Array) -> Array:
    """Return a column of the words true and false as booleans; any other as it is."""
    if column.dtype != object or not set(column[:100].tolist()) <= TRUTHS.keys():
        return column
    values = column.tolist()
    return np.array([TRUTHS[v] for v in values]) if set(values) <= TRUTHS.keys() else column


def _sampled(connection: Any, reader: str, columns: list[str], seed: int) -> tuple[dict[str, Array], int]:
    total = int(connection.execute(f"SELECT count(*) FROM {reader}").fetchone()[0])  # noqa: S608
    share = min(1.0, SAMPLE_ROWS / max(total, 1))
    numbered = f'SELECT *, row_number() OVER () - 1 AS "{ROW}" FROM {reader}'  # noqa: S608
    chosen = f'hash("{ROW}", {derive_key(seed, "rows of a large file")}) < {int(share * (2**64 - 1))}::UBIGINT'
    result = connection.execute(f"SELECT * FROM ({numbered}) WHERE {chosen}").fetchnumpy()  # noqa: S608
    return {name: _truths(_array(result[name], name)) for name in [*columns, ROW]}, total
