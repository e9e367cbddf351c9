"""Where the elements of a dataset lie and what unpacks them: HDF5 specification, sections IV.A.2.h, i and l."""

import zlib
from dataclasses import dataclass
from math import prod

from .hdf5_bytes import UNDEFINED, BadHdf5, Hdf5Bytes, number
from .hdf5_links import keyed_leaves
from .place import Place

DEFLATE, SHUFFLE, FLETCHER = 1, 2, 3
_FILTERS = {DEFLATE: "deflate", SHUFFLE: "shuffle", FLETCHER: "fletcher32"}
_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = 0, 1, 2, 3
_SINGLE_CHUNK, _FILTERED_CHUNK = 1, 2
_MAX_CHUNK = 1 << 28
_SLACK = 64  # checksums behind the content of a chunk


@dataclass(frozen=True)
class Chunk:
    """One stored piece: where, how many bytes, and which filters were left out for it.

    >>> Chunk(0, 8, 0).size
    8
    """

    at: int
    size: int
    skipped: int


@dataclass(frozen=True)
class Storage:
    """The pieces of a dataset; `chunk` is the shape of one of them and the size of an element, () without chunks.

    >>> Storage([Chunk(0, 8, 0)]).stored
    8
    """

    pieces: list[Chunk]
    chunk: tuple[int, ...] = ()
    inline: int = 0

    @property
    def chunk_bytes(self) -> int | None:
        """What one piece unpacks to; None where the pieces are not chunks.

        >>> Storage([], (2, 4)).chunk_bytes
        8
        """
        return prod(self.chunk) if self.chunk else None

    @property
    def stored(self) -> int:
        """Bytes that the file spends on the elements.

        >>> Storage([], inline=3).stored
        3
        """
        return self.inline + sum(piece.size for piece in self.pieces)


def read_filters(body: bytes, place: Place) -> list[int]:
    r"""The filters of a pipeline message, in the order of writing, with a note for each that is not built in.

    >>> read_filters(b"\2\0", None)
    []
    """
    version, count = number(body, 0, 1), number(body, 1, 1)
    if version not in (1, 2):
        raise BadHdf5(f"a filter pipeline of version {version} is not read")
    at = 8 if version == 1 else 2
    found: list[int] = []
    for _ in range(count):
        kind, at = _read_filter(body, at, version)
        found.append(kind)
        if kind not in _FILTERS:
            place.unknown(0, f"filter {kind}", "is none of deflate, shuffle and fletcher32: a plug-in would be loaded")
    if len(set(found)) < len(found):
        place.dangerous(0, "filters", "stand twice in one pipeline: packed again and again, a bomb looks small")
    return found


def _read_filter(body: bytes, at: int, version: int) -> tuple[int, int]:
    kind = number(body, at, 2)
    at += 2
    name_bytes = 0
    if version == 1 or kind >= 256:
        name_bytes, at = number(body, at, 2), at + 2
    values = number(body, at + 2, 2)
    at += 4 + name_bytes + 4 * values
    if version == 1:
        at += 4 * (values % 2)
    if at > len(body):
        raise BadHdf5("a filter is cut")
    return kind, at


def read_storage(reader: Hdf5Bytes, body: bytes, place: Place) -> Storage:
    r"""The layout message of versions 3 and 4; raises BadHdf5 for what is not read.

    >>> from .source import Source
    >>> read_storage(Hdf5Bytes.of(Source.of(b"")), b"\3\0\2\0ab", None).stored
    2
    """
    version, kind = number(body, 0, 1), number(body, 1, 1)
    if version not in (3, 4):
        raise BadHdf5(f"a data layout of version {version} is not read")
    if kind == _COMPACT:
        return Storage([], inline=min(number(body, 2, 2), len(body) - 4))
    if kind == _CONTIGUOUS:
        at, size = number(body, 2, 8), number(body, 10, 8)
        return Storage([] if at == UNDEFINED else [Chunk(at, size, 0)])
    if kind == _CHUNKED:
        return _read_chunks(reader, body) if version == 3 else _read_single(body)
    if kind == _VIRTUAL:
        place.dangerous(0, "virtual dataset", "takes its elements from other files, which are opened by name")
        return Storage([])
    raise BadHdf5(f"a layout of class {kind} is not read")


def _read_chunks(reader: Hdf5Bytes, body: bytes) -> Storage:
    sides = number(body, 2, 1)
    shape = tuple(number(body, 11 + 4 * index, 4) for index in range(sides))  # the last is the size of an element
    found = keyed_leaves(reader, number(body, 3, 8), 1, 8 + 8 * sides)
    pieces = [Chunk(at, number(key, 0, 4), number(key, 4, 4)) for key, at in found]
    return Storage(pieces, shape)


def _read_single(body: bytes) -> Storage:
    flags, sides, width = number(body, 2, 1), number(body, 3, 1), number(body, 4, 1)
    shape = tuple(number(body, 5 + width * index, width) for index in range(sides))
    at = 5 + width * sides
    if number(body, at, 1) != _SINGLE_CHUNK:
        raise BadHdf5("chunks are indexed in a way that is not read; write the file with libver='earliest'")
    at += 1
    size, skipped = prod(shape), 0
    if flags & _FILTERED_CHUNK:
        size, skipped, at = number(body, at, 8), number(body, at + 8, 4), at + 12
    begin = number(body, at, 8)
    return Storage([] if begin == UNDEFINED else [Chunk(begin, size, skipped)], shape)


def check_chunk(reader: Hdf5Bytes, chunk: Chunk, filters: list[int], room: int, place: Place) -> None:
    """Inflate one chunk, to see that it holds no more than a chunk may: the library inflates to whatever end.

    >>> from .source import Source
    >>> check_chunk(Hdf5Bytes.of(Source.of(b"")), Chunk(0, 0, 0), [], 0, None)
    """
    if DEFLATE not in filters or chunk.skipped & 1 << filters.index(DEFLATE):
        return
    if room > _MAX_CHUNK:
        place.unknown(chunk.at, f"chunks of {room} bytes", "are too large to be unpacked by a scan")
        return
    place.purse.spend("inflated", room + _SLACK)
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(reader.source.read(chunk.at, chunk.size), room + _SLACK + 1)
    except zlib.error:
        place.unknown(chunk.at, "broken chunk", "cannot be unpacked")
        return
    if len(content) > room + _SLACK:
        place.dangerous(chunk.at, "packed chunk", f"unpacks to more than the {room} bytes of a chunk: a bomb")
