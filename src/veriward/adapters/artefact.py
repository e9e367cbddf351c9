"""A scanned file as loaders get it: the very bytes that the scanner saw, whatever has become of the path since."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from veriward.adapters.scan import ScanResult, scan
from veriward.core.errors import ArtefactError, DangerousArtefact, UnknownArtefact

HINTS = {  # what to do with models that are not loaded as they are, trusted or not
    "pickle": "veriward convert makes safetensors of tensors in it; estimators are saved with skops.io.dump",
    "joblib": "save the estimator with skops.io.dump",
    "torch-zip": "veriward convert FILE --to safetensors takes out the weights; name model.factory beside them",
    "torch-legacy": "veriward convert FILE --to safetensors takes out the weights; name model.factory beside them",
    "tensorflow": "save it as .keras or ONNX",
}
# Kinds that no loader of models takes, whoever trusts them: input that cannot be read, not input that is undecided.
NO_MODEL = ("empty", "text", "json", "unknown", "zip", "parquet")


@dataclass(frozen=True)
class Artefact:
    """A file that passed the scan. Loaders take its bytes from here: a path can be swapped between scan and load.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "state.pkl"
    >>> _ = path.write_bytes(b"N.")
    >>> artefact = Artefact.passed(path, trust=False)
    >>> artefact.kind, artefact.content()
    ('pickle', b'N.')
    """

    path: Path
    scanned: ScanResult

    @classmethod
    def passed(cls, path: Path, *, trust: bool) -> "Artefact":
        """Scan a file; ArtefactError unless it is clean, or unknown and trusted by the user."""
        result = scan(path)
        if result.outcome == "clean" or (result.outcome == "unknown" and trust):
            return cls(path, result)
        raise cls(path, result).refused()

    def refused(self) -> ArtefactError:
        """Return the error that says why this file is not loaded."""
        result = self.scanned
        found = " · ".join(f"{r.what} ({r.where}): {r.why}" for r in result.reasons if r.outcome == result.outcome)
        if result.outcome == "unknown" and result.kind in NO_MODEL:
            return ArtefactError(f"{self.path}: is no model that can be read: {found[:600]}; want the model's file")
        hint = "it is not loaded"
        if result.outcome == "unknown":
            hint = HINTS.get(result.kind, "if you know where it comes from, --trust loads it")
        kind = DangerousArtefact if result.outcome == "dangerous" else UnknownArtefact
        return kind(f"{self.path}: the scanner says {result.outcome}: {found[:600]}; {hint}")

    @property
    def kind(self) -> str:
        """What the file is, by its content."""
        return self.scanned.kind

    def content(self) -> bytes:
        """Return the bytes that were scanned; ArtefactError if the file holds others by now."""
        return _read(self.path, self.scanned.sha256)

    def part(self, name: str) -> bytes:
        """Return a file that the scanner read together with this one; ArtefactError if it holds other bytes by now."""
        known = dict(self.scanned.parts)
        if name not in known:
            raise ArtefactError(f"{self.path}: wants the file {name!r}, which the scanner did not read; want it beside")
        return _read(self.path.parent / name, known[name])

    @contextmanager
    def copy(self, name: str) -> Iterator[Path]:
        """Yield the path of a private copy called `name`, for loaders that want a path; it is gone afterwards."""
        content = self.content()
        with tempfile.TemporaryDirectory(prefix="veriward-") as folder:  # readable by this user alone
            path = Path(folder) / name
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            yield path


def _read(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArtefactError(f"{path}: changed between the scan and the load; run again when nobody writes to it")
    return content
