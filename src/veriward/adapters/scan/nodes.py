"""The kinds of nodes in a skops file: which types each may build, and what must be true of its content."""

import json
from collections.abc import Iterator

from . import sklearn_types as allowed
from .gadgets import ANYWHERE
from .jsons import BadJson, read_json
from .neighbours import check_neighbours
from .trees import check_predictor, check_tree
from .vectors import MACHINES, PARTS, fit_together
from .walk import Estimator, Loaders, Node, Walk

# Parameters that would open files or folders once the model is used.
_PINNED = {"memory": "null", "input": '"content"'}

# Ensembles that check the width of their input once, for all trees below them.
_FORESTS = tuple(f"sklearn.ensemble.{name}" for name in ("_forest", "_gb", "_bagging", "_iforest", "_weight_boosting"))


def _children(value: object) -> Iterator[Node]:
    """The nearest nodes below a value."""
    if isinstance(value, dict) and "__loader__" in value:
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _children(item)


def _strange(walk: Walk, node: Node) -> None:
    for value in node.values():
        for child in _children(value):
            walk.visit(child)


def _items(walk: Walk, node: Node) -> None:
    for child in node["content"]:
        walk.visit(child)


def _dict(walk: Walk, node: Node) -> None:
    # skops calls each key type with the text of its key
    for kind in node["key_types"]["content"]:
        path = f"{kind['__module__']}.{kind['__class__']}"
        if kind["__loader__"] != "TypeNode" or path not in allowed.KEY_TYPES:
            walk.place.unknown(0, path, "is called with the keys of a dict, and is not on the allowlist")
    if node["key_types"]["__loader__"] != "ListNode":
        walk.place.unknown(0, "key_types", "should be a list")
    walk.visit(node["key_types"])
    for child in node["content"].values():
        walk.visit(child)


def _default_dict(walk: Walk, node: Node) -> None:
    walk.visit(node["content"]["main"])
    factory = node["content"]["default_factory"]
    if factory["__loader__"] not in ("TypeNode", "JsonNode"):
        walk.place.unknown(0, "default_factory", "is called at every missing key, and is no plain type")
    walk.visit(factory)


def _file(walk: Walk, node: Node) -> None:
    walk.header(str(node["file"]), "bytes")


def _sparse(walk: Walk, node: Node) -> None:
    walk.header(str(node["file"]), "npz")
    walk.place.unknown(0, "sparse matrix", "has indices that native code follows unchecked")


def _slice(walk: Walk, node: Node) -> None:
    if not all(value is None or type(value) is int for value in node["content"].values()):
        walk.place.unknown(0, "slice", "has ends that are no numbers")


def _json(walk: Walk, node: Node) -> None:
    try:
        read_json(node["content"].encode())
    except BadJson as error:
        walk.place.unknown(0, "JsonNode", str(error))


def _array(walk: Walk, node: Node) -> None:
    if node["type"] == "numpy":
        walk.header(str(node["file"]), "npy")
        return
    if node["type"] != "json" or f"{node['__module__']}.{node['__class__']}" != "numpy.ndarray":
        walk.place.unknown(0, str(node["type"]), "is an array of a kind that skops does not write")
    _items(walk, node)
    walk.visit(node["shape"])


def _content(walk: Walk, node: Node) -> None:
    walk.visit(node["content"])


def _masked(walk: Walk, node: Node) -> None:
    walk.visit(node["content"]["data"])
    walk.visit(node["content"]["mask"])


def _generator(walk: Walk, node: Node) -> None:
    state = node["content"]["bit_generator"]
    name = json.loads(state["content"]["bit_generator"]["content"])
    walk.types.add(f"numpy.random.{name}")
    if name not in allowed.BIT_GENERATORS:
        walk.place.unknown(0, f"numpy.random.{name}", "is called as a bit generator, and is none")
    walk.visit(state)
    if "seed_seq" in node["content"]:
        walk.visit(node["content"]["seed_seq"])


def _object(walk: Walk, node: Node) -> None:
    content = node.get("content")
    if content is None:
        return
    attributes = content.get("content") if content.get("__loader__") == "DictNode" else None
    outer = walk.estimator
    if isinstance(attributes, dict):
        _check_parameters(walk, attributes)
        walk.estimator = _estimator(node["__module__"], attributes, outer)
    walk.visit(content)
    if f"{node['__module__']}.{node['__class__']}" in allowed.PREDICTORS:
        _check_predictor(walk, attributes or {})
    if f"{node['__module__']}.{node['__class__']}" in allowed.NEIGHBOUR_TREES:
        _check_neighbours(walk, content["content"])
    if f"{node['__module__']}.{node['__class__']}" in MACHINES and "support_" in (attributes or {"support_": 0}):
        _check_vectors(walk, attributes or {})
    walk.estimator = outer


def _check_parameters(walk: Walk, attributes: Node) -> None:
    for name, wanted in _PINNED.items():
        value = attributes.get(name)
        if value is not None and value.get("content") != wanted:
            walk.place.unknown(0, name, f"is a parameter that reads or writes files unless it is {wanted}")


def _estimator(module: str, attributes: Node, outer: Estimator) -> Estimator:
    own = attributes.get("n_features_in_")
    if own is None:
        return outer
    features = json.loads(own["content"])
    if type(features) is not int:
        raise ValueError("n_features_in_")
    if outer.forest and module.startswith("sklearn.tree."):
        features = min(features, outer.features)
    return Estimator(features, module in _FORESTS)


