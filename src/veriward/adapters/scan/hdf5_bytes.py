"""Bytes of an HDF5 file, with a budget: addresses may loop and overlap, and what was read twice is paid twice.

Format: HDF5 File Format Specification 3.0 (docs.hdfgroup.org), sections by number below. Only offsets and lengths of
eight bytes are read, which every writer of models uses.
"""

from dataclasses import dataclass

from .place import Purse, give_up
from .source import Source

UNDEFINED = (1 << 64) - 1  # section I: the address of what was never written
_READINGS = 3  # an honest file is read once; the rest is room for what two structures share
_ROOM = 1 << 16


class BadHdf5(ValueError):  # noqa: N818 -- never leaves the package
    """A structure that is broken, or of a version that is not read."""


@dataclass
class Hdf5Bytes:
    """Exact reads below `end`, whose sum is bounded by the size of the file.

    >>> Hdf5Bytes.of(Source.of(b"abc")).take(1, 2)
    b'bc'
    """

    source: Source
    purse: Purse
    end: int
    left: int

    @classmethod
    def of(cls, source: Source, purse: Purse | None = None) -> "Hdf5Bytes":
        """A reader of the whole source.

        >>> Hdf5Bytes.of(Source.of(b"abc")).end
        3
        """
        return cls(source, purse or Purse(), source.size, _READINGS * source.size + _ROOM)

    def take(self, at: int, count: int) -> bytes:
        """Exactly `count` bytes at `at`. Raises BadHdf5 outside of the file, Exhausted when the budget is spent.

        >>> Hdf5Bytes.of(Source.of(b"abc")).take(2, 2)
        Traceback (most recent call last):
        veriward.adapters.scan.hdf5_bytes.BadHdf5: 2 bytes at 2 reach beyond the end of the file at 3
        """
        if at + count > self.end:
            raise BadHdf5(f"{count} bytes at {at} reach beyond the end of the file at {self.end}")
        self.purse.spend("structures", count)
        self.left -= count
        if self.left < 0:
            give_up("structures that are named again and again")
        return self.source.read(at, count)

    def signed(self, at: int, signature: bytes, count: int) -> bytes:
        """`count` bytes that begin with a signature; raises BadHdf5 for another beginning.

        >>> Hdf5Bytes.of(Source.of(b"TREE")).signed(0, b"SNOD", 4)
        Traceback (most recent call last):
        veriward.adapters.scan.hdf5_bytes.BadHdf5: no SNOD at 0
        """
        content = self.take(at, count)
        if not content.startswith(signature):
            raise BadHdf5(f"no {signature.decode('ascii')} at {at}")
        return content


def number(content: bytes, at: int, width: int) -> int:
    r"""An unsigned little-endian number within a structure; raises BadHdf5 where the structure is too short.

    >>> number(b"\1\2", 0, 2)
    513
    """
    piece = content[at : at + width]
    if len(piece) < width:
        raise BadHdf5(f"a structure of {len(content)} bytes ends before its field at {at}")
    return int.from_bytes(piece, "little")


def text_until_nul(content: bytes) -> str:
    r"""A name that ends at its first NUL; raises BadHdf5 where none is there or it is no UTF-8.

    >>> text_until_nul(b"ab\0\0")
    'ab'
    """
    name, nul, _ = content.partition(b"\0")
    if not nul:
        raise BadHdf5("a name has no end")
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadHdf5("a name is not UTF-8") from error
