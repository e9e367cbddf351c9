"""Programs of torch.export.save (`.pt2`): a graph as JSON, weights as raw bytes, and pickles in several corners.

torch.export.load unpickles with `weights_only=False` wherever its own tables say so: weights and constants with
`use_pickle`, `custom_obj_*`, `opaque_obj_*`, the files of older layouts, and the sample inputs when the safe reader
refuses them. So every pickle in the archive has to be clean. Layout: torch/csrc/export/pt2_archive_constants.h.
"""

import re

from .members import scan_label, scan_member
from .place import Place
from .program import scan_program
from .torchfile import scan_storage
from .unpack import unpacked
from .zips import Archive, Member

_LABELS = ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")
_MODEL = re.compile(r"models/[^/]+\.json")
_TABLE = re.compile(r"data/(weights|constants)/[^/]+_config\.json")
_RAW = re.compile(r"data/(weights/weight|constants/tensor)_\d{1,9}")
_CHECKPOINT = re.compile(r"data/(sample_inputs|weights|constants)/[^/]+\.pt")
_OBJECT = re.compile(r"data/constants/(custom|opaque)_obj_\d{1,9}")


def scan_export(archive: Archive, root: str, place: Place) -> None:
    """Read every member of an exported program, by the part it plays in loading.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> from .source import Source
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_export(Archive(Source.of(b""), ()), "a", place)
    """
    pickled: set[str] = set()
    members = [member for member in archive.members if not member.is_folder]
    for member in members:
        if _TABLE.fullmatch(_inner(member, root)):
            pickled |= _scan_table(archive, member, root, place)
    for member in members:
        _scan_part(archive, member, root, pickled, place)


def _inner(member: Member, root: str) -> str:
    return member.name.removeprefix(f"{root}/")


def _scan_part(archive: Archive, member: Member, root: str, pickled: set[str], place: Place) -> None:
    name = _inner(member, root)
    if name in _LABELS:
        scan_label(archive, member, place)
    elif _MODEL.fullmatch(name):
        scan_program(_content(archive, member, place), place.inside(member.name))
    elif name in pickled or _CHECKPOINT.fullmatch(name):
        _scan_checkpoint(archive, member, place)
    elif _RAW.fullmatch(name):
        scan_storage(archive, member, place)
    elif not _TABLE.fullmatch(name):
        _scan_other(archive, member, name, place)


def _scan_table(archive: Archive, member: Member, root: str, place: Place) -> set[str]:
    """Judge a table of weights or constants; returns the names of the members that torch will unpickle."""
    document = scan_program(_content(archive, member, place), place.inside(member.name))
    folder = "weights" if "/weights/" in member.name else "constants"
    entries = document.get("config") if isinstance(document, dict) else None
    pickled: set[str] = set()
    for entry in entries.values() if isinstance(entries, dict) else ():
        path = entry.get("path_name") if isinstance(entry, dict) else None
        if not isinstance(path, str) or archive.named(f"{root}/data/{folder}/{path}") is None:
            place.unknown(member.header_at, path, "is a weight or constant that the archive does not hold")
        elif entry.get("use_pickle") is not False:
            pickled.add(f"data/{folder}/{path}")
    return pickled


def _scan_checkpoint(archive: Archive, member: Member, place: Place) -> None:
    inner = place.inside(member.name).pasting()
    content = unpacked(archive, member, inner)
    if content is None or content.size == 0:  # a program saved without sample inputs
        return
    kind = place.look(content, inner)
    if kind not in ("torch-zip", "torch-legacy"):
        inner.unknown(0, kind, "stands where torch loads a checkpoint")


def _scan_other(archive: Archive, member: Member, name: str, place: Place) -> None:
    if name.startswith("data/aotinductor/"):
        place.dangerous(member.header_at, member.name, "is compiled code, which loading runs")
    elif _OBJECT.fullmatch(name):
        place.unknown(member.header_at, member.name, "is an object that torch unpickles with everything it names")
    elif not name.startswith("extra/"):
        place.unknown(member.header_at, member.name, "is a member that this reader does not know")
    scan_member(archive, member, place)


def _content(archive: Archive, member: Member, place: Place) -> bytes:
    content = unpacked(archive, member, place.inside(member.name))
    return content.read(0, content.size) if content is not None and content.size <= 1 << 26 else b""
