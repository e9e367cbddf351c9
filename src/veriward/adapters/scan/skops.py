"""skops files: a tree of nodes in JSON, each with the loader and the type it asks for, and arrays beside it.

Every node is judged as skops would build it (skops/io/_general.py, _numpy.py, _scipy.py, _sklearn.py, protocols 1
and 2), by the allowlists of sklearn_types.py.
"""

from veriward.core.errors import ArtefactError

from .jsons import BadJson, read_json
from .members import scan_member
from .nodes import LOADERS
from .place import Exhausted, Place, Purse
from .result import Notes
from .source import Source
from .unpack import unpacked
from .walk import Walk
from .zips import Archive, read_archive

_SCHEMA = "schema.json"
_PROTOCOLS = (1, 2)  # 0 reads functions from another place in the file


def scan_skops(archive: Archive, place: Place) -> None:
    """Judge every node and every member of a skops file.

    >>> from .source import Source
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_skops(Archive(Source.of(b""), ()), place); place.notes.outcome
    'unknown'
    """
    walk = _walked(archive, place)
    for member in archive.members:
        if member.name != _SCHEMA and member.name not in walk.files and not member.is_folder:
            place.unknown(member.header_at, member.name, "is a member that no node refers to")
            scan_member(archive, member, place)


def skops_types(content: bytes) -> tuple[str, ...]:
    """The names of all types and functions in a skops file, sorted: what skops.io.loads has to be told to trust.

    Ask only after scan(path) said `clean` of the same bytes: then these are exactly the names that the allowlist
    accepted. Raises ArtefactError where it is no skops file.

    >>> skops_types(b"")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    veriward.core.errors.ArtefactError: holds no schema.json; a file of skops.io.dump was wanted, scan it to see what ...
    """
    place = Place("skops", Notes(), Purse(), lambda source, place: "unknown")
    archive = read_archive(Source.of(content), place)
    if archive is None or archive.named(_SCHEMA) is None:
        raise ArtefactError(f"holds no {_SCHEMA}; a file of skops.io.dump was wanted, scan it to see what it is.")
    try:
        return tuple(sorted(_walked(archive, place).types))
    except (Exhausted, RecursionError) as error:
        raise ArtefactError("a skops file too large or too deep to be read; a smaller one was wanted.") from error


def _walked(archive: Archive, place: Place) -> Walk:
    inner = place.inside(_SCHEMA)
    walk = Walk(archive, inner, LOADERS)
    member = archive.named(_SCHEMA)
    content = unpacked(archive, member, inner) if member is not None else None
    if content is None:
        inner.unknown(0, _SCHEMA, "is missing")
        return walk
    try:
        schema = read_json(content.read(0, min(content.size, 1 << 26)))
    except BadJson as error:
        (inner.dangerous if error.twice else inner.unknown)(0, _SCHEMA, str(error))
        return walk
    protocol = schema.get("protocol") if isinstance(schema, dict) else None
    if type(protocol) is not int or protocol not in _PROTOCOLS:
        inner.unknown(0, f"protocol {protocol}", "is a version of the format that is not read")
    walk.visit(schema)
    return walk
