"""What an element is and how many there are: HDF5 specification, sections IV.A.2.b (dataspace) and IV.A.2.d (datatype)."""

from dataclasses import dataclass
from math import prod

from .hdf5_bytes import BadHdf5, number, text_until_nul

_MAX_NESTING = 8
_MAX_SIDE = 1 << 48
_FLOAT = 1
_WIDTHS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Datatype:
    """Size in bytes, the class, and a complaint: (is it an attack, why) where the type is more than plain data.

    >>> Datatype(4, "number").is_plain
    True
    """

    size: int
    kind: str  # "number", "text", "texts" (of free length), "other"
    complaint: tuple[bool, str] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether reading an element reads its bytes and nothing else.

        >>> Datatype(16, "texts").is_plain
        False
        """
        return self.complaint is None and self.kind != "texts"


def read_shape(body: bytes) -> tuple[int, ...] | None:
    r"""The sides of a dataspace message, () for a scalar, None for nothing at all; raises BadHdf5.

    >>> read_shape(b"\1\1\0\0\0\0\0\0\5\0\0\0\0\0\0\0")
    (5,)
    """
    version, rank = number(body, 0, 1), number(body, 1, 1)
    if version not in (1, 2) or rank > 32:
        raise BadHdf5(f"a dataspace of version {version} and rank {rank} is not read")
    if version == 2 and number(body, 3, 1) == 2:
        return None
    begin = 8 if version == 1 else 4
    sides = tuple(number(body, begin + 8 * index, 8) for index in range(rank))
    if any(side > _MAX_SIDE for side in sides):
        raise BadHdf5(f"a dataspace has the side {max(sides)}")
    return sides


def read_datatype(body: bytes) -> Datatype:
    r"""The type that a datatype message describes; raises BadHdf5.

    >>> read_datatype(b"\x10\x08\0\0\4\0\0\0\0\0\x20\0")
    Datatype(size=4, kind='number', complaint=None)
    """
    return _read(body, 0, 0)[0]


def _read(body: bytes, at: int, depth: int) -> tuple[Datatype, int]:
    """The type at `at` and where its description ends."""
    lead, size = number(body, at, 1), number(body, at + 4, 4)
    kind, version = lead & 15, lead >> 4
    if not 1 <= version <= 3 or depth > _MAX_NESTING:
        raise BadHdf5(f"a datatype of version {version} at depth {depth} is not read")
    if size == 0:
        raise BadHdf5("elements of no size, of which any number fit")
    bits = number(body, at + 1, 3)
    at += 8
    match kind:
        case 0 | 1 | 4:
            return _read_number(body, at, kind, size)
        case 3:
            return Datatype(size, "text"), at
        case 5:
            return _read_opaque(body, at, size, bits)
        case 6:
            return _read_compound(body, at, version, size, bits & 0xFFFF, depth)
        case 8:
            return _read_enum(body, at, version, size, bits & 0xFFFF, depth)
        case 9:
            return _read_variable(body, at, size, bits, depth)
        case 10:
            return _read_array(body, at, version, size, depth)
    why = "is of a type (times, references) that no file of weights needs"
    return Datatype(size, "other", (False, why)), len(body)


def _read_number(body: bytes, at: int, kind: int, size: int) -> tuple[Datatype, int]:
    offset, precision = number(body, at, 2), number(body, at + 2, 2)
    usual = size in _WIDTHS and offset == 0 and (precision == 8 * size or (kind == _FLOAT and size == 16))
    complaint = None if usual else (False, "is of a number type that no processor has")
    return Datatype(size, "number", complaint), at + (12 if kind == _FLOAT else 4)


def _read_opaque(body: bytes, at: int, size: int, bits: int) -> tuple[Datatype, int]:
    tag = body[at : at + (bits & 0xFF)]
    if tag.startswith(b"NUMPY:") and b"O" in tag:
        return Datatype(size, "other", (True, "makes h5py take bytes of the file for addresses of objects")), len(body)
    return Datatype(size, "other", (False, "is of an opaque type, whose meaning only its writer knows")), len(body)


def _read_compound(body: bytes, at: int, version: int, size: int, count: int, depth: int) -> tuple[Datatype, int]:
    complaint: tuple[bool, str] | None = None
    used = 0
    for _ in range(count):
        at = _after_name(body, at, padded=version < 3)
        offset_width = 4 if version < 3 else max(1, (size.bit_length() + 7) // 8)
        offset = number(body, at, offset_width)
        at += offset_width
        if version == 1:
            if number(body, at, 1):
                raise BadHdf5("a compound type of version 1 with arrays is not read")
            at += 28
        member, at = _read(body, at, depth + 1)
        used += member.size
        complaint = complaint or _complaint_of_part(member)
        if offset + member.size > size:
            raise BadHdf5("a member reaches beyond its compound type")
    if used > size:
        raise BadHdf5("members of a compound type overlap")
    return Datatype(size, "other", complaint), at


def _complaint_of_part(part: Datatype) -> tuple[bool, str] | None:
    if part.kind == "texts":
        return False, "holds texts of free length within another type"
    return part.complaint


def _after_name(body: bytes, at: int, padded: bool) -> int:
    size = len(text_until_nul(body[at : at + 1024]).encode("utf-8")) + 1
    return at + ((size + 7) & ~7 if padded else size)


def _read_enum(body: bytes, at: int, version: int, size: int, count: int, depth: int) -> tuple[Datatype, int]:
    base, at = _read(body, at, depth + 1)
    if base.kind != "number" or base.size != size:
        raise BadHdf5("an enumeration is of something else than numbers of its size")
    for _ in range(count):
        at = _after_name(body, at, padded=version < 3)
    return Datatype(size, "number", base.complaint), at + count * size


def _read_variable(body: bytes, at: int, size: int, bits: int, depth: int) -> tuple[Datatype, int]:
    base, at = _read(body, at, depth + 1)
    if bits & 15 == 1 and size == 16 and base.size == 1 and base.complaint is None:
        return Datatype(size, "texts"), at
    return Datatype(size, "other", (False, "is of rows of free length, which are not read")), at


def _read_array(body: bytes, at: int, version: int, size: int, depth: int) -> tuple[Datatype, int]:
    rank = number(body, at, 1)
    at += 4 if version < 3 else 1
    sides = [number(body, at + 4 * index, 4) for index in range(rank)]
    at += 4 * rank * (2 if version < 3 else 1)  # before version 3, a permutation follows
    base, at = _read(body, at, depth + 1)
    if prod(sides) * base.size != size:
        raise BadHdf5("an array type is not as large as its elements")
    return Datatype(size, "other", _complaint_of_part(base)), at
