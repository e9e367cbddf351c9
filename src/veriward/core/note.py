"""A sentence for the user, kept as a code and its values, so that every report can say it in its own language."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from veriward.core.canonical import plain


@dataclass(frozen=True)
class Note:
    """The catalogues in `reports/catalogues` hold the sentence of each code, in English and Chinese."""

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for the dossier."""
        return {"code": self.code, "values": plain(self.values)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Note":
        """Return the note that `to_dict` wrote."""
        return cls(data["code"], data["values"])


def note(code: str, **values: Any) -> Note:
    """Return the sentence `code` with its values.

    >>> note("input.bounds_inferred", low=0.0, high=1.0).code
    'input.bounds_inferred'
    """
    return Note(code, values)
