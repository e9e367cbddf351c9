"""An append-only, hash-chained table in one SQLite file. Survives `kill -9`; every change to it shows.

`journal(seq, kind, key, body, link)`: body is canonical JSON, link the SHA-256 over the previous link and the row.
`blob(sha256, bytes)` holds what is too large for JSON. A rollback journal exists only inside a transaction, so one file
is the whole dossier at every moment. Foreign files are opened with a trusted schema off, and the schema is compared.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from veriward.core.canonical import canonical, digest
from veriward.core.errors import DossierError
from veriward.core.packing import pack, references, unpack
from veriward.core.untouched import connect_untouched, refuse_foreign_journal

APPLICATION_ID = 0x57415244  # "WARD"
VERSION = 1
START = "0" * 64  # the link before the first row
MOST_BYTES = 1 << 29  # of one row or blob: larger ones are refused unread
SCHEMA = (
    "CREATE TABLE journal (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, "
    "link TEXT NOT NULL, UNIQUE (kind, key))",
    "CREATE TABLE blob (sha256 TEXT PRIMARY KEY, bytes BLOB NOT NULL)",
    *(
        f"CREATE TRIGGER {table}_{verb} BEFORE {verb.upper()} ON {table} BEGIN SELECT RAISE(ABORT, 'append-only'); END"
        for table in ("journal", "blob")
        for verb in ("update", "delete")
    ),
)


@dataclass(frozen=True)
class Row:
    """One row of the journal; `text` is its body as written."""

    seq: int
    kind: str
    key: str
    text: str
    link: str

    @property
    def body(self) -> Any:
        """The body as plain data; arrays are still named by hash. Raises DossierError if it is no JSON object."""
        try:
            body = json.loads(self.text)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise DossierError(f"row {self.seq} ({self.kind}) is not JSON; run veriward verify on the dossier")
        return body

    def linked_to(self, previous: str) -> str:
        """Return the link this row must have after the link `previous`."""
        try:
            return digest(previous, self.seq, self.kind, self.key, self.text)
        except UnicodeEncodeError:  # bytes that are no UTF-8: nothing that was ever written
            return ""


class Journal:
    """An open dossier file. Close it, or use it as a context.

    A reader rolls back what a killed writer left, which is to write; `untouched` never writes, and all that it reads is
    of one moment: close it soon, for a writer waits for it.
    """

    def __init__(self, path: str | Path, *, write: bool = False, untouched: bool = False) -> None:
        self.path = Path(path)
        self._lock = _lock(self.path) if write else None
        try:
            self._connection = _connect(self.path, write=write, untouched=untouched)
        except BaseException:
            self._release()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let another writer in."""
        self._connection.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            _unlock(self.path, self._lock)
            self._lock = None

    def append(self, kind: str, key: str, body: Mapping[str, Any]) -> int:
        """Write one row, with its arrays, in one durable transaction; returns its number (seq)."""
        blobs: dict[str, bytes] = {}
        text = canonical(pack(body, blobs))
        last = self.last()
        draft = Row(last.seq + 1 if last else 1, kind, key, text, "")
        link = draft.linked_to(last.link if last else START)
        with self._told("write to"), self._connection as transaction:
            transaction.executemany("INSERT OR IGNORE INTO blob VALUES (?, ?)", blobs.items())
            row = (draft.seq, kind, key, text, link)
            transaction.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?)", row)
        return draft.seq

    def last(self) -> Row | None:
        """Return the newest row."""
        return next(self._select("ORDER BY seq DESC LIMIT 1"), None)

    def find(self, kind: str, key: str) -> Row | None:
        """Return the row of a kind and key, if it was written."""
        return next(self._select("WHERE kind = ? AND key = ?", kind, key), None)

    def rows(self, kind: str | None = None) -> Iterator[Row]:
        """Return the rows in order, all or those of one kind."""
        return self._select("WHERE kind = ? ORDER BY seq", kind) if kind else self._select("ORDER BY seq")

    def read(self, row: Row) -> Any:
        """Return the body of a row with its arrays in place."""
        return unpack(row.body, self.blob)

    def blob(self, name: str) -> bytes:
        """Return the bytes of a blob; raises DossierError if they are missing or do not match their name."""
        with self._told("read"):
            found = self._connection.execute("SELECT bytes FROM blob WHERE sha256 = ?", (name,)).fetchone()
        if found is None:
            raise DossierError(f"{self.path}: blob {name[:12]} is missing; run veriward verify on it")
        data = bytes(found[0])
        if sha256(data).hexdigest() != name:
            raise DossierError(f"{self.path}: blob {name[:12]} holds other bytes than its name says; it was altered")
        return data

    def _select(self, tail: str, *values: str) -> Iterator[Row]:
        with self._told("read"):
            for seq, *texts in self._connection.execute(
                f"SELECT seq, kind, key, body, link FROM journal {tail}",  # noqa: S608 -- tails are the constants above
                values,
            ):
                yield Row(int(seq), *(str(text) for text in texts))

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DossierError(f"{self.path}: cannot {what} the dossier: {error}; {_remedy(str(error))}") from error

    def damage(self) -> list[str]:
        """Return what is wrong with the chain and the blobs, in plain words; an empty list means intact."""
        found, previous, expected = [], START, 1
        wanted: set[str] = set()
        for row in self.rows():
            if row.seq != expected:
                found.append(f"row {expected} is missing (row {row.seq} follows)")
            elif not row.link or row.link != row.linked_to(previous):
                found.append(f"row {row.seq} ({row.kind}) does not match its link: it or a row before it was altered")
            previous, expected = row.link, row.seq + 1
            wanted |= self._references(row, found)
        return [*self._page_damage(), *found, *self._blob_damage(wanted)]

    def _page_damage(self) -> list[str]:
        """Return what SQLite itself finds wrong with its pages and indexes."""
        with self._told("read"):
            lines = [str(line) for (line,) in self._connection.execute("PRAGMA integrity_check(5)")]
        return [] if lines == ["ok"] else [f"the file's pages are damaged: {line}" for line in lines]

    def _references(self, row: Row, found: list[str]) -> set[str]:
        try:
            return references(row.body)
        except (DossierError, RecursionError):
            found.append(f"row {row.seq} ({row.kind}) is not JSON")
            return set()

    def _blob_damage(self, wanted: set[str]) -> list[str]:
        with self._told("read"):
            names = {str(name) for (name,) in self._connection.execute("SELECT sha256 FROM blob")}
        found = [f"blob {name[:12]} is missing" for name in sorted(wanted - names)]
        found += [f"blob {name[:12]} belongs to no row" for name in sorted(names - wanted)]
        for name in sorted(names & wanted):
            try:
                self.blob(name)
            except DossierError as error:
                found.append(str(error).split(": ", 1)[1])
        return found


