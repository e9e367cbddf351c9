"""Universal Binary JSON, as far as XGBoost writes it. ubjson.org, draft 12; numbers are big-endian.

Read here because the native reader takes a file's word for its counts and offsets: what comes from elsewhere is checked
before any native code meets it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from veriward.core.errors import ArtefactError

NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
WORDS = {"Z": None, "T": True, "F": False}
MAX_DEPTH = 64


def parse_ubjson(content: bytes) -> Any:
    r"""Return the value of a UBJSON document; arrays of one numeric type become numpy arrays.

    Raises ArtefactError for what ends early, has something behind it, or uses what XGBoost does not write.

    >>> parse_ubjson(b"{L\0\0\0\0\0\0\0\1ai\5}")
    {'a': 5}
    """
    reader = _Reader(content)
    value = reader.value(reader.marker(), 0)
    if reader.at != len(content):
        raise ArtefactError(f"UBJSON: {len(content) - reader.at} bytes stand behind the document; want none")
    return value


@dataclass
class _Reader:
    content: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        if size < 0 or size > len(self.content) - self.at:
            raise ArtefactError(f"UBJSON: {size} bytes wanted at byte {self.at}, but the document ends before")
        self.at += size
        return self.content[self.at - size : self.at]

    def marker(self) -> str:
        return self.take(1).decode("latin-1")

    def number(self, kind: str) -> Any:
        letter = NUMBERS[kind]
        return np.frombuffer(self.take(int(letter[-1])), letter)[0].item()

    def count(self) -> int:
        kind = self.marker()
        if kind not in "iUIlL":
            raise ArtefactError(f"UBJSON: a count of type {kind!r} at byte {self.at}; want a whole number")
        return int(self.number(kind))

    def text(self) -> str:
        try:
            return self.take(self.count()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ArtefactError(f"UBJSON: a text before byte {self.at} is not UTF-8") from error

    def value(self, kind: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ArtefactError(f"UBJSON: nested more than {MAX_DEPTH} deep")
        if kind in NUMBERS:
            return self.number(kind)
        if kind in WORDS:
            return WORDS[kind]
        if kind == "S":
            return self.text()
        if kind == "{":
            return self.members(depth)
        if kind == "[":
            return self.array(depth)
        raise ArtefactError(f"UBJSON: a value of type {kind!r} at byte {self.at}, which XGBoost does not write")

    def members(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.take(1) != b"}":
            self.at -= 1
            name = self.text()
            if name in found:
                raise ArtefactError(f"UBJSON: two members {name[:60]!r} in one object; readers differ in which counts")
            found[name] = self.value(self.marker(), depth + 1)
        return found

    def array(self, depth: int) -> Any:
        lead = self.marker()
        if lead == "$":
            kind, hashed = self.marker(), self.marker()
            if hashed != "#" or kind not in NUMBERS:
                raise ArtefactError(f"UBJSON: an array of type {kind!r} without a count at byte {self.at}")
            letter, count = NUMBERS[kind], self.count()
            return np.frombuffer(self.take(count * int(letter[-1])), letter)
        if lead == "#":
            return [self.value(self.marker(), depth + 1) for _ in range(self._items())]
        found = []
        while lead != "]":
            found.append(self.value(lead, depth + 1))
            lead = self.marker()
        return found

    def _items(self) -> int:
        count = self.count()
        if not 0 <= count <= len(self.content) - self.at:  # every item takes a byte at least
            raise ArtefactError(f"UBJSON: an array of {count} items at byte {self.at}, but the document ends before")
        return count
