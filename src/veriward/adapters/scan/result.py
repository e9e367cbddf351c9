"""What a scan says: an outcome, the kind of file, its hash, and the reasons."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["clean", "unknown", "dangerous"]

_ORDER: tuple[Outcome, ...] = ("clean", "unknown", "dangerous")
_KEPT_REASONS = 64  # a hostile file can hold millions of findings; the first ones tell the story


@dataclass(frozen=True)
class Reason:
    """One finding: `where` is 'member @ byte offset', `what` was there, `why` it matters.

    >>> Reason("dangerous", "model.pkl @ 2", "os.system", "runs commands").outcome
    'dangerous'
    """

    outcome: Outcome
    where: str
    what: str
    why: str


@dataclass(frozen=True)
class ScanResult:
    """The verdict on one file. `clean` means: every part was read, and all of it is on the allowlist.

    `parts`: (path, sha256), sorted, of the files beside it that loading it reads, too, like the external data of an
    ONNX model. Their paths are relative to the folder of the file; a verdict holds as long as none of them changes.

    >>> ScanResult("clean", "safetensors", "00" * 32, ()).outcome
    'clean'
    """

    outcome: Outcome
    kind: str
    sha256: str
    reasons: tuple[Reason, ...]
    parts: tuple[tuple[str, str], ...] = ()


def worst(first: Outcome, second: Outcome) -> Outcome:
    """The graver of two outcomes: dangerous > unknown > clean.

    >>> worst("clean", "unknown")
    'unknown'
    """
    return max(first, second, key=_ORDER.index)


def shown(text: object, limit: int = 120) -> str:
    r"""Text from a file as it may be printed: escaped, so that it cannot forge a line, and cut.

    >>> shown("a\nb")
    'a\\nb'
    """
    return str(text)[:limit].encode("unicode_escape").decode("ascii")


class Notes:
    """Collects reasons: repeats are dropped, and when full a dangerous one replaces an unknown one.

    >>> notes = Notes()
    >>> notes.add(Reason("unknown", "a @ 0", "x", "y"))
    >>> notes.outcome
    'unknown'
    """

    def __init__(self) -> None:
        self.outcome: Outcome = "clean"
        self._reasons: dict[tuple[str, str, str, str], Reason] = {}

    def add(self, reason: Reason) -> None:
        """Keep one reason; the outcome counts even where the reason itself is dropped.

        >>> notes = Notes()
        >>> notes.add(Reason("dangerous", "a @ 0", "x", "y"))
        >>> len(notes.reasons)
        1
        """
        self.outcome = worst(self.outcome, reason.outcome)
        member = reason.where.rpartition(" @ ")[0]
        key = (reason.outcome, member, reason.what, reason.why)
        if key in self._reasons:
            return
        if len(self._reasons) >= _KEPT_REASONS and not self._make_room(reason):
            return
        self._reasons[key] = reason

    def _make_room(self, reason: Reason) -> bool:
        if reason.outcome != "dangerous":
            return False
        spare = next((key for key in self._reasons if key[0] == "unknown"), None)
        if spare is None:
            return False
        del self._reasons[spare]
        return True

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons kept, gravest first.

        >>> Notes().reasons
        ()
        """
        return tuple(sorted(self._reasons.values(), key=lambda reason: -_ORDER.index(reason.outcome)))
