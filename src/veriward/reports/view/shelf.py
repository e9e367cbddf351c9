"""Dossiers read once per state of their file: what the list says of each, whether it is intact, and its content.

SQLite's locks belong to the process, and closing any handle of a file drops them all; so one thread reads at a time.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from veriward.core.dossier import Dossier
from veriward.core.errors import DossierError
from veriward.core.finding import Verdict, worst
from veriward.core.seal import Verification, verify
from veriward.reports.html import render
from veriward.reports.view.find import Found, find

State = tuple[object, ...]
OPENED = 6  # dossiers kept in memory
PAGES = 12  # rendered reports kept
LISTED = 2000  # lines of the list kept
CHECK_SECONDS = 0.3  # spent on chains and blobs for one list; the rest is checked on the next, or when opened
CHECKED_IN_LIST = 64 << 20  # bytes; larger files are checked when they are opened
CHECKED_WHILE_WRITTEN = 256 << 20  # a writer would wait too long for larger ones


@dataclass(frozen=True)
class Line:
    """What the list says of a dossier, read without its evidence."""

    subject: str
    task: str
    kind: str
    time: str
    verdicts: tuple[Verdict, ...]  # of the checks that have run
    waiting: int  # checks that have not
    finished: bool
    sealed: bool

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the checks that have run."""
        return worst(self.verdicts)


@dataclass(frozen=True)
class Entry:
    """A dossier of the list. `line` is None where it cannot be read, and `damage` says why."""

    key: str
    path: Path
    written: bool
    line: Line | None
    checked: Verification | None
    damage: tuple[str, ...]


class Shelf:
    """The dossiers of the places named, looked for anew at each listing."""

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = [Path(place) for place in places]
        self._found = Found({}, False)
        self._reading = threading.RLock()
        self._drawing = threading.Lock()
        self._line = lru_cache(LISTED)(_line)
        self._checked = lru_cache(LISTED)(_checked)
        self._opened = lru_cache(OPENED)(_opened)
        self._page = lru_cache(PAGES)(_page)

    def found(self) -> Found:
        """Look for the dossiers again."""
        self._found = find(self._places)
        return self._found

    def path(self, key: str) -> Path | None:
        """Return the file that a key of the list names; no other can be named."""
        return self._found.paths.get(key) or self.found().paths.get(key)

    def entries(self) -> tuple[list[Entry], bool]:
        """Return all dossiers, and whether there were too many; those not yet checked come first next time."""
        found = self.found()
        until = time.monotonic() + CHECK_SECONDS
        return [self._entry(key, path, until) for key, path in found.paths.items()], found.cut

    def _entry(self, key: str, path: Path, until: float) -> Entry:
        with self._reading:
            state = state_of(path)
            line = self._line(path, state)
            if isinstance(line, str):
                return Entry(key, path, is_written(path), None, None, (line,))
            checked = None
            if _size(path) <= CHECKED_IN_LIST and time.monotonic() < until:
                checked = self._checked(path, state)
        return Entry(key, path, is_written(path), line, checked, checked.damage if checked else ())

    def open(self, path: Path) -> Dossier:
        """Return a dossier as it is now. DossierError where it cannot be read, or was altered."""
        with self._reading:
            state = state_of(path)
            if not (is_written(path) and _size(path) > CHECKED_WHILE_WRITTEN):
                damage = self._checked(path, state).damage
                if damage:
                    raise DossierError(f"altered: {damage[0]}; veriward verify names everything")
            return self._opened(path, state)

    def report(self, path: Path, lang: str) -> str:
        """Return the HTML report of a dossier as it is now."""
        dossier = self.open(path)
        with self._drawing:
            return self._page(dossier, lang)


def state_of(path: Path) -> State:
    """Return what changes whenever the file does: SQLite counts its transactions in bytes 24 to 27."""
    journal = path.resolve().with_name(path.resolve().name + "-journal")
    try:
        found, head = path.stat(), b""
        if path.is_file():  # a pipe would keep us waiting
            with path.open("rb") as file:
                head = file.read(28)
        beside = (journal.stat().st_size, journal.stat().st_mtime_ns) if journal.exists() else ()
    except OSError as error:
        return (error.strerror,)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, head[24:], beside


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it went away meanwhile
        return 0


def is_written(path: Path) -> bool:
    """Return whether a writer is at a dossier. Asked of the system: to try its lock could turn a writer away."""
    side = path.with_name(path.name + ".lock")
    try:
        inode = side.stat().st_ino
    except OSError:
        return False
    try:
        held = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:  # no Linux: a file that a killed writer left looks like a writer
        return True
    return any("FLOCK" in lock and f":{inode} " in lock for lock in held)


def _line(path: Path, _: State) -> Line | str:
    """Return what the list says, or why the file cannot be read."""
    try:
        with Dossier(path, untouched=True) as dossier:
            waiting = dossier.waiting()
            verdicts = tuple(verdict for name, verdict in dossier.verdicts().items() if name not in waiting)
            subject = dossier.subject
            name, task, kind = (str(subject.get(part, "")) for part in ("name", "task", "kind"))
            begun, sealed = str(dossier.plan.get("time", "")), dossier.seal is not None
            return Line(name, task, kind, begun, verdicts, len(waiting), dossier.finished, sealed)
    except DossierError as error:
        return _without(path, error)
    except Exception as error:  # a foreign file may hold anything
        return f"its rows are not as veriward wrote them ({type(error).__name__})"


def _checked(path: Path, _: State) -> Verification:
    try:
        return verify(path, untouched=True)
    except DossierError as error:
        return Verification(1, (_without(path, error),), (), 0, None)
    except Exception as error:
        return Verification(1, (f"its rows are not as veriward wrote them ({type(error).__name__})",), (), 0, None)


def _opened(path: Path, _: State) -> Dossier:
    return Dossier.snapshot(path)


def _page(dossier: Dossier, lang: str) -> str:
    return render(dossier, lang)


def _without(path: Path, error: DossierError) -> str:
    """Return what an error says without the path in front, which the list shows beside it."""
    return str(error).removeprefix(f"{path}: ")
