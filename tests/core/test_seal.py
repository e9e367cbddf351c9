"""What a seal proves, what the chain alone proves, and what neither hides."""

import json
import stat
from pathlib import Path

import pytest

from veriward.core.errors import ArtefactError, SettingsError
from veriward.core.journal import START, Journal
from veriward.core.keys import new_key, read_private, read_public
from veriward.core.seal import seal, verify

from .chain import burgle, write_run


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "mine.pem")
    return tmp_path / "mine.pem"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run.ward")


def sealed(path: Path, key: Path) -> Path:
    with Journal(path, write=True) as journal:
        seal(journal, key, policy="p" * 64, time="2026-01-01T00:00:00+00:00")
    return path


def public(key: Path) -> Path:
    return key.with_suffix(".pub")


def test_intact_and_sealed_by_the_trusted_key(path: Path, key: Path) -> None:
    found = verify(sealed(path, key), public(key))
    assert (found.code, found.damage, found.notes, found.rows, found.sealed_rows) == (0, (), (), 7, 6)


def test_without_a_trusted_key_a_seal_shows_no_more_than_that_it_fits(path: Path, key: Path) -> None:
    found = verify(sealed(path, key))
    assert (found.code, found.damage) == (3, ())
    assert "no trusted key" in found.notes[0]


def test_without_a_seal_the_chain_shows_accidents_only(path: Path, key: Path) -> None:
    for trusted in (None, public(key)):
        found = verify(path, trusted)
        assert (found.code, found.damage, found.sealed_rows) == (3, (), None)
        assert "not forgery" in " ".join(found.notes)


def test_another_key_is_damage(path: Path, key: Path, tmp_path: Path) -> None:
    other = new_key(tmp_path / "other.pem")
    found = verify(sealed(path, key), other)
    assert found.code == 1
    assert "another key" in " ".join(found.damage)


def test_rows_after_a_seal_are_counted(path: Path, key: Path) -> None:
    sealed(path, key)
    with Journal(path, write=True) as journal:
        journal.append("item", "later", {})
        journal.append("finish", "8", {"count": 8, "plan": "p:0"})
    found = verify(path, public(key))
    assert found.code == 3
    assert "sealed up to 6 of 9 rows" in " ".join(found.notes)


def test_rows_sealed_by_a_stranger_are_not_sealed(path: Path, key: Path, tmp_path: Path) -> None:
    sealed(path, key)
    with Journal(path, write=True) as journal:
        journal.append("item", "later", {})
        journal.append("finish", "8", {"count": 8, "plan": "p:0"})
    new_key(tmp_path / "stranger.pem")
    found = verify(sealed(path, tmp_path / "stranger.pem"), public(key))
    assert (found.code, found.sealed_rows) == (3, 6)


def test_a_removed_seal_is_no_seal(path: Path, key: Path) -> None:
    burgle(sealed(path, key), ("DELETE FROM journal WHERE kind = 'seal'", ()))
    assert verify(path, public(key)).code == 3


@pytest.mark.parametrize("keep", [5, 4, 2, 0])
def test_a_removed_tail_shows_as_unfinished(path: Path, key: Path, keep: int) -> None:
    burgle(sealed(path, key), ("DELETE FROM journal WHERE seq > ?", (keep,)))
    found = verify(path, public(key))
    assert found.code in (1, 3)
    assert "unfinished" in " ".join(found.notes)


def test_a_run_without_its_end_is_unfinished(tmp_path: Path, key: Path) -> None:
    path = sealed(write_run(tmp_path / "cut.ward", finish=False), key)
    found = verify(path, public(key))
    assert found.code == 3
    assert "unfinished" in found.notes[0]


def test_rows_cut_out_from_before_the_end_are_counted(path: Path) -> None:
    """A forger who links the rest anew still has the count against him, and without a key no seal."""
    burgle(path, ("DELETE FROM journal WHERE seq = 5", ()))
    relink(path)
    found = verify(path)
    assert "counts other rows" in " ".join(found.notes)


def relink(path: Path) -> None:
    with Journal(path) as journal:
        rows = list(journal.rows())
    previous = START
    for number, row in enumerate(rows, start=1):
        moved = type(row)(number, row.kind, row.key, row.text, "")
        previous = moved.linked_to(previous)
        values = (number, previous, row.seq)
        burgle(path, ("UPDATE journal SET seq = ?, link = ? WHERE seq = ?", values))


def test_a_forged_chain_breaks_its_seal(path: Path, key: Path) -> None:
    sealed(path, key)
    burgle(path, ("UPDATE journal SET body = replace(body, '0.7', '0.9') WHERE kind = 'evidence'", ()))
    assert verify(path, public(key)).code == 1
    relink(path)
    found = verify(path, public(key))
    assert found.code == 1
    assert found.damage == ("seal in row 7: the signature does not match",)


@pytest.mark.parametrize("name", ["head", "seq", "time", "policy", "signature", "public_key"])
def test_every_word_of_a_seal_is_signed(path: Path, key: Path, name: str) -> None:
    sealed(path, key)
    with Journal(path) as journal:
        row = next(journal.rows("seal"))
    for value in ("0" * 64, 5, None, [], "zz"):
        body = {**row.body, name: value}
        burgle(path, ("UPDATE journal SET body = ? WHERE kind = 'seal'", (json.dumps(body),)))
        relink(path)
        found = verify(path, public(key))
        assert found.code == 1, value
        assert found.damage, value


@pytest.mark.parametrize("kind", ["plan", "evidence", "finish", "seal"])
@pytest.mark.parametrize("body", ["{}", "[]", "3", "{", '{"count": "x"}'])
def test_unreadable_rows_are_damage_and_no_crash(path: Path, key: Path, kind: str, body: str) -> None:
    sealed(path, key)
    burgle(path, ("UPDATE journal SET body = ? WHERE kind = ?", (body, kind)))
    found = verify(path, public(key))
    assert found.code == 1
    assert any(f"({kind})" in line for line in found.damage)


def test_keys_are_never_overwritten_and_private(tmp_path: Path) -> None:
    file = tmp_path / "k.pem"
    assert new_key(file) == tmp_path / "k.pub"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(SettingsError, match="exists"):
        new_key(file)
    with pytest.raises(SettingsError, match="another ending"):
        new_key(tmp_path / "x.pub")
    assert read_private(file).public_key() == read_public(tmp_path / "k.pub")


def test_other_files_are_no_keys(tmp_path: Path, key: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    for reader in (read_private, read_public):
        with pytest.raises(ArtefactError):
            reader(text)
        with pytest.raises(ArtefactError):
            reader(tmp_path / "absent")
    with pytest.raises(ArtefactError):
        read_public(key)
    with pytest.raises(ArtefactError):
        read_private(public(key))


def test_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    other = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "ec.pem"
    file.write_bytes(other.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    with pytest.raises(ArtefactError, match="Ed25519"):
        read_private(file)
