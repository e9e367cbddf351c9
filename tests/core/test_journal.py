"""The journal only grows; whatever else happens to the file is named, and foreign files are refused."""

import fcntl
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from veriward.core.errors import DossierError
from veriward.core.journal import SCHEMA, Journal

from .chain import burgle, flip, write_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run.ward")


def damage(path: Path) -> list[str]:
    with Journal(path) as journal:
        return journal.damage()


def test_what_was_written_comes_back(path: Path) -> None:
    with Journal(path) as journal:
        assert [row.seq for row in journal.rows()] == [1, 2, 3, 4, 5, 6]
        row = journal.find("item", "i")
        assert row is not None
        body = journal.read(row)
        assert np.array_equal(body["result"]["x"], np.arange(5.0))
        assert body["result"]["raw"] == b"bytes"
        assert journal.find("item", "absent") is None
        assert [row.key for row in journal.rows("plan")] == ["p:0"]
        assert journal.damage() == []


def test_one_file_is_the_whole_dossier(path: Path) -> None:
    assert {p.name for p in path.parent.iterdir()} <= {"run.ward", "run.ward.lock"}


@pytest.mark.parametrize("table", ["journal", "blob"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET {}", "DELETE FROM {}"])
def test_nothing_is_updated_or_deleted(path: Path, table: str, verb: str) -> None:
    column = "key = 'x'" if table == "journal" else "bytes = x'00'"
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(verb.format(table, column))
    connection.close()


def test_a_kind_and_key_are_written_once(path: Path) -> None:
    with Journal(path, write=True) as journal, pytest.raises(DossierError):
        journal.append("item", "i", {})
    assert damage(path) == []


def test_numbers_that_json_lacks_leave_no_row_behind(path: Path) -> None:
    with Journal(path, write=True) as journal:
        with pytest.raises(ValueError, match="JSON"):
            journal.append("item", "nan", {"x": float("nan"), "array": np.arange(3)})
        assert journal.damage() == []


@pytest.mark.parametrize("column", ["kind", "key", "body", "link"])
@pytest.mark.parametrize("seq", [1, 3, 6])
def test_any_changed_byte_of_a_row_is_named(path: Path, column: str, seq: int) -> None:
    connection = sqlite3.connect(path)
    connection.text_factory = bytes
    (data,) = connection.execute(f"SELECT {column} FROM journal WHERE seq = ?", (seq,)).fetchone()
    connection.close()
    places = sorted({0, len(data) // 2, len(data) - 1})
    for place in places:
        for bit in (0, 7):  # the upper bit makes bytes that are no UTF-8
            update = f"UPDATE journal SET {column} = CAST(? AS TEXT) WHERE seq = ?"
            burgle(path, (update, (flip(data, place, bit), seq)))
            found = damage(path)
            assert any(f"row {seq} " in line for line in found), (place, bit, found)
            burgle(path, (update, (data, seq)))
    assert damage(path) == []


def test_another_type_with_the_same_look_is_named(path: Path) -> None:
    burgle(path, ("UPDATE journal SET key = CAST(key AS BLOB) WHERE seq = 3", ()))
    assert any("row 3 " in line for line in damage(path))


def test_a_moved_row_is_named(path: Path) -> None:
    burgle(path, ("UPDATE journal SET seq = 60 WHERE seq = 6", ()))
    assert damage(path) == ["row 6 is missing (row 60 follows)"]


def test_swapped_rows_are_named(path: Path) -> None:
    steps = [("UPDATE journal SET seq = ? WHERE seq = ?", pair) for pair in ((99, 2), (2, 3), (3, 99))]
    burgle(path, *steps)
    assert any("row 2 " in line for line in damage(path))


@pytest.mark.parametrize("seq", [1, 2, 5])
def test_a_removed_row_is_named(path: Path, seq: int) -> None:
    burgle(path, ("DELETE FROM journal WHERE seq = ?", (seq,)))
    assert any(f"row {seq} is missing" in line for line in damage(path))


def test_several_removed_rows_are_named(path: Path) -> None:
    burgle(path, ("DELETE FROM journal WHERE seq IN (2, 3, 5)", ()))
    found = " ".join(damage(path))
    assert "row 2 is missing" in found
    assert "row 5 is missing" in found


def test_a_body_that_is_no_json_is_named(path: Path) -> None:
    for text in ("{", "[" * 100_000, "3", '"text"'):
        burgle(path, ("UPDATE journal SET body = ? WHERE seq = 2", (text,)))
        found = damage(path)
        assert any("row 2 (start) is not JSON" in line for line in found)
        assert any("row 2 (start) does not match" in line for line in found)


def blobs(path: Path) -> dict[str, bytes]:
    connection = sqlite3.connect(path)
    found = dict(connection.execute("SELECT sha256, bytes FROM blob").fetchall())
    connection.close()
    return found


def test_any_changed_bit_of_a_blob_is_named(path: Path) -> None:
    for name, data in blobs(path).items():
        for place in {0, len(data) // 2, len(data) - 1}:
            burgle(path, ("UPDATE blob SET bytes = ? WHERE sha256 = ?", (flip(data, place, 0), name)))
            assert any(name[:12] in line for line in damage(path))
        burgle(path, ("UPDATE blob SET bytes = ? WHERE sha256 = ?", (data, name)))
    assert damage(path) == []


def test_removed_swapped_renamed_and_added_blobs_are_named(path: Path) -> None:
    first, second, *_ = kept = blobs(path)
    burgle(path, ("DELETE FROM blob WHERE sha256 = ?", (first,)))
    assert damage(path) == [f"blob {first[:12]} is missing"]
    burgle(path, ("INSERT INTO blob VALUES (?, ?)", (first, kept[second])))
    burgle(path, ("UPDATE blob SET bytes = ? WHERE sha256 = ?", (kept[first], second)))
    assert len([line for line in damage(path) if first[:12] in line or second[:12] in line]) == 2
    burgle(path, ("UPDATE blob SET bytes = ? WHERE sha256 = ?", (kept[first], first)))
    burgle(path, ("UPDATE blob SET bytes = ? WHERE sha256 = ?", (kept[second], second)))
    burgle(path, ("INSERT INTO blob VALUES (?, ?)", ("f" * 64, b"extra")))
    assert damage(path) == ["blob ffffffffffff belongs to no row"]


def test_altered_blobs_are_not_read(path: Path) -> None:
    burgle(path, ("UPDATE blob SET bytes = ?", (b"other",)))
    with Journal(path) as journal:
        row = journal.find("item", "i")
        assert row is not None
        with pytest.raises(DossierError, match="altered"):
            journal.read(row)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER journal_update",
        "CREATE TABLE extra (x)",
        "CREATE VIEW extra AS SELECT * FROM journal",
        "CREATE TRIGGER extra AFTER INSERT ON journal BEGIN SELECT 1; END",
        "CREATE INDEX extra ON journal (kind)",
        "ALTER TABLE journal ADD COLUMN x",
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 1",
    ],
)
def test_another_schema_is_refused(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(DossierError):
        Journal(path)


@pytest.mark.parametrize("content", [b"", b"just text\n" * 100, b"SQLite format 3\x00" + bytes(84)])
def test_files_that_are_no_dossier_are_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.ward"
    file.write_bytes(content)
    with pytest.raises(DossierError):
        Journal(file)
    assert file.read_bytes() == content
    if content:
        with pytest.raises(DossierError):
            Journal(file, write=True)
        assert file.read_bytes() == content


def test_a_foreign_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.ward"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    before = file.read_bytes()
    for write in (False, True):
        with pytest.raises(DossierError, match="not a dossier"):
            Journal(file, write=write)
    assert file.read_bytes() == before


def test_a_truncated_file_is_refused_or_named(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    try:
        assert damage(path)
    except DossierError as error:
        assert str(path) in str(error)


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(DossierError, match="no dossier there"):
        Journal(tmp_path / "absent.ward")
    with pytest.raises(DossierError):
        Journal(tmp_path)
    with pytest.raises(DossierError, match="--out"):
        Journal(tmp_path / "no" / "folder.ward", write=True)


def test_there_is_one_writer_and_any_number_of_readers(path: Path) -> None:
    with Journal(path, write=True) as writer:
        with pytest.raises(DossierError, match="another process"):
            Journal(path, write=True)
        with Journal(path) as one, Journal(path) as two:
            writer.append("item", "new", {"x": 1})
            assert one.find("item", "new") is not None
            assert two.damage() == []
    with Journal(path, write=True) as writer:
        assert writer.append("item", "newer", {}) == 8


def test_another_process_is_kept_out_as_well(path: Path) -> None:
    code = f"from veriward.core.journal import Journal; Journal({str(path)!r}, write=True)"
    with Journal(path, write=True):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "another process is writing" in run.stderr


def test_a_lock_left_behind_locks_nobody_out(path: Path) -> None:
    side = path.with_name(path.name + ".lock")
    handle = os.open(side, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.close(handle)
    with Journal(path, write=True) as journal:
        journal.append("item", "after", {})


def test_readers_cannot_write(path: Path) -> None:
    with Journal(path) as journal, pytest.raises(DossierError):
        journal.append("item", "x", {})


def test_the_schema_is_what_the_module_says(path: Path) -> None:
    connection = sqlite3.connect(path)
    found = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    connection.close()
    assert found == set(SCHEMA)
