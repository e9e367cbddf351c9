"""Sums of decision trees that can be read: every node of every tree in one set of arrays, whatever library grew them.

What a library does at a node is stated as data, so that its margins are reproduced to the last bits, and so that whoever
enumerates leaves meets the model's own decisions: strict or not, in float32 or float64, gaps, zeros and categories.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from veriward.core.errors import ArtefactError, CapabilityError

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Link = Literal["identity", "logistic", "softmax", "exp", "other"]

GAP_IS_ZERO, ZERO_IS_GAP, GAP_IS_GAP = 0, 1, 2  # what NaN is at a node: the number 0; the same as 0; missing
PAIRS = 1 << 18  # (tree, row) pairs that are walked at once: bounds the memory and stays near the cache


@dataclass(frozen=True)
class Reading:
    """How a library reads numbers at its nodes."""

    strict: bool  # left is x < threshold; otherwise x <= threshold
    single: bool  # inputs are rounded to float32 first
    sums_single: bool = False  # margins are added up in float32
    tiny: float = 0.0  # what is at most this far from zero is zero
    truncates: bool = False  # category numbers between -1 and 0 count as 0

    def numbers(self, values: Any) -> Floats:
        """Return numbers as they are read, float64 of the same shape.

        >>> Reading(strict=False, single=True).numbers(0.1).item() == float(np.float32(0.1))
        True
        """
        read = np.asarray(values, dtype=np.float64)
        if self.single:
            with np.errstate(over="ignore"):  # beyond float32 is infinite there too
                read = read.astype(np.float32).astype(np.float64)
        return np.where(np.abs(read) <= self.tiny, 0.0, read) if self.tiny else read


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees side by side: arrays over all nodes, `roots` says where each tree starts. A row goes left where it holds
    `x[feature] <= threshold` (`<` for strict readings), or where its category is in the node's set.

    margin = base + the values of the leaves that a row ends in, each tree's added to its `output`.
    Raises ArtefactError for arrays that do not form trees, so a walk always ends and stays inside.
    """

    width: int  # inputs
    feature: Ints  # (nodes,), -1 at leaves
    threshold: Floats  # (nodes,)
    left: Ints  # (nodes,), absolute; leaves lead to themselves
    right: Ints
    value: Floats  # (nodes, 1), or (nodes, outputs) where a leaf speaks for all outputs
    roots: Ints  # (trees,)
    output: Ints  # (trees,), which output a tree adds to; -1: all of them
    base: Floats  # (outputs,)
    reading: Reading
    link: Link = "identity"
    slope: float = 1.0  # of the logistic link
    missing: npt.NDArray[np.int8] = field(kw_only=True)  # (nodes,), one of GAP_IS_ZERO, ZERO_IS_GAP, GAP_IS_GAP
    missing_left: Bools = field(kw_only=True)  # (nodes,), where what is missing goes
    category: Ints = field(kw_only=True)  # (nodes,), the number of the set that is tested; -1: a threshold is
    set_starts: npt.NDArray[np.int64] = field(kw_only=True)  # (sets + 1,), where each set's words start
    set_words: npt.NDArray[np.uint32] = field(kw_only=True)  # bit c % 32 of word c // 32: category c is in the set

    def __post_init__(self) -> None:
        nodes = len(self.feature)
        for name in ("left", "right", "roots"):
            _inside(getattr(self, name), 0, nodes, name)
        _inside(self.feature, -1, self.width, "feature")
        _inside(self.output, -1, len(self.base), "output")
        _inside(self.category, -1, len(self.set_starts) - 1, "category")
        _inside(self.set_starts, 0, len(self.set_words) + 1, "set_starts")
        _ = self.depth

    @property
    def trees(self) -> int:
        """The number of trees."""
        return len(self.roots)

    @property
    def outputs(self) -> int:
        """The number of margins of a row."""
        return len(self.base)

    @cached_property
    def is_leaf(self) -> Bools:
        """Which nodes are leaves, (nodes,)."""
        return self.feature < 0

    @cached_property
    def depth(self) -> int:
        """The number of decisions on the longest way; ArtefactError where two ways meet, or one goes in circles."""
        seen = np.zeros(len(self.feature), bool)
        level, depth = self.roots, -1
        while len(level):
            if seen[level].any() or len(np.unique(level)) < len(level):
                raise ArtefactError("two branches lead to one node, so this is no tree; want a model as it was saved")
            seen[level] = True
            inner = level[~self.is_leaf[level]]
            level, depth = np.concatenate([self.left[inner], self.right[inner]]), depth + 1
        return max(depth, 0)

    def read(self, x: Any) -> Floats:
        """Return rows as the library sees them: (n, width) float64, rounded and zeroed as `reading` says."""
        rows = np.asarray(x, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise CapabilityError(f"forest: got rows of shape {rows.shape}; want (n, {self.width})")
        return self.reading.numbers(rows)

    def leaves(self, x: Any) -> Ints:
        """Return the leaf that each row ends in, in each tree: (n, trees), numbers of nodes."""
        found = [leaves.T for leaves in self._walks(self.read(x))]
        return np.concatenate(found) if found else np.empty((0, self.trees), np.int32)

    def margins(self, x: Any) -> Floats:
        """Return (n, outputs) float64: the sums before the link.

        >>> stump(0, 0.5, -1.0, 1.0).margins([[0.5], [0.6]]).tolist()
        [[-1.0], [1.0]]
        """
        found = [self._sums(leaves) for leaves in self._walks(self.read(x))]
        return np.concatenate(found) if found else np.empty((0, self.outputs))

    def answers(self, x: Any) -> Floats:
        """Return (n, outputs) as the library tells them: through the link. CapabilityError for links of other kinds."""
        margins = self.margins(x)
        if self.link == "logistic":
            with np.errstate(over="ignore"):
                return np.asarray(1 / (1 + np.exp(-self.slope * margins)))
        if self.link == "softmax":
            powers = np.exp(margins - margins.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        if self.link == "other":
            raise CapabilityError("forest: this model's link is not read; use its margins")
        return np.exp(margins) if self.link == "exp" else margins

    def goes_left(self, at: Ints, values: Floats) -> Bools:
        """Return whether numbers go left at the decisions `at`, (k,): as `read` gives them, NaN where they are missing."""
        return self._goes_left(at, values, gaps=True)

    def first(self, trees: int) -> "Forest":
        """Return the same forest with its first trees alone."""
        return replace(self, roots=self.roots[:trees], output=self.output[:trees])

    def members(self, number: int) -> frozenset[int]:
        """Return the categories of a set.

        >>> stump(0, {1, 40}, 0.0, 1.0).members(0) == {1, 40}
        True
        """
        words = self.set_words[self.set_starts[number] : self.set_starts[number + 1]]
        bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
        return frozenset(np.flatnonzero(bits).tolist())

    def _sums(self, leaves: Ints) -> Floats:
        """Add up leaves (trees, rows) tree by tree, in the library's own order and width."""
        kind = np.float32 if self.reading.sums_single else np.float64
        sums = np.repeat(self.base.astype(kind)[:, None], leaves.shape[1], axis=1)
        values = self.value.astype(kind)
        for tree, output in enumerate(self.output.tolist()):
            if output >= 0:
                sums[output] += values[leaves[tree], 0]
            else:
                sums += values[leaves[tree]].T
        return sums.T.astype(np.float64)

    def _walks(self, rows: Floats) -> Iterator[Ints]:
        """Yield the leaves of some rows after others, (trees, rows)."""
        step = max(1, PAIRS // max(1, self.trees))
        for start in range(0, len(rows), step):
            yield self._walk(rows[start : start + step])

    def _walk(self, rows: Floats) -> Ints:
        columns, count = np.ascontiguousarray(rows.T).ravel(), len(rows)
        gaps = bool(np.isnan(columns).any())
        node = np.repeat(self.roots, count)
        row = np.tile(np.arange(count, dtype=np.int64), self.trees)
        walking = np.arange(len(node))
        for _ in range(self.depth + 1):
            at = node[walking]
            going = ~self.is_leaf[at]
            if not going.all():
                walking, at = walking[going], at[going]
            if not len(walking):
                break
            values = columns[self.feature[at].astype(np.int64) * count + row[walking]]
            node[walking] = np.where(self._goes_left(at, values, gaps), self.left[at], self.right[at])
        return node.reshape(self.trees, count)

    def _goes_left(self, at: Ints, values: Floats, gaps: bool) -> Bools:
        missing = self.missing[at] if gaps or self._zeros else None
        if gaps and missing is not None:
            values = np.where(np.isnan(values) & (missing != GAP_IS_GAP), 0.0, values)
        left: Bools = values < self.threshold[at] if self.reading.strict else values <= self.threshold[at]
        if self._categories:
            number = self.category[at]
            tested = np.flatnonzero(number >= 0)
            left[tested] = self._in_set(number[tested], values[tested])
        if missing is not None:
            gone = np.isnan(values) | ((missing == ZERO_IS_GAP) & (values == 0.0))
            left = np.where(gone, self.missing_left[at], left)
        return left

    @cached_property
    def _zeros(self) -> bool:
        return bool((self.missing == ZERO_IS_GAP).any())

    @cached_property
    def _categories(self) -> bool:
        return bool((self.category >= 0).any())

    def _in_set(self, number: Ints, values: Floats) -> Bools:
        """Return whether category numbers are in the sets that their nodes test; fractions are cut off."""
        start, stop = self.set_starts[number], self.set_starts[number + 1]
        lowest = values > -1 if self.reading.truncates else values >= 0
        known = lowest & (values < 32.0 * (stop - start))  # NaN is neither
        code = np.where(known, values, 0).astype(np.int64)
        word = self.set_words[np.where(known, start + code // 32, 0)] if len(self.set_words) else np.zeros(1, np.uint32)
        bit: Bools = ((word >> (code % 32).astype(np.uint32)) & 1).astype(bool)
        return known & bit


def _inside(numbers: npt.NDArray[Any], low: int, high: int, name: str) -> None:
    if len(numbers) and (numbers.min() < low or numbers.max() >= high):
        raise ArtefactError(f"tree: {name} leads out of the model; want numbers in [{low}, {high})")


def packed(sets: list[list[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Return sets of category numbers as bits: where each starts, and the words.

    >>> packed([[0, 2], [33]])
    (array([0, 1, 3]), array([5, 0, 2], dtype=uint32))
    """
    words: list[int] = []
    starts = [0]
    for members in sets:
        bits = [0] * (max(members, default=-1) // 32 + 1)
        for member in members:
            bits[member // 32] |= 1 << (member % 32)
        words += bits
        starts.append(len(words))
    return np.array(starts, np.int64), np.array(words, np.uint32)


def plain(nodes: int, missing: int = GAP_IS_GAP) -> dict[str, Any]:
    """Return what a Forest of thresholds alone says of gaps and categories: none of them, and gaps go right."""
    starts, words = packed([])
    return {
        "missing": np.full(nodes, missing, np.int8),
        "missing_left": np.zeros(nodes, bool),
        "category": np.full(nodes, -1, np.int32),
        "set_starts": starts,
        "set_words": words,
    }


def stump(feature: int, test: float | set[int], left: float, right: float) -> Forest:
    """Return one tree with one decision: by a threshold, or by a set of categories that goes left.

    >>> stump(1, {3}, 10.0, 20.0).answers([[0, 3], [0, 4]]).tolist()
    [[10.0], [20.0]]
    """
    more = plain(3)
    threshold = 0.0 if isinstance(test, set) else test
    if isinstance(test, set):
        more["set_starts"], more["set_words"] = packed([sorted(test)])
        more["category"] = np.array([0, -1, -1], np.int32)
    return Forest(
        width=feature + 1,
        feature=np.array([feature, -1, -1], np.int32),
        threshold=np.array([threshold, 0.0, 0.0]),
        left=np.array([1, 1, 2], np.int32),
        right=np.array([2, 1, 2], np.int32),
        value=np.array([[0.0], [left], [right]]),
        roots=np.zeros(1, np.int32),
        output=np.zeros(1, np.int32),
        base=np.zeros(1),
        reading=Reading(strict=False, single=False),
        **more,
    )
