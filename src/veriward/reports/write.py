"""Reports on disk: complete or not there at all."""

import os
import tempfile
from pathlib import Path

from veriward.core.dossier import Dossier
from veriward.core.errors import SettingsError
from veriward.reports.html import render

SUFFIXES = {"en": ".html", "zh": ".zh.html"}
REPORTS = (".html", ".htm", ".json", ".txt", ".md", ".sarif", ".xml")
READABLE = 0o644
DATABASE = b"SQLite format 3"


def html_path(dossier: Dossier, lang: str = "en") -> Path:
    """Return where the HTML report belongs: NAME.html or NAME.zh.html beside NAME.ward."""
    return dossier.path.with_name(dossier.path.stem + SUFFIXES[lang])


def write_html(dossier: Dossier, path: str | Path, lang: str = "en") -> Path:
    """Render a dossier into a file and return its path; a reader never sees half of it."""
    return write_text(render(dossier, lang), path)


def _check_target(target: Path) -> None:
    """Refuse to replace what is no report: a dossier, a subject, a key."""
    if target.is_file() and target.suffix.lower() not in REPORTS:
        raise SettingsError(f"{target}: exists and is no report; choose another --out")
    if target.is_file() and _begins(target) == DATABASE:
        raise SettingsError(f"{target}: holds a dossier, which a report must not replace; choose another --out")


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(DATABASE))


def write_text(text: str, path: str | Path) -> Path:
    """Write a text beside its place, then move it there. Raises SettingsError where that is impossible."""
    target = Path(path)
    _check_target(target)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    except OSError as error:
        raise SettingsError(
            f"{target}: cannot write there ({error.strerror}); choose another place with --out"
        ) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(READABLE)
        Path(name).replace(target)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise SettingsError(
            f"{target}: cannot write it ({error.strerror}); free space or choose another --out"
        ) from None
    return target
