"""What loaders read is what the scanner saw."""

import os
from pathlib import Path

import pytest

from veriward.adapters.artefact import Artefact
from veriward.core.errors import ArtefactError, DangerousArtefact, UnknownArtefact

CLEAN, HOSTILE = b"N.", b"cos\nsystem\n(S'true'\ntR."


def test_a_file_swapped_after_the_scan_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(CLEAN)
    artefact = Artefact.passed(path, trust=False)
    (tmp_path / "other").write_bytes(HOSTILE)
    (tmp_path / "other").replace(path)
    with pytest.raises(ArtefactError, match="changed between the scan and the load"):
        artefact.content()
    with pytest.raises(ArtefactError, match="changed between"), artefact.copy("model.pkl"):
        pass


def test_the_copy_is_private_has_the_bytes_and_goes_away(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(CLEAN)
    with Artefact.passed(tmp_path / "model", trust=False).copy("model.keras") as copy:
        assert copy.name == "model.keras"
        assert copy.read_bytes() == CLEAN
        assert copy.stat().st_mode & 0o077 == 0
        assert copy.parent.stat().st_mode & 0o077 == 0
    assert not copy.parent.exists()


def test_dangerous_is_refused_even_when_trusted_and_unknown_unless_trusted(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(HOSTILE)
    (tmp_path / "odd").write_bytes(b"cmine\nNet\n.")
    with pytest.raises(DangerousArtefact, match="dangerous"):
        Artefact.passed(tmp_path / "bad", trust=True)
    with pytest.raises(UnknownArtefact, match=r"mine\.Net"):
        Artefact.passed(tmp_path / "odd", trust=False)
    assert Artefact.passed(tmp_path / "odd", trust=True).kind == "pickle"


def test_what_is_no_model_is_unreadable_not_undecided(tmp_path: Path) -> None:
    for content in (b"", b"hello", b"{}", b"PK\x03\x04"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ArtefactError, match="is no model that can be read") as caught:
            Artefact.passed(tmp_path / "file", trust=False)
        assert type(caught.value) is ArtefactError


def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(CLEAN)
    artefact = Artefact.passed(tmp_path / "model", trust=False)
    os.unlink(tmp_path / "model")
    with pytest.raises(ArtefactError, match="cannot be read"):
        artefact.content()
