"""The wire format of Protocol Buffers, read by offset: tags, numbers and extents, and no payload unless asked for.

Format: protobuf.dev/programming-guides/encoding. What parsers may take for something else is refused: numbers with
needless bytes, groups, lengths beyond the message around them.
"""

import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from .place import Purse
from .source import Source

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_WIRES = {"int": VARINT, "float": FIXED32, "double": FIXED64, "text": LENGTH, "bytes": LENGTH}
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
_CONTINUED = bytes(range(128, 256))
_OVERLONG = re.compile(rb"[\x80-\xff]{10}|[\x80-\xff]\x00")
_WINDOW = 1 << 16
_MARGIN = 32  # more than a tag and a number together need


class BadProtobuf(ValueError):  # noqa: N818 -- never leaves the package
    """Bytes that are no message, with the offset where that shows."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True)
class Spec:
    """One field of a message: its wire type, whether it repeats, and the message in it, if any.

    >>> Spec("node", LENGTH, True, "Node").many
    True
    """

    name: str
    wire: int
    many: bool
    message: str = ""


Shape = Mapping[int, Spec]


def shapes(text: str) -> dict[str, Shape]:
    """Messages from a table: a name, then lines of number, field (`*`: repeated) and type.

    >>> shapes("Pair\\n  1 key text\\n  2 values* int")["Pair"][2]
    Spec(name='values', wire=0, many=True, message='')
    """
    found: dict[str, dict[int, Spec]] = {}
    current: dict[int, Spec] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        if " " not in line:
            current = found.setdefault(line, {})
            continue
        number, name, kind = line.split()
        wire = _WIRES.get(kind, LENGTH)
        current[int(number)] = Spec(name.rstrip("*"), wire, name.endswith("*"), "" if kind in _WIRES else kind)
    return dict(found)


@cache
def _runs(key: int) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """One number behind this key, and many of them; what is longer than 9 bytes is left to the slow way."""
    number = rb"([\x80-\xff]{1,8}[\x01-\x7f]|[\x00-\x7f])"
    if key & 7 != VARINT:
        number = rb"(.{%d})" % _FIXED_BYTES[key & 7]
    step = re.escape(bytes([key])) + number
    return re.compile(step, re.DOTALL), re.compile(rb"(?:" + step + rb")*+", re.DOTALL)


def _decoded(piece: bytes) -> int:
    if len(piece) == 1:
        return piece[0]
    return sum((byte & 127) << 7 * place for place, byte in enumerate(piece))


@dataclass
class Message:
    """The fields of one message: numbers as they stand, everything else as extents (start, end, start, end, ...).

    Of floats that repeat, only their count is kept: zeros stand for all but the first.

    >>> Message(0).number("missing", 7)
    7
    """

    at: int
    numbers: dict[str, "array[int]"] = field(default_factory=dict)
    extents: dict[str, "array[int]"] = field(default_factory=dict)

    def number(self, name: str, default: int = 0) -> int:
        """The number of a field that stands once.

        >>> Message(0, {"a": array("Q", [3])}).number("a")
        3
        """
        return self.numbers[name][-1] if name in self.numbers else default

    def parts(self, name: str) -> Iterator[tuple[int, int]]:
        """The extents of a field.

        >>> list(Message(0, {}, {"a": array("Q", [3, 5, 7, 9])}).parts("a"))
        [(3, 5), (7, 9)]
        """
        flat = self.extents.get(name, ())
        return zip(flat[::2], flat[1::2], strict=True)

    def count(self, name: str) -> int:
        """How often a field stands, in either form.

        >>> Message(0, {}, {"a": array("Q", [3, 5, 7, 9])}).count("a")
        2
        """
        return len(self.numbers.get(name, ())) + len(self.extents.get(name, ())) // 2


class Wire:
    """Reads messages from a source through a window; spends `fields` of the purse.

    `odd(at, what, why, grave)` hears of fields that no table names and of fields that stand twice.
    """

    def __init__(self, source: Source, purse: Purse, odd: Callable[[int, str, str, bool], None]) -> None:
        self.source = source
        self.purse = purse
        self._odd = odd
        self._base = 0
        self._window = b""

    def message(self, at: int, end: int, shape: Shape, found: Message | None = None) -> Message:
        """The message between two offsets; raises BadProtobuf, when `found` holds what stands before.

        >>> wire = Wire(Source.of(bytes([8, 5])), Purse(), lambda *said: None)
        >>> wire.message(0, 2, shapes("A\\n 1 a int")["A"]).number("a")
        5
        """
        found = Message(at) if found is None else found
        self.purse.spend("fields", 4)  # what a message costs by itself
        while at < end:
            self.purse.spend("fields", 1)
            at = self._field(at, end, shape, found)
        return found

    def _field(self, at: int, end: int, shape: Shape, found: Message) -> int:
        begin = at
        key, at = self.varint(at, end)
        wire = key & 7
        value, start, at = self._value(begin, at, end, wire)
        spec = shape.get(key >> 3)
        if spec is None or wire not in (spec.wire, LENGTH if spec.many and not spec.message else spec.wire):
            self._odd(begin, f"field {key >> 3}", "is no field of this message that is known", False)
            return at
        here = found.extents if wire == LENGTH else found.numbers
        if spec.name not in here:
            here[spec.name] = array("Q")
        elif not spec.many:
            why = "stands twice: readers take the first or the last, and may so be shown different models"
            self._odd(begin, spec.name, why, True)
        if wire == LENGTH:
            here[spec.name].append(start)
            here[spec.name].append(at)
            return at
        here[spec.name].append(value)
        return self._run(at, end, key, here[spec.name]) if spec.many and key < 128 else at

    def _run(self, at: int, end: int, key: int, values: "array[int]") -> int:
        """Take what follows of the same field in one step: trees are written as millions of single numbers."""
        step, whole = _runs(key)
        index = self._near(at)
        run = whole.match(self._window, index, min(len(self._window), max(0, end - self._base)))
        if run is None:
            return at
        if key & 7 == VARINT:
            values.extend(map(_decoded, step.findall(run[0])))
        else:
            count = len(run[0]) // (1 + _FIXED_BYTES[key & 7])
            values.extend(array("Q", bytes(8 * count)))
            self.purse.spend("records", count)
        self.purse.spend("records", len(run[0]) // 2)
        return at + len(run[0])

    def _value(self, begin: int, at: int, end: int, wire: int) -> tuple[int, int, int]:
        """(number, start of the payload, where the next field begins)."""
        if wire == VARINT:
            value, after = self.varint(at, end)
            return value, at, after
        if wire == LENGTH:
            size, at = self.varint(at, end)
            if size > end - at:
                raise BadProtobuf(begin, f"a field of {size} bytes reaches beyond the message around it")
            return 0, at, at + size
        width = _FIXED_BYTES.get(wire)
        if width is None:
            raise BadProtobuf(begin, f"wire type {wire} is used by no writer of models")
        if at + width > end:
            raise BadProtobuf(begin, "a number is cut off by the end of the message around it")
        index = self._near(at)
        return int.from_bytes(self._window[index : index + width], "little"), at, at + width

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """(number, offset behind it); raises BadProtobuf where it is cut off or longer than it needs to be.

        >>> Wire(Source.of(b"\\xac\\x02"), Purse(), lambda *said: None).varint(0, 2)
        (300, 2)
        """
        index = self._near(at)
        value = shift = 0
        for byte in self._window[index : index + min(10, end - at)]:
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                if (byte == 0 and shift > 7) or value >> 64:
                    raise BadProtobuf(at, "a number takes more bytes than it needs, which readers treat differently")
                return value, at + shift // 7
        raise BadProtobuf(at, "a number is cut off or too long")

    def _near(self, at: int) -> int:
        """Move the window so that it holds what follows an offset; where in it that is."""
        if not self._base <= at < self._base + len(self._window) - _MARGIN:
            self._base, self._window = at, self.source.read(at, _WINDOW)
        return at - self._base

    def integers(self, message: Message, name: str, most: int) -> list[int]:
        """The numbers of a repeated field with their signs, packed or not; raises BadProtobuf beyond `most`.

        >>> wire = Wire(Source.of(b"\\x01\\x02"), Purse(), lambda *said: None)
        >>> wire.integers(Message(0, {}, {"dims": array("Q", [0, 2])}), "dims", 9)
        [1, 2]
        """
        values = list(message.numbers.get(name, ())[: most + 1])
        for start, end in message.parts(name):
            at = start
            while at < end and len(values) <= most:
                value, at = self.varint(at, end)
                values.append(value)
        if len(values) > most:
            raise BadProtobuf(message.at, f"{name} holds more than {most} numbers")
        self.purse.spend("records", len(values))
        return [value - (1 << 64) if value >> 63 else value for value in values]

    def count_varints(self, at: int, end: int) -> int:
        """How many packed numbers lie between two offsets; raises BadProtobuf where one is cut off or too long.

        >>> Wire(Source.of(b"\\xac\\x02\\x01"), Purse(), lambda *said: None).count_varints(0, 3)
        2
        """
        count, tail = 0, b""
        while at < end:
            chunk = tail + self.source.read(at, min(_WINDOW, end - at))
            at += len(chunk) - len(tail)
            if _OVERLONG.search(chunk):
                raise BadProtobuf(at, "packed numbers of which one is too long")
            done = chunk.rstrip(_CONTINUED)
            tail = chunk[len(done) :]
            count += len(done.translate(None, _CONTINUED))
        if tail:
            raise BadProtobuf(end, "packed numbers of which the last is cut off")
        return count

    def text(self, start: int, end: int) -> str:
        """A short text that decides something, so it must be readable.

        >>> Wire(Source.of(b"Add"), Purse(), lambda *said: None).text(0, 3)
        'Add'
        """
        if end - start > 4096:
            raise BadProtobuf(start, f"a name of {end - start} bytes is longer than any name needs to be")
        try:
            return self.source.read(start, end - start).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadProtobuf(start, "a name is no UTF-8") from error
