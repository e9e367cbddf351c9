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
    parts, depth = 1 + len(items), 0
    for item in items:
        kind = type(item)
        if kind is tuple or kind is Nest or kind is Data:
            more, levels = extent(item)
            parts += more - 1
            depth = max(depth, levels)
    if depth == 0 and parts <= KEPT_ITEMS + 1:
        return tuple(items)
    if parts > _KEPT_PARTS or depth >= _KEPT_DEPTH or len(items) > KEPT_ITEMS:
        return Data("tuple", size=min(parts, _COUNTABLE), depth=depth + 1)
    nest = Nest(items)
    nest.parts, nest.depth = parts, depth + 1
    return nest


def extent(value: Value) -> tuple[int, int]:
    """(parts, levels) of a tuple; (1, 0) of anything else.

    >>> extent(()), extent(3)
    ((1, 1), (1, 0))
    """
    if isinstance(value, Nest):
        return value.parts, value.depth
    if isinstance(value, tuple):
        return 1 + len(value), 1
    if isinstance(value, Data) and value.kind == "tuple":
        return max(value.size, 1), max(value.depth, 1)
    if isinstance(value, Data) and value.kind == "int":
        return 1 + value.size // 8, 0  # hashed anew each time, like a tuple
    return 1, 0


def overgrown(value: Value, stream_bytes: int) -> str | None:
    """Why a tuple would hang or crash its loader; None for one that its stream justifies.

    >>> overgrown((1, 2), 100)
    """
    parts, depth = extent(value)
    if parts > max(_MAX_PARTS, stream_bytes):
        return "repeats its parts so often that hashing it would take for ever"
    return "is so deep that hashing it would overflow the stack" if depth > _MAX_DEPTH else None
