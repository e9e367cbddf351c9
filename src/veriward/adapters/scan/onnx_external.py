"""Tensors that lie in a file beside the model: only plain files below its folder, and only bytes that they have.

Readers that joined the location to the folder without looking read any file of the machine into the weights, from
where the model's answers carry it out (CVE-2022-25882, CVE-2024-27318, CVE-2024-5187). Format: onnx, ExternalData.md.
"""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from veriward.core.errors import ArtefactError

from .place import Place
from .source import opened

_KEYS = {"location", "offset", "length", "checksum"}
_NUMBER = re.compile(r"[0-9]{1,18}")
_IN_MEMORY = "/_ORT_MEM_ADDR_/"


@dataclass
class Beside:
    """The files beside one model; each is opened and hashed once.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> Beside(place).check(0, [("location", "../a")], 4); place.notes.outcome
    'dangerous'
    """

    place: Place
    _sizes: dict[str, int | None] = field(default_factory=dict)

    def check(self, at: int, entries: list[tuple[str, str]], needed: int) -> None:
        """Judge the entries of one tensor that needs so many bytes."""
        found = dict(entries)
        if len(found) < len(entries):
            self.place.dangerous(at, "external data", "has a key twice, and readers take the first or the last")
        if not set(found) <= _KEYS or "location" not in found:
            self.place.unknown(at, "external data", "has keys that are not known, or no location")
        location = found.get("location", "")
        if not self._is_plain(at, location):
            return
        if location not in self._sizes:
            self.place.purse.spend("members", 1)
            self._sizes[location] = self._opened(at, location)
        size = self._sizes[location]
        if size is not None:
            self._check_extent(at, found, size, needed)

    def _is_plain(self, at: int, location: str) -> bool:
        if _IN_MEMORY in location:
            self.place.dangerous(at, location, "makes onnxruntime read memory at an address of the author's choice")
            return False
        steps = location.split("/")
        if location.startswith(("/", "~")) or "\\" in location or location[1:2] == ":" or ".." in steps:
            self.place.dangerous(at, location, "is external data outside of the folder of the model")
            return False
        if not location.isprintable() or "" in steps or "." in steps or len(steps) > 16:
            self.place.unknown(at, location, "is no plain relative path to external data")
            return False
        return True

    def _opened(self, at: int, location: str) -> int | None:
        """Hash one file and keep it as a part; its size, or a note and None."""
        folder = self.place.folder
        if folder is None:
            why = "is external data of a model without a folder of its own: unpack the archive and scan the model there"
            self.place.unknown(at, location, why)
            return None
        if not self._is_unlinked(at, folder, location):
            return None
        try:
            with opened(folder / location) as (source, changed):
                sha256, size = source.sha256(), source.size
                still = not changed() and self._is_unlinked(at, folder, location)
        except ArtefactError as error:
            self.place.unknown(at, location, f"is external data that cannot be read: {error}")
            return None
        if not still:
            self.place.unknown(at, location, "changed while it was read; scan it again when nobody writes to it")
        self.place.parts[location] = sha256
        return size

    def _is_unlinked(self, at: int, folder: Path, location: str) -> bool:
        """No step below the folder is a link, and the real path is inside: a link leads readers to other files."""
        path = folder
        try:
            for step in location.split("/"):
                path = path / step
                state = path.lstat()
                if stat.S_ISLNK(state.st_mode) or (stat.S_ISREG(state.st_mode) and state.st_nlink > 1):
                    self.place.dangerous(at, location, "is a link to a file elsewhere; put a copy of the file there")
                    return False
            inside = os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))
        except (OSError, ValueError):
            self.place.unknown(at, location, "is external data that is missing; put the file beside the model")
            return False
        if not inside:
            self.place.dangerous(at, location, "is external data outside of the folder of the model")
        return inside

    def _check_extent(self, at: int, found: dict[str, str], size: int, needed: int) -> None:
        numbers = [found.get(key, "0") for key in ("offset", "length")]
        if not all(_NUMBER.fullmatch(number) for number in numbers):
            self.place.dangerous(at, found["location"], "has an offset or a length that is no natural number")
            return
        offset = int(numbers[0])
        length = int(numbers[1]) if "length" in found else size - offset
        if offset + max(length, needed) > size:
            self.place.dangerous(at, found["location"], "ends before the tensor does, so a reader leaves the file")
        elif length != needed:
            self.place.unknown(at, found["location"], f"gives {length} bytes to a tensor of {needed}")