def _check_predictor(walk: Walk, attributes: Node) -> None:
    walk.trees += 1
    bitsets = walk.header(str(attributes["raw_left_cat_bitsets"]["file"]), "npy")
    binned = walk.header(str(attributes["binned_left_cat_bitsets"]["file"]), "npy")
    nodes = walk.content(str(attributes["nodes"]["file"]))
    if nodes is None or bitsets is None or binned is None:
        return
    rows = min(header.shape[0] if len(header.shape) == 2 else 0 for header in (bitsets, binned))
    check_predictor(nodes, rows, walk.estimator.features, walk.place)


def _check_neighbours(walk: Walk, state: list[Node]) -> None:
    """The state: four arrays, the size of a leaf, numbers of levels and of nodes, counters, the metric, the weights."""
    arrays = [walk.content(str(part["file"])) for part in state[:4] if part["__loader__"] == "NdArrayNode"]
    levels, count = (json.loads(part["content"]) for part in state[5:7])
    if len(state) != 13 or state[12].get("content") != "null":
        walk.place.unknown(0, "tree", "has weights or other parts that are not read")
    found = [array for array in arrays if array is not None]
    if len(found) != 4 or type(levels) is not int or type(count) is not int:
        raise ValueError("a tree of neighbours")
    check_neighbours(found, levels, count, walk.place)


def _check_vectors(walk: Walk, attributes: Node) -> None:
    parts = [attributes[name] for name in PARTS]
    dense = [walk.header(str(part["file"]), "npy") for part in parts if part["__loader__"] == "NdArrayNode"]
    headers = [header for header in dense if header is not None]
    if len(headers) < len(PARTS) or not fit_together(headers):
        why = "has vectors and coefficients that are sparse or of sizes that do not belong together"
        walk.place.unknown(0, "support vector machine", why)


def _tree(walk: Walk, node: Node) -> None:
    walk.trees += 1
    arguments, state = node["__reduce__"]["args"], node["content"]
    walk.visit(arguments)
    walk.visit(state)
    features = json.loads(arguments["content"][0]["content"])
    count = json.loads(state["content"]["node_count"]["content"])
    nodes = walk.content(str(state["content"]["nodes"]["file"]))
    if features > walk.estimator.features:
        walk.place.unknown(
            0, "tree", f"takes {features} columns, and the estimator around it {walk.estimator.features}"
        )
    if nodes is not None:
        check_tree(nodes, count, features, walk.place)


def _loss(walk: Walk, node: Node) -> None:
    walk.visit(node["__reduce__"]["args"])
    walk.visit(node["content"])


def _partial(walk: Walk, node: Node) -> None:
    content = node["content"]
    if content["func"]["__loader__"] != "FunctionNode":
        walk.place.unknown(0, "functools.partial", "wraps something that is no function of the allowlist")
    for part in ("func", "args", "kwds", "namespace"):
        walk.visit(content[part])


def _method(walk: Walk, node: Node) -> None:
    name = str(node["content"]["func"])
    path = f"{node['__module__']}.{node['__class__']}.{name}"
    walk.types.add(path)
    note = walk.place.dangerous if name in ANYWHERE or name.startswith("__") else walk.place.unknown
    note(0, path, "is a bound method, which the model would call")
    walk.visit(node["content"]["obj"])


def _operator(walk: Walk, node: Node) -> None:
    walk.place.unknown(0, f"operator.{node['__class__']}", "is called while the file is loaded")
    walk.visit(node["attrs"])


def _leaf(_: Walk, node: Node) -> None:
    if "content" in node or "file" in node:
        raise ValueError("a name with content")


_ANY = frozenset({"builtins.str"})  # a JsonNode says this whatever it holds

# loader: (the types it may build, how its content is judged); "" stands for any other
LOADERS: Loaders = {
    "": (frozenset(), _strange),
    "DictNode": (allowed.DICTS, _dict),
    "DefaultDictNode": (frozenset({"collections.defaultdict"}), _default_dict),
    "ListNode": (allowed.LISTS, _items),
    "SetNode": (allowed.SETS, _items),
    "TupleNode": (allowed.TUPLES, _items),
    "BytesNode": (frozenset({"builtins.bytes"}), _file),
    "BytearrayNode": (frozenset({"builtins.bytearray"}), _file),
    "SliceNode": (frozenset({"builtins.slice"}), _slice),
    "JsonNode": (_ANY, _json),
    "TypeNode": (allowed.TYPES, _leaf),
    "FunctionNode": (allowed.FUNCTIONS, _leaf),
    "PartialNode": (frozenset({"functools.partial"}), _partial),
    "MethodNode": (frozenset(), _method),
    "OperatorFuncNode": (frozenset(), _operator),
    "ObjectNode": (allowed.OBJECTS, _object),
    "NdArrayNode": (allowed.ARRAYS, _array),
    "MaskedArrayNode": (allowed.MASKED, _masked),
    "DTypeNode": (allowed.DTYPES, _content),
    "RandomStateNode": (allowed.RANDOM_STATES, _content),
    "RandomGeneratorNode": (allowed.GENERATORS, _generator),
    "SparseMatrixNode": (allowed.SPARSE, _sparse),
    "TreeNode": (allowed.TREES, _tree),
    "LossNode": (allowed.LOSSES, _loss),
}
