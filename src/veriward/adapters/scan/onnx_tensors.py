"""Tensors of ONNX: what their shape and type need is what the file holds.

Sizes that do not agree, sides below zero and products beyond 64 bits are what made native readers write past their
buffers. Source: TensorProto and SparseTensorProto in onnx.proto.
"""

import struct
from collections.abc import Iterator
from math import prod

from .onnx_external import Beside
from .onnx_schema import MESSAGES
from .place import Place
from .protobuf import BadProtobuf, Message, Wire

MAX_ELEMENTS = 1 << 31  # of all tensors that a model makes out of constants alone
_MAX_RANK = 64
_SMALL = 64  # elements of a tensor that may be a shape
_DENSE_BYTES = 1 << 26
_INT32, _INT64, _STRING = 6, 7, 8
_BITS = {
    **dict.fromkeys((11, 7, 13, 14), 64),
    15: 128,
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
    **dict.fromkeys((27, 28), 6),
}
_TYPED: dict[str, dict[int, float]] = {
    "float_data": {1: 1, 14: 2},
    "int32_data": {
        **dict.fromkeys((2, 3, 4, 5, 6, 9, 10, 16, 17, 18, 19, 20, 24, 27, 28), 1.0),
        **dict.fromkeys((21, 22, 23), 0.5),
        **dict.fromkeys((25, 26), 0.25),
    },
    "int64_data": {7: 1},
    "double_data": {11: 1, 15: 2},
    "uint64_data": {12: 1, 13: 1},
    "string_data": {_STRING: 1},
}  # entries per element, by type
_PACKED_BYTES = {"float_data": 4, "double_data": 8}


