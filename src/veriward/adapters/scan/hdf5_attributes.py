"""Attributes of HDF5 objects and the heap that keeps their texts: specification, sections III.E and IV.A.2.m."""

from dataclasses import dataclass, field
from math import prod

from .hdf5_bytes import UNDEFINED, BadHdf5, Hdf5Bytes, number, text_until_nul
from .hdf5_types import Datatype, read_datatype, read_shape

_TEXT_BYTES = 16  # a text of free length: its size, the heap, the index in it
_MAX_TEXTS = 1 << 16


@dataclass(frozen=True)
class Attribute:
    """A name, the type, the shape (None: nothing at all), and the raw bytes.

    >>> Attribute("a", Datatype(1, "text"), (), b"x").elements
    1
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...] | None
    content: bytes

    @property
    def elements(self) -> int:
        """How many elements the shape holds.

        >>> Attribute("a", Datatype(1, "text"), None, b"").elements
        0
        """
        return 0 if self.shape is None else prod(self.shape)


def read_attribute(body: bytes) -> Attribute:
    """The attribute of one message; raises BadHdf5 where it is broken, shared, or shorter than its shape.

    >>> read_attribute(b"")
    Traceback (most recent call last):
    veriward.adapters.scan.hdf5_bytes.BadHdf5: a structure of 0 bytes ends before its field at 0
    """
    version, flags = number(body, 0, 1), number(body, 1, 1)
    if not 1 <= version <= 3 or (version > 1 and flags):
        raise BadHdf5(f"an attribute of version {version}, or with a shared type, is not read")
    sizes = [number(body, at, 2) for at in (2, 4, 6)]
    at = 9 if version == 3 else 8
    parts: list[bytes] = []
    for size in sizes:
        parts.append(body[at : at + size])
        at += (size + 7) & ~7 if version == 1 else size
    name = text_until_nul(parts[0])
    if len(name.encode("utf-8")) + 1 < sizes[0] and version > 1:
        raise BadHdf5("the name of an attribute goes on after its end")
    found = Attribute(name, read_datatype(parts[1]), read_shape(parts[2]), body[at:])
    if found.elements * found.datatype.size > len(found.content):
        raise BadHdf5(f"the attribute {name[:40]!r} is shorter than its shape")
    return found


@dataclass
class GlobalHeap:
    """Texts of free length, read collection by collection; every text that is named counts.

    >>> from .source import Source
    >>> GlobalHeap(Hdf5Bytes.of(Source.of(b""))).named_bytes
    0
    """

    reader: Hdf5Bytes
    named_bytes: int = 0
    _collections: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)

    def texts(self, attribute: Attribute) -> list[bytes]:
        """The texts of an attribute, fixed or free; raises BadHdf5 where they cannot be had.

        >>> from .source import Source
        >>> GlobalHeap(Hdf5Bytes.of(Source.of(b""))).texts(Attribute("a", Datatype(1, "text"), (), b"x"))
        [b'x']
        """
        size, count = attribute.datatype.size, attribute.elements
        if count > _MAX_TEXTS:
            raise BadHdf5(f"{count} texts in one attribute")
        pieces = [attribute.content[index * size : (index + 1) * size] for index in range(count)]
        if attribute.datatype.kind == "text":
            return pieces
        return [self._text(piece) for piece in pieces]

    def _text(self, piece: bytes) -> bytes:
        length, at, index = number(piece, 0, 4), number(piece, 4, 8), number(piece, 12, 4)
        if at in (0, UNDEFINED) and not length:
            return b""
        begin, size = self._collection(at).get(index, (0, -1))
        if length > size:
            raise BadHdf5(f"a text of {length} bytes lies outside of the global heap")
        self.named_bytes += length
        if self.named_bytes > self.reader.end:
            raise BadHdf5("texts take more bytes than the file has: the same ones are named again and again")
        return self.reader.source.read(begin, length)

    def _collection(self, at: int) -> dict[int, tuple[int, int]]:
        if at not in self._collections:
            self._collections[at] = _read_collection(self.reader, at)
        return self._collections[at]


def _read_collection(reader: Hdf5Bytes, at: int) -> dict[int, tuple[int, int]]:
    size = number(reader.signed(at, b"GCOL\x01", 16), 8, 8)
    content = reader.take(at, size)
    found: dict[int, tuple[int, int]] = {}
    begin = 16
    while begin + 16 <= size:
        index, length = number(content, begin, 2), number(content, begin + 8, 8)
        if index == 0:  # the free space, which is the rest
            break
        if index in found or begin + 16 + length > size:
            raise BadHdf5(f"the global heap at {at} names a text twice or beyond its end")
        found[index] = (at + begin + 16, length)
        begin += 16 + ((length + 7) & ~7)
    return found
