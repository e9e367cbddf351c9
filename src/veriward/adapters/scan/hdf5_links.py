"""The names in an HDF5 group and where they lead: specification, sections III.A-D (old groups) and IV.A.2.g (links)."""

from dataclasses import dataclass

from .hdf5_bytes import UNDEFINED, BadHdf5, Hdf5Bytes, number, text_until_nul
from .hdf5_headers import Message

_MAX_LEVEL = 32
_LINK, _LINK_INFO, _SYMBOL_TABLE = 0x06, 0x02, 0x11
_SOFT_ENTRY = 2  # III.C: the kind of an entry that caches a soft link
_GROUP_ENTRY = 1


@dataclass(frozen=True)
class Link:
    """A name, the kind of link, and the address of the object that a hard link leads to.

    `cached` are a B-tree and a heap that the entry claims for its target, which some readers believe.

    >>> Link("a", "hard", 96).cached is None
    True
    """

    name: str
    kind: str  # "hard", "soft", "external", "user-defined"
    target: int = UNDEFINED
    cached: tuple[int, int] | None = None


def read_links(reader: Hdf5Bytes, messages: list[Message]) -> list[Link]:
    """All links of a group, by its messages; raises BadHdf5 for what is broken or stored in dense form.

    >>> from .source import Source
    >>> read_links(Hdf5Bytes.of(Source.of(b"")), [])
    []
    """
    found: list[Link] = []
    for message in messages:
        if message.kind == _SYMBOL_TABLE:
            found += _read_table(reader, *table_of(message))
        elif message.kind == _LINK_INFO:
            _check_info(message.body)
        elif message.kind == _LINK:
            found.append(_read_link(message.body))
    return found


def table_of(message: Message) -> tuple[int, int]:
    """B-tree and local heap of a symbol table message.

    >>> table_of(Message(0x11, 0, bytes(16)))
    (0, 0)
    """
    return number(message.body, 0, 8), number(message.body, 8, 8)


def _check_info(body: bytes) -> None:
    begin = 2 + 8 * (number(body, 1, 1) & 1)
    if number(body, begin, 8) != UNDEFINED:
        raise BadHdf5("a group keeps its links in dense form, which is not read")


def _read_link(body: bytes) -> Link:
    if number(body, 0, 1) != 1:
        raise BadHdf5("a link message of another version than 1")
    flags, at, kind = number(body, 1, 1), 2, 0
    if flags & 8:
        kind, at = number(body, at, 1), at + 1
    at += 8 * bool(flags & 4) + bool(flags & 16)
    width = 1 << (flags & 3)
    size = number(body, at, width)
    raw = body[at + width : at + width + size]
    if len(raw) < size or b"\0" in raw:
        raise BadHdf5("the name of a link is cut")
    name = text_until_nul(raw + b"\0")
    if kind == 0:
        return Link(name, "hard", number(body, at + width + size, 8))
    return Link(name, {1: "soft", 64: "external"}.get(kind, "user-defined"))


def _read_table(reader: Hdf5Bytes, tree: int, heap: int) -> list[Link]:
    names = _read_heap(reader, heap)
    found: list[Link] = []
    for leaf in leaves(reader, tree, 0, 8):
        head = reader.signed(leaf, b"SNOD\x01", 8)
        for index in range(number(head, 6, 2)):
            found.append(_read_entry(reader.take(leaf + 8 + 40 * index, 40), names))
    return found


def _read_entry(entry: bytes, names: bytes) -> Link:
    begin = number(entry, 0, 8)
    if begin >= len(names):
        raise BadHdf5("a name lies outside of its heap")
    stop = names.find(b"\0", begin)
    name = text_until_nul(names[begin : stop + 1] if stop >= 0 else b"")
    kind = number(entry, 16, 4)
    if kind == _SOFT_ENTRY:
        return Link(name, "soft")
    cached = (number(entry, 24, 8), number(entry, 32, 8)) if kind == _GROUP_ENTRY else None
    return Link(name, "hard", number(entry, 8, 8), cached)


def _read_heap(reader: Hdf5Bytes, at: int) -> bytes:
    head = reader.signed(at, b"HEAP\0", 32)
    return reader.take(number(head, 24, 8), number(head, 8, 8))


def leaves(reader: Hdf5Bytes, root: int, kind: int, key_bytes: int) -> list[int]:
    """The children of the lowest level of a B-tree of version 1, in order; raises BadHdf5 where it is no tree.

    Section III.A. Siblings must be the neighbours: a reader that walks sideways would see another tree.
    """
    return [child for _, child in keyed_leaves(reader, root, kind, key_bytes)]


def keyed_leaves(reader: Hdf5Bytes, root: int, kind: int, key_bytes: int) -> list[tuple[bytes, int]]:
    """The same, each with the key before it.

    >>> from .source import Source
    >>> keyed_leaves(Hdf5Bytes.of(Source.of(b"")), UNDEFINED, 1, 8)
    []
    """
    if root == UNDEFINED:
        return []
    level, nodes = None, [root]
    seen: set[int] = set()
    while True:
        below: list[tuple[bytes, int]] = []
        for index, at in enumerate(nodes):
            if at in seen:
                raise BadHdf5(f"the tree at {root} meets its node at {at} twice")
            seen.add(at)
            node_level, entries = _read_node(reader, at, kind, key_bytes, _neighbours(nodes, index))
            if level is not None and node_level != level - 1:
                raise BadHdf5(f"the tree at {root} loops or skips a level")
            below += entries
        level = node_level
        if level == 0:
            return below
        nodes = [child for _, child in below]
        if not nodes:
            raise BadHdf5(f"the tree at {root} has no leaves")


def _neighbours(nodes: list[int], index: int) -> tuple[int, int]:
    left = nodes[index - 1] if index else UNDEFINED
    return left, nodes[index + 1] if index + 1 < len(nodes) else UNDEFINED


def _read_node(
    reader: Hdf5Bytes, at: int, kind: int, key_bytes: int, neighbours: tuple[int, int]
) -> tuple[int, list[tuple[bytes, int]]]:
    head = reader.signed(at, b"TREE" + bytes([kind]), 24)
    level, used = head[5], number(head, 6, 2)
    if level > _MAX_LEVEL or (number(head, 8, 8), number(head, 16, 8)) != neighbours:
        raise BadHdf5(f"the tree node at {at} is too deep or has other siblings than its parent says")
    step = key_bytes + 8
    body = reader.take(at + 24, used * step)
    return level, [
        (body[index * step : index * step + key_bytes], number(body, index * step + key_bytes, 8))
        for index in range(used)
    ]
