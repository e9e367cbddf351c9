"""One decision tree as readers find it, with numbers of its own; and trees side by side, as a Forest keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from veriward.adapters.trees.forest import GAP_IS_GAP, Forest, packed

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tree:
    """Arrays over the nodes of one tree; children and sets are counted from 0. Fields mean what they mean in Forest."""

    feature: Array
    threshold: Array
    left: Array
    right: Array
    value: Array  # (nodes, 1 or outputs)
    missing_left: Array
    missing: Array | None = None  # None: NaN is missing everywhere
    category: Array | None = None  # None: thresholds alone
    sets: list[list[int]] = field(default_factory=list)


def side_by_side(trees: Sequence[Tree], **more: Any) -> Forest:
    """Return trees as a Forest; `more` are its fields that are not about nodes.

    >>> from veriward.adapters.trees.forest import Reading
    >>> twig = Tree(*(np.array([n]) for n in (-1, 0.0, 0, 0)), np.array([[2.0]]), np.array([False]))
    >>> two = side_by_side([twig, twig], width=1, output=np.zeros(2), base=np.ones(1), reading=Reading(False, False))
    >>> two.margins([[7.0]]).tolist()
    [[5.0]]
    """
    roots = np.cumsum([0, *(len(tree.feature) for tree in trees)])
    before = np.cumsum([0, *(len(tree.sets) for tree in trees)])
    starts, words = packed([members for tree in trees for members in tree.sets])
    width = trees[0].value.shape[1] if trees else 1
    return Forest(
        feature=_joined([tree.feature for tree in trees], np.int32),
        threshold=_joined([tree.threshold for tree in trees], np.float64),
        left=_joined([tree.left + root for tree, root in zip(trees, roots, strict=False)], np.int32),
        right=_joined([tree.right + root for tree, root in zip(trees, roots, strict=False)], np.int32),
        value=np.concatenate([np.empty((0, width)), *(tree.value.astype(np.float64) for tree in trees)]),
        roots=roots[:-1].astype(np.int32),
        output=np.asarray(more.pop("output"), np.int32),
        missing=_joined([_or(tree.missing, tree, GAP_IS_GAP) for tree in trees], np.int8),
        missing_left=_joined([tree.missing_left for tree in trees], np.bool_),
        category=_joined([_numbered(tree, int(first)) for tree, first in zip(trees, before, strict=False)], np.int32),
        set_starts=starts,
        set_words=words,
        **more,
    )


def _numbered(tree: Tree, first: int) -> Array:
    category = _or(tree.category, tree, -1)
    return np.where(category < 0, -1, category + first)


def _or(array: Array | None, tree: Tree, default: int) -> Array:
    return np.full(len(tree.feature), default) if array is None else array


def _joined(parts: list[Array], kind: type) -> Array:
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind)
