"""The structure of a tar: headers of 512 bytes, read here because readers disagree about them.

Old headers hold sizes in octal; GNU adds sizes in base 256 and long names in members of their own; PAX writes any field
a second time, in front of the header. Where two of these say different things, one reader sees a member that another
one takes for the bytes of its neighbour. Format: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, D.2.
"""

from dataclasses import dataclass, field
from posixpath import normpath

from .pickles import scan_guess
from .place import Place
from .source import Source
from .zips import name_trick

BLOCK = 512
_MAX_RECORDS = 1 << 20  # bytes of a PAX header or of a long name
_MAX_OCTAL = 8**11  # sizes from here on have no room in the old field
_HARMLESS = {
    "mtime",
    "atime",
    "ctime",
    "uid",
    "gid",
    "uname",
    "gname",
    "comment",
}
_LINKS = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a pipe"}


@dataclass(frozen=True)
class Entry:
    """One member: its name and where its bytes lie.

    >>> Entry("a", 0, 512, 3).name
    'a'
    """

    name: str
    header_at: int
    data_at: int
    size: int
    is_folder: bool = False


class BadTar(ValueError):  # noqa: N818 -- never leaves the package
    """A header that cannot be read, so that nobody knows where the next one stands."""


@dataclass
class _Ahead:
    """What stands in front of a header and overrides it."""

    name: str | None = None
    size: int | None = None
    by: str = ""


@dataclass
class _Reading:
    source: Source
    place: Place
    at: int = 0
    entries: list[Entry] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    ahead: _Ahead = field(default_factory=_Ahead)
    content_bytes: int = 0  # of the member at hand

    def run(self) -> None:
        while True:
            header = self.source.read(self.at, BLOCK)
            if len(header) == BLOCK and any(header):
                self._member(header)
            elif not self._ends(header):
                return

    def _ends(self, header: bytes) -> bool:
        """The end is two blocks of zeros. True when members follow all the same, which some readers see."""
        if len(header) < BLOCK or any(self.source.read(self.at + BLOCK, BLOCK)) or self.source.size < self.at + 1024:
            self.place.unknown(self.at, "end of the tar", "is missing: it was cut off, or its end is hidden")
        at = self._after_zeros(self.at)
        if at >= self.source.size:
            return False
        rest = self.source.read(at, BLOCK)
        if _checksum(rest) is None:
            self.place.unknown(at, f"{self.source.size - at} bytes", "follow the end of the tar")
            scan_guess(self.source.part(at, self.source.size), self.place)
            return False
        self.place.dangerous(at, "more members", "stand behind the end of the tar, where only some readers look")
        self.at = at
        return True

    def _after_zeros(self, at: int) -> int:
        while chunk := self.source.read(at, 1 << 16):
            rest = chunk.lstrip(b"\0")
            if rest:
                return at + (len(chunk) - len(rest)) // BLOCK * BLOCK
            at += len(chunk)
        return at

    def _member(self, header: bytes) -> None:
        self.place.purse.spend("members", 1)
        if _checksum(header) is None:
            raise BadTar(f"the header at byte {self.at} has a wrong checksum")
        kind, size = header[156:157], self._number(header[124:136])
        if kind in (b"x", b"g", b"L", b"K"):
            self._take_ahead(kind, self._content(size))
        else:
            self._add(header, kind, size)
        self.at += BLOCK + self._padded(self.content_bytes)

    def _padded(self, size: int) -> int:
        end = self.at + BLOCK + size
        padding = self.source.read(end, -size % BLOCK)
        if any(padding):
            self.place.unknown(end, f"{len(padding)} bytes", "fill the last block of a member, and are not zeros")
        return size + -size % BLOCK

    def _content(self, size: int) -> bytes:
        self.content_bytes = size
        if size > _MAX_RECORDS:
            raise BadTar(f"a name or a PAX header of {size} bytes")
        content = self.source.read(self.at + BLOCK, size)
        if len(content) < size:
            raise BadTar("the archive ends inside a name or a PAX header")
        return content

    def _number(self, raw: bytes) -> int:
        """Octal digits, or base 256 where the first bit is set."""
        if raw[0] == 0x80:
            size = int.from_bytes(raw[1:], "big")
            if size < _MAX_OCTAL:
                self.place.unknown(self.at, f"a size of {size}", "is written in base 256, which not all readers know")
            return size
        digits = raw.partition(b"\0")[0].strip()
        if raw[0] & 0x80 or not all(48 <= digit < 56 for digit in digits):
            self.place.dangerous(self.at, raw, "is a size that readers take for different numbers")
            raise BadTar(f"a size that is no octal number at byte {self.at}")
        return int(digits or b"0", 8)

    def _take_ahead(self, kind: bytes, content: bytes) -> None:
        if kind == b"L":
            self._override(content.partition(b"\0")[0], None, "GNU")
        elif kind == b"K":
            self.place.dangerous(self.at, content[:80], "is the long target of a link, which extraction would create")
        else:
            self._read_records(kind, content)

    def _override(self, name: bytes | None, size: int | None, by: str) -> None:
        # of several PAX headers the first holds for some readers, and the last for others
        again = (name is not None and self.ahead.name is not None) or (size is not None and self.ahead.size is not None)
        if again or self.ahead.by not in ("", by):
            self.place.dangerous(self.at, by, "overrides a header that is overridden already")
        self.ahead.by = by
        if name is not None:
            self.ahead.name = _text(name)
        if size is not None:
            self.ahead.size = size

    def _read_records(self, kind: bytes, content: bytes) -> None:
        for key, value in _records(content):
            if kind == b"g" and key not in _HARMLESS:
                self.place.dangerous(self.at, key, "is set for all members at once, which some readers ignore")
            elif key == "path":
                self._override(value, None, "PAX")
            elif key == "size":
                if not value.isdigit() or len(value) > 20:
                    raise BadTar("a PAX size that is no number")
                self._override(None, int(value), "PAX")
            elif key == "linkpath":
                self.place.dangerous(self.at, value[:80], "is the target of a link, which extraction would create")
            elif key not in _HARMLESS:
                self.place.unknown(self.at, key, "is a PAX field that this reader does not know")

    def _add(self, header: bytes, kind: bytes, size: int) -> None:
        ahead, self.ahead = self.ahead, _Ahead()
        prefix = _text(header[345:500].partition(b"\0")[0])
        name = _text(header[:100].partition(b"\0")[0])
        if prefix and header[257:263] != b"ustar\0":
            why = "has a prefix in a header of a kind without one, which some readers put in front of its name"
            self.place.dangerous(self.at, f"{prefix}/{name}", why)
            prefix = ""
        name = self._one_name(f"{prefix}/{name}" if prefix else name, ahead)
        if ahead.size is not None and ahead.size != size:
            if ahead.size < _MAX_OCTAL:
                self.place.dangerous(self.at, name, "has two sizes, so readers find different members behind it")
            size = ahead.size
        is_folder = kind == b"5" or name.endswith("/")
        self._check_kind(kind, name)
        self._check_name(name)
        if size and (is_folder or kind in _LINKS):
            self.place.dangerous(self.at, name, "has no content but claims some, so readers go on at two places")
        self.content_bytes = 0 if is_folder or kind in _LINKS else size
        if self.content_bytes > self.source.size - self.at - BLOCK:
            self.place.unknown(self.at, f"{size} bytes", "reach beyond the end of the file")
        self.entries.append(Entry(name, self.at, self.at + BLOCK, self.content_bytes, is_folder))

    def _one_name(self, name: str, ahead: _Ahead) -> str:
        if ahead.name is None:
            return name
        if ahead.name.isascii() and len(ahead.name) <= 100 and ahead.name != name:
            self.place.dangerous(self.at, name, f"has a second name in a {ahead.by} header, which some readers prefer")
        return ahead.name

    def _check_kind(self, kind: bytes, name: str) -> None:
        if kind in _LINKS:
            self.place.dangerous(self.at, name, f"is {_LINKS[kind]}, which extraction would create")
        elif kind not in (b"0", b"\0", b"7", b"5"):
            self.place.unknown(self.at, f"type {kind!r}", "is a kind of member that this reader does not know")

    def _check_name(self, name: str) -> None:
        why = name_trick(name)
        if why:
            self.place.dangerous(self.at, name, why)
        key = normpath(name).casefold()
        if key in self.seen:
            self.place.dangerous(self.at, name, "stands twice in the tar, and the last one replaces the first")
        self.seen.add(key)


