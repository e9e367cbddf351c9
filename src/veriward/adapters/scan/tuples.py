"""Tuples of tuples, and what hashing them costs whoever loads them.

A tuple does not remember its hash. `)` followed by sixty times `2\\x86` (DUP, TUPLE2) is a tuple of 2**60 parts in 121
bytes, and as a key of a dict it never ends; one of 300 000 levels overflows the stack of CPython. So the sizes are kept.
"""

from .values import KEPT_ITEMS, Data, Value

_KEPT_PARTS, _KEPT_DEPTH = 4096, 64
_MAX_PARTS, _MAX_DEPTH = 1 << 16, 1000  # CPython's own pickler gives up before the latter
_COUNTABLE = 1 << 62


class Nest(tuple["Value", ...]):
    """A tuple that holds tuples; `parts` counts what lies below it, each as often as it is there."""

    parts: int = 1
    depth: int = 1


def packed(items: list[Value]) -> Value:
    """A tuple of values, or only its mark when it is large.

    >>> packed([1, 2]), extent(packed([(1, 2), (1, 2)]))
    ((1, 2), (7, 2))
    """
    long = len(items) > KEPT_ITEMS
    if not long and not any(isinstance(item, tuple | Data) for item in items):
        return tuple(items)
    extents = [extent(item) for item in items]
    parts = min(1 + sum(parts for parts, _ in extents), _COUNTABLE)
    depth = 1 + max((depth for _, depth in extents), default=0)
    if long or parts > _KEPT_PARTS or depth > _KEPT_DEPTH:
        return Data("tuple", size=parts, depth=depth)
    nest = Nest(items)
    nest.parts, nest.depth = parts, depth
    return nest


def extent(value: Value) -> tuple[int, int]:
    """(parts, levels) of a tuple; (1, 0) of anything else.

    >>> extent(()), extent(3)
    ((1, 1), (1, 0))
    """
    match value:
        case Nest():
            return value.parts, value.depth
        case tuple():
            return 1 + len(value), 1
        case Data(kind="tuple"):
            return max(value.size, 1), max(value.depth, 1)
    return 1, 0


def overgrown(value: Value, stream_bytes: int) -> str | None:
    """Why a tuple would hang or crash its loader; None for one that its stream justifies.

    >>> overgrown((1, 2), 100)
    """
    parts, depth = extent(value)
    if parts > max(_MAX_PARTS, stream_bytes):
        return "repeats its parts so often that hashing it would take for ever"
    return "is so deep that hashing it would overflow the stack" if depth > _MAX_DEPTH else None
