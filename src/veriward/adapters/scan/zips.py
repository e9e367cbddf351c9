"""The structure of a zip, read twice: by its central directory and by the local headers, which must agree.

Python's zipfile, torch's miniz and other readers trust different copies of the same facts. Where the copies differ,
one of them shows a scanner a harmless file and the loader another one. Format: PKWARE APPNOTE 6.3.10.
"""

import stat
import struct
from dataclasses import dataclass, replace
from functools import cached_property

from .place import Place
from .source import Source

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END64, _LOCATOR64, _DESCRIPTOR = b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"
_MAX_DIRECTORY = 1 << 26
_HAS_DESCRIPTOR, _IS_UTF8 = 1 << 3, 1 << 11
UNREADABLE = 1 << 0 | 1 << 5 | 1 << 6 | 1 << 13  # encrypted, patched, strongly encrypted, masked
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF


@dataclass(frozen=True)
class Member:
    """One entry of the central directory, and where its bytes begin according to its local header.

    >>> Member("a", 0, 0, 0, 3, 3, 0, 31, 0).is_folder
    False
    """

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header_at: int
    data_at: int
    mode: int

    @property
    def is_folder(self) -> bool:
        """Whether the entry stands for a folder.

        >>> Member("a/", 0, 0, 0, 0, 0, 0, 31, 0).is_folder
        True
        """
        return self.name.endswith("/")


@dataclass(frozen=True)
class Archive:
    """A zip and its members, in the order of the central directory.

    >>> Archive(Source.of(b""), ()).named("a") is None
    True
    """

    source: Source
    members: tuple[Member, ...]

    def named(self, name: str) -> Member | None:
        """The member of this name.

        >>> Archive(Source.of(b""), ()).named("a")
        """
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Member]:
        return {member.name: member for member in self.members}


@dataclass(frozen=True)
class _End:
    at: int  # where the first of the end records begins
    count: int
    directory_at: int
    directory_bytes: int


def find_end(source: Source) -> int | None:
    """The offset of the end record, searched from the back as every reader does; None where there is none.

    >>> find_end(Source.of(END + bytes(18)))
    0
    """
    if source.read(source.size - 22, 4) == END and source.read(source.size - 2, 2) == b"\0\0":
        return source.size - 22
    begin = max(0, source.size - 22 - _FULL16)
    tail = source.read(begin, 22 + _FULL16)
    cut = tail.rfind(END)
    return begin + cut if cut >= 0 and cut + 22 <= len(tail) else None


def has_directory(source: Source) -> bool:
    """Whether the end record leads to a directory: the difference between a zip and a chance of four bytes.

    >>> has_directory(Source.of(END + bytes(18)))
    False
    """
    at = find_end(source)
    if at is None:
        return False
    size, offset = struct.unpack_from("<12xII", source.read(at, 22))
    return any(source.read(place, 4) == CENTRAL for place in (offset, at - size))


def read_archive(source: Source, place: Place) -> Archive | None:
    """The members of a zip, with a note for every contradiction in its structure; None where it has no directory.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> read_archive(Source.of(b"PK"), place) is None, place.notes.outcome
    (True, 'unknown')
    """
    at = find_end(source)
    if at is None:
        place.unknown(0, "broken zip", "has no end record, so nobody knows its members")
        return None
    try:
        source, end = _placed(source, _read_end(source, at, place), place)
        members = _read_directory(source, end, place)
    except (struct.error, ValueError) as error:
        place.unknown(at, "broken zip", f"its directory cannot be read ({error})")
        return None
    _check_names(members, place)
    _check_coverage(source, members, end, place)
    return Archive(source, tuple(members))