def read_tar(source: Source, place: Place) -> list[Entry]:
    """The members, with a note for every contradiction; those before a header that cannot be read, where there is one.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> read_tar(Source.of(bytes(1024)), place), place.notes.outcome
    ([], 'clean')
    """
    reading = _Reading(source, place)
    try:
        reading.run()
    except BadTar as error:
        place.unknown(reading.at, "broken tar", str(error))
    return reading.entries


def _checksum(header: bytes) -> int | None:
    """The sum that a header states, None where it does not fit: the checksum counts as eight spaces."""
    digits = header[148:156].partition(b"\0")[0].strip()
    if len(header) < BLOCK or not digits or not all(48 <= digit < 56 for digit in digits):
        return None
    stated = int(digits, 8)
    return stated if stated == sum(header[:148]) + sum(header[156:]) + 8 * 32 else None


def _records(content: bytes) -> list[tuple[str, bytes]]:
    """PAX records: 'size key=value\\n', where size counts the whole record."""
    found: list[tuple[str, bytes]] = []
    at = 0
    while at < len(content):
        digits, space, _ = content[at : at + 24].partition(b" ")
        size = int(digits) if space and digits.isdigit() else 0
        record = content[at + len(digits) + 1 : at + size]
        key, equals, value = record.partition(b"=")
        if size <= len(digits) + 2 or at + size > len(content) or not equals or value[-1:] != b"\n":
            raise BadTar("a PAX header that is no list of records")
        found.append((_text(key), value[:-1]))
        at += size
    if len({key for key, _ in found}) < len(found):
        raise BadTar("a PAX header that states a field twice")
    return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
