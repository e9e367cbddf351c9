"""safetensors: eight bytes of length, a JSON header, then the tensors without gap or overlap.

Format: github.com/huggingface/safetensors, README; the rules are those of its reference reader.
"""

from math import prod

from .jsons import BadJson, read_json
from .place import Place
from .source import Source

_MAX_HEADER = 100_000_000  # the limit of the format
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    "F4": 4,
}


def looks_like_safetensors(source: Source) -> bool:
    """Whether the first nine bytes are a length and the brace of a JSON object.

    >>> looks_like_safetensors(Source.of((2).to_bytes(8, "little") + b"{}"))
    True
    """
    lead = source.read(0, 9)
    return len(lead) == 9 and lead[8:] == b"{" and int.from_bytes(lead[:8], "little") <= max(source.size, _MAX_HEADER)


def scan_safetensors(source: Source, place: Place) -> None:
    """Check the header against the file: every byte belongs to exactly one tensor.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_safetensors(Source.of((2).to_bytes(8, "little") + b"{}"), place); place.notes.outcome
    'clean'
    """
    size = int.from_bytes(source.read(0, 8), "little")
    if size > _MAX_HEADER or 8 + size > source.size:
        place.dangerous(0, f"a header of {size} bytes", "is longer than the file or the format allows")
        return
    try:
        header = read_json(source.read(8, size))
    except BadJson as error:
        (place.dangerous if error.twice else place.unknown)(8, "broken header", str(error))
        return
    if not isinstance(header, dict):
        place.unknown(8, "broken header", "is no JSON object")
        return
    _scan_metadata(header.pop("__metadata__", {}), place)
    _scan_extents(header, source.size - 8 - size, place)


def _scan_metadata(metadata: object, place: Place) -> None:
    texts = isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())
    if not texts:
        place.unknown(8, "__metadata__", "must map texts to texts")


def _scan_extents(tensors: dict[str, object], data_bytes: int, place: Place) -> None:
    spans = sorted(span for name, entry in tensors.items() if (span := _span(name, entry, place)))
    end = 0
    for start, stop, name in spans:
        if start < end or stop > data_bytes:
            place.dangerous(8, name, "overlaps another tensor or reaches beyond the file")
        elif start > end:
            place.unknown(8, name, f"leaves {start - end} bytes before it that belong to no tensor")
        end = max(end, stop)
    if end < data_bytes:
        place.unknown(8, "end of the data", f"{data_bytes - end} bytes belong to no tensor")


def _is_shape(shape: list[object]) -> bool:
    return len(shape) <= 64 and all(type(side) is int and 0 <= side < 1 << 48 for side in shape)


def _span(name: str, entry: object, place: Place) -> tuple[int, int, str] | None:
    """(start, stop, name) of one tensor, or a note and None."""
    match entry:
        case {
            "dtype": str() as dtype,
            "shape": list() as shape,
            "data_offsets": [int() as start, int() as stop],
            **rest,
        } if not rest and _is_shape(shape):
            pass
        case _:
            place.unknown(8, name, "is not described by dtype, shape and data_offsets alone")
            return None
    if dtype not in _BITS:
        place.unknown(8, name, f"has the type {dtype[:20]}, which this reader does not know")
    elif prod(shape) * _BITS[dtype] != (stop - start) * 8:
        place.unknown(8, name, "takes another number of bytes than its shape and type need")
    if start < 0 or stop < start:
        place.dangerous(8, name, "has offsets that run backwards")
        return None
    return start, stop, name
