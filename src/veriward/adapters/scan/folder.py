"""Files and folders as a user names them: every regular file below. A link to a file is what a loader finds there."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from veriward.core.errors import ArtefactError

from .result import Outcome, ScanResult
from .scanner import scan
from .source import opened
from .words import words

# A name never makes a file harmless; these make plain text suspicious, since programs run what is called so.
_CODE = words(".py .pyc .pyw .pyx .pth .ipynb .sh .bash .bat .cmd .ps1 .js .mjs .vbs .rb .pl .lua .r")
_BESIDE = ("text", "json", "empty", "sqlite", "parquet", "image")
_MAX_FILES = 1_000_000
_MAX_CONFIG = 1 << 26  # bytes


@dataclass(frozen=True)
class Scanned:
    """One file: `outcome` None means that it holds no model (a text or a table in a folder); `error`: it could not be read.

    >>> Scanned(Path("README.md"), None).outcome is None
    True
    """

    path: Path
    outcome: Outcome | None
    result: ScanResult | None = None
    error: str | None = None


def scan_all(paths: Iterable[Path]) -> Iterator[Scanned]:
    """Scan files, and all files below folders, in the order of their names; what cannot be read is `unknown`.

    A file named by the user is always judged. In a folder, what is no model and not called like a program stands
    beside the models (a README, a table, a picture) and is listed without a verdict.

    >>> [item.error for item in scan_all([Path("missing")])]
    ['missing: cannot be opened (No such file or directory); a readable file was wanted, check the path.']
    """
    for path in paths:
        if path.is_dir():
            yield from _below(path)
        else:
            yield _scanned(path, beside=False)


def _scanned(path: Path, *, beside: bool) -> Scanned:
    if beside and path.is_symlink() and not path.is_file():
        return Scanned(path, "unknown", error=f"{path}: is a link to a folder, or to nothing, and is not followed")
    try:
        result = scan(path)
        if beside and result.kind in _BESIDE and result.outcome == "unknown" and len(result.reasons) == 1:
            return Scanned(path, _text_outcome(path, result), result)
    except ArtefactError as error:
        return Scanned(path, "unknown", error=str(error))
    return Scanned(path, result.outcome, result)


def _text_outcome(path: Path, result: ScanResult) -> Outcome | None:
    """Text is beside the models unless a program runs it by its name, or it tells a loader which code to import."""
    if path.suffix.lower() in _CODE:
        return "unknown"
    if result.kind == "json" and _names_code(path):
        return "unknown"
    return None


def _names_code(path: Path) -> bool:
    """Whether a configuration has the key under which transformers imports the author's modules."""
    with opened(path) as (source, _):
        return source.size > _MAX_CONFIG or b'"auto_map"' in source.read(0, source.size)


def _below(folder: Path) -> Iterator[Scanned]:
    """Scan what lies below a folder. What cannot be listed is told at the end: it takes no verdict from the rest."""
    unlisted: list[OSError] = []
    count = 0
    for root, folders, files in os.walk(folder, onerror=unlisted.append, followlinks=False):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        folders.sort()
        for name in sorted([*files, *links]):
            count += 1
            if count > _MAX_FILES:
                text = f"{folder}: holds more than {_MAX_FILES} files; scan its parts one by one."
                yield Scanned(folder, "unknown", error=text)
                return
            yield _scanned(Path(root, name), beside=True)
    for error in unlisted:
        text = f"{error.filename}: cannot be listed ({error.strerror}); a readable folder was wanted."
        yield Scanned(Path(error.filename), "unknown", error=text)
