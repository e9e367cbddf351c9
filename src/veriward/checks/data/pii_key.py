"""The secret under which identifiers are hashed in a dossier: it follows from the data themselves, and is written nowhere.

See docs/why/identifiers.md for what this protects and what it does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veriward.checks.data.pii_rows import Source
    from veriward.core.subject import Subject

PERSON = b"veriward.pii.key"  # no other use of BLAKE2b gives this digest of the same file
CHUNK = 1 << 20


def content_key(subject: Subject, splits: Mapping[str, Source]) -> bytes:
    """Return 32 bytes: the BLAKE2b digest of all rows of all splits, files byte by byte.

    Whoever can compute it holds the rows already. Nothing published follows from it, nor it from the SHA-256 of a file.
    """
    total = hashlib.blake2b(digest_size=32, person=PERSON)
    for split in sorted(splits):
        part = hashlib.blake2b(digest_size=32, person=PERSON)
        source = getattr(subject.data, split)
        if isinstance(source, str | Path):
            _add_file(part, subject.place(str(source)))
        else:
            _add_columns(part, splits[split].rows.columns)
        total.update(part.digest())
    return total.digest()


def _add_file(total: Any, path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)


def _add_columns(total: Any, columns: Mapping[str, Any]) -> None:
    for name, column in columns.items():
        total.update(f"{name} {column.dtype} {column.shape}".encode("utf-8", "surrogatepass"))
        if column.dtype != object:
            total.update(column.tobytes())
            continue
        for start in range(0, len(column), CHUNK):
            total.update(repr(column[start : start + CHUNK].tolist()).encode("utf-8", "surrogatepass"))
