"""Reading without writing: of a whole dossier, beside a writer, and after a writer was killed."""

import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from veriward.core.dossier import Dossier
from veriward.core.errors import DossierError
from veriward.core.journal import Journal
from veriward.core.untouched import JOURNAL_MAGIC

from .chain import write_run

KILLED = """
import os, signal, sys
from veriward.core.journal import Journal
journal = Journal(sys.argv[1], write=True)
journal.append("note", "kept", {"text": "y" * 5000})
connection = journal._connection
connection.execute("PRAGMA cache_size=1")  # pages of the transaction reach the file before its end
connection.execute("BEGIN")
for i in range(200):
    connection.execute("INSERT INTO blob VALUES (?, ?)", (str(i), b"z" * 9000))
os.kill(os.getpid(), signal.SIGKILL)
"""


def state(folder: Path) -> dict[str, str]:
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    path = tmp_path / "k?%illed.ward"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    assert Path(f"{path}-journal").stat().st_size > 0
    return path


def test_what_a_killed_writer_left_is_read_and_stays_as_it_is(killed: Path) -> None:
    before = state(killed.parent)
    with Journal(killed, untouched=True) as journal:
        assert [row.key for row in journal.rows()] == ["kept"]
        assert journal.damage() == []
    assert state(killed.parent) == before
    with Journal(killed) as journal:  # any other reader rolls it back
        assert journal.damage() == []
    assert not Path(f"{killed}-journal").exists()


def test_two_journals_that_never_stand_still_are_told(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from veriward.core import untouched

    times = iter(range(100))
    monkeypatch.setattr(untouched, "_stamp", lambda path: [(0, 0, next(times))])
    with pytest.raises(DossierError, match="try again"):
        Journal(killed, untouched=True)


def test_too_large_to_copy_says_what_to_do(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from veriward.core import untouched

    monkeypatch.setattr(untouched, "MOST_COPIED", 1000)
    with pytest.raises(DossierError, match="veriward verify"):
        Journal(killed, untouched=True)


def test_all_that_is_read_is_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "x.ward"
    with Journal(path, write=True) as writer:
        writer.append("note", "1", {})
        reader = Journal(path, untouched=True)
        writer._connection.execute("PRAGMA busy_timeout=0")
        with pytest.raises(DossierError, match="locked"):
            writer.append("note", "2", {})  # the writer would wait here
        assert [row.key for row in reader.rows()] == ["1"]
        reader.close()
        writer.append("note", "2", {})
    assert {file.name for file in tmp_path.iterdir()} == {"x.ward"}


def test_nothing_can_be_written_through_it(tmp_path: Path) -> None:
    path = tmp_path / "x.ward"
    with Journal(path, write=True) as writer:
        writer.append("note", "1", {})
    with Journal(path, untouched=True) as reader, pytest.raises(DossierError, match="readonly"):
        reader.append("note", "2", {})


def test_a_journal_that_names_another_file_is_refused_and_the_file_lives(tmp_path: Path) -> None:
    """SQLite would delete the file that such a journal names (a "super-journal"), on any opening that may write."""
    path, victim = tmp_path / "x.ward", tmp_path / "victim.txt"
    with Journal(path, write=True) as writer:
        writer.append("note", "1", {})
    victim.write_text("precious")
    name = str(victim).encode()
    header = JOURNAL_MAGIC + struct.pack(">IIIII", 0, 1, path.stat().st_size // 4096, 512, 4096)
    named = struct.pack(">I", (1 << 30) // 4096 + 1) + name + struct.pack(">II", len(name), sum(name)) + JOURNAL_MAGIC
    Path(f"{path}-journal").write_bytes(header.ljust(512, b"\0") + named)
    link = tmp_path / "link.ward"
    link.symlink_to(path)
    for opened in (path, link):
        for options in ({}, {"write": True}, {"untouched": True}):
            with pytest.raises(DossierError, match="names another file"):
                Journal(opened, **options)
    assert victim.read_text() == "precious"
    sqlite3.connect(path).execute("SELECT * FROM journal").fetchall()  # what the refusal is for
    assert not victim.exists()


def test_a_log_that_readers_would_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ward"
    with Journal(path, write=True) as writer:
        writer.append("note", "1", {})
    data = bytearray(path.read_bytes())
    data[18:20] = b"\2\2"
    path.write_bytes(data)
    with pytest.raises(DossierError, match="no database that veriward wrote"):
        Journal(path, untouched=True)
    assert {file.name for file in tmp_path.iterdir()} == {"x.ward"}


@pytest.mark.parametrize("content", [b"", b"x", b"SQLite format 3\0" + b"\x10\x00\x01\x01" + b"x" * 5000])
def test_no_dossier_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ward"
    path.write_bytes(content)
    with pytest.raises(DossierError, match=r"x\.ward"):
        Journal(path, untouched=True)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.ward"
    os.mkfifo(path)
    with pytest.raises(DossierError):
        Journal(path, untouched=True)


def test_a_snapshot_answers_when_the_file_is_gone(tmp_path: Path) -> None:
    path = write_run(tmp_path / "x.ward")
    with Dossier.open(path) as live:
        verdicts = live.verdicts()
        assert verdicts == {finding.id: finding.verdict for finding in live}
    held = Dossier.snapshot(path)
    shutil.move(path, tmp_path / "y.ward")
    assert held.finished
    assert held.seal is None
    assert len(held.head) == 64
    assert {finding.id: finding.verdict for finding in held} == verdicts
