"""The leaves of trees as boxes of inputs: which numbers lead to a leaf, exactly as the library that grew it decides.

Along each input the thresholds of all trees cut the line into cells, inside of which no decision changes. A cell is a
closed interval of float64 numbers: its ends are found by asking how the library reads numbers, so strict and non-strict
tests, inputs rounded to float32, numbers that count as zero and category sets need no cases of their own here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from veriward.adapters.trees.forest import ZERO_IS_GAP, Bools, Floats, Forest, Ints, Reading

Array = npt.NDArray[Any]
_LARGEST = np.finfo(np.float64).max


@dataclass(frozen=True, eq=False)
class Boxes:
    """Cells of each input, and leaves as products of cells. Leaves stand tree by tree.

    An entry is one input that a leaf restricts, (leaves, most entries); where a leaf has fewer, they name the input
    `width`, which has one cell and restricts nothing. Inputs in `by_set` are restricted to sets of cells instead, and what
    is missing there is a cell of its own.
    """

    forest: Forest
    starts: Ints  # (width + 2,), where the cells of each input start
    lows: Floats  # (cells,), the smallest number of each cell
    highs: Floats  # (cells,), the largest
    by_set: Bools  # (width + 1,)
    leaf: Ints  # (leaves,), its node
    tree_starts: Ints  # (trees,), where the leaves of each tree start
    feature: Ints  # (leaves, entries)
    first: Ints  # (leaves, entries), the first cell of the input that leads to the leaf, counted from 0
    last: Ints  # (leaves, entries)
    gap: Bools  # (leaves, entries), whether rows without this number get there
    set_number: Ints  # (leaves, entries), the row of `sets`; -1: an interval
    sets: Bools  # (sets, most cells of such an input)

    @property
    def cells(self) -> int:
        """The number of cells of all inputs."""
        return len(self.lows)

    @cached_property
    def owner(self) -> Ints:
        """The input that each cell belongs to, (cells,)."""
        return np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))

    @cached_property
    def tree(self) -> Ints:
        """The tree of each leaf, (leaves,)."""
        ends = np.append(self.tree_starts[1:], len(self.leaf))
        return np.repeat(np.arange(len(self.tree_starts), dtype=np.int32), ends - self.tree_starts)

    @cached_property
    def values(self) -> Floats:
        """What each leaf adds to each output, (leaves, outputs)."""
        forest = self.forest
        output = forest.output[self.tree]
        if forest.value.shape[1] > 1 or not (output >= 0).any():
            return np.broadcast_to(forest.value[self.leaf], (len(self.leaf), forest.outputs)).copy()
        values = np.zeros((len(self.leaf), forest.outputs))
        alone = output >= 0
        values[np.flatnonzero(alone), output[alone]] = forest.value[self.leaf[alone], 0]
        values[~alone] = forest.value[self.leaf[~alone]]
        return values

    def cell(self, x: Floats) -> Ints:
        """Return the cell of each number of rows (n, width), counted from 0 in its input; -1 where it is missing.

        Inputs in `by_set` have a cell for what is missing: their last.
        """
        found = np.empty(x.shape, np.int32)
        for j in range(self.forest.width):
            found[:, j] = np.searchsorted(self.highs[self.starts[j] : self.starts[j + 1]], x[:, j])
        return np.where(np.isnan(x) & ~self.by_set[:-1], -1, found)


def boxes_of(forest: Forest, whole: Bools | None = None, listed: Bools | None = None) -> Boxes:
    """Return the boxes of a forest. `whole` (width,): inputs of whole numbers alone, whose cells without one are left out;
    `listed`: inputs that take a few values which have no order.

    >>> from veriward.adapters.trees.forest import stump
    >>> boxes_of(stump(0, 0.5, 1.0, 2.0)).highs.tolist()
    [0.5, inf, inf]
    """
    width = forest.width
    whole = np.zeros(width, bool) if whole is None else whole
    inner = np.flatnonzero(~forest.is_leaf).astype(np.int32)
    owner = forest.feature[inner]
    zero_gap = (forest.missing[inner] == ZERO_IS_GAP) & (forest.category[inner] < 0)
    by_set = np.zeros(width + 1, bool)
    by_set[:width] |= False if listed is None else listed
    by_set[owner[(forest.category[inner] >= 0) | zero_gap]] = True
    ends = _ends(forest, inner)
    cuts = _cuts(forest, inner, ends, zero_gap)
    gaps = [np.full(int(by_set[j]), np.nan) for j in range(width)]
    lows = [np.concatenate([[-np.inf], np.nextafter(cut, np.inf), gap]) for cut, gap in zip(cuts, gaps, strict=True)]
    highs = [np.concatenate([cut, [np.inf], gap]) for cut, gap in zip(cuts, gaps, strict=True)]
    lows, highs = [*lows, np.array([-np.inf])], [*highs, np.array([np.inf])]
    kept = [np.ones(len(low), bool) for low in lows]
    for j in np.flatnonzero(whole).tolist():
        kept[j] = (np.ceil(lows[j]) <= highs[j]) | np.isnan(lows[j])
    before = [np.concatenate([[0], np.cumsum(keep)]) for keep in kept]
    turn = np.array([before[j][_count(cuts[j], end)] for j, end in zip(owner, ends, strict=True)], np.int32)
    lows, highs = ([part[keep] for part, keep in zip(parts, kept, strict=True)] for parts in (lows, highs))
    sizes = np.array([len(low) for low in lows], np.int32)
    decisions = _Decisions(forest, inner, turn, sizes, by_set, _asides(forest, inner, lows, by_set))
    return Boxes(
        forest,
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        np.concatenate(lows),
        np.concatenate(highs),
        by_set,
        **_leaves(decisions),
    )


def last_left(reading: Reading, thresholds: Floats, strict: Bools) -> Floats:
    """Return the largest float64 that is read as below (or at, unless strict) each threshold; -inf where none is.

    Found by bisection over the float64 numbers themselves, in their order, with the library's reading as the judge.

    >>> last_left(Reading(strict=False, single=True), np.array([0.5]), np.array([False])).item() > 0.5
    True
    """

    def left(place: Array) -> Bools:
        read = reading.numbers(_numbers(place))
        return np.asarray(np.where(strict, read < thresholds, read <= thresholds))

    low = np.full(len(thresholds), -_place(np.array(_LARGEST)) - 1, np.int64)
    high = np.full(len(thresholds), _place(np.array(_LARGEST)), np.int64)
    none, all_ = ~left(low), left(high)
    for _ in range(64):
        middle = (low & high) + ((low ^ high) >> 1)  # the mean, which a sum could overflow
        goes = left(middle)
        low, high = np.where(goes, middle, low), np.where(goes, high, middle)
    return np.where(none, -np.inf, np.where(all_, np.inf, _numbers(low)))


def _place(numbers: Array) -> Array:
    """The rank of float64 numbers among all of them, int64: neighbours differ by one."""
    bits = np.asarray(numbers, np.float64).view(np.int64)
    return np.where(bits < 0, np.int64(-1) - (bits & np.int64(2**63 - 1)), bits)


def _numbers(place: Array) -> Floats:
    bits = np.where(place < 0, (np.int64(-1) - place) | np.int64(-(2**63)), place)
    return np.asarray(bits.astype(np.int64).view(np.float64))


def _ends(forest: Forest, inner: Ints) -> Floats:
    """The largest number that goes left at each decision by a threshold, (decisions,)."""
    strict = np.full(len(inner), forest.reading.strict)
    return last_left(forest.reading, forest.threshold[inner], strict)


def _cuts(forest: Forest, inner: Ints, ends: Floats, zero_gap: Bools) -> list[Floats]:
    """The sorted largest numbers of all cells but the last, for each input."""
    by_threshold = forest.category[inner] < 0
    owner = forest.feature[inner]
    found: list[list[Floats]] = [[] for _ in range(forest.width)]
    for j in np.unique(owner).tolist():
        mine = owner == j
        found[j].append(ends[mine & by_threshold])
        if (mine & zero_gap).any():  # zero goes its own way: below, at and above it are three cells
            found[j].append(last_left(forest.reading, np.zeros(2), np.array([True, False])))
        sets = forest.category[inner[mine & ~by_threshold]]
        if len(sets):
            found[j].append(_set_cuts(forest, np.unique(sets).tolist()))
    joined = [np.unique(np.concatenate([np.empty(0), *parts])) for parts in found]
    return [cut[np.isfinite(cut)] for cut in joined]


def _set_cuts(forest: Forest, sets: Sequence[int]) -> Floats:
    """Where the membership of any of some sets changes: fractions of categories are cut off."""
    edges = {0} | {edge for number in sets for code in forest.members(number) for edge in (code, code + 1)}
    codes = np.array(sorted(edges), np.float64)
    cuts = last_left(forest.reading, codes, np.ones(len(codes), bool))
    below = last_left(forest.reading, np.array([-1.0]), np.zeros(1, bool))
    return np.concatenate([cuts, below])


def _count(cuts: Floats, end: float) -> int:
    """The number of cells that lie left of an end."""
    return len(cuts) + 1 if end == np.inf else int(np.searchsorted(cuts, end, side="right"))


def _asides(forest: Forest, inner: Ints, lows: list[Floats], by_set: Bools) -> Bools:
    """Which cells go left at the decisions on inputs in `by_set`, (decisions, most cells); asked one by one."""
    most = max((len(lows[j]) for j in np.flatnonzero(by_set).tolist()), default=0)
    aside = np.zeros((len(inner), most), bool)
    for number in np.flatnonzero(by_set[forest.feature[inner]]).tolist():
        low = lows[forest.feature[inner[number]]]
        # the first cell has no smallest number: any far below does
        asked = forest.reading.numbers(np.where(np.isinf(low), -_LARGEST, low))
        aside[number, : len(low)] = forest.goes_left(np.full(len(low), inner[number], np.int32), asked)
    return aside


@dataclass(frozen=True, eq=False)
class _Decisions:
    forest: Forest
    inner: Ints  # (decisions,), their nodes
    turn: Ints  # (decisions,), how many cells of their input go left
    sizes: Ints  # (width + 1,), the cells of each input
    by_set: Bools
    aside: Bools  # (decisions, most cells)

    def ways(self) -> tuple[Ints, Ints, Bools]:
        """Return the decision above each node (-1: none), the tree it stands in, and whether it is a left child."""
        forest, nodes = self.forest, len(self.forest.feature)
        above, tree, left = np.full(nodes, -1, np.int32), np.full(nodes, -1, np.int32), np.zeros(nodes, bool)
        number = np.full(nodes, -1, np.int32)
        number[self.inner] = np.arange(len(self.inner))
        tree[forest.roots] = np.arange(forest.trees)
        level = forest.roots
        while len(level):
            level = level[~forest.is_leaf[level]]
            for side, children in ((True, forest.left[level]), (False, forest.right[level])):
                above[children], tree[children], left[children] = number[level], tree[level], side
            level = np.concatenate([forest.left[level], forest.right[level]])
        return above, tree, left


def _leaves(decisions: _Decisions) -> dict[str, Any]:
    """Climb from every leaf to its root; several decisions on one input become one entry."""
    forest, inner = decisions.forest, decisions.inner
    above, tree, is_left = decisions.ways()
    leaf = np.flatnonzero(forest.is_leaf & (tree >= 0)).astype(np.int32)
    leaf = leaf[np.argsort(tree[leaf], kind="stable")]
    steps: list[tuple[Array, Array, Array]] = []
    who, node = np.arange(len(leaf)), leaf
    while len(who):
        on_way = above[node] >= 0
        who, node = who[on_way], node[on_way]
        steps.append((who, above[node], is_left[node]))
        node = inner[above[node]]
    who, number, side = (np.concatenate([step[i] for step in steps] or [np.empty(0, np.int64)]) for i in range(3))
    starts = np.searchsorted(tree[leaf], np.arange(forest.trees)).astype(np.int32)
    return {"leaf": leaf, "tree_starts": starts, **_entries(decisions, len(leaf), who, number, side.astype(bool))}


def _entries(decisions: _Decisions, leaves: int, who: Array, number: Array, side: Bools) -> dict[str, Any]:
    """Join the decisions on each way by leaf and input into padded arrays."""
    forest, width = decisions.forest, decisions.forest.width
    feature = forest.feature[decisions.inner[number]]
    order = np.lexsort((feature, who))
    who, number, side, feature = who[order], number[order], side[order], feature[order]
    starts = np.flatnonzero(np.diff(who * (width + 1) + feature, prepend=-1)) if len(who) else np.empty(0, np.int64)
    first, last, gap, members = _restrictions(decisions, number, side, feature)
    who, feature = who[starts], feature[starts]
    place = np.arange(len(who)) - np.searchsorted(who, who)
    most = int(place.max(initial=-1)) + 1
    sets = np.flatnonzero(decisions.by_set[feature])
    set_number = np.full(len(who), -1, np.int32)
    set_number[sets] = np.arange(len(sets))

    def padded(values: Array, empty: int | bool, kind: Any) -> Array:
        out = np.full((leaves, most), empty, kind)
        out[who, place] = values
        return out

    joined = np.logical_and.reduceat(members, starts, axis=0)[sets] if len(starts) else members
    return {
        "feature": padded(feature, width, np.int32),
        "first": padded(np.maximum.reduceat(first, starts) if len(starts) else first, 0, np.int32),
        "last": padded(np.minimum.reduceat(last, starts) if len(starts) else last, 0, np.int32),
        "gap": padded(np.logical_and.reduceat(gap, starts) if len(starts) else gap, True, bool),
        "set_number": padded(set_number, -1, np.int32),
        "sets": joined,
    }


def _restrictions(d: _Decisions, number: Array, side: Bools, feature: Array) -> tuple[Array, Array, Bools, Bools]:
    """What each decision on the way to a leaf leaves over: first and last cell, rows without the number, sets of cells."""
    turn, last = d.turn[number], d.sizes[feature] - 1
    at = d.inner[number]
    gap = d.forest.goes_left(at, np.full(len(at), np.nan)) == side if len(at) else np.empty(0, bool)
    by_set = d.by_set[feature]
    first = np.where(side | by_set, 0, turn)
    stop = np.where(side & ~by_set, turn - 1, last)
    members = d.aside[number] == side[:, None]
    members &= np.arange(members.shape[1]) < d.sizes[feature][:, None]
    return first, stop, gap, members
