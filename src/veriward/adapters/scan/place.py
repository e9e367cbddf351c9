"""Where the scanner stands in nested content, what it may still spend, and where it writes what it finds."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from .result import Notes, Outcome, Reason, shown
from .source import Source

MAX_DEPTH = 4  # archives within archives


class Exhausted(Exception):  # noqa: N818 -- names the state of the purse; never leaves the package
    """The file asks for more time or memory than a scan may spend on it."""


@dataclass
class Purse:
    """What one scan may spend, over all nested content; spent sums end the scan as `unknown`.

    >>> Purse(opcodes=1).spend("opcodes", 1)
    """

    opcodes: int = 5_000_000  # about ten seconds
    inflated: int = 1 << 30  # bytes decompressed
    members: int = 200_000
    records: int = 20_000_000  # nodes of decision trees
    fields: int = 6_000_000  # fields of protobuf messages and values of UBJSON, about ten seconds
    expressions: int = 8_000_000  # characters of sizes and guards in programs
    structures: int = 32_000_000  # bytes of structure in HDF5 files
    code: int = 1_000_000  # bytes of programs, some seconds
    findings: int = 100_000

    def spend(self, what: str, amount: int) -> None:
        """Take `amount` out; raises Exhausted when the purse is empty.

        >>> purse = Purse(); purse.spend("members", 5); purse.members
        199995
        """
        left = getattr(self, what) - amount
        if left < 0:
            raise Exhausted(what)
        setattr(self, what, left)


@dataclass(frozen=True)
class Place:
    """The name of the content at hand, its depth, and the notes of the whole scan.

    `pasted`: the loader pastes texts from here into code, so none may hold quotes, backslashes or control characters.
    `look(source, place)` types and reads nested content, whatever it is, and returns its kind.
    `folder` is where the file lies, for formats that keep tensors beside it; nested content has none.
    `parts` collects the hashes of such files, by their path below the folder.

    >>> place = Place("a.zip", Notes(), Purse(), lambda source, place: "text")
    >>> place.inside("b.pkl").name
    'a.zip/b.pkl'
    """

    name: str
    notes: Notes
    purse: Purse
    look: Callable[[Source, "Place"], str]
    depth: int = 0
    pasted: bool = False
    folder: Path | None = None
    parts: dict[str, str] = field(default_factory=dict)

    def inside(self, member: str) -> "Place":
        """The place of a member of this archive.

        >>> Place("a", Notes(), Purse(), lambda s, p: "").inside("b").depth
        1
        """
        return replace(self, name=f"{self.name}/{shown(member, 80)}", depth=self.depth + 1, folder=None)

    def pasting(self) -> "Place":
        """The same place, where texts end up in code.

        >>> Place("a", Notes(), Purse(), lambda s, p: "").pasting().pasted
        True
        """
        return replace(self, pasted=True)

    def trial(self) -> "Place":
        """The same place with empty notes: a guess whose findings are merged only if it proves right.

        >>> Place("a", Notes(), Purse(), lambda s, p: "").trial().notes.outcome
        'clean'
        """
        return replace(self, notes=Notes())

    def merge(self, trial: "Place") -> None:
        """Take over what a trial found.

        >>> place = Place("a", Notes(), Purse(), lambda s, p: "")
        >>> place.merge(place.trial())
        """
        for reason in trial.notes.reasons:
            self.notes.add(reason)

    def unknown(self, at: int, what: object, why: str) -> None:
        """Note something that nobody can call clean. Raises Exhausted after too many findings.

        >>> place = Place("a", Notes(), Purse(), lambda s, p: "")
        >>> place.unknown(3, "x", "y"); place.notes.reasons[0].where
        'a @ 3'
        """
        self._note("unknown", at, what, why)

    def dangerous(self, at: int, what: object, why: str) -> None:
        """Note something that harms whoever loads the file.

        >>> place = Place("a", Notes(), Purse(), lambda s, p: "")
        >>> place.dangerous(3, "x", "y"); place.notes.outcome
        'dangerous'
        """
        self._note("dangerous", at, what, why)

    def _note(self, outcome: Outcome, at: int, what: object, why: str) -> None:
        self.purse.spend("findings", 1)
        self.notes.add(Reason(outcome, f"{self.name} @ {at}", shown(what), why))


def give_up(what: str) -> NoReturn:
    """End the scan: the content is larger than a scan may handle.

    >>> give_up("memo")
    Traceback (most recent call last):
    veriward.adapters.scan.place.Exhausted: memo
    """
    raise Exhausted(what)