def _read_end(source: Source, at: int, place: Place) -> _End:
    record = source.read(at, source.size - at)
    disk, first, here, count, size, offset, comment = struct.unpack_from("<4xHHHHIIH", record)
    if disk or first or here != count:
        place.unknown(at, "end record", "speaks of several disks")
    if comment or len(record) != 22 + comment:
        place.unknown(at, f"{len(record) - 22} bytes after the end record", "a comment or trailing bytes")
    wide = _read_end64(source, at, place)
    if wide is None:
        return _End(at, count, offset, size)
    for narrow, full, value in ((count, _FULL16, wide.count), (size, _FULL32, wide.directory_bytes)):
        if narrow not in (full, value):
            place.unknown(at, "end record", "contradicts its zip64 record")
    if offset not in (_FULL32, wide.directory_at):
        place.dangerous(at, "end record", "points to another directory than its zip64 record")
    return wide


def _read_end64(source: Source, at: int, place: Place) -> _End | None:
    locator = source.read(at - 20, 20)
    if locator[:4] != _LOCATOR64:
        return None
    (offset,) = struct.unpack_from("<8xQ", locator)
    record = source.read(at - 76, 56)
    if record[:4] != _END64 or offset != at - 76:
        # zipfile reads the record before the locator, miniz the one that the locator names
        place.dangerous(at - 20, "zip64 locator", "does not name the record that stands before it")
        raise ValueError("zip64 record not found")
    _, count, size, directory_at = struct.unpack_from("<24xQQQQ", record)
    return _End(at - 76, count, directory_at, size)


def _placed(source: Source, end: _End, place: Place) -> tuple[Source, _End]:
    """The directory should end where the end record begins. If not, miniz looks where the record says, and zipfile
    takes the difference for a prefix that all offsets leave out."""
    shift = end.at - end.directory_bytes - end.directory_at
    if not shift:
        return source, end
    told, found = (source.read(at, 4) == CENTRAL for at in (end.directory_at, end.directory_at + shift))
    note = place.dangerous if told and found else place.unknown
    note(end.at, "central directory", "is not where the end record says, so readers look for it in two places")
    if shift < 0 or not found:
        return source, end
    return source.part(shift, source.size), replace(end, at=end.at - shift)


def _read_directory(source: Source, end: _End, place: Place) -> list[Member]:
    if end.directory_bytes > _MAX_DIRECTORY:
        raise ValueError(f"{end.directory_bytes} bytes")
    content = source.read(end.directory_at, end.directory_bytes)
    members: list[Member] = []
    at = 0
    while content[at : at + 4] == CENTRAL:
        place.purse.spend("members", 1)
        member, at = _read_entry(source, content, at, place)
        members.append(member)
    if at != end.directory_bytes or len(members) != end.count:
        place.unknown(end.directory_at, "central directory", "holds another number of entries or bytes than announced")
    return members


def _read_entry(source: Source, content: bytes, at: int, place: Place) -> tuple[Member, int]:
    flags, method, crc, packed, size, name_size, extra_size, comment_size, disk, attributes, header_at = (
        struct.unpack_from("<8xHH4xIIIHHHH2xII", content, at)
    )
    begin = at + 46
    raw = content[begin : begin + name_size]
    extra = content[begin + name_size : begin + name_size + extra_size]
    size, packed, header_at = _widened(extra, size, packed, header_at)
    name = _decoded(raw, flags, header_at, place)
    if disk not in (0, _FULL16) or comment_size:
        place.unknown(header_at, name, "has a comment of its own, or lies on another disk")
    if _UNICODE_PATH in _extras(extra):
        place.dangerous(header_at, name, "has a second name in an extra field, which some readers prefer")
    data_at = _check_local(source, (raw, flags, method, crc, packed, size), header_at, name, place)
    member = Member(name, flags, method, crc, packed, size, header_at, data_at, attributes >> 16)
    return member, begin + name_size + extra_size + comment_size


