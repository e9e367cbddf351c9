"""Checkpoints of torch.save since 1.6: a zip with one pickle and the storages it names, as raw bytes.

What torch.load reads: torch/serialization.py, `_load`.
"""

from .machine import Machine
from .members import scan_label, scan_member
from .opcodes import Reader
from .pickles import scan_raw, scan_rest
from .place import Place
from .unpack import unpacked
from .zips import Archive, Member

LABELS = ("byteorder", "version", ".format_version", ".storage_alignment", ".data/version", ".data/serialization_id")


def scan_torch(archive: Archive, root: str, place: Place) -> str:
    """Read a checkpoint; returns the kind.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> from .source import Source
    >>> scan_torch(Archive(Source.of(b""), ()), "a", Place("x", Notes(), Purse(), lambda source, place: ""))
    'torch-zip'
    """
    storages: dict[str, int] = {}
    pickle = archive.named(f"{root}/data.pkl")
    if pickle is not None:
        _scan_pickle(archive, pickle, place, storages)
    for member in archive.members:
        if member is not pickle and not member.is_folder:
            _scan_part(archive, member, root, storages, place)
    check_storages(archive, root, {f"data/{key}": size for key, size in storages.items()}, place)
    return "torch-zip"


def _scan_pickle(archive: Archive, member: Member, place: Place, storages: dict[str, int]) -> None:
    inner = place.inside(member.name)
    content = unpacked(archive, member, inner)
    if content is None:
        return
    machine = Machine(Reader(content), inner, storages)
    if machine.run():
        scan_rest(content, machine.reader.at, inner)


def _scan_part(archive: Archive, member: Member, root: str, storages: dict[str, int], place: Place) -> None:
    name = member.name.removeprefix(f"{root}/")
    if name in LABELS:
        scan_label(archive, member, place)
    elif name.removeprefix("data/") in storages and name.startswith("data/"):
        scan_storage(archive, member, place)
    else:
        place.unknown(member.header_at, member.name, "is a member that the checkpoint does not refer to")
        scan_member(archive, member, place)


def scan_storage(archive: Archive, member: Member, place: Place) -> None:
    """Check a member that torch reads as raw numbers; stored as it is, it is not read in full.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> from .source import Source
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> member = Member("a", 0, 0, 0, 2, 2, 0, 1, 0)
    >>> scan_storage(Archive(Source.of(b"-ab"), (member,)), member, place)
    """
    inner = place.inside(member.name)
    if member.method or member.packed != member.size:
        inner.unknown(member.header_at, "storage", "is packed, which torch never does")
        return
    scan_raw(archive.source.part(member.data_at, member.packed), inner)


def check_storages(archive: Archive, root: str, storages: dict[str, int], place: Place) -> None:
    """torch maps a storage by the size that the pickle claims: a shorter member would be read beyond its end.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> from .source import Source
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> check_storages(Archive(Source.of(b""), ()), "a", {"data/0": 4}, place); place.notes.outcome
    'unknown'
    """
    sizes = {member.name: member.size for member in archive.members}
    for key, size in storages.items():
        if sizes.get(f"{root}/{key}") != size:
            place.unknown(0, f"storage {key}", f"should hold {size} bytes and does not, or is missing")
