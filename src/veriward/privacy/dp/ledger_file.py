"""The SQLite file of a ledger: made, opened and checked. WAL, synced at every commit; entries are never changed."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from veriward.core.errors import LedgerError

APPLICATION_ID = 0x56574C47  # "VWLG"
VERSION = 1
SCHEMA = (
    "CREATE TABLE terms (one INTEGER PRIMARY KEY CHECK (one = 1), body TEXT NOT NULL)",
    "CREATE TABLE entry (number INTEGER PRIMARY KEY, what TEXT NOT NULL, event TEXT NOT NULL, count INTEGER NOT NULL, "
    "distance REAL NOT NULL, sums TEXT NOT NULL, time REAL NOT NULL)",
    *(
        f"CREATE TRIGGER {table}_{verb} BEFORE {verb.upper()} ON {table} BEGIN SELECT RAISE(ABORT, 'append-only'); END"
        for table in ("terms", "entry")
        for verb in ("update", "delete")
    ),
)


def open_file(path: Path, terms: Mapping[str, Any] | None, wait_seconds: float) -> sqlite3.Connection:
    """Return a checked connection; makes the file where there is none and `terms` are given. Raises LedgerError."""
    if terms is None and not path.exists():
        raise LedgerError(f"{path}: no ledger there; want a budget (epsilon, delta) to open a new one")
    if path.exists() and not path.is_file():
        raise LedgerError(f"{path}: not a file; want a ledger")
    with told(path):
        mode = "rwc" if terms is not None else "rw"
        uri = f"{path.resolve().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=wait_seconds, isolation_level=None, check_same_thread=False)
    try:
        with told(path):
            _prepare(connection, path, terms)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, terms: Mapping[str, Any] | None) -> None:
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not empty:
        _check(connection, path)
    elif terms is None:
        raise LedgerError(f"{path}: an empty file, not a ledger; want a budget (epsilon, delta) to begin one")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # WAL at NORMAL may lose the last commits with the power
    if empty:
        assert terms is not None
        _create(connection, terms)
        _check(connection, path)


def _create(connection: sqlite3.Connection, terms: Mapping[str, Any]) -> None:
    """Make the tables, unless another process was quicker: then its terms stand."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={VERSION}")
            connection.execute("INSERT INTO terms VALUES (1, ?)", (json.dumps(terms),))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise LedgerError(f"{path}: a database, but not a ledger; want a file that veriward.privacy.dp.Ledger made")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise LedgerError(f"{path}: ledger format {version}, this veriward reads {VERSION}; update veriward")
    found = {str(sql) for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    whole = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(1)")] == ["ok"]
    if found != set(SCHEMA) or not whole:
        raise LedgerError(f"{path}: it is not as veriward wrote it; restore a copy, and count what was spent since")


def insert(
    connection: sqlite3.Connection,
    path: Path,
    what: str,
    event: str,
    count: int,
    distance: float,
    sums: Sequence[float],
    when: float,
) -> int:
    """Write one entry within the open transaction; returns its number."""
    row = (what, event, count, distance, json.dumps(list(sums)), when)
    with told(path):
        done = connection.execute(
            "INSERT INTO entry (what, event, count, distance, sums, time) VALUES (?, ?, ?, ?, ?, ?)", row
        )
    return int(done.lastrowid or 0)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite says into one LedgerError that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: cannot use the ledger ({error}); {_remedy(str(error))}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{path}: an entry is not as veriward wrote it; restore a copy of the ledger") from error


def _remedy(message: str) -> str:
    if "locked" in message:
        return "another process is writing to it: wait for it and try again, nothing was spent"
    if "full" in message or "I/O" in message:
        return "free some space and try again, nothing was spent"
    if "readonly" in message or "unable to open" in message:
        return "want a folder and a file that can be written; nothing was spent"
    return "it is corrupt or no ledger; restore a copy, and count what was spent since"