def _extras(extra: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        found.setdefault(kind, extra[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def _widened(extra: bytes, size: int, packed: int, header_at: int) -> tuple[int, int, int]:
    """The 64-bit values stand in the extra field, only those that did not fit, in this order."""
    wide = _extras(extra).get(_ZIP64, b"")
    values = [size, packed, header_at]
    at = 0
    for index, value in enumerate(values):
        if value == _FULL32:
            (values[index],) = struct.unpack_from("<Q", wide, at)
            at += 8
    return values[0], values[1], values[2]


def _decoded(raw: bytes, flags: int, at: int, place: Place) -> str:
    try:
        name = raw.decode("utf-8" if flags & _IS_UTF8 else "ascii")
    except UnicodeDecodeError:
        place.unknown(at, raw, "has a name that readers decode differently")
        return raw.decode("latin-1")
    return name


def _check_local(source: Source, entry: tuple[bytes, int, int, int, int, int], at: int, name: str, place: Place) -> int:
    """Compare a local header with its entry; returns where the data begin."""
    raw, flags, method, crc, packed, size = entry
    head = source.read(at, 30)
    if len(head) < 30 or head[:4] != LOCAL:
        place.dangerous(at, name, "has no local header where the directory points")
        return at
    flags2, method2, crc2, packed2, size2, name_size, extra_size = struct.unpack_from("<6xHH4xIIIHH", head)
    if source.read(at + 30, name_size) != raw:
        place.dangerous(at, name, "has another name in its local header than in the directory")
    if (flags2, method2) != (flags, method):
        place.unknown(at, name, "has other flags or another method in its local header")
    deferred = flags & _HAS_DESCRIPTOR
    for here, there in ((crc2, crc), (packed2, packed), (size2, size)):
        if here not in (there, _FULL32) and not (deferred and here == 0):
            place.unknown(at, name, "has another size or checksum in its local header")
    return at + 30 + int(name_size) + int(extra_size)


def _check_names(members: list[Member], place: Place) -> None:
    seen: set[str] = set()
    for member in members:
        why = name_trick(member.name)
        if why:
            place.dangerous(member.header_at, member.name, why)
        if member.name.casefold() in seen:
            # torch's reader ignores case, zipfile takes the last, others the first
            place.dangerous(member.header_at, member.name, "stands twice in the directory")
        seen.add(member.name.casefold())
        if stat.S_IFMT(member.mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            place.dangerous(member.header_at, member.name, "is a link or a device, which extraction would create")


def name_trick(name: str) -> str | None:
    """Why a member of this name may not be extracted, or None.

    >>> name_trick("a/b") is None, name_trick("../b")
    (True, 'has a path that leads out of the folder it is extracted to')
    """
    if not name or any(ord(letter) < 32 for letter in name):
        return "has an empty name or control characters in it: readers cut it at different places"
    if "\\" in name or name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
        return "has a path that leads out of the folder it is extracted to"
    return None


def _check_coverage(source: Source, members: list[Member], end: _End, place: Place) -> None:
    """From byte 0 to the directory every byte belongs to exactly one member."""
    at = 0
    for member in sorted(members, key=lambda member: member.header_at):
        if member.header_at < at:
            place.dangerous(member.header_at, member.name, "overlaps another member")
        elif member.header_at > at:
            place.unknown(at, f"{member.header_at - at} bytes", "lie before a member and belong to none")
        at = max(at, _end_of(source, member))
    if at != end.directory_at:
        place.unknown(at, "end of the members", "is not where the directory begins")


def _end_of(source: Source, member: Member) -> int:
    at = member.data_at + member.packed
    if not member.flags & _HAS_DESCRIPTOR:
        return at
    tail = source.read(at, 24)
    at_sign = 4 if tail[:4] == _DESCRIPTOR else 0
    for width, layout in ((4, "<III"), (8, "<IQQ")):
        size = at_sign + 4 + 2 * width
        if tail[at_sign:size] == struct.pack(
            layout, member.crc, member.packed & (1 << 8 * width) - 1, member.size & (1 << 8 * width) - 1
        ):
            return at + size
    return at
