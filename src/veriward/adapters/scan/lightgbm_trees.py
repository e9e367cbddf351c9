"""One tree of a LightGBM model. Source: LightGBM, include/LightGBM/tree.h and src/io/tree.cpp (Tree::ToString)."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from .boosted import BadModel, finite, integers, need, reached, within

_PER_SPLIT = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child")
_PER_SPLIT_OPTIONAL = ("internal_value", "internal_weight", "internal_count")
_PER_LEAF_OPTIONAL = ("leaf_weight", "leaf_count")
_CATEGORIES = {"cat_boundaries", "cat_threshold"}
_LINEAR = {"leaf_const", "num_features", "leaf_features", "leaf_coeff"}
_KNOWN = {"num_leaves", "num_cat", "leaf_value", "is_linear", "shrinkage", *_PER_SPLIT, *_PER_SPLIT_OPTIONAL}
_KNOWN |= {*_PER_LEAF_OPTIONAL, *_CATEGORIES, *_LINEAR}
_INTEGERS = re.compile(r" *(?:-?[0-9]{1,18}(?: +|$))*+")
_NUMBERS = re.compile(r"[-+0-9.einf ]*")
_IS_CATEGORICAL, _DECISIONS = 1, 12  # the missing type, bits 2 and 3, is 0, 1 or 2


def pairs(lines: Sequence[str], what: str) -> dict[str, str]:
    """The lines `key=value` as a mapping; raises BadModel.

    >>> pairs(["a=1"], "tree 0")
    {'a': '1'}
    """
    found: dict[str, str] = {}
    for line in lines:
        key, sign, value = line.partition("=")
        need(bool(sign), f"{what}, {line[:40]}", "should be a key and a value")
        within(key not in found, f"{what}, {key[:40]}", "stands twice: readers take the first or the last")
        found[key] = value
    return found


def whole(text: str, what: str) -> list[int]:
    """Integers between spaces; raises BadModel.

    >>> whole("1 -2", "children")
    [1, -2]
    """
    need(_INTEGERS.fullmatch(text) is not None, what, "should hold integers between spaces")
    return list(map(int, text.split()))


def real(text: str, what: str, but_infinity: bool = False) -> list[float]:
    """Numbers between spaces, finite unless infinity means something; raises BadModel.

    >>> real("1 -2.5e3", "leaves")
    [1.0, -2500.0]
    """
    need(_NUMBERS.fullmatch(text) is not None, what, "should hold finite numbers between spaces")
    try:
        values = list(map(float, text.split()))
    except ValueError as error:
        raise BadModel(what, "should hold numbers between spaces") from error
    finite(values, what, but_infinity)
    return values


def one(fields: Mapping[str, str], name: str, what: str, default: str | None = None) -> int:
    """A field that is a single integer; raises BadModel.

    >>> one({"num_cat": "0"}, "num_cat", "tree 0")
    0
    """
    values = whole(fields.get(name, default or ""), f"{what}, {name}")
    need(len(values) == 1, f"{what}, {name}", "should be one integer")
    return values[0]


def check_tree(lines: Sequence[str], index: int, features: int) -> int:
    """Follow every index of a tree; how many numbers it holds, about. Raises BadModel.

    >>> check_tree(["Tree=0", "num_leaves=1", "num_cat=0", "leaf_value=1"], 0, 3)
    1
    """
    what = f"tree {index}"
    need(lines[:1] == [f"Tree={index}"], what, "does not begin with its number")
    fields = pairs(lines[1:], what)
    need(set(fields) <= _KNOWN, what, "has fields that are not known")
    leaves = one(fields, "num_leaves", what)
    need(leaves >= 1, what, "has no leaves")
    held = len(real(fields.get("leaf_value", ""), f"{what}, leaf_value"))
    within(held == leaves, f"{what}, leaf_value", f"holds {held} of {leaves} leaves")
    for name in (*_PER_LEAF_OPTIONAL, *_PER_SPLIT_OPTIONAL):
        held = len(real(fields.get(name, ""), f"{what}, {name}", but_infinity=True))
        wanted = leaves if name in _PER_LEAF_OPTIONAL else leaves - 1
        need(held in (0, wanted) or leaves == 1, f"{what}, {name}", f"holds {held} of {wanted} numbers")
    real(fields.get("shrinkage", "1"), f"{what}, shrinkage")
    if leaves > 1:
        _check_splits(fields, leaves, features, what)
    if one(fields, "is_linear", what, "0"):
        _check_linear(fields, leaves, features, what)
    return leaves


def _check_splits(fields: Mapping[str, str], leaves: int, features: int, what: str) -> None:
    splits = leaves - 1
    for name in _PER_SPLIT:
        held = len(fields.get(name, "").split())
        within(held == splits, f"{what}, {name}", f"holds {held} of {splits} splits")
    used, kinds, left, right = (
        whole(fields[name], f"{what}, {name}")
        for name in ("split_feature", "decision_type", "left_child", "right_child")
    )
    thresholds = real(fields["threshold"], f"{what}, threshold", but_infinity=True)  # inf: all but what is missing
    within(min(used) >= 0 and max(used) < features, f"{what}, split_feature")
    need(all(0 <= kind < _DECISIONS for kind in kinds), f"{what}, decision_type", "is of a type that is not known")
    _check_children(left, right, leaves, what)
    sets = _count_sets(fields, what)
    for kind, threshold in zip(kinds, thresholds, strict=True):
        if kind & _IS_CATEGORICAL:
            within(0 <= threshold < sets and threshold.is_integer(), f"{what}, a set of categories")


def _check_children(left: Sequence[int], right: Sequence[int], leaves: int, what: str) -> None:
    """Splits are 0, 1, ... and leaves ~0, ~1, ...; laid out behind the splits, all are nodes of one array."""
    splits = leaves - 1
    within(all(-leaves <= child < splits for child in (*left, *right)), f"{what}, a child")
    ends = [-1] * leaves
    first = [child if child >= 0 else splits + ~child for child in left]
    second = [child if child >= 0 else splits + ~child for child in right]
    seen = reached(first + ends, second + ends, lambda node: None, what)
    need(all(seen), what, "has nodes that nothing leads to")


def _count_sets(fields: Mapping[str, str], what: str) -> int:
    sets = one(fields, "num_cat", what, "0")
    if not sets:
        need(not fields.keys() & _CATEGORIES, what, "has sets of categories, and claims none")
        return 0
    bounds = whole(fields.get("cat_boundaries", ""), f"{what}, cat_boundaries")
    bits = whole(fields.get("cat_threshold", ""), f"{what}, cat_threshold")
    rising = all(first <= second for first, second in pairwise(bounds))
    fits = sets > 0 and len(bounds) == sets + 1 and bounds[0] == 0 and bounds[-1] == len(bits)
    within(rising and fits, f"{what}, cat_boundaries")
    need(all(0 <= word < 1 << 32 for word in bits), f"{what}, cat_threshold", "should hold words of 32 bits")
    return sets


def _check_linear(fields: Mapping[str, str], leaves: int, features: int, what: str) -> None:
    need(set(fields) >= _LINEAR, what, "is linear and lacks fields")
    counts = whole(fields["num_features"], f"{what}, num_features")
    used = whole(fields["leaf_features"], f"{what}, leaf_features")
    held = len(real(fields["leaf_const"], f"{what}, leaf_const"))
    within(held == len(counts) == leaves and min(counts) >= 0, f"{what}, num_features")
    coefficients = len(real(fields["leaf_coeff"], f"{what}, leaf_coeff"))
    within(len(used) == coefficients == sum(counts), f"{what}, leaf_features")
    within(all(0 <= feature < features for feature in used), f"{what}, leaf_features")
    integers(used, f"{what}, leaf_features")
