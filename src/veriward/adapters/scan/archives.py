"""Zips by what they are: checkpoints, exported programs, skops files, arrays, or just files."""

from .export import scan_export
from .keras import is_keras, scan_keras
from .members import scan_member
from .pickles import scan_guess
from .place import Place
from .skops import scan_skops
from .source import Source
from .torchfile import scan_torch
from .torchscript import scan_script
from .zips import LOCAL, Archive, read_archive


def scan_zip(source: Source, place: Place) -> str:
    """Read a zip and every member of it; returns the kind.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> scan_zip(Source.of(b"PK"), Place("x", Notes(), Purse(), lambda source, place: ""))
    'zip'
    """
    archive = read_archive(source, place)
    if source.read(0, 4) != LOCAL:
        scan_guess(source, place)  # what stands before the first member may be there for another reader
    if archive is None or not archive.members:
        place.unknown(0, "zip", "has no members that could be read")
        return "zip"
    return _scan_by_layout(archive, place)


def _scan_by_layout(archive: Archive, place: Place) -> str:
    names = {member.name for member in archive.members}
    root = archive.members[0].name.partition("/")[0]  # where torch looks too
    if f"{root}/archive_format" in names or f"{root}/models/model.json" in names:
        scan_export(archive, root, place)
        return "torch-export"
    if f"{root}/constants.pkl" in names:
        scan_script(archive, root, place)
        return "torchscript"
    if f"{root}/data.pkl" in names:
        return scan_torch(archive, root, place)
    if "schema.json" in names:
        scan_skops(archive, place)
        return "skops"
    if is_keras(names):
        scan_keras(archive, place)
        return "keras"
    return _scan_members(archive, names, place)


# What only its maker's program can read, by a member that gives it away.
_PROGRAMS = {
    "MAR-INF/MANIFEST.json": ("mar", "is an archive of TorchServe, which runs the Python handler that lies in it"),
    ".data/extern_modules": (
        "torch-package",
        "is an archive of torch.package, which runs the Python code that lies in it",
    ),
}


def _scan_members(archive: Archive, names: set[str], place: Place) -> str:
    kinds = {scan_member(archive, member, place) for member in archive.members if not member.is_folder}
    for sign, (kind, why) in _PROGRAMS.items():
        if sign in names or any(name.endswith(f"/{sign}") for name in names):
            place.unknown(0, kind, why)
            return kind
    if "serialized_exported_program.json" in names:
        place.unknown(0, "torch-export", "is an exported program of torch 2.7 or older; load and save it again")
        return "torch-export"
    return "npz" if kinds == {"npy"} else "zip"
