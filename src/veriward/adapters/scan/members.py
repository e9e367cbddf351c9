"""Members of an archive that may be anything, or must be almost nothing."""

from .place import Place
from .unpack import unpacked
from .zips import Archive, Member


def scan_member(archive: Archive, member: Member, place: Place) -> str:
    """Type and read a member of which nothing is known; returns its kind.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> from .source import Source
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "text")
    >>> member = Member("a", 0, 0, 0, 2, 2, 0, 1, 0)
    >>> scan_member(Archive(Source.of(b"-ab"), (member,)), member, place)
    'text'
    """
    inner = place.inside(member.name)
    content = unpacked(archive, member, inner)
    return place.look(content, inner) if content is not None else "unknown"


def scan_label(archive: Archive, member: Member, place: Place) -> bytes:
    """Check a member that holds a word or a number, like a version; returns it.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> from .source import Source
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "text")
    >>> member = Member("a", 0, 0, 0, 2, 2, 0, 1, 0)
    >>> scan_label(Archive(Source.of(b"-ab"), (member,)), member, place)
    b'ab'
    """
    inner = place.inside(member.name)
    content = unpacked(archive, member, inner)
    label = content.read(0, 65) if content is not None else b""
    if len(label) > 64 or not all(32 <= letter < 127 or letter == 10 for letter in label):
        inner.unknown(0, "label", "should be a word or a number")
    return label
