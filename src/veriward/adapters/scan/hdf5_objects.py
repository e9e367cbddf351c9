"""One HDF5 object, a group or a dataset, judged by its messages: what it opens, unpacks, and claims to be."""

from dataclasses import dataclass
from math import prod

from .hdf5_attributes import Attribute, GlobalHeap, read_attribute
from .hdf5_bytes import UNDEFINED, BadHdf5, Hdf5Bytes, number
from .hdf5_headers import Message
from .hdf5_storage import Storage, check_chunk, read_filters, read_storage
from .hdf5_types import Datatype, read_datatype, read_shape
from .pickles import scan_guess
from .place import Place
from .source import Source

_SPACE, _TYPE, _LAYOUT, _FILTERS, _EXTERNAL = 0x01, 0x03, 0x08, 0x0B, 0x07
_ATTRIBUTE, _ATTRIBUTE_INFO = 0x0C, 0x15
_PLAIN = {0x00, 0x02, 0x04, 0x05, 0x06, 0x0A, 0x0D, 0x0E, 0x10, 0x11, 0x12, 0x16}  # nothing, links, fill values, times
_KNOWN = _PLAIN | {_SPACE, _TYPE, _LAYOUT, _FILTERS, _EXTERNAL, _ATTRIBUTE, _ATTRIBUTE_INFO}
_MANY = {0x00, 0x06, 0x0C, 0x10}
_GROUP = {0x02, 0x06, 0x0A, 0x11}
_SMALL, _MAX_RATIO = 1 << 24, 200  # as for members of zips: a bomb is both dense and large
_BOMB, _BOMB_RATIO = 1 << 32, 1000  # where Keras itself refuses (CVE-2026-0897)


@dataclass
class Hdf5File:
    """What all objects of a file share, and what they claim together.

    >>> Hdf5File(Hdf5Bytes.of(Source.of(b"")), GlobalHeap(Hdf5Bytes.of(Source.of(b"")))).elements
    0
    """

    reader: Hdf5Bytes
    heap: GlobalHeap
    stored: int = 0  # bytes of elements, packed
    declared: int = 0  # the same, unpacked
    elements: int = 0  # numbers that the datasets hold


def check_messages(messages: list[Message], place: Place) -> None:
    """Note messages that are not known, lie elsewhere, or say the same thing twice.

    >>> check_messages([], None)
    """
    seen: set[int] = set()
    for message in messages:
        if message.kind not in _KNOWN:
            place.unknown(0, f"message {message.kind:#04x}", "is of a kind that is not read")
        if message.is_shared:
            raise BadHdf5("a message lies in another object, which is not read")
        if message.kind in seen - _MANY:
            raise BadHdf5(f"message {message.kind:#04x} stands twice: readers may take either")
        seen.add(message.kind)
    if seen & _GROUP and seen & {_LAYOUT, _SPACE}:
        raise BadHdf5("an object is a group and a dataset at once")


def read_attributes(file: Hdf5File, messages: list[Message], place: Place) -> dict[str, list[bytes]]:
    """The texts of an object's attributes by name, with a note for every attribute that is more than plain data.

    >>> read_attributes(Hdf5File(Hdf5Bytes.of(Source.of(b"")), GlobalHeap(Hdf5Bytes.of(Source.of(b"")))), [], None)
    {}
    """
    found: dict[str, list[bytes]] = {}
    names: set[str] = set()
    for message in messages:
        if message.kind == _ATTRIBUTE_INFO:
            _check_info(message.body)
        if message.kind != _ATTRIBUTE:
            continue
        attribute = read_attribute(message.body)
        if attribute.name in names:
            raise BadHdf5(f"the attribute {attribute.name[:40]!r} stands twice")
        names.add(attribute.name)
        _complain(attribute.datatype, attribute.name, place)
        if attribute.datatype.kind in ("text", "texts"):
            found[attribute.name] = file.heap.texts(attribute)
            _check_texts(attribute, found[attribute.name], place)
    return found


