"""Trees of neighbours (KDTree, BallTree), whose ranges and indices scikit-learn follows without looking.

A range behind the last sample, or an index of a sample that does not exist, makes a query read foreign memory.
Source: sklearn/neighbors/_binary_tree.pxi.tp, `__setstate__` and `_recursive_build`.
"""

from itertools import chain

from .arrays import BadArray, Header, read_header
from .place import Place
from .source import Source
from .trees import records

_NODE = ("idx_start", "idx_end", "is_leaf")
_OUT = "leads queries out of the tree or of its samples"


def check_neighbours(arrays: list[Source], levels: int, count: int, place: Place) -> None:
    """Check samples, their order, the nodes and their bounds, in this order, of a tree of so many nodes.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> check_neighbours([Source.of(b"")] * 4, 1, 1, place); place.notes.outcome
    'unknown'
    """
    try:
        samples, order, nodes, _ = headers = [read_header(array) for array in arrays]
    except BadArray as error:
        place.unknown(0, "tree", f"its nodes cannot be read: {error}")
        return
    if not _fit(headers, levels, count):
        place.unknown(0, "tree", _OUT)
        return
    ranges = list(records(arrays[2], nodes, _NODE, place))
    if len(ranges) != count or not _are_parts(ranges, samples.shape[0]):
        place.unknown(nodes.data_at, "tree", _OUT)
    elif not _are_inside(arrays[1], order, samples.shape[0], place):
        place.unknown(order.data_at, "index", _OUT)


def _fit(headers: list[Header], levels: int, count: int) -> bool:
    samples, order, nodes, bounds = headers
    if len(samples.shape) != 2 or len(bounds.shape) != 3 or not 0 < levels < 48:
        return False
    shapes = order.shape == samples.shape[:1] and nodes.shape == (count,) and count == (1 << levels) - 1
    return shapes and 1 <= bounds.shape[0] <= 2 and bounds.shape[1:] == (count, samples.shape[1])


def _are_parts(ranges: list[tuple[int, ...]], samples: int) -> bool:
    """From the root down, each node that is no leaf is cut in two by its children."""
    waiting = [(0, 0, samples)]
    while waiting:
        index, begin, end = waiting.pop()
        if index >= len(ranges) or ranges[index][:2] != (begin, end) or begin > end:
            return False
        left = 2 * index + 1
        if not ranges[index][2]:
            if left >= len(ranges):
                return False
            middle = ranges[left][1]
            waiting += [(left, begin, middle), (left + 1, middle, end)]
    return True


def _are_inside(array: Source, order: Header, samples: int, place: Place) -> bool:
    if order.descr not in ("<i8", "<i4"):
        return False
    found = records(array, Header([("", order.descr)], order.shape, 8, False, order.data_at), ("",), place)
    return all(0 <= index < samples for index in chain.from_iterable(found))
