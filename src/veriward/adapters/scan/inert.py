"""Files that lie beside a model and that no loader of models runs: a readme, a licence, a table."""

import re

from .pickles import scan_guess
from .place import Place
from .source import Source
from .zips import has_directory

_NAME = re.compile(r"(.*/)?([^/]*\.(txt|md|rst|csv|tsv)|README|LICEN[CS]E|NOTICE|VERSION)", re.IGNORECASE)
_SOURCE = re.compile(r".*\.(py|pyc|pyd|so|dll|dylib|sh|bat|exe)", re.IGNORECASE)


def scan_beside(name: str, source: Source, place: Place) -> str:
    """Type and read a member that may be a text for people; returns its kind.

    Only text under a name of text is accepted; whatever a loader might take it for is read as that.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "unknown")
    >>> scan_beside("README.md", Source.of(b"hello"), place), place.notes.outcome
    ('text', 'clean')
    """
    if _NAME.fullmatch(name) and _is_text(source) and not has_directory(source) and not scan_guess(source, place):
        return "text"
    if _SOURCE.fullmatch(name):
        place.unknown(0, name, "is code, which whoever unpacks the archive may run")
    return place.look(source, place)


def _is_text(source: Source) -> bool:
    """Printable text in full, not only at its beginning; texts of many megabytes are no readme."""
    if source.size > 1 << 20:
        return False
    try:
        text = source.read(0, source.size).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\n\r\t" for letter in text)
