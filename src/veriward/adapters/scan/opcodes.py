"""The pickle opcodes of protocols 0 to 5, decoded without reading what they carry beyond a few thousand bytes.

pickletools.genops would allocate whatever a length prefix claims; here a long argument is only measured and skipped.
The numbers are those of CPython's Lib/pickle.py, which no protocol changes.
"""

import re
from collections.abc import Callable
from typing import TypeAlias

from .source import Source
from .values import KEPT_BYTES, Data, Value

_WINDOW = 1 << 16
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_LETTERS = {
    letter[:1]: letter[1:] for letter in (b"\\\\", b"''", b'""', b"a\a", b"b\b", b"f\f", b"n\n", b"r\r", b"t\t", b"v\v")
}
Decoder: TypeAlias = "Callable[[Reader], Value]"


class Broken(Exception):  # noqa: N818 -- the state of the stream; never leaves the package
    """The stream ends inside an opcode, or holds a byte that is none."""


class Reader:
    """Reads a source forwards through a small window.

    >>> Reader(Source.of(b"abc")).take(2)
    b'ab'
    """

    def __init__(self, source: Source, at: int = 0) -> None:
        self.source = source
        self.at = at
        self._window = b""
        self._start = at

    def take(self, count: int) -> bytes:
        """The next `count` bytes; raises Broken at the end.

        >>> Reader(Source.of(b"abc"), at=1).take(2)
        b'bc'
        """
        begin = self.at - self._start
        if begin + count > len(self._window):
            self._window = self.source.read(self.at, max(count, _WINDOW))
            self._start, begin = self.at, 0
        piece = self._window[begin : begin + count]
        if len(piece) < count:
            raise Broken(f"the stream ends inside an opcode at byte {self.at}")
        self.at += count
        return piece

    def number(self, size: int, signed: bool = False) -> int:
        """A little-endian integer.

        >>> Reader(Source.of(bytes([2, 1]))).number(2)
        258
        """
        return int.from_bytes(self.take(size), "little", signed=signed)

    def counted(self, size: int, kind: str) -> bytes | Data:
        """`size` bytes, or their mark when there are many; raises Broken where the stream is shorter.

        >>> Reader(Source.of(b"abc")).counted(2, "bytes")
        b'ab'
        """
        if size < 0 or self.at + size > self.source.size:
            raise Broken(f"a length of {size} bytes at byte {self.at} reaches beyond the end")
        if size <= KEPT_BYTES:
            return self.take(size)
        mark = Data(kind, self.at, size)
        self.at += size
        return mark

    def line(self, kind: str = "str") -> bytes | Data:
        r"""The bytes up to a newline, or their mark when there are many.

        >>> Reader(Source.of(b"ab\ncd")).line()
        b'ab'
        """
        begin, offset = self.at, self.at - self._start
        cut = self._window.find(b"\n", offset) if offset < len(self._window) else -1
        if cut >= 0 and cut - offset <= KEPT_BYTES:
            self.at += cut + 1 - offset
            return self._window[offset:cut]
        self.at = self._after_newline(begin)
        size = self.at - begin - 1
        return self.source.read(begin, size) if size <= KEPT_BYTES else Data(kind, begin, size)

    def _after_newline(self, begin: int) -> int:
        at = begin
        while chunk := self.source.read(at, _WINDOW):
            cut = chunk.find(b"\n")
            if cut >= 0:
                return at + cut + 1
            at += len(chunk)
        raise Broken(f"a line that starts at byte {begin} has no end")


def number_of_line(line: bytes | Data) -> int:
    """An integer in decimal, as int() reads it; raises Broken for anything else.

    >>> number_of_line(b"12")
    12
    """
    if isinstance(line, Data) or len(line) > 2500:
        raise Broken("a number of thousands of digits")
    try:
        return int(line)
    except ValueError as error:
        raise Broken("a line that is no number") from error


def _integer(reader: Reader) -> Value:
    line = reader.line()
    if line in (b"00", b"01"):  # how protocol 0 and 1 write False and True
        return line == b"01"
    return _lenient(line)


def _long_line(reader: Reader) -> Value:
    line = reader.line()
    return _lenient(line.removesuffix(b"L") if isinstance(line, bytes) else line)


def _lenient(line: bytes | Data) -> Value:
    """A number that only has to be passed over: C's strtol reads hexadecimal and octal too."""
    try:
        return number_of_line(line)
    except Broken:
        return Data("int", line.at, line.size) if isinstance(line, Data) else Data("int", size=len(line))


def _long(size: int) -> Decoder:
    def decode(reader: Reader) -> Value:
        digits = reader.counted(reader.number(size, signed=size == 4), "int")
        if isinstance(digits, Data):
            return digits
        if len(digits) > 64:
            return Data("int", reader.at, len(digits))
        return int.from_bytes(digits, "little", signed=True)

    return decode


def _float_line(reader: Reader) -> Value:
    reader.line()
    return Data("float")


def _float(reader: Reader) -> Value:
    reader.take(8)
    return Data("float")


def _quoted(reader: Reader) -> Value:
    """STRING of protocol 0: a quoted text with escapes, a `bytes` of Python 2 that Python 3 reads as text."""
    line = reader.line()
    if isinstance(line, Data):
        return line
    line = line.rstrip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise Broken("a STRING without its quotes")
    return _ESCAPE.sub(_unescaped, line[1:-1]).decode("latin-1")


