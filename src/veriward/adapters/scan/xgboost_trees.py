"""One tree of an XGBoost model. Source: xgboost, doc/model.schema and src/tree/tree_model.cc."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from .boosted import BadModel, finite, integers, need, reached, within
from .place import Purse
from .ubjson import Numbers

_NODES = ("left_children", "right_children", "parents", "split_indices", "split_conditions", "default_left")
_PER_NODE = (*_NODES, "loss_changes", "sum_hessian")
_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
_KNOWN = {*_PER_NODE, *_CATEGORIES, "base_weights", "leaf_weights", "split_type", "id", "tree_param"}
_PARAMETERS = {"num_deleted", "num_feature", "num_nodes", "size_leaf_vector"}
_NO_PARENT = (-1, (1 << 31) - 1)
_MAX_CATEGORY = 1 << 24  # xgboost's own limit
_MAX_NODES = 1 << 31
_BITS_PER_BYTE = 8


def numbers(value: object, what: str, purse: Purse) -> Sequence[object]:
    """The elements of a list or of an array in the file; raises BadModel for anything else.

    >>> numbers([1, 2], "sides", Purse())
    [1, 2]
    """
    if isinstance(value, Numbers):
        purse.spend("records", value.count)
        return value.read()
    if not isinstance(value, list):
        raise BadModel(what, "should be a list of numbers")
    purse.spend("records", len(value))
    return value


def texts(value: object, what: str) -> Mapping[str, str]:
    """A mapping of texts to texts; raises BadModel for anything else.

    >>> texts({"a": "1"}, "parameters")
    {'a': '1'}
    """
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise BadModel(what, "should map texts to texts")
    return value


def number(parameters: Mapping[str, str], name: str, default: str | None = None) -> int:
    """A natural number that is written as a text; raises BadModel.

    >>> number({"num_class": "3"}, "num_class")
    3
    """
    text = parameters.get(name, default)
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise BadModel(name, "should be a natural number, written as a text")
    return int(text)


def check_tree(tree: object, index: int, features: int, purse: Purse) -> int:
    """Follow every index of a tree; bytes that its sets of categories take once loaded. Raises BadModel.

    >>> check_tree({}, 0, 3, Purse())
    Traceback (most recent call last):
    veriward.adapters.scan.boosted.BadModel: tree 0 should have the fields of a tree alone
    """
    what = f"tree {index}"
    if not isinstance(tree, dict) or not set(tree) <= _KNOWN or not {*_PER_NODE, "tree_param"} <= set(tree):
        raise BadModel(what, "should have the fields of a tree alone")
    # the library puts a tree where its id says: another number overwrites a tree, or leaves a slot empty
    within(tree.get("id", index) == index and not isinstance(tree.get("id"), bool), f"{what}, id")
    parameters = texts(tree["tree_param"], what)
    need(set(parameters) <= _PARAMETERS, what, "has parameters that are not known")
    count = number(parameters, "num_nodes")
    arrays = {name: numbers(tree[name], f"{what}, {name}", purse) for name in tree if name not in ("id", "tree_param")}
    need(0 < count < _MAX_NODES, what, "has no nodes, or too many")
    for name in (*_PER_NODE, "split_type"):
        if name in arrays:
            within(len(arrays[name]) == count, f"{what}, {name}", f"holds {len(arrays[name])} of {count} nodes")
    within(number(parameters, "num_feature", "0") in (0, features), what, "is for another number of features")
    _check_weights(arrays, count, number(parameters, "size_leaf_vector", "1"), what)
    _check_nodes(arrays, number(parameters, "num_deleted", "0"), features, what)
    return _check_categories(arrays, count, what)


def _check_weights(arrays: Mapping[str, Sequence[object]], count: int, width: int, what: str) -> None:
    width = max(1, width)
    for name in ("base_weights", "leaf_weights", "split_conditions"):
        finite(arrays.get(name, ()), f"{what}, {name}", but_infinity=name == "split_conditions")
    held = len(arrays.get("base_weights", ()))
    within(held in (count, count * width), f"{what}, base_weights", f"holds {held} of {count * width} numbers")
    if width > 1:
        leaves = len(arrays.get("leaf_weights", ())) // width
        first, second = (integers(arrays[name], name) for name in _NODES[:2])
        ends = [second[node] for node in range(count) if first[node] == -1]
        if "leaf_weights" in arrays:
            within(all(0 <= end < leaves for end in ends), f"{what}, a leaf")
        else:
            within(held == count * width, f"{what}, base_weights")


def _check_nodes(arrays: Mapping[str, Sequence[object]], deleted: int, features: int, what: str) -> None:
    left, right, parents, splits = (integers(arrays[name], f"{what}, {name}") for name in _NODES[:4])
    need(parents[0] in _NO_PARENT, what, "has a root that has a parent")

    def visit(node: int) -> None:
        within(0 <= splits[node] < features, f"{what}, node {node}")
        is_parent = parents[left[node]] == parents[right[node]] == node
        need(is_parent, f"{what}, node {node}", "is not the parent of its children")

    seen = reached(left, right, visit, what)
    unseen = [node for node in range(len(left)) if not seen[node]]
    need(len(unseen) == deleted, what, f"has {len(unseen)} nodes out of reach, and claims {deleted}")
    for node in unseen:
        within(left[node] == right[node] == -1, f"{what}, node {node}", "is deleted and has children still")


def _check_categories(arrays: Mapping[str, Sequence[object]], count: int, what: str) -> int:
    kinds = integers(arrays.get("split_type", ()), f"{what}, split_type")
    values, nodes, starts, sizes = (integers(arrays.get(name, ()), f"{what}, {name}") for name in _CATEGORIES)
    need(set(kinds) <= {0, 1}, what, "has splits of a type that is not known")
    within(len(nodes) == len(starts) == len(sizes), what, "has sets of categories that do not belong together")
    within(all(0 <= node < count for node in nodes), what)
    need(all(first < second for first, second in pairwise(nodes)), what, "has sets of categories out of order")
    need([node for node, kind in enumerate(kinds) if kind] == list(nodes), what, "lacks sets of categories")
    within(all(0 <= value < _MAX_CATEGORY for value in values), f"{what}, a category")
    spent = 0
    for start, size in zip(starts, sizes, strict=True):
        within(start >= 0 and 0 < size <= len(values) - start, f"{what}, a set of categories")
        spent += size
        need(spent <= len(values), what, "has sets of categories that overlap")
    return sum(max(values[start : start + size]) for start, size in zip(starts, sizes, strict=True)) // _BITS_PER_BYTE
