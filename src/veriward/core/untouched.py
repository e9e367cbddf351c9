"""Opening a dossier without ever writing to it, also while somebody else writes, or after a writer was killed.

SQLite itself refuses to read a file beside which a killed writer left its rollback journal: the pages in it must go back
first (https://sqlite.org/lockingv3.html, section 4.2). Here they go back in a private copy, which is read into memory and
removed; the file and its journal stay as they are.
"""

import os
import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from veriward.core.errors import DossierError

JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # https://sqlite.org/fileformat.html, section 3
ROLLBACK_MODE = b"\x01\x01"  # bytes 18 and 19 of the header: no write-ahead log, which readers have to write too
MOST_COPIED = 1 << 30  # bytes
TRIES = 3


def refuse_foreign_journal(path: Path) -> None:
    """Raise DossierError where the journal beside a dossier ends in the name of another file.

    Such a "super-journal" belongs to transactions over several databases, which veriward never makes; on rolling back,
    SQLite deletes the file of that name, whatever it is.
    """
    try:
        with _journal_of(path).open("rb") as file:
            file.seek(-len(JOURNAL_MAGIC), os.SEEK_END)
            named = file.read() == JOURNAL_MAGIC
    except OSError:  # none there, or shorter than that
        return
    if named:
        text = "the journal beside it names another file to delete, which veriward never writes; remove that journal"
        raise DossierError(f"{path}: {text}")


def connect_untouched(path: Path) -> sqlite3.Connection:
    """Return a connection to one moment of the file; sqlite3.Error or DossierError where there is none to read."""
    with path.open("rb") as file:
        header = file.read(20)
    if header[18:] != ROLLBACK_MODE:
        raise DossierError(f"{path}: no database that veriward wrote; want a file of veriward assess")
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10, check_same_thread=False)
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()  # from here on the moment is fixed
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
            raise
        return _rolled_back(path.resolve())
    except BaseException:
        connection.close()
        raise
    return connection


def _rolled_back(path: Path) -> sqlite3.Connection:
    """Return the file's content in memory, without the transaction that a killed writer began."""
    with TemporaryDirectory(prefix="veriward-") as folder:
        copy = Path(folder) / "copy"
        _copy_still(path, copy)
        refuse_foreign_journal(copy)
        source = sqlite3.connect(copy)
        try:
            source.execute("PRAGMA trusted_schema=OFF")
            memory = sqlite3.connect(":memory:", check_same_thread=False)
            source.backup(memory)
        finally:
            source.close()
    return memory


def _copy_still(path: Path, copy: Path) -> None:
    """Copy a dossier and the journal beside it while neither changes; DossierError where they do not stand still."""
    for _ in range(TRIES):
        before = _stamp(path)
        if sum(size for _, size, _ in before) > MOST_COPIED:
            text = "its last writer was killed and it is too large to copy; run veriward verify, which rolls it back"
            raise DossierError(f"{path}: {text}")
        shutil.copyfile(path, copy)
        if len(before) > 1:
            shutil.copyfile(_journal_of(path), _journal_of(copy))
        if _stamp(path) == before:
            return
    raise DossierError(f"{path}: a writer has just come back to it; try again")


def _stamp(path: Path) -> list[tuple[int, int, int]]:
    """Return inode, size and time of the file, and of its journal where there is one."""
    files = [file for file in (path, _journal_of(path)) if file.exists()]
    return [(found.st_ino, found.st_size, found.st_mtime_ns) for found in (file.stat() for file in files)]


def _journal_of(path: Path) -> Path:
    real = path.resolve()
    return real.with_name(real.name + "-journal")
