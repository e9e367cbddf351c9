"""UBJSON as XGBoost writes it: big-endian, keys with eight bytes of length, arrays with a count and often a type.

Format: ubjson.org, draft 12; the subset is that of xgboost, src/common/json.cc (UBJWriter). Arrays of numbers stay in
the file until somebody asks for them.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .place import Purse
from .source import Source

INTEGERS = {"i": "b", "U": "B", "I": "h", "l": "i", "L": "q"}
FLOATS = {"d": "f", "D": "d"}
_LETTERS = INTEGERS | FLOATS
_WORDS: dict[str, object] = {"Z": None, "T": True, "F": False}
_MAX_DEPTH = 24
_WINDOW = 1 << 13
_MAX_TEXT = 1 << 20


class BadUbjson(ValueError):  # noqa: N818 -- never leaves the package
    """Not UBJSON as XGBoost writes it; `twice`: a key that two readers may resolve differently."""

    def __init__(self, at: int, message: str, twice: bool = False) -> None:
        super().__init__(message)
        self.at, self.twice = at, twice


@dataclass(frozen=True)
class Numbers:
    r"""An array of numbers that is still in the file.

    >>> Numbers(Source.of(b"\x00\x00\x00\x02"), "l", 0, 1).read()
    (2,)
    """

    source: Source
    letter: str
    at: int
    count: int

    def read(self) -> tuple[float, ...]:
        """The numbers; integers where the type is one of integers.

        >>> Numbers(Source.of(b"\x07"), "U", 0, 1).read()
        (7,)
        """
        form = struct.Struct(f">{self.count}{_LETTERS[self.letter]}")
        return form.unpack(self.source.read(self.at, form.size))


def read_ubjson(source: Source, purse: Purse) -> object:
    r"""The document; raises BadUbjson.

    >>> read_ubjson(Source.of(b"{L" + bytes(7) + b"\x01aU\x05}"), Purse())
    {'a': 5}
    """
    reader = _Reader(source, purse)
    value = reader.value(0)
    if reader.at != source.size:
        raise BadUbjson(reader.at, f"{source.size - reader.at} bytes follow the document")
    return value


@dataclass
class _Reader:
    source: Source
    purse: Purse
    at: int = 0
    base: int = 0
    window: bytes = b""

    def _ahead(self, count: int) -> bytes:
        """The next bytes, out of a window: single bytes are far too many to ask the file for each."""
        if not self.base <= self.at <= self.base + len(self.window) - count:
            self.base, self.window = self.at, self.source.read(self.at, max(count, _WINDOW))
        begin = self.at - self.base
        return self.window[begin : begin + count]

    def value(self, depth: int) -> object:
        """The value at hand."""
        self.purse.spend("fields", 4)  # each value takes some calls
        if depth > _MAX_DEPTH:
            raise BadUbjson(self.at, f"values nested more than {_MAX_DEPTH} deep")
        mark = self._letter()
        if mark == "{":
            return self._object(depth)
        if mark == "[":
            return self._array(depth)
        if mark == "S":
            return self._text(self._length())
        if mark in _LETTERS:
            return self._number(mark)
        if mark in _WORDS:
            return _WORDS[mark]
        raise BadUbjson(self.at - 1, f"a value that begins with {mark!r}, which XGBoost does not write")

    def _letter(self) -> str:
        letter = self._ahead(1)
        if not letter:
            raise BadUbjson(self.at, "the document is cut off")
        self.at += 1
        return letter.decode("latin-1")

    def _number(self, letter: str) -> float:
        form = struct.Struct(">" + _LETTERS[letter])
        content = self._ahead(form.size)
        if len(content) < form.size:
            raise BadUbjson(self.at, "a number is cut off")
        self.at += form.size
        (number,) = form.unpack(content)
        return float(number) if letter in FLOATS else int(number)

    def _length(self) -> int:
        if self._letter() != "L":
            raise BadUbjson(self.at - 1, "a length of another type than XGBoost writes")
        length = int(self._number("L"))
        if not 0 <= length <= self.source.size - self.at:
            raise BadUbjson(self.at, f"a length of {length} reaches beyond the file")
        return length

    def _text(self, size: int) -> str:
        if size > _MAX_TEXT:
            raise BadUbjson(self.at, f"a text of {size} bytes, more than the {_MAX_TEXT} that are read")
        content = self._ahead(size)
        self.at += size
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadUbjson(self.at - size, "a text that is no UTF-8") from error

    def _object(self, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        while self._ahead(1) != b"}":
            key = self._text(self._length())
            if key in found:
                raise BadUbjson(self.at, f"the key {key[:60]!r} stands twice", twice=True)
            found[key] = self.value(depth + 1)
        self.at += 1
        return found

    def _array(self, depth: int) -> object:
        mark = self._letter()
        if mark == "$":
            letter = self._letter()
            if letter not in _LETTERS or self._letter() != "#":
                raise BadUbjson(self.at - 1, "an array of another type than XGBoost writes")
            return self._typed(letter)
        if mark == "#":
            return list(self._listed(self._length(), depth))
        raise BadUbjson(self.at - 1, "an array without a count, which XGBoost does not write")

    def _typed(self, letter: str) -> Numbers:
        count = self._length()
        size = count * struct.calcsize(">" + _LETTERS[letter])
        if size > self.source.size - self.at:
            raise BadUbjson(self.at, f"an array of {count} numbers reaches beyond the file")
        self.at += size
        return Numbers(self.source, letter, self.at - size, count)

    def _listed(self, count: int, depth: int) -> Iterator[object]:
        for _ in range(count):
            yield self.value(depth + 1)
