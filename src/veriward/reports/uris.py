"""Files of a subject as URI references, whatever their names hold (RFC 3986)."""

import os
from pathlib import Path
from urllib.parse import quote, urlsplit

from veriward.core.dossier import Dossier
from veriward.reports.commands import subject_folder


def artifact_uri(path: str | None, dossier: Dossier | None = None, base: Path | None = None) -> str:
    """Return a subject's path as a URI reference; "" for what is no file.

    Relative paths are told from `base`; without one, from the dossier's folder. Every sign that could mean something in
    a URI is encoded.

    >>> artifact_uri("model 100%.skops"), artifact_uri("a:b/模.onnx")
    ('model%20100%25.skops', 'a%3Ab/%E6%A8%A1.onnx')
    """
    if not path:
        return ""
    if urlsplit(path).scheme in ("http", "https"):
        return quote(path, safe=":/?=&%@[]+,;~")
    if os.path.isabs(path):
        return "file://" + _quoted(path)
    if dossier is not None:
        path = os.path.join(subject_folder(dossier), path)
        if base is not None:
            path = os.path.relpath(dossier.path.resolve().parent / path, base.resolve())
    return _quoted(os.path.normpath(path))


def _quoted(path: str) -> str:
    return quote(path.replace(os.sep, "/"), safe="/", errors="replace")
