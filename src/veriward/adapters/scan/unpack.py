"""The bytes of a zip member, with bounds on what unpacking may cost."""

import zlib

from .place import Place
from .source import Source
from .zips import UNREADABLE, Archive, Member

_STORED, _DEFLATED = 0, 8
MAX_INFLATED = 1 << 28
MAX_RATIO, SMALL = 200, 1 << 24  # a bomb is both dense and large; 16 MiB of zeros harm nobody
_MAX_CHECKED = 1 << 26  # checksums of larger members would be read for nothing: they prove no intent
_CHUNK = 1 << 16


def unpacked(archive: Archive, member: Member, place: Place) -> Source | None:
    """The content of a member; None (and a note) where it cannot be had within bounds.

    A wrong checksum or a flag of encryption is noted, and the content read all the same: torch looks at neither.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> member = Member("a", 0, 0, 0, 2, 2, 0, 1, 0)
    >>> unpacked(Archive(Source.of(b"-ab"), (member,)), member, place).read(0, 9)
    b'ab'
    """
    if member.flags & UNREADABLE:
        place.unknown(member.header_at, f"flags {member.flags:#06x}", "say that it is encrypted or patched")
    if member.method not in (_STORED, _DEFLATED):
        place.unknown(member.header_at, f"method {member.method}", "is a way of packing that is not read")
        return None
    packed = archive.source.part(member.data_at, member.packed)
    if packed.size != member.packed:
        place.unknown(member.header_at, f"{member.packed} bytes", "reach beyond the end of the file")
    content = packed if member.method == _STORED else _inflated(packed, member, place)
    if content is not None:
        _check(content, member, place)
    return content


def _inflated(packed: Source, member: Member, place: Place) -> Source | None:
    if member.size > SMALL and member.size > MAX_RATIO * member.packed:
        place.unknown(member.header_at, f"{member.size} bytes", f"are packed in {member.packed}: a decompression bomb")
        return None
    if member.size > MAX_INFLATED:
        place.unknown(member.header_at, f"{member.size} bytes", "are too many to be unpacked by a scan; store them")
        return None
    place.purse.spend("inflated", member.size)
    try:
        return Source.of(_inflate(packed, member.size + 1))
    except zlib.error:
        place.unknown(member.header_at, "broken member", "cannot be unpacked")
        return None


def _inflate(packed: Source, limit: int) -> bytearray:
    """At most `limit` bytes, whatever the header promised."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    content = bytearray()
    for at in range(0, packed.size, _CHUNK):
        piece = stream.decompress(packed.read(at, _CHUNK), limit)
        while piece:
            content += piece
            limit -= len(piece)
            if limit <= 0:
                return content
            piece = stream.decompress(stream.unconsumed_tail, limit) if stream.unconsumed_tail else b""
        if stream.eof:
            break
    return content


def _check(content: Source, member: Member, place: Place) -> None:
    if content.size != member.size:
        place.unknown(member.header_at, f"{member.size} bytes", "were announced, but another number is there")
    elif member.size <= _MAX_CHECKED and _crc(content) != member.crc:
        place.unknown(member.header_at, "checksum", "does not fit the content")


def _crc(content: Source) -> int:
    crc = 0
    for at in range(0, content.size, 1 << 20):
        crc = zlib.crc32(content.read(at, 1 << 20), crc)
    return crc
