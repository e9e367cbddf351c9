"""Where an HDF5 file begins, and the messages of which its objects are made: specification, sections II.A, IV.A.1."""

from dataclasses import dataclass

from .hdf5_bytes import UNDEFINED, BadHdf5, Hdf5Bytes, number
from .place import Place

SIGNATURE = b"\x89HDF\r\n\x1a\n"
CONTINUATION = 0x10
_SHARED = 1 << 1
_TIMES, _PHASE, _ORDER = 1 << 5, 1 << 4, 1 << 2


@dataclass(frozen=True)
class Message:
    """One message of an object header.

    >>> Message(0x0C, 0, b"").is_shared
    False
    """

    kind: int
    flags: int
    body: bytes

    @property
    def is_shared(self) -> bool:
        """Whether the body lies elsewhere, in another object or in a heap.

        >>> Message(0x03, 2, b"").is_shared
        True
        """
        return bool(self.flags & _SHARED)


@dataclass(frozen=True)
class Superblock:
    """The root group's header, what the superblock claims of its symbol table, and an extension.

    >>> Superblock(96, None, UNDEFINED).extension == UNDEFINED
    True
    """

    root: int
    cached: tuple[int, int] | None  # B-tree and heap of the root, kept twice in the file
    extension: int


def read_superblock(reader: Hdf5Bytes, place: Place) -> Superblock:
    r"""Section II.A: versions 0 to 3. Raises BadHdf5 for another; narrows the reader to the end that is claimed.

    >>> from .source import Source
    >>> read_superblock(Hdf5Bytes.of(Source.of(SIGNATURE + b"\x09" + bytes(90))), None)
    Traceback (most recent call last):
    veriward.adapters.scan.hdf5_bytes.BadHdf5: a superblock of version 9 is not read
    """
    head = reader.signed(0, b"", 16)
    version = head[8]
    if version > 3:
        raise BadHdf5(f"a superblock of version {version} is not read")
    old = version < 2
    if (head[13:15] if old else head[9:11]) != b"\x08\x08":
        raise BadHdf5("offsets or lengths of another width than eight bytes are not read")
    if not old:
        base, extension, end, root = _numbers(reader.take(12, 32))
        _check_extent(reader, base, end, place)
        return Superblock(root, None, extension)
    at = 24 + 4 * version  # version 1 has a field more
    base, _, end, driver, _, root, kind = _numbers(reader.take(at, 56))
    if driver != UNDEFINED:
        place.dangerous(at + 24, "driver information", "spreads the file over others, which are opened by name")
    _check_extent(reader, base, end, place)
    cached = _numbers(reader.take(at + 56, 16)) if kind & 0xFFFFFFFF == 1 else None
    return Superblock(root, (cached[0], cached[1]) if cached else None, UNDEFINED)


def _numbers(content: bytes) -> list[int]:
    return [number(content, at, 8) for at in range(0, len(content), 8)]


def _check_extent(reader: Hdf5Bytes, base: int, end: int, place: Place) -> None:
    if base:
        raise BadHdf5(f"a base address of {base}, which shifts all others, is not read")
    if end > reader.end:
        raise BadHdf5(f"the file is cut: it holds {reader.end} of {end} bytes")
    if end < reader.end:
        place.unknown(end, f"{reader.end - end} bytes", "lie behind the end of the HDF5 file and belong to nothing")
    reader.end = end


def read_messages(reader: Hdf5Bytes, at: int) -> list[Message]:
    r"""All messages of the object header at `at`, continuations included; raises BadHdf5.

    >>> from .source import Source
    >>> read_messages(Hdf5Bytes.of(Source.of(b"\1" + bytes(15))), 0)
    []
    """
    if reader.take(at, 1) == b"O":
        return _read_new(reader, at)
    head = reader.take(at, 16)
    if head[0] != 1:
        raise BadHdf5(f"no object header at {at}")
    found = _read_blocks(reader, [(at + 16, number(head, 8, 4))], b"", 0)
    if len(found) != number(head, 2, 2):
        raise BadHdf5(f"the header at {at} holds {len(found)} messages, not as many as it says")
    return found


def _read_new(reader: Hdf5Bytes, at: int) -> list[Message]:
    head = reader.signed(at, b"OHDR\x02", 6)
    flags = head[5]
    begin = at + 6 + 16 * bool(flags & _TIMES) + 4 * bool(flags & _PHASE)
    width = 1 << (flags & 3)
    size = number(reader.take(begin, width), 0, width)
    return _read_blocks(reader, [(begin + width, size)], b"OCHK", flags & _ORDER)


def _read_blocks(reader: Hdf5Bytes, blocks: list[tuple[int, int]], signature: bytes, order: int) -> list[Message]:
    found: list[Message] = []
    for index, (at, size) in enumerate(blocks):  # continuations are appended meanwhile
        content = reader.signed(at, signature, size) if index else reader.take(at, size)
        if signature and index:
            content = content[4:-4]  # the checksum is the loader's affair
        for message in _split(content, bool(signature), order):
            found.append(message)
            if message.kind == CONTINUATION:
                blocks.append((number(message.body, 0, 8), number(message.body, 8, 8)))
    return found


def _split(content: bytes, new: bool, order: int) -> list[Message]:
    found: list[Message] = []
    head = (6 if order else 4) if new else 8
    at = 0
    while at + head <= len(content):
        if new:
            kind, size, flags = content[at], number(content, at + 1, 2), content[at + 3]
        else:
            kind, size, flags = number(content, at, 2), number(content, at + 2, 2), content[at + 4]
        at += head
        if at + size > len(content) or (not new and size % 8):
            raise BadHdf5("a message reaches beyond its header, or is not padded")
        found.append(Message(kind, flags, content[at : at + size]))
        at += size
    return found