def _check_info(body: bytes) -> None:
    flags = number(body, 1, 1)
    if number(body, 2 + 2 * (flags & 1), 8) != UNDEFINED:
        raise BadHdf5("an object keeps its attributes in dense form, which is not read")


def _check_texts(attribute: Attribute, texts: list[bytes], place: Place) -> None:
    """PyTables unpickles attributes whose bytes look like a pickle."""
    for text in texts:
        plain = text.rstrip(b"\0")
        if plain.endswith(b".") and scan_guess(Source.of(plain), place):
            place.unknown(0, attribute.name, "is a pickle, which PyTables loads by itself")


def _complain(datatype: Datatype, name: str, place: Place) -> None:
    if datatype.complaint is not None:
        attack, why = datatype.complaint
        (place.dangerous if attack else place.unknown)(0, name, why)


def judge_dataset(file: Hdf5File, messages: list[Message], place: Place) -> None:
    """Judge storage, filters, type and shape of a dataset; an object without a layout is none.

    >>> judge_dataset(Hdf5File(Hdf5Bytes.of(Source.of(b"")), GlobalHeap(Hdf5Bytes.of(Source.of(b"")))), [], None)
    """
    bodies = {message.kind: message.body for message in messages}
    if _EXTERNAL in bodies:
        place.dangerous(0, "external storage", "takes the elements of the dataset from another file, opened by name")
    if _LAYOUT not in bodies:
        if _SPACE in bodies or _TYPE in bodies:
            place.unknown(0, "object", "has a type or a shape but no elements")
        return
    if _SPACE not in bodies or _TYPE not in bodies:
        raise BadHdf5("a dataset has no type or no shape")
    datatype, shape = read_datatype(bodies[_TYPE]), read_shape(bodies[_SPACE])
    _complain(datatype, "type", place)
    if datatype.kind == "texts":
        place.unknown(0, "type", "is of texts of free length, which are read in attributes only")
    filters = read_filters(bodies[_FILTERS], place) if _FILTERS in bodies else []
    storage = read_storage(file.reader, bodies[_LAYOUT], place)
    if storage.chunk and (len(storage.chunk) != len(shape or ()) + 1 or storage.chunk[-1] != datatype.size):
        raise BadHdf5("the chunks of a dataset have another rank or type than itself")
    elements = 0 if shape is None else prod(shape)
    _check_pieces(file, storage, filters, place)
    _check_size(elements * datatype.size, storage, place)
    file.elements += elements
    file.declared += elements * datatype.size
    if file.declared > max(_SMALL, _MAX_RATIO * file.stored):
        place.unknown(0, f"{file.declared} bytes", f"are claimed by datasets that store {file.stored} together")


def _check_pieces(file: Hdf5File, storage: Storage, filters: list[int], place: Place) -> None:
    file.stored += storage.stored
    if file.stored > file.reader.end:
        place.dangerous(0, "datasets", "lie over one another: together they take more bytes than the file has")
        raise BadHdf5("datasets overlap, so the rest is not read")
    for piece in storage.pieces:
        if piece.at + piece.size > file.reader.end:
            raise BadHdf5(f"elements at {piece.at} reach beyond the end of the file")
        if storage.chunk_bytes is not None:
            check_chunk(file.reader, piece, filters, storage.chunk_bytes, place)


def _check_size(declared: int, storage: Storage, place: Place) -> None:
    stored = storage.stored
    largest = max(declared, storage.chunk_bytes or 0)
    if largest > _BOMB and largest > _BOMB_RATIO * stored:
        place.dangerous(0, f"{largest} bytes", f"are claimed by a dataset that stores {stored}: a bomb")
    elif largest > _SMALL and largest > _MAX_RATIO * stored:
        place.unknown(0, f"{largest} bytes", f"are claimed by a dataset that stores {stored}")
    elif storage.chunk_bytes is None and stored and declared > stored:
        place.unknown(0, f"{declared} bytes", f"are claimed by a dataset that stores {stored}")
