"""numpy's .npy: a header that is a Python literal, then the elements, or a pickle where the elements are objects.

Format: numpy/lib/format.py, versions 1.0 to 3.0.
"""

import ast
import re
import warnings
from dataclasses import dataclass
from math import prod

from .pickles import scan_pickles
from .place import Place
from .source import Source

MAGIC = b"\x93NUMPY"
_MAX_HEADER = 10_000  # what numpy itself accepts
_SCALAR = re.compile(r"[<>|=]?([?biufcSUVmMaO])(\d{0,9})(\[\w{1,8}\])?")
_KEYS = {"descr", "fortran_order", "shape"}


class BadArray(ValueError):  # noqa: N818 -- never leaves the package
    """A header that numpy would refuse, or that this reader does not understand."""


@dataclass(frozen=True)
class Header:
    """What a .npy says about its elements; `objects`: they are Python objects, held in a pickle.

    >>> Header("<f8", (2,), 8, False, 128).count
    2
    """

    descr: object
    shape: tuple[int, ...]
    item_bytes: int
    objects: bool
    data_at: int

    @property
    def count(self) -> int:
        """The number of elements.

        >>> Header("<f8", (2, 3), 8, False, 128).count
        6
        """
        return prod(self.shape)


def read_header(source: Source) -> Header:
    """Parse the header; raises BadArray.

    >>> read_header(Source.of(b"abc"))
    Traceback (most recent call last):
    veriward.adapters.scan.arrays.BadArray: no .npy header
    """
    lead = source.read(0, 12)
    if len(lead) < 12 or lead[:6] != MAGIC or lead[6] not in (1, 2, 3):
        raise BadArray("no .npy header")
    begin = 10 if lead[6] == 1 else 12
    size = int.from_bytes(lead[8:begin], "little")
    if size > _MAX_HEADER:
        raise BadArray(f"a header of {size} bytes, where numpy reads at most {_MAX_HEADER}")
    fields = _literal(source.read(begin, size))
    shape, descr = fields["shape"], fields["descr"]
    if not isinstance(shape, tuple) or not all(type(side) is int and 0 <= side < 1 << 48 for side in shape):
        raise BadArray("a shape that is no tuple of natural numbers")
    item_bytes, objects = _measured(descr)
    return Header(descr, shape, item_bytes, objects, begin + size)


def scan_npy(source: Source, place: Place) -> None:
    """Check one .npy: its header, its size, and the pickle inside if it holds objects.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_npy(Source.of(b"abc"), place); place.notes.outcome
    'unknown'
    """
    try:
        header = read_header(source)
    except BadArray as error:
        place.unknown(0, "broken array", str(error))
        return
    if header.objects:
        scan_pickles(source.part(header.data_at, source.size), place, plain=True)
        return
    wanted, found = header.count * header.item_bytes, source.size - header.data_at
    if wanted != found:
        place.unknown(header.data_at, f"{found} bytes of elements", f"the header announces {wanted} bytes")


def _literal(text: bytes) -> dict[str, object]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser warns about odd numbers and escapes; they are refused below
            fields = ast.literal_eval(text.decode("utf-8"))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise BadArray("a header that is no Python literal") from error
    if not isinstance(fields, dict) or set(fields) != _KEYS:
        raise BadArray("a header without exactly descr, fortran_order and shape")
    return fields


def _measured(descr: object, depth: int = 0) -> tuple[int, bool]:
    """Bytes of one element, and whether objects are in it."""
    if depth > 8:
        raise BadArray("a type nested more than 8 deep")
    if isinstance(descr, str):
        return _scalar(descr)
    if isinstance(descr, list) and descr:
        parts = [_field(field, depth) for field in descr]
        return sum(size for size, _ in parts), any(objects for _, objects in parts)
    if isinstance(descr, tuple) and len(descr) == 2 and isinstance(descr[1], tuple):
        size, objects = _measured(descr[0], depth + 1)
        return size * _sides(descr[1]), objects
    raise BadArray("a type that this reader does not know")


def _field(field: object, depth: int) -> tuple[int, bool]:
    if not isinstance(field, tuple) or len(field) not in (2, 3):
        raise BadArray("a field that is not (name, type) or (name, type, shape)")
    size, objects = _measured(field[1], depth + 1)
    return size * (_sides(field[2]) if len(field) == 3 else 1), objects


def _sides(shape: object) -> int:
    sides = shape if isinstance(shape, tuple) else (shape,)
    if not all(type(side) is int and 0 <= side < 1 << 48 for side in sides):
        raise BadArray("a field whose shape is no tuple of natural numbers")
    return prod(sides)


def _scalar(descr: str) -> tuple[int, bool]:
    match = _SCALAR.fullmatch(descr)
    if match is None:
        raise BadArray("a type that this reader does not know")
    letter, digits = match[1], int(match[2] or 1)
    if letter == "O":
        return 8, True
    return digits * (4 if letter == "U" else 1), False