def check_tensor(wire: Wire, tensor: Message, place: Place, beside: Beside) -> None:
    """Compare the shape of a tensor with what is stored.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> from .source import Source
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> wire = Wire(Source.of(b""), Purse(), lambda *said: None)
    >>> check_tensor(wire, Message(0), place, Beside(place)); place.notes.outcome
    'unknown'
    """
    kind = tensor.number("data_type")
    if kind not in _BITS and kind != _STRING:
        place.unknown(tensor.at, f"type {kind}", "is no type of tensors that is known")
        return
    if "segment" in tensor.extents:
        place.unknown(tensor.at, "segment", "is a piece of a tensor, which no reader puts together")
    elements = count_elements(wire, tensor, place)
    if elements is None:
        return
    if tensor.number("data_location") or tensor.count("external_data"):
        _check_outside(wire, tensor, place, beside, (elements * _BITS.get(kind, 0) + 7) // 8)
    else:
        _check_inside(wire, tensor, place, elements)


def count_elements(wire: Wire, holder: Message, place: Place) -> int | None:
    """The product of `dims`, or a note and None where it is no size of a tensor.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> from .source import Source
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> count_elements(Wire(Source.of(b""), Purse(), lambda *said: None), Message(0), place)
    1
    """
    sides = wire.integers(holder, "dims", _MAX_RANK)
    elements = prod(side for side in sides if side)
    if min(sides, default=0) < 0 or elements >= 1 << 56:
        place.dangerous(holder.at, f"a tensor of {sides[:8]}", "has a size that overflows in native readers")
        return None
    return 0 if 0 in sides else elements


def small_integers(wire: Wire, tensor: Message) -> tuple[int, ...] | None:
    """The elements of a tensor that may be a shape, or None.

    >>> from .place import Purse
    >>> from .source import Source
    >>> small_integers(Wire(Source.of(b""), Purse(), lambda *said: None), Message(0)) is None
    True
    """
    letter = {_INT32: "i", _INT64: "q"}.get(tensor.number("data_type"))
    if letter is None:
        return None
    raw = next(tensor.parts("raw_data"), None)
    width = struct.calcsize(letter)
    if raw is not None:
        size = raw[1] - raw[0]
        if size > _SMALL * width or size % width:
            return None
        return struct.unpack(f"<{size // width}{letter}", wire.source.read(raw[0], size))
    try:
        return tuple(wire.integers(tensor, "int32_data" if letter == "i" else "int64_data", _SMALL))
    except BadProtobuf:
        return None  # too many for a shape; whether they are sound is judged elsewhere


def _check_inside(wire: Wire, tensor: Message, place: Place, elements: int) -> None:
    kind = tensor.number("data_type")
    held = [name for name in ("raw_data", *_TYPED) if tensor.count(name)]
    held = [name for name in held if name == "string_data" or not _is_empty(tensor, name)]
    if len(held) > 1:
        place.unknown(tensor.at, " and ".join(held), "hold the elements twice, and readers take one of them")
    elif held == ["raw_data"]:
        start, end = next(tensor.parts("raw_data"))
        if kind == _STRING or (elements * _BITS[kind] + 7) // 8 != end - start:
            why = f"the shape announces {elements} elements"
            place.unknown(start, f"{end - start} bytes of a tensor", why)
    elif held:
        _check_typed(wire, tensor, held[0], place, elements)
    elif elements:
        place.unknown(tensor.at, "a tensor", f"announces {elements} elements and holds none")


def _is_empty(tensor: Message, name: str) -> bool:
    return name not in tensor.numbers and all(start == end for start, end in tensor.parts(name))


def _check_typed(wire: Wire, tensor: Message, name: str, place: Place, elements: int) -> None:
    each = _TYPED[name].get(tensor.number("data_type"))
    stored = _stored(wire, tensor, name)
    if each is None:
        place.unknown(tensor.at, name, "is not where tensors of this type keep their elements")
    elif stored != -int(-elements * each // 1):
        place.unknown(tensor.at, f"{stored} entries of {name}", f"the shape announces {elements} elements")


def _stored(wire: Wire, tensor: Message, name: str) -> int:
    if name == "string_data":
        return tensor.count(name)
    count = len(tensor.numbers.get(name, ()))
    width = _PACKED_BYTES.get(name)
    for start, end in tensor.parts(name):
        if width is None:
            count += wire.count_varints(start, end)
        elif (end - start) % width:
            raise BadProtobuf(start, "packed numbers of which the last is cut off")
        else:
            count += (end - start) // width
    return count


def _check_outside(wire: Wire, tensor: Message, place: Place, beside: Beside, needed: int) -> None:
    if tensor.number("data_location") != 1 or not tensor.count("external_data"):
        place.unknown(tensor.at, "data_location", "contradicts the external data")
    if tensor.number("data_type") == _STRING:
        place.unknown(tensor.at, "external data", "cannot hold texts")
    if any(tensor.count(name) for name in ("raw_data", *_TYPED)):
        place.unknown(tensor.at, "external data", "stands beside elements in the model, and readers take one of them")
    beside.check(tensor.at, entries(wire, tensor, "external_data"), needed)


def entries(wire: Wire, holder: Message, name: str) -> list[tuple[str, str]]:
    """Keys and values of a field that maps texts to texts.

    >>> from .place import Purse
    >>> from .source import Source
    >>> entries(Wire(Source.of(b""), Purse(), lambda *said: None), Message(0), "external_data")
    []
    """
    found = []
    for start, end in holder.parts(name):
        entry = wire.message(start, end, MESSAGES["Entry"])
        key, value = (next(entry.parts(side), (start, start)) for side in ("key", "value"))
        found.append((wire.text(*key), wire.text(*value)))
    return found


def check_sparse(wire: Wire, sparse: Message, place: Place) -> None:
    """Readers unfold sparse tensors: their indices must lie inside, and the whole may not be out of proportion.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> from .source import Source
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> wire = Wire(Source.of(b""), Purse(), lambda *said: None)
    >>> check_sparse(wire, Message(0), place); place.notes.outcome
    'unknown'
    """
    parts = [next(sparse.parts(name), None) for name in ("values", "indices")]
    dense = count_elements(wire, sparse, place)
    if dense is None or parts[0] is None or parts[1] is None:
        place.unknown(sparse.at, "a sparse tensor", "lacks its values, its indices or a size")
        return
    values, indices = (wire.message(*part, MESSAGES["Tensor"]) for part in parts if part)
    weight = dense * _BITS.get(values.number("data_type"), 64) // 8
    if weight > max(_DENSE_BYTES, 64 * wire.source.size):
        place.unknown(sparse.at, "a sparse tensor", f"unfolds to {weight} bytes, far more than the file holds")
    _check_indices(wire, sparse, values, indices, place, dense)


def _check_indices(wire: Wire, sparse: Message, values: Message, indices: Message, place: Place, dense: int) -> None:
    sides = wire.integers(sparse, "dims", _MAX_RANK)
    stored = wire.integers(values, "dims", _MAX_RANK)
    shape = wire.integers(indices, "dims", _MAX_RANK)
    if len(stored) != 1 or shape not in (stored, [*stored, len(sides)]) or indices.number("data_type") != _INT64:
        place.unknown(sparse.at, "a sparse tensor", "has values and indices that do not belong together")
        return
    limits = sides if len(shape) == 2 else [dense]
    for number, index in enumerate(_indices(wire, indices)):
        if not 0 <= index < limits[number % len(limits)]:
            place.dangerous(indices.at, "a sparse tensor", "has indices outside of itself, where native readers write")
            return


def _indices(wire: Wire, indices: Message) -> Iterator[int]:
    for start, end in indices.parts("raw_data"):
        wire.purse.spend("records", (end - start) // 8)
        for at in range(start, end - 7, 1 << 16):
            chunk = wire.source.read(at, min(1 << 16, end - at))
            yield from (index for (index,) in struct.iter_unpack("<q", chunk[: len(chunk) // 8 * 8]))
    yield from wire.integers(indices, "int64_data", 1 << 22)
