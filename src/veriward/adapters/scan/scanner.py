"""The scan of a file: type it by content, read all of it that could ever run, and say what was found."""

from pathlib import Path

from .archives import scan_zip
from .arrays import scan_npy
from .compressed import scan_compressed
from .hdf5 import scan_hdf5
from .kinds import sniffed
from .lightgbm import scan_lightgbm
from .onnx import scan_onnx
from .pickles import scan_guess, scan_pickles
from .place import MAX_DEPTH, Exhausted, Place, Purse
from .result import Notes, ScanResult, shown
from .safetensors import scan_safetensors
from .source import Source, opened
from .tar_members import scan_tar
from .xgboost import scan_xgboost
from .zips import has_directory

_NOT_READ = {
    "image": "is a picture, not a model",
    "parquet": "is a table, not a model",
    "sqlite": "is a data base, not a model",
    "empty": "holds nothing",
    "text": "is plain text, which no loader of models should run",
    "json": "is JSON of a kind that is not read yet",
    "unknown": "is of no kind that is known",
    "tensorflow": "is a TensorFlow graph, whose operators can read and write files: save it as .keras or as ONNX",
}
_READERS = {"onnx": scan_onnx, "xgboost": scan_xgboost, "lightgbm": scan_lightgbm}


def scan(path: str | Path) -> ScanResult:
    """The verdict on one file: `clean`, `unknown` or `dangerous`, with reasons.

    Nothing is unpickled, imported or run, and the verdict depends on the bytes alone, not on what is installed. `clean`
    says that loading the file with the loader of its kind runs no code of the file's author; it does not say that the
    model is right, or unpoisoned. Time grows with the size of the file (its hash) plus at most some seconds.
    Raises ArtefactError where there is no regular file to read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.pt"
    >>> _ = path.write_bytes(b"cos\\nsystem\\n.")
    >>> scan(path).outcome, scan(path).reasons[0].what
    ('dangerous', 'os.system')
    """
    path = Path(path)
    notes = Notes()
    place = Place(shown(path.name, 80), notes, Purse(), look, folder=path.parent)
    with opened(path) as (source, changed):
        kind = _bounded(source, place)
        sha256 = source.sha256()
        if changed():
            place.purse.findings += 1
            place.unknown(0, "the file", "changed while it was read; scan it again when nobody writes to it")
    return ScanResult(notes.outcome, kind, sha256, notes.reasons, tuple(sorted(place.parts.items())))


def scan_content(content: bytes, name: str = "content") -> ScanResult:
    """The verdict on bytes in memory, as `scan` gives it on a file of these bytes; files beside it do not exist.

    >>> scan_content(b"N.").outcome
    'clean'
    """
    notes, source = Notes(), Source.of(content)
    kind = _bounded(source, Place(shown(name, 80), notes, Purse(), look))
    return ScanResult(notes.outcome, kind, source.sha256(), notes.reasons)


def _bounded(source: Source, place: Place) -> str:
    try:
        return look(source, place)
    except (Exhausted, RecursionError, MemoryError) as error:
        what = str(error) if isinstance(error, Exhausted) else "depth or size"
        place.purse.findings += 1
        place.unknown(0, shown(what), "exceed what a scan may spend on one file, so the rest was not read")
        return sniffed(source)


def look(source: Source, place: Place) -> str:
    """Type and read content, nested or not; notes what it finds and returns the kind.

    >>> look(Source.of(b"N."), Place("x", Notes(), Purse(), look))
    'pickle'
    """
    place.purse.spend("members", 1)
    if place.depth > MAX_DEPTH:
        place.unknown(0, "nested content", f"lies more than {MAX_DEPTH} archives deep and is not read")
        return "unknown"
    kind = sniffed(source)
    if kind == "zip":
        return scan_zip(source, place)
    if kind == "pickle":
        return scan_pickles(source, place)
    return _look_twice(kind, source, place)


def _look_twice(kind: str, source: Source, place: Place) -> str:
    """Formats whose first bytes are free can be pickles or zips for another reader, or nothing else at all."""
    is_pickle = scan_guess(source, place)
    if is_pickle and kind in ("text", "unknown", "onnx", "xgboost", "json"):
        return scan_pickles(source, place)
    if kind == "tar":
        return scan_tar(source, place)  # every byte of it belongs to a member, so a zip at its end is read as one
    if has_directory(source):
        place.unknown(0, f"{kind} and zip", "is a zip for readers that look at the end of a file")
        scan_zip(source, place.inside("zip"))
    if kind == "safetensors":
        scan_safetensors(source, place)
    elif kind == "npy":
        scan_npy(source, place)
    elif kind in _READERS:
        _READERS[kind](source, place)
    elif kind == "hdf5":
        scan_hdf5(source, place)
    elif kind == "compressed":
        return scan_compressed(source, place)
    elif kind == "executable":
        place.dangerous(0, kind, "is a program or a library, not a model")
    else:
        place.unknown(0, kind, _NOT_READ.get(kind, f"is a {kind} file, a format that is not read yet"))
    return kind
