"""What lies in a tar: every member is typed and read like a file of its own."""

from .inert import scan_beside
from .place import Place
from .source import Source
from .tars import read_tar

_CHECKPOINT = {"pickle", "storages", "tensors"}


def scan_tar(source: Source, place: Place) -> str:
    """Read a tar and every member of it; returns the kind, "tar" or "torch-tar" (checkpoints of torch 0.1).

    >>> from .place import Purse
    >>> from .result import Notes
    >>> scan_tar(Source.of(bytes(1024)), Place("x", Notes(), Purse(), lambda source, place: ""))
    'tar'
    """
    entries = read_tar(source, place)
    files = [entry for entry in entries if not entry.is_folder]
    if not files:
        place.unknown(0, "tar", "has no members that could be read")
    for entry in files:
        scan_beside(entry.name, source.part(entry.data_at, entry.size), place.inside(entry.name))
    if {entry.name.removeprefix("./") for entry in files} >= _CHECKPOINT:
        place.unknown(
            0, "torch-tar", "is a checkpoint of torch 0.1, whose storages are not read; load and save it again"
        )
        return "torch-tar"
    return "tar"
