"""A signed folder is as it was signed, or the difference is named."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from veriward.core.errors import ArtefactError, SettingsError
from veriward.core.keys import new_key
from veriward.core.manifest import NAME, sign_folder, verify_folder

Damage = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "model" / "parts"
    inner.mkdir(parents=True)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (inner / "词表.txt").write_text("好\n", encoding="utf-8")
    (inner / "empty").write_bytes(b"")
    new_key(tmp_path / "k.key")
    sign_folder(tmp_path / "model", tmp_path / "k.key", time="2026-01-01T00:00:00+00:00")
    return tmp_path / "model"


def codes(folder: Path, key: Path | None = None) -> list[str]:
    return [item.code for item in verify_folder(folder, key or folder.parent / "k.pub").damage]


def test_a_signed_folder_is_intact_and_trusted_only_under_a_known_key(folder: Path) -> None:
    known, unknown = verify_folder(folder, folder.parent / "k.pub"), verify_folder(folder)
    assert (known.code, known.trusted, known.files, known.damage) == (0, True, 3, ())
    assert (unknown.code, unknown.trusted) == (3, False)
    new_key(folder.parent / "other.key")
    other = verify_folder(folder, folder.parent / "other.pub")
    assert (other.code, [item.code for item in other.damage]) == (1, ["manifest.other_key"])


def swap(folder: Path) -> None:
    first, second = folder / "model.safetensors", folder / "parts" / "词表.txt"
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)


def relink(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "outside")
    (folder / "model.safetensors").symlink_to(folder.parent / "outside")


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (lambda f: (f / "new").write_bytes(b""), ["manifest.added"]),
        (lambda f: (f / NAME.upper()).write_bytes(b""), ["manifest.added"]),
        (lambda f: (f / "parts" / NAME).write_bytes(b""), ["manifest.added"]),
        (lambda f: (f / "parts" / "empty").unlink(), ["manifest.removed"]),
        (lambda f: (f / "model.safetensors").write_bytes(b"weight5"), ["manifest.changed"]),
        (lambda f: (f / "parts" / "empty").rename(f / "parts" / "void"), ["manifest.added", "manifest.removed"]),
        (swap, ["manifest.changed", "manifest.changed"]),
        (relink, ["manifest.linked"]),
        (lambda f: os.link(f / "model.safetensors", f.parent / "second"), ["manifest.linked"]),
        (lambda f: (f / "etc").symlink_to("/etc"), ["manifest.linked"]),
        (lambda f: os.mkfifo(f / "pipe"), ["manifest.linked"]),
    ],
)
def test_every_difference_is_named(folder: Path, damage: Damage, wanted: list[str]) -> None:
    damage(folder)
    assert sorted(codes(folder)) == wanted
    assert verify_folder(folder, folder.parent / "k.pub").code == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["files"].pop(),
        lambda body: body["files"][0].update(sha256="0" * 64),
        lambda body: body["files"][0].update(bytes=float("nan")),
        lambda body: body.update(time="2027-01-01T00:00:00+00:00"),
        lambda body: body.update(signature="00" * 64),
        lambda body: body.update(signature="no hex"),
        lambda body: body.update(public_key="00" * 32),
    ],
)
def test_a_forged_list_does_not_verify(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    body = json.loads((folder / NAME).read_text(encoding="utf-8"))
    change(body)
    (folder / NAME).write_text(json.dumps(body), encoding="utf-8")
    assert codes(folder) == ["manifest.signature"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "{" * 10**5,
        '{"schema": 1, "schema": 2}',
        "\udcff",
        '{"schema": "veriward.manifest/1", "files": [1]}',
    ],
)
def test_what_is_no_list_is_refused(folder: Path, text: str) -> None:
    (folder / NAME).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ArtefactError, match=r"veriward\.manifest\.json"):
        verify_folder(folder)


def test_an_unsigned_folder_says_how_to_sign_it(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="veriward sign"):
        verify_folder(tmp_path)
    with pytest.raises(SettingsError, match="not a folder"):
        verify_folder(tmp_path / "missing")


def test_signing_refuses_links_an_existing_list_its_own_key_and_nothing(folder: Path) -> None:
    key, time = folder.parent / "k.key", "2026-01-01T00:00:00+00:00"
    with pytest.raises(SettingsError, match="--force"):
        sign_folder(folder, key, time=time)
    assert sign_folder(folder, key, time=time, force=True)[1] == 3
    (folder / "k.key").write_bytes(key.read_bytes())
    with pytest.raises(SettingsError, match="handed out"):
        sign_folder(folder, folder / "k.key", time=time, force=True)
    (folder / "link").symlink_to(key)
    with pytest.raises(ArtefactError, match="is a link"):
        sign_folder(folder, key, time=time, force=True)
    (folder.parent / "empty").mkdir()
    with pytest.raises(SettingsError, match="no files"):
        sign_folder(folder.parent / "empty", key, time=time)
