"""One XGBoost tree, checked and turned to face the way Forest reads: left is where a test holds, sets go left."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from veriward.adapters.trees.tree import Tree
from veriward.core.errors import ArtefactError

MOST_CATEGORIES = 1 << 24  # what a float32 counts without gaps; XGBoost takes no more
Array = npt.NDArray[Any]


def parse_tree(tree: Mapping[str, Any], width: int) -> Tree:
    """Read one entry of the document's `trees`; ArtefactError where a number leads out of the tree or the input."""
    left, right = (whole(tree[name]) for name in ("left_children", "right_children"))
    count = len(left)
    leaf, own = left < 0, np.arange(count)
    test = np.asarray(tree["split_conditions"], np.float32)
    feature, default = whole(tree["split_indices"]), whole(tree["default_left"]) != 0
    kind = whole(tree.get("split_type", np.zeros(count, np.int8)))
    _check_nodes(tree, (left, right, test, feature, default, kind), feature[~leaf], width)
    if ((left < -1) | (left >= count) | (~leaf & ((right < 0) | (right >= count)))).any():
        raise ArtefactError("XGBoost document: a branch leads out of its tree")
    _check_parents(whole(tree["parents"]), left, right, ~leaf)
    by_set = ~leaf & (kind == 1)
    category, sets = _sets(tree, by_set)
    # XGBoost sends what is in the set to the right: the branches change places, and so does what is missing
    ways = np.where(by_set, right, left), np.where(by_set, left, right)
    return Tree(
        feature=np.where(leaf, -1, feature),
        threshold=np.where(leaf | by_set, 0, test).astype(np.float64),
        left=np.where(leaf, own, ways[0]),
        right=np.where(leaf, own, ways[1]),
        value=_values(tree, leaf, right, test),
        missing_left=np.where(by_set, ~default, default) & ~leaf,
        category=category,
        sets=sets,
    )


def _check_nodes(tree: Mapping[str, Any], arrays: tuple[Array, ...], tested: Array, width: int) -> None:
    count = len(arrays[0])
    said = counted(tree["tree_param"]["num_nodes"], 1 << 31)
    if not count or said != count or any(len(array) != count for array in arrays):
        raise ArtefactError("XGBoost document: a tree whose lists of nodes differ in length")
    if len(tested) and not (tested.min() >= 0 and tested.max() < width):
        raise ArtefactError(f"XGBoost document: a tree tests an input beyond the {width} there are")


def _check_parents(parents: Array, left: Array, right: Array, inner: Array) -> None:
    """The library follows parents when it loads a tree; the root's is a number that no node has."""
    nodes = np.flatnonzero(inner)
    count = len(left)
    if len(parents) != count or 0 <= parents[0] < count:
        raise ArtefactError("XGBoost document: the first node of a tree is not its root")
    if (parents[left[nodes]] != nodes).any() or (parents[right[nodes]] != nodes).any():
        raise ArtefactError("XGBoost document: a node is not the parent of its children")


def _values(tree: Mapping[str, Any], leaf: Array, right: Array, test: Array) -> Array:
    """The values of leaves, (nodes, 1); with vector leaves, (nodes, outputs), kept apart and found by the right child."""
    size = max(1, counted(tree["tree_param"].get("size_leaf_vector", 1), 1 << 20))
    if size == 1:
        return np.where(leaf, test, np.float32(0))[:, None]
    vectors = np.asarray(tree["leaf_weights"], np.float32).reshape(-1, size)
    number = right[leaf]
    if not (number.min() >= 0 and number.max() < len(vectors)):
        raise ArtefactError("XGBoost document: a leaf whose values are not there")
    values = np.zeros((len(leaf), size), np.float32)
    values[leaf] = vectors[number]
    return values


def _sets(tree: Mapping[str, Any], by_set: Array) -> tuple[Array, list[list[int]]]:
    """The number of each node's set, and the sets; they are stored one behind the other."""
    category = np.full(len(by_set), -1)
    nodes, members = (whole(tree.get(name, ())) for name in ("categories_nodes", "categories"))
    starts, sizes = (whole(tree.get(name, ())) for name in ("categories_segments", "categories_sizes"))
    if not len(nodes) == len(starts) == len(sizes) or sorted(nodes.tolist()) != np.flatnonzero(by_set).tolist():
        raise ArtefactError("XGBoost document: not one set of categories for each node that tests one")
    if len(members) and not (members.min() >= 0 and members.max() < MOST_CATEGORIES):
        raise ArtefactError(f"XGBoost document: a category beyond [0, {MOST_CATEGORIES})")
    if ((starts < 0) | (sizes < 0) | (starts > len(members) - sizes)).any():
        raise ArtefactError("XGBoost document: a set of categories that is not there")
    category[nodes] = np.arange(len(nodes))
    return category, [members[at : at + size].tolist() for at, size in zip(starts, sizes, strict=True)]


def whole(numbers: Any) -> Array:
    """Return a list of a document as int64; ArtefactError for anything but whole numbers.

    >>> whole([1, -1])
    array([ 1, -1])
    """
    array = np.asarray(numbers)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iub"):
        raise ArtefactError(f"XGBoost document: {array.dtype} of shape {array.shape}; want a list of whole numbers")
    return array.astype(np.int64)


def counted(text: Any, most: int) -> int:
    """Return a count, which XGBoost writes as text; ArtefactError for one that cannot be.

    >>> counted("12", 100)
    12
    """
    number = int(text)
    if not 0 <= number < most:
        raise ArtefactError(f"XGBoost document: a count of {number}; want one in [0, {most})")
    return number
