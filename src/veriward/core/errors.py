"""The error tree. A message says where, what came, what was wanted, and what to do; it never prints private rows."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from veriward.core.note import Note


def some(names: Iterable[object], most: int = 20) -> str:
    """Return names for a message or a note, in no language: the first ones of many.

    >>> some(["a", "b", "c"], most=2)
    'a, b … (+1)'
    """
    texts = [str(name) for name in names]
    more = f" … (+{len(texts) - most})" if len(texts) > most else ""
    return (", ".join(text[:60] for text in texts[:most]) or "none") + more


class VeriwardError(Exception):
    """Everything veriward raises on purpose; the command line turns it into one line and exit code 2."""


class SettingsError(VeriwardError):
    """A subject, a policy or an option that cannot be used as it stands."""


class NothingApplies(SettingsError):  # noqa: N818 -- names what is so, not what went wrong
    """No check can run on a subject. `refused`: each check with its reason, which the reports have sentences for."""

    def __init__(self, refused: "Sequence[tuple[str, Note]]") -> None:
        self.refused = tuple(refused)
        told = (", ".join(f"{key} {value}" for key, value in reason.values.items()) for _, reason in refused)
        reasons = (f"{name} ({more or why.code})" for (name, why), more in zip(refused, told, strict=True))
        super().__init__(f"no check applies to this subject: {'; '.join(reasons)}")


class DataError(SettingsError):
    """Data that is missing, unreadable or contradicts what the subject says about it."""


class CapabilityError(VeriwardError):
    """A model was asked for something that it, or the access the subject grants, does not offer."""


class ModelError(VeriwardError):
    """A model raised, or answered with the wrong shape or with values that are not numbers."""


class ContradictionError(VeriwardError):
    """A certificate and an attack that say opposite things of one row: an error of ours, never a footnote."""


class ArtefactError(VeriwardError):
    """A file that is unreadable, of an unknown kind, or not safe to load."""


class DangerousArtefact(ArtefactError):  # noqa: N818 -- names the file, not what went wrong
    """A file that the scanner calls dangerous: exit code 1, as if a limit were broken."""


class UnknownArtefact(ArtefactError):  # noqa: N818 -- the same
    """A file that the scanner cannot call clean: undecided, exit code 3."""


class DossierError(VeriwardError):
    """A dossier that is corrupt, foreign, in use by another process, or not writable."""


class LedgerError(VeriwardError):
    """A privacy ledger that is corrupt, of other data, held by another process, or not writable."""


class BudgetExceeded(VeriwardError):  # noqa: N818 -- the field says "budget exceeded"
    """More was asked than the threat or the user allows."""


class DependencyMissing(VeriwardError):  # noqa: N818 -- names what is missing, not what went wrong
    """An optional package is needed: the message holds the pip command."""


class PrivacyError(VeriwardError):
    """A step that would break a privacy guarantee, refused before it happens."""
