"""Private columns stay on this machine: a model that is asked over the network never gets them."""

from veriward.adapters.model import Backend
from veriward.core.data import Table
from veriward.core.errors import SettingsError, some
from veriward.core.note import Note, note
from veriward.core.subject import Subject


def withhold(subject: Subject, backend: Backend, table: Table, notes: list[Note]) -> Table:
    """Return a table without `data.private` where rows leave the machine, else the table itself.

    Raises SettingsError if `input.columns` asks to send what `data.private` keeps.
    """
    if not getattr(backend, "remote", False):
        return table
    private = set(subject.data.private)
    asked = sorted(private.intersection(subject.input.columns or ()))
    if asked:
        raise SettingsError(
            f"input.columns names {some(asked)}, which data.private keeps from a served model; "
            "take it out of one of the two"
        )
    kept = {name: column for name, column in table.columns.items() if name not in private}
    withheld = [name for name in table.names if name in private]
    if withheld and subject.input.columns is None:
        notes.append(note("input.private_withheld", columns=some(withheld)))
    return Table(kept)
