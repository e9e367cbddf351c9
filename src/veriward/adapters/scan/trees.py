"""Decision trees as arrays of nodes, whose indices scikit-learn follows without looking.

A child beyond the last node, a loop, or a feature that the input does not have makes prediction read foreign memory
or never end (scikit-learn pull request 34558), so skops trusts no tree. Here every index is checked instead.
"""

import re
import struct
from collections.abc import Iterator

from .arrays import BadArray, Header, read_header
from .place import Place
from .source import Source

_LETTERS = {"i8": "q", "i4": "i", "u8": "Q", "u4": "I", "u1": "B", "i1": "b", "b1": "?", "f8": "d", "f4": "f"}
_FIELD = re.compile(r"[<|](?:(V)(\d{1,4})|([iufb][148]))")
_ROWS = 4096

_TREE = ("left_child", "right_child", "feature")
_PREDICTOR = ("left", "right", "feature_idx", "is_leaf", "is_categorical", "bitset_idx")


def check_tree(nodes: Source, count: int, features: int, place: Place) -> None:
    """Check the nodes of a sklearn Tree: children lie behind their parent, features exist.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> check_tree(Source.of(b""), 0, 0, place); place.notes.outcome
    'unknown'
    """
    header = _header(nodes, place)
    if header is None:
        return
    if header.shape != (count,):
        place.unknown(0, "tree", f"has {header.shape} nodes, and claims {count}")
        return
    for index, (left, right, feature) in enumerate(records(nodes, header, _TREE, place)):
        inside = index < left < count and index < right < count and 0 <= feature < features
        if left != -1 and not inside:  # -1: a leaf, where prediction stops
            place.unknown(header.data_at, f"node {index}", "leads prediction out of the tree or of the input")
            return


def check_predictor(nodes: Source, bitsets: int, features: int, place: Place) -> None:
    """Check the nodes of a histogram boosting predictor with that many sets of categories.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> check_predictor(Source.of(b""), 0, 0, place); place.notes.outcome
    'unknown'
    """
    header = _header(nodes, place)
    if header is None:
        return
    if len(header.shape) != 1 or not header.count:
        place.unknown(0, "predictor", "has no list of nodes")
        return
    for index, record in enumerate(records(nodes, header, _PREDICTOR, place)):
        left, right, feature, leaf, categorical, bitset = record
        inside = index < left < header.count and index < right < header.count and 0 <= feature < features
        if not leaf and not (inside and (not categorical or bitset < bitsets)):
            place.unknown(header.data_at, f"node {index}", "leads prediction out of the tree or of the input")
            return


def _header(nodes: Source, place: Place) -> Header | None:
    try:
        return read_header(nodes)
    except BadArray as error:
        place.unknown(0, "tree", f"its nodes cannot be read: {error}")
        return None


def records(nodes: Source, header: Header, wanted: tuple[str, ...], place: Place) -> Iterator[tuple[int, ...]]:
    """Some fields of every node, in order; nothing, and a note, where the nodes lack them.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> list(records(Source.of(bytes([1, 2])), Header([("a", "|u1")], (2,), 1, False, 0), ("a",), place))
    [(1,), (2,)]
    """
    layout = _layout(header.descr)
    if layout is None or not set(wanted) <= set(layout[1]):
        place.unknown(0, "tree", "its nodes have another layout than scikit-learn writes")
        return
    place.purse.spend("records", header.count)
    form, names = layout
    columns = [names.index(name) for name in wanted]
    step = _ROWS * form.size
    for at in range(header.data_at, header.data_at + header.count * form.size, step):
        chunk = nodes.read(at, step)
        for record in form.iter_unpack(chunk[: len(chunk) - len(chunk) % form.size]):
            yield tuple(record[column] for column in columns)


def _layout(descr: object) -> tuple[struct.Struct, list[str]] | None:
    """The struct of one node and the names of its fields; padding has no name."""
    if not isinstance(descr, list):
        return None
    letters, names = ["<"], []
    for field in descr:
        match = _FIELD.fullmatch(str(field[1])) if isinstance(field, tuple) and len(field) == 2 else None
        if match is None or (match[3] and match[3] not in _LETTERS):
            return None
        letters.append(f"{match[2]}x" if match[1] else _LETTERS[match[3]])
        if not match[1]:
            names.append(str(field[0]))
    return struct.Struct("".join(letters)), names
