"""One LightGBM tree, checked. Source: LightGBM 4, include/LightGBM/tree.h."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from veriward.adapters.trees.forest import GAP_IS_GAP
from veriward.adapters.trees.tree import Tree
from veriward.core.errors import ArtefactError

Array = npt.NDArray[Any]
_BY_SET, _DEFAULT_LEFT = 1, 2  # bits of decision_type; the two above say what is missing
_DIGITS = frozenset("+-.0123456789eE ")
_BESIDE = ("split_gain", "internal_value", "internal_weight", "internal_count")
_BESIDE_LEAVES = ("leaf_weight", "leaf_count")


def parse_tree(tree: Mapping[str, str], width: int) -> Tree:
    """Read the fields of one tree: decisions first, then leaves. ArtefactError where a number leads out of it."""
    leaves = one(tree["num_leaves"])
    inner = max(0, leaves - 1)
    decisions = {name: numbers(tree, name, inner, int) for name in ("split_feature", "decision_type")}
    feature, kind = decisions["split_feature"], decisions["decision_type"]
    if leaves < 1 or (inner and not (feature.min() >= 0 and feature.max() < width)):
        raise ArtefactError(f"LightGBM text: a tree tests an input beyond the {width} there are")
    test = numbers(tree, "threshold", inner, float)
    by_set, more = (kind & _BY_SET) != 0, np.zeros(leaves, bool)
    sets = _sets(tree)
    category = np.where(by_set, np.where(by_set, test, 0).astype(np.int64), -1)
    if (by_set & ((category < 0) | (category >= len(sets)))).any() or ((kind >> 2) > 2).any() or (kind < 0).any():
        raise ArtefactError("LightGBM text: a decision of no kind that is known")
    _check_beside(tree, inner, leaves)
    _check_linear(tree, leaves, width)
    children = [_children(numbers(tree, name, inner, int), inner, leaves) for name in ("left_child", "right_child")]
    own = np.arange(inner, inner + leaves)
    return Tree(
        feature=np.concatenate([feature, np.full(leaves, -1)]),
        threshold=np.concatenate([np.where(by_set, 0.0, test), np.zeros(leaves)]),
        left=np.concatenate([children[0], own]),
        right=np.concatenate([children[1], own]),
        value=np.concatenate([np.zeros(inner), numbers(tree, "leaf_value", leaves, float)])[:, None],
        # at a set, what is missing is in none, so it goes right
        missing=np.concatenate([np.where(by_set, GAP_IS_GAP, kind >> 2), np.full(leaves, GAP_IS_GAP)]),
        missing_left=np.concatenate([~by_set & ((kind & _DEFAULT_LEFT) != 0), more]),
        category=np.concatenate([category, np.full(leaves, -1)]),
        sets=sets,
    )


def _children(stored: Array, inner: int, leaves: int) -> Array:
    """Decisions are counted from 0 up, leaves from -1 down; here leaves stand behind the decisions."""
    if len(stored) and not (-leaves <= stored.min() and stored.max() < inner):
        raise ArtefactError("LightGBM text: a branch leads out of its tree")
    return np.where(stored < 0, inner - stored - 1, stored)


def _check_beside(tree: Mapping[str, str], inner: int, leaves: int) -> None:
    """Lists that predict nothing: the library still reads as many numbers as there are nodes."""
    for names, count in ((_BESIDE, inner), (_BESIDE_LEAVES, leaves), (("shrinkage",), 1)):
        for name in names:
            if tree.get(name):
                numbers(tree, name, count, float)


def _sets(tree: Mapping[str, str]) -> list[list[int]]:
    """The category sets, as bits one behind the other."""
    count = one(tree.get("num_cat", "0"))
    if not count:
        return []
    ends = numbers(tree, "cat_boundaries", count + 1, int)
    if ends[0] != 0 or (np.diff(ends) < 0).any():
        raise ArtefactError("LightGBM text: a set of categories that is not there")
    words = numbers(tree, "cat_threshold", int(ends[-1]), int).astype(np.uint32)
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return [np.flatnonzero(bits[32 * a : 32 * b]).tolist() for a, b in pairwise(ends.tolist())]


def is_linear(tree: Mapping[str, str]) -> bool:
    """Return whether leaves hold linear models.

    >>> is_linear({"is_linear": "1"})
    True
    """
    return one(tree.get("is_linear", "0")) != 0


def _check_linear(tree: Mapping[str, str], leaves: int, width: int) -> None:
    """The linear models' inputs and coefficients must be there."""
    if not is_linear(tree):
        return
    counts = numbers(tree, "num_features", leaves, int)
    numbers(tree, "leaf_const", leaves, float)
    total = int(counts.sum())
    inputs = numbers(tree, "leaf_features", total, int)
    numbers(tree, "leaf_coeff", total, float)
    if (counts < 0).any() or (total and not (inputs.min() >= 0 and inputs.max() < width)):
        raise ArtefactError("LightGBM text: a linear leaf reads an input that is none")


def numbers(fields: Mapping[str, str], name: str, count: int, kind: type) -> Array:
    """Return a list of numbers that must have `count` entries; ArtefactError otherwise.

    >>> numbers({"leaf_value": "1 2.5"}, "leaf_value", 2, float)
    array([1. , 2.5])
    """
    text = fields[name] if count else fields.get(name, "")
    if not _DIGITS.issuperset(text):
        raise ArtefactError(f"LightGBM text: {name} holds what is no number; want numbers between spaces")
    words = text.split()
    if len(words) != count:
        raise ArtefactError(f"LightGBM text: {name} holds {len(words)} numbers; want {count}")
    return np.array([kind(word) for word in words], np.int64 if kind is int else np.float64)


def one(text: str) -> int:
    """Return a count; ArtefactError for one that cannot be.

    >>> one("12")
    12
    """
    number = int(text)
    if not 0 <= number < 1 << 31:
        raise ArtefactError(f"LightGBM text: a count of {number}; want one in [0, 2147483648)")
    return number
