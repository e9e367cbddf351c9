"""A graph as it stands in a file: its nodes in order, its inputs, outputs and constants. Checked, not yet run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from veriward.adapters.onnx_graph.operator import Node
from veriward.adapters.onnx_graph.tensors import Array, array
from veriward.core.errors import ArtefactError, some

GRAPH = "a graph"  # what stands for the value of an attribute that holds a subgraph


@dataclass(frozen=True)
class Port:
    """An input or output. `elem` is the type's number (0: no tensor), `shape` None where the rank is open."""

    name: str
    elem: int
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        sizes = "of any shape" if self.shape is None else f"({', '.join(str(s or '?') for s in self.shape)})"
        return f"{self.name!r} {sizes}"


@dataclass(frozen=True)
class Graph:
    """What a file holds. `inputs` are those that must be fed."""

    where: str
    nodes: tuple[Node, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    constants: Mapping[str, Array]
    opset: int

    def needed(self, output: str) -> tuple[Node, ...]:
        """Return the nodes that an output depends on, in order."""
        wanted, found = {output}, []
        for node in reversed(self.nodes):
            if wanted & set(node.outputs) - {""}:
                wanted |= set(node.inputs)
                found.append(node)
        return tuple(reversed(found))


def read_graph(model: Any, where: str) -> Graph:
    """Return the graph of a message; ArtefactError for cycles, names without a source, and names given twice."""
    graph = model.graph
    versions = {entry.domain: int(entry.version) for entry in model.opset_import}
    versions.setdefault("", versions.get("ai.onnx", 1))
    _check_functions(model, where)
    constants = {tensor.name: array(tensor, where) for tensor in graph.initializer}
    sparse = {tensor.values.name for tensor in graph.sparse_initializer}
    nodes = tuple(_node(node, versions, where) for node in graph.node)
    inputs = tuple(_port(value) for value in graph.input if value.name not in constants)
    given = [*(port.name for port in inputs), *constants, *sparse]
    nodes = _ordered(nodes, given, where)
    outputs = tuple(_port(value) for value in graph.output)
    _check_outputs(nodes, given, outputs, where)
    return Graph(where, nodes, inputs, outputs, constants, versions[""])


def _port(value: Any) -> Port:
    if value.type.WhichOneof("value") != "tensor_type":
        return Port(value.name, 0, None)
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return Port(value.name, int(kind.elem_type), None)
    # names and nothing at all both say: open; so does 0, which some exporters write for it
    sizes = tuple(int(d.dim_value) or None if d.HasField("dim_value") else None for d in kind.shape.dim)
    return Port(value.name, int(kind.elem_type), sizes)


def _node(node: Any, versions: Mapping[str, int], where: str) -> Node:
    domain = "" if node.domain == "ai.onnx" else node.domain
    op = f"{domain}:{node.op_type}" if domain else node.op_type
    attributes = {attribute.name: _value(attribute, where) for attribute in node.attribute}
    return Node(
        op, tuple(node.input), tuple(node.output), attributes, versions.get(domain, 0), node.name or node.op_type
    )


def _value(attribute: Any, where: str) -> Any:
    kind = attribute.AttributeType.Name(attribute.type)
    if kind in ("FLOAT", "INT"):
        return attribute.f if kind == "FLOAT" else int(attribute.i)
    if kind == "STRING":
        return attribute.s.decode("utf-8", "replace")
    if kind == "TENSOR":
        return array(attribute.t, where)
    if kind in ("FLOATS", "INTS"):
        return list(attribute.floats if kind == "FLOATS" else attribute.ints)
    if kind == "STRINGS":
        return [text.decode("utf-8", "replace") for text in attribute.strings]
    return GRAPH


def _ordered(nodes: tuple[Node, ...], given: Iterable[str], where: str) -> tuple[Node, ...]:
    """Return the nodes so that each follows what it reads: most files are so already."""
    maker: dict[str, int] = dict.fromkeys(given, -1)
    for number, node in enumerate(nodes):
        for name in node.outputs:
            if name in maker and name != "":
                raise ArtefactError(f"{where}: the name {name!r} is given twice (by {node.name!r}); export it again")
            maker[name] = number
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for number, node in enumerate(nodes):
        missing = [name for name in node.inputs if name and name not in maker]
        if missing and GRAPH not in node.attributes.values():
            raise ArtefactError(
                f"{where}: node {node.name!r} reads {some(missing)}, which nothing gives; export it again"
            )
        sorter.add(number, *(maker[name] for name in node.inputs if name and maker.get(name, -1) >= 0))
    try:
        return tuple(nodes[number] for number in sorter.static_order())
    except CycleError as error:
        names = [nodes[number].name for number in error.args[1]]
        raise ArtefactError(f"{where}: nodes read each other in a circle: {some(names)}; export it again") from error


def _check_outputs(nodes: Iterable[Node], given: Iterable[str], outputs: Iterable[Port], where: str) -> None:
    known = {*given, *(name for node in nodes for name in node.outputs)}
    missing = [port.name for port in outputs if port.name not in known]
    if missing or not known:
        raise ArtefactError(f"{where}: output {some(missing)} is given by no node; export it again")


def _check_functions(model: Any, where: str) -> None:
    """Raise ArtefactError for local functions that call themselves: a runtime would unfold them for ever."""
    names = {(function.domain, function.name) for function in model.functions}
    sorter: TopologicalSorter[tuple[str, str]] = TopologicalSorter()
    for function in model.functions:
        calls = {(node.domain, node.op_type) for node in function.node} & names
        sorter.add((function.domain, function.name), *calls)
    try:
        sorter.prepare()
    except CycleError as error:
        raise ArtefactError(
            f"{where}: its functions call themselves: {some(error.args[1])}; export it again"
        ) from error
