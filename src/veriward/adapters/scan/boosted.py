"""What XGBoost and LightGBM have in common: arrays of nodes, whose indices native code follows without looking.

A child that does not exist, a loop, or a feature that the input does not have makes prediction read foreign memory or
never end, so every index is followed here first.
"""

from collections.abc import Callable, Sequence
from math import isfinite, isinf

OUTSIDE = "points outside of the tree or of the input: native loaders follow it into memory that is not theirs"
LOOP = "is reached twice: native prediction walks in circles, or frees what it still uses"


class BadModel(ValueError):  # noqa: N818 -- never leaves the package
    """What is wrong with a model of trees, and whether it harms whoever loads it."""

    def __init__(self, what: str, why: str, grave: bool = False) -> None:
        super().__init__(f"{what} {why}")
        self.what, self.why, self.grave = what, why, grave


def need(holds: bool, what: str, why: str) -> None:
    """Refuse what nobody can call clean; raises BadModel.

    >>> need(True, "tree 1", "has no root")
    """
    if not holds:
        raise BadModel(what, why)


def within(holds: bool, what: str, why: str = OUTSIDE) -> None:
    """Refuse an index that leads out of its array; raises BadModel.

    >>> within(False, "node 3")
    Traceback (most recent call last):
    veriward.adapters.scan.boosted.BadModel: node 3 points outside of the tree or of the input: native loaders follow \
it into memory that is not theirs
    """
    if not holds:
        raise BadModel(what, why, grave=True)


def integers(values: Sequence[object], what: str) -> Sequence[int]:
    """The values, if all are integers of at most 64 bits; raises BadModel.

    >>> integers([1, True], "sides")
    [1, True]
    """
    if not all(isinstance(value, int) for value in values) or not _fit(values):  # type: ignore[arg-type]
        raise BadModel(what, "should hold integers alone")
    return values  # type: ignore[return-value]


def finite(values: Sequence[object], what: str, but_infinity: bool = False) -> Sequence[float]:
    """The values, if all are finite numbers, or infinite where that means something; raises BadModel.

    >>> finite([1, 2.5], "leaves")
    [1, 2.5]
    """
    if not all(isinstance(value, int | float) for value in values):
        raise BadModel(what, "should hold numbers alone")
    try:
        sound = all(isfinite(value) or (but_infinity and isinf(value)) for value in values)  # type: ignore[arg-type]
    except OverflowError:
        sound = False
    if not sound:
        raise BadModel(what, "should hold finite numbers")
    return values  # type: ignore[return-value]


def _fit(values: Sequence[int]) -> bool:
    return not values or (min(values) >= -(1 << 63) and max(values) < 1 << 63)


def reached(left: Sequence[int], right: Sequence[int], visit: Callable[[int], None], what: str) -> bytearray:
    """Follow a tree from its root, node 0; one byte per node, 1 where it was reached. A left child of -1 is a leaf.

    Raises BadModel where a child lies outside or is reached twice. `visit(node)` is called for every node that splits.

    >>> list(reached([1, -1, -1, -1], [2, -1, -1, -1], lambda node: None, "tree"))
    [1, 1, 1, 0]
    """
    count = len(left)
    seen = bytearray(count)
    seen[0] = 1
    stack = [0]
    while stack:
        node = stack.pop()
        first, second = left[node], right[node]
        if first == -1:
            continue
        within(0 <= first < count and 0 <= second < count, f"{what}, node {node}")
        within(not seen[first] and not seen[second] and first != second, f"{what}, a child of node {node}", LOOP)
        seen[first] = seen[second] = 1
        visit(node)
        stack.append(first)
        stack.append(second)
    return seen