def _unescaped(escape: re.Match[bytes]) -> bytes:
    # codecs.escape_decode would warn about odd escapes, and a warning is not a verdict
    hexadecimal, octal, letter = escape.groups()
    if hexadecimal or octal:
        return bytes([int(hexadecimal, 16) if hexadecimal else int(octal, 8) & 255])
    return _LETTERS.get(letter, b"\\" + letter)


def _text_line(reader: Reader) -> Value:
    line = reader.line()
    if isinstance(line, Data):
        return line
    try:
        return line.decode("raw_unicode_escape")
    except UnicodeDecodeError as error:
        raise Broken("a UNICODE line that cannot be decoded") from error


def _text(size: int) -> Decoder:
    def decode(reader: Reader) -> Value:
        content = reader.counted(reader.number(size), "str")
        if isinstance(content, Data):
            return content
        try:
            return content.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise Broken(f"a text before byte {reader.at} that is not UTF-8") from error

    return decode


def _bytes(size: int) -> Decoder:
    return lambda reader: reader.counted(reader.number(size), "bytes")


def _old_bytes(size: int) -> Decoder:
    """BINSTRING: bytes of Python 2 that Python 3 reads as text."""

    def decode(reader: Reader) -> Value:
        content = reader.counted(reader.number(size, signed=size == 4), "str")
        return content if isinstance(content, Data) else content.decode("latin-1")

    return decode


def _name(reader: Reader) -> str:
    line = reader.line()
    if isinstance(line, Data):
        raise Broken("a name of thousands of characters")
    return line.decode("utf-8", "backslashreplace")


def _two_names(reader: Reader) -> Value:
    return (_name(reader), _name(reader))


def _nothing(_: Reader) -> Value:
    return None


def _constant(value: Value) -> Decoder:
    return lambda _: value


def _empty(kind: str) -> Decoder:
    return lambda reader: Data(kind, reader.at)  # where it was made tells it from others


def _unsigned(size: int) -> Decoder:
    return lambda reader: reader.number(size)


def _signed(size: int) -> Decoder:
    return lambda reader: reader.number(size, signed=True)


def _index_line(reader: Reader) -> Value:
    return number_of_line(reader.line())


# byte: (what the machine does, how the argument is read)
OPCODES: dict[int, tuple[str, Decoder]] = {
    ord(code): (action, decode)
    for code, action, decode in (
        ("(", "mark", _nothing),
        (".", "stop", _nothing),
        ("0", "pop", _nothing),
        ("1", "pop_mark", _nothing),
        ("2", "dup", _nothing),
        ("F", "push", _float_line),
        ("G", "push", _float),
        ("I", "push", _integer),
        ("J", "push", _signed(4)),
        ("K", "push", _unsigned(1)),
        ("M", "push", _unsigned(2)),
        ("L", "push", _long_line),
        ("\x8a", "push", _long(1)),
        ("\x8b", "push", _long(4)),
        ("N", "push", _nothing),
        ("\x88", "push", _constant(True)),
        ("\x89", "push", _constant(False)),
        ("S", "push", _quoted),
        ("T", "push", _old_bytes(4)),
        ("U", "push", _old_bytes(1)),
        ("V", "push", _text_line),
        ("X", "push", _text(4)),
        ("\x8c", "push", _text(1)),
        ("\x8d", "push", _text(8)),
        ("B", "push", _bytes(4)),
        ("C", "push", _bytes(1)),
        ("\x8e", "push", _bytes(8)),
        ("\x96", "push", _bytes(8)),
        ("]", "push", _empty("list")),
        ("}", "push", _empty("dict")),
        (")", "push", _constant(())),
        ("\x8f", "push", _empty("set")),
        ("\x97", "next_buffer", _nothing),
        ("\x98", "readonly_buffer", _nothing),
        ("l", "gather", _constant("list")),
        ("d", "gather", _constant("dict")),
        ("\x91", "gather", _constant("frozenset")),
        ("t", "tuple_from_mark", _nothing),
        ("\x85", "tuple_of", _constant(1)),
        ("\x86", "tuple_of", _constant(2)),
        ("\x87", "tuple_of", _constant(3)),
        ("a", "append", _nothing),
        ("e", "appends", _nothing),
        ("s", "setitem", _nothing),
        ("u", "setitems", _nothing),
        ("\x90", "additems", _nothing),
        ("p", "put", _index_line),
        ("q", "put", _unsigned(1)),
        ("r", "put", _unsigned(4)),
        ("\x94", "memoize", _nothing),
        ("g", "get", _index_line),
        ("h", "get", _unsigned(1)),
        ("j", "get", _unsigned(4)),
        ("c", "name", _two_names),
        ("\x93", "stack_name", _nothing),
        ("i", "instance", _two_names),
        ("o", "object", _nothing),
        ("R", "reduce", _nothing),
        ("b", "build", _nothing),
        ("\x81", "new", _nothing),
        ("\x92", "new_with_keywords", _nothing),
        ("\x82", "extension", _unsigned(1)),
        ("\x83", "extension", _unsigned(2)),
        ("\x84", "extension", _signed(4)),
        ("P", "persistent_line", _name),
        ("Q", "persistent", _nothing),
        ("\x80", "protocol", _unsigned(1)),
        ("\x95", "frame", _unsigned(8)),
    )
}
