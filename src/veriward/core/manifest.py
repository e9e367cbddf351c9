"""Signed folders: a list of all files with their SHA-256, under an Ed25519 signature.

It proves that nothing has been added, removed or changed since the signing. Who signed is known as far as it is known
whose key that is.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veriward.core.canonical import canonical
from veriward.core.errors import ArtefactError, SettingsError
from veriward.core.keys import is_signed, public_hex, read_private, read_public
from veriward.core.note import Note, note

NAME = "veriward.manifest.json"
SCHEMA = "veriward.manifest/1"
SIGNED = ("schema", "files", "time")
_MOST_BYTES = 1 << 27  # of a manifest: a million files
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Compared:
    """What `verify_folder` found: `code` 0 intact under a trusted key, 1 altered, 3 intact under no trusted key."""

    code: int
    damage: tuple[Note, ...]
    files: int
    public_key: str | None
    trusted: bool


def sign_folder(folder: Path, key: Path, *, time: str, force: bool = False) -> tuple[Path, int]:
    """Write the signed list of all files below a folder into it; returns the list's path and the number of files.

    Raises ArtefactError for links, devices and names that are no text, and SettingsError where a list exists (unless
    forced), where the private key lies in the folder, which would hand it out, and where there is nothing to sign.
    """
    _check_folder(folder)
    target = folder / NAME
    if target.exists() and not force:
        raise SettingsError(f"{target}: exists already; verify it, or sign again with --force")
    if key.resolve().is_relative_to(folder.resolve()):
        raise SettingsError(
            f"{key}: lies in the folder that it signs and would be handed out with it; keep it elsewhere"
        )
    private = read_private(key)
    files = [_entry(folder, path) for path in _contents(folder)]
    if not files:
        raise SettingsError(f"{folder}: holds no files; want a folder with a model")
    body: dict[str, Any] = {"schema": SCHEMA, "time": time, "files": files}
    body["signature"] = private.sign(_message(body)).hex()
    body["public_key"] = public_hex(private.public_key())
    _replace(target, json.dumps(body, ensure_ascii=False, indent=1) + "\n")
    return target, len(files)


def verify_folder(folder: Path, key: Path | None = None) -> Compared:
    """Compare a folder with its signed list. Every file that was added, removed, changed or linked is named.

    Raises ArtefactError where there is no list, or none that can be read.
    """
    _check_folder(folder)
    trusted = public_hex(read_public(key)) if key else None
    body = _read(folder / NAME)
    if not _is_valid(body):
        return Compared(1, (note("manifest.signature", file=NAME),), len(body["files"]), None, False)
    damage = [*_wrong_key(body, trusted, key), *_differences(folder, body["files"])]
    known = trusted == body["public_key"]
    return Compared(1 if damage else (0 if known else 3), tuple(damage), len(body["files"]), body["public_key"], known)


def _wrong_key(body: dict[str, Any], trusted: str | None, key: Path | None) -> list[Note]:
    return [note("manifest.other_key", key=str(key))] if trusted not in (None, body["public_key"]) else []


def _differences(folder: Path, files: list[dict[str, Any]]) -> Iterator[Note]:
    signed = {entry["path"]: entry for entry in files}
    found: set[str] = set()
    for path in _contents(folder):
        name = path.relative_to(folder).as_posix()
        found.add(name)
        try:
            entry = _entry(folder, path)
        except ArtefactError:
            yield note("manifest.linked", path=_told(name))
            continue
        if name not in signed:
            yield note("manifest.added", path=_told(name))
        elif entry != signed[name]:
            yield note("manifest.changed", path=_told(name))
    yield from (note("manifest.removed", path=_told(name)) for name in sorted(signed.keys() - found))


def _told(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise SettingsError(f"{folder}: not a folder; want the folder that holds the model")


def _contents(folder: Path) -> Iterator[Path]:
    """Yield what the list covers: everything but itself; a second one further down is a file like any other."""
    yield from (path for path in _walk(folder) if path != folder / NAME)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield everything that is no folder, links to folders included, in the order of names."""
    for entry in sorted(_listed(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path)
        else:
            yield path


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ArtefactError(f"{folder}: cannot be listed ({error.strerror}); a readable folder was wanted") from error


def _entry(folder: Path, path: Path) -> dict[str, Any]:
    """Return a file's line. Links are refused: what they lead to can change without the folder changing."""
    name = path.relative_to(folder).as_posix()
    try:
        name.encode()
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except UnicodeEncodeError:
        raise ArtefactError(f"{_told(name)}: a name that is no text; rename the file") from None
    except OSError as error:
        kind = "is a link" if path.is_symlink() else f"cannot be read ({error.strerror})"
        raise ArtefactError(f"{_told(name)}: {kind}; want a regular file of the folder's own") from None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            kind = "has a second name elsewhere (hard link)" if stat.S_ISREG(status.st_mode) else "is no regular file"
            raise ArtefactError(f"{_told(name)}: {kind}; want a regular file of the folder's own")
        digest, size = hashlib.sha256(), 0
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"path": name, "sha256": digest.hexdigest(), "bytes": size}


def _replace(target: Path, text: str) -> None:
    """Write beside and rename: a reader sees the old list or the new one, never half of it."""
    beside = target.with_name(f".{NAME}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ArtefactError(f"{target}: cannot be written ({error.strerror}); a writable folder was wanted") from error


def _read(path: Path) -> dict[str, Any]:
    wanted = "want the one that veriward sign writes"
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise ArtefactError(f"{path}: is no regular file, or larger than {_MOST_BYTES} bytes; {wanted}")
        body = json.loads(path.read_bytes(), object_pairs_hook=_once)
    except FileNotFoundError:
        raise ArtefactError(
            f"{path}: no such file, so the folder is not signed; veriward sign FOLDER signs it"
        ) from None
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror}); {wanted}") from None
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: no signed list of files ({type(error).__name__}); {wanted}") from None
    if not _is_manifest(body):
        raise ArtefactError(f"{path}: no signed list of files of this version ({SCHEMA}); {wanted}")
    return body  # type: ignore[no-any-return]  # its shape was just checked


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse keys that stand twice: two readers could take different ones."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _is_manifest(body: Any) -> bool:
    if not isinstance(body, dict) or body.get("schema") != SCHEMA or not isinstance(body.get("files"), list):
        return False
    texts = (body.get("time"), body.get("signature"), body.get("public_key"))
    if set(body) != {*SIGNED, "signature", "public_key"} or not all(isinstance(text, str) for text in texts):
        return False
    return all(isinstance(entry, dict) and isinstance(entry.get("path"), str) for entry in body["files"])


def _message(body: dict[str, Any]) -> bytes:
    return canonical({name: body[name] for name in SIGNED}).encode("utf-8", "surrogatepass")


def _is_valid(body: dict[str, Any]) -> bool:
    try:
        message = _message(body)
    except ValueError:  # numbers that JSON lacks
        return False
    return is_signed(message, body["signature"], body["public_key"])