def _lock(path: Path) -> int:
    """Hold `path`.lock until `_release` removes it; raises DossierError if somebody else does."""
    import fcntl

    side = _side(path)
    while True:
        handle = _open_side(side)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            text = "another process is writing to it; wait for it, or choose another --out"
            raise DossierError(f"{path}: {text}") from None
        if side.exists() and side.stat().st_ino == os.fstat(handle).st_ino:
            return handle
        os.close(
            handle
        )  # the last writer removed the file between our opening and locking it: that lock guards nothing


def _unlock(path: Path, handle: int) -> None:
    with contextlib.suppress(OSError):  # a folder that became read-only keeps an empty file: nothing is lost
        _side(path).unlink()
    os.close(handle)


def set_aside(path: Path, target: Path) -> None:
    """Rename a dossier, a corrupt one too; nobody else writes meanwhile. Raises DossierError for any other file."""
    handle = _lock(path)
    try:
        if not _is_dossier(path):
            raise DossierError(f"{path}: not a dossier, so --fresh does not rename it; choose another --out")
        with contextlib.suppress(DossierError):
            Journal(path).close()  # rolls back what a killed writer left
        for tail in ("", "-journal"):  # one that is left would be applied to the next file of this name
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + tail).rename(target.with_name(target.name + tail))
    finally:
        _unlock(path, handle)


def _is_dossier(path: Path) -> bool:
    """Return whether a file is empty or bears the mark in its head, whatever became of the rest."""
    with path.open("rb") as file:
        head = file.read(72)
    return not head or (head.startswith(b"SQLite format 3\0") and head[68:] == APPLICATION_ID.to_bytes(4, "big"))


def _side(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _open_side(side: Path) -> int:
    try:
        return os.open(side, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        text = f"cannot write there ({error.strerror}); choose another place with --out"
        raise DossierError(f"{side.parent}: {text}") from error


def _connect(path: Path, *, write: bool, untouched: bool) -> sqlite3.Connection:
    fresh = not path.exists() or path.stat().st_size == 0
    if fresh and not write:
        raise DossierError(f"{path}: no dossier there; veriward assess writes one")
    if not fresh and not path.is_file():
        raise DossierError(f"{path}: not a file; want a .ward file")
    refuse_foreign_journal(path)
    try:
        return _open_checked(path, write=write, fresh=fresh, untouched=untouched)
    except sqlite3.Error as error:
        raise DossierError(f"{path}: cannot open the dossier: {error}; {_remedy(str(error))}") from error


def _open_checked(path: Path, *, write: bool, fresh: bool, untouched: bool) -> sqlite3.Connection:
    connection = connect_untouched(path) if untouched else _open_mode(path, write=write)
    try:
        connection.text_factory = _text
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
        for pragma in ("trusted_schema=OFF", "cell_size_check=ON", *(("synchronous=FULL",) if write else ())):
            connection.execute(f"PRAGMA {pragma}")
        if fresh:
            _create(connection)
        _check_schema(connection, path)
        if not write:
            connection.execute("PRAGMA query_only=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _open_mode(path: Path, *, write: bool) -> sqlite3.Connection:
    # a reader, too, must be able to roll back what a killed writer left: read-only only where the folder is
    mode = "rwc" if write else ("rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "ro")
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=10, check_same_thread=False)


def _text(data: bytes) -> str:
    """Read bytes that are no UTF-8 as well: an altered row is to be named, not to end the reading."""
    return data.decode("utf-8", "surrogateescape")


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=DELETE")
    with connection:
        connection.execute("BEGIN")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={VERSION}")


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise DossierError(f"{path}: a database, but not a dossier; want a file that veriward assess wrote")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise DossierError(f"{path}: dossier format {version}, this veriward reads {VERSION}; update veriward")
    found = {str(sql) for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if found != set(SCHEMA):
        raise DossierError(f"{path}: its tables or triggers were changed; it is not as veriward wrote it")


def _remedy(message: str) -> str:
    if "full" in message:
        return "free some space and run the same command again: what is finished is kept"
    if "I/O" in message:
        return "the disk refuses it: free some space, and run the same command again: what is finished is kept"
    if "readonly" in message or "unable to open" in message:
        return "choose a writable place with --out"
    return "it is corrupt or not a dossier; restore a copy, start anew with --fresh, or give another --out"
