"""Bytes that are read by offset and never all at once: a file, a part of one, or a buffer."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from veriward.core.errors import ArtefactError

_CHUNK = 1 << 20
_MAX_FILE_BYTES = 1 << 38  # 256 GiB: hashing more would take minutes, and no model is that large


@dataclass(frozen=True)
class Source:
    """A window of `size` bytes at `start` of something that can be read by offset.

    >>> Source.of(b"abcdef").part(2, 3).read(0, 99)
    b'cde'
    """

    fetch: Callable[[int, int], bytes]
    start: int
    size: int

    @classmethod
    def of(cls, content: bytes | bytearray) -> "Source":
        """A source over a buffer.

        >>> Source.of(b"abc").size
        3
        """
        return cls(lambda at, count: bytes(content[at : at + count]), 0, len(content))

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at `offset`; fewer at the end, none outside.

        >>> Source.of(b"abc").read(2, 10)
        b'c'
        """
        if offset < 0 or offset >= self.size or count <= 0:
            return b""
        return self.fetch(self.start + offset, min(count, self.size - offset))

    def part(self, offset: int, size: int) -> "Source":
        """A window of this window, clipped to it.

        >>> Source.of(b"abc").part(1, 99).size
        2
        """
        offset = min(max(offset, 0), self.size)
        return Source(self.fetch, self.start + offset, max(0, min(size, self.size - offset)))

    def sha256(self) -> str:
        """The hash of all bytes, read in chunks.

        >>> Source.of(b"").sha256()[:8]
        'e3b0c442'
        """
        digest = hashlib.sha256()
        for offset in range(0, self.size, _CHUNK):
            digest.update(self.read(offset, _CHUNK))
        return digest.hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[tuple[Source, Callable[[], bool]]]:
    """A regular file as a Source, and a question: has it changed since it was opened?

    Raises ArtefactError for what is missing, unreadable, not a regular file, or too large to hash.

    >>> with opened(Path(__file__)) as (source, changed):
    ...     changed()
    False
    """
    handle = _open(path)
    try:
        before = _regular(path, handle)

        def fetch(at: int, count: int) -> bytes:
            os.lseek(handle, at, os.SEEK_SET)
            return os.read(handle, count)

        def changed() -> bool:
            return _stamp(os.fstat(handle)) != _stamp(before)

        yield Source(_whole(fetch), 0, before.st_size), changed
    except OSError as error:
        raise ArtefactError(f"{path}: reading failed ({error.strerror}); check the disk and try again.") from error
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    # Without O_NONBLOCK the opening of a FIFO would wait for a writer for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise ArtefactError(
            f"{path}: cannot be opened ({said}); a readable file was wanted, check the path."
        ) from error


def _regular(path: Path, handle: int) -> os.stat_result:
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, pipe or socket"
        raise ArtefactError(f"{path}: is {kind}; a regular file was wanted, name the model file itself.")
    if found.st_size > _MAX_FILE_BYTES:
        raise ArtefactError(
            f"{path}: holds {found.st_size} bytes; at most {_MAX_FILE_BYTES} are read, split the model."
        )
    return found


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _whole(fetch: Callable[[int, int], bytes]) -> Callable[[int, int], bytes]:
    """One read may return less than asked for; ask again until the end of the file."""

    def read(at: int, count: int) -> bytes:
        pieces: list[bytes] = []
        while count > 0 and (piece := fetch(at, count)):
            pieces.append(piece)
            at, count = at + len(piece), count - len(piece)
        return b"".join(pieces)

    return read
