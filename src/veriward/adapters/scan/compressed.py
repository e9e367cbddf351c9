"""Files that are compressed as a whole: gzip, bz2, xz, lzma, and the bare zlib that joblib writes.

The content is unpacked into memory within the bounds that hold for members of zips, typed by its own first bytes and
read like any other file. zstd, lz4 and 7z cannot be read with the standard library and stay unknown.
Formats: RFC 1950, 1952; joblib/compressor.py.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from .pickles import scan_guess
from .place import Place
from .source import Source
from .unpack import MAX_INFLATED, MAX_RATIO, SMALL

OLD_JOBLIB = b"ZF0x"  # then the size in hexadecimal, padded to 19 bytes, then zlib: joblib before 0.10
_OLD_JOBLIB_DATA_AT = 21
_CHUNK = 1 << 16
_MEMORY = 1 << 27  # what xz may take for its dictionary; `xz -9` takes 65 MiB


class _Stream(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class _Zlib:
    """zlib with the interface that bz2 and lzma have. What precedes an error comes out, as it does for a reader that
    takes smaller pieces; the error itself comes with the next call."""

    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)
        self._rest = b""
        self._error: zlib.error | None = None
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        if self._error is not None:
            raise self._error
        before = self._stream.copy()
        data = self._rest + data
        try:
            piece = self._stream.decompress(data, max_length)
        except zlib.error as error:
            self._error, self.needs_input = error, False
            return _before_error(before, data, max_length)
        self._rest = self._stream.unconsumed_tail
        self.needs_input = not self._rest and len(piece) < max_length
        return piece


def _before_error(stream: "zlib._Decompress", data: bytes, limit: int) -> bytes:
    pieces = bytearray()
    for at in range(len(data)):
        try:
            pieces += stream.decompress(data[at : at + 1])
        except zlib.error:
            break
        if len(pieces) > limit:
            break
    return bytes(pieces)


_STREAMS: tuple[tuple[bytes, Callable[[], _Stream]], ...] = (
    (b"\x1f\x8b", lambda: _Zlib(31)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)),
    (b"\x5d\0\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY)),
    (b"\x78", lambda: _Zlib(zlib.MAX_WBITS)),
)


def scan_compressed(source: Source, place: Place) -> str:
    """Unpack and read what is inside; returns "joblib" where that is joblib's, for joblib.load unpacks by itself, and
    else "compressed": no other loader should be given the file as it is.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "pickle")
    >>> scan_compressed(Source.of(zlib.compress(b"N.")), place), place.notes.outcome
    ('compressed', 'clean')
    """
    begin = 0
    if source.read(0, len(OLD_JOBLIB)) == OLD_JOBLIB:
        place.unknown(0, "joblib", "is a file of joblib before 0.10, whose arrays lie in other files; dump it again")
        begin = _OLD_JOBLIB_DATA_AT + (source.read(_OLD_JOBLIB_DATA_AT, 1) == b" ")
    lead = source.read(begin, 8)
    sign, start = next((pair for pair in _STREAMS if lead.startswith(pair[0])), (b"", None))
    if start is None:
        place.unknown(0, "compressed", "is packed in a way that is not read; unpack it and scan what is inside")
        return "compressed"
    unpacking = _Unpacking(source, begin, place)
    unpacking.run(sign, start)
    kind = place.look(Source.of(unpacking.content), place.inside("content"))
    is_outer = unpacking.content[:1] == b"\x80"  # joblib unpacks once
    return "joblib" if kind == "joblib" and is_outer else "compressed"


@dataclass
class _Unpacking:
    """A file of one or several streams, how far it was read, and what came out."""

    source: Source
    at: int
    place: Place
    content: bytearray = field(default_factory=bytearray)

    def run(self, sign: bytes, start: Callable[[], _Stream]) -> None:
        """Unpack stream after stream, as gzip, bz2, lzma and joblib do; a note where that is not the whole file."""
        while self.at < self.source.size:
            if self.source.read(self.at, len(sign)) != sign:
                rest = self.source.part(self.at, self.source.size)
                self.place.unknown(self.at, f"{rest.size} trailing bytes", "follow the last compressed stream")
                scan_guess(rest, self.place)
                return
            if not self._unpack(start()):
                return

    def _unpack(self, stream: _Stream) -> bool:
        """One stream to its end; False, with a note, where it has none."""
        begin = self.at
        self.place.purse.spend("members", 1)
        try:
            while not stream.eof and (packed := self.source.read(self.at, _CHUNK)):
                self.at += len(packed)
                if not self._take(stream, packed):
                    return False
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
            self.place.unknown(begin, "broken stream", f"cannot be unpacked to its end ({type(error).__name__})")
            return False
        self.at -= len(stream.unused_data)
        if not stream.eof:
            self.place.unknown(begin, "broken stream", "is cut off before its end")
        return stream.eof

    def _take(self, stream: _Stream, packed: bytes) -> bool:
        """All that a piece of the file unpacks to; False, with a note, where that is too much."""
        while True:
            piece = stream.decompress(packed, _CHUNK)
            self.place.purse.spend("inflated", len(piece))
            self.content += piece
            if not self._bounded():
                return False
            if stream.eof or stream.needs_input:
                return True
            packed = b""

    def _bounded(self) -> bool:
        size = len(self.content)
        if size > SMALL and size > MAX_RATIO * self.at:
            self.place.unknown(0, f"{size} bytes", f"and more are packed in {self.at}: a decompression bomb")
        elif size > MAX_INFLATED:
            self.place.unknown(0, f"{size} bytes", "and more are too many to be unpacked by a scan")
        else:
            return True
        return False
