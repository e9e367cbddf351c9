"""A graph as a torch module: constants are folded once, the rest runs node by node, and autograd differentiates it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# each of these enters its operators in the table
from veriward.adapters.onnx_graph import elementwise, gather, linear, norm, pool, recurrent, reduction, resize, shape
from veriward.adapters.onnx_graph.feed import check_rows
from veriward.adapters.onnx_graph.graph import Graph, Port
from veriward.adapters.onnx_graph.operator import OPERATORS, Function, Node, TooLarge, Unsupported
from veriward.core.errors import ArtefactError

_ROOMS = (elementwise, gather, linear, norm, pool, recurrent, reduction, resize, shape)
OLDEST = 9  # opsets before had other rules for broadcasting and normalisation


@dataclass(frozen=True)
class Step:
    """One node, ready to run: which slots it reads and writes, and which nobody reads afterwards."""

    function: Function
    reads: tuple[int, ...]  # -1: an optional input that is absent
    writes: tuple[int, ...]
    host: tuple[int, ...]
    frees: tuple[int, ...]
    name: str


class GraphModule(nn.Module):
    """Computes one output of a graph from one input. Parameters are none: the weights are buffers and stay as they are.

    Raises Unsupported (from `read_module`) with all operators that have no torch reading.
    """

    def __init__(
        self, port: Port, weights: Mapping[int, Tensor], sizes: Mapping[int, Tensor], steps: Sequence[Step], end: int
    ) -> None:
        super().__init__()
        self.port, self.steps, self.end = port, tuple(steps), end
        self.slots = max([end, *weights, *sizes, *(slot for step in steps for slot in step.writes)]) + 1
        self.sizes = dict(sizes)  # these stay on the host, where they are read
        self.weights = {slot: f"constant_{slot}" for slot in weights}
        for slot, value in weights.items():
            self.register_buffer(self.weights[slot], value)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for a batch of rows; ModelError for rows of another shape than the input's."""
        check_rows(self.port, x.shape)
        values: list[Tensor | None] = [None] * (self.slots + 1)
        for slot, value in self.sizes.items():
            values[slot] = value
        for slot, name in self.weights.items():
            values[slot] = getattr(self, name)
        values[0] = x
        for step in self.steps:
            _run(step, values)
        out = values[self.end]
        assert out is not None
        return out


def _run(step: Step, values: list[Tensor | None]) -> None:
    inputs = [values[slot] if slot >= 0 else None for slot in step.reads]
    out = step.function(*_together(inputs, step.host))
    if isinstance(out, tuple):
        for slot, value in zip(step.writes, out, strict=False):
            values[slot] = value  # -1, the last slot, takes what nobody wants
    else:
        values[step.writes[0]] = out
    for slot in step.frees:
        values[slot] = None


def _together(inputs: list[Tensor | None], host: tuple[int, ...]) -> list[Tensor | None]:
    """Move what meets on a GPU there: sizes live on the host until they are data."""
    device = next((value.device for value in inputs if value is not None and value.device.type != "cpu"), None)
    if device is None:
        return inputs
    return [value if value is None or place in host else value.to(device) for place, value in enumerate(inputs)]


def read_module(graph: Graph, port: Port, output: str) -> GraphModule:
    """Return the module that computes `output` from the input `port`.

    Raises Unsupported, naming every operator without a torch reading and how often it occurs, and ArtefactError where
    the constants contradict each other.
    """
    if graph.opset < OLDEST:
        raise Unsupported(f"opset {graph.opset} (want {OLDEST} or newer)")
    nodes = graph.needed(output)
    functions = _built(graph.where, nodes)
    constants = {name: _tensor(value) for name, value in graph.constants.items()}
    rest = _folded(graph.where, nodes, functions, constants)
    return _wired(rest, functions, constants, port, output)


def _built(where: str, nodes: Sequence[Node]) -> dict[int, Function]:
    lacking: Counter[str] = Counter()
    functions: dict[int, Function] = {}
    for node in nodes:
        if node.op == "Constant":
            continue
        if node.op not in OPERATORS:
            lacking[node.op] += 1
            continue
        try:
            functions[id(node)] = OPERATORS[node.op].build(node)
        except Unsupported as error:
            lacking[str(error)] += 1
        except Exception as error:  # settings of another type than the specification says
            raise ArtefactError(
                f"{where}: node {node.name!r} ({node.op}) has settings it cannot have: {error}"
            ) from error
    if lacking:
        raise Unsupported(", ".join(f"{name} × {count}" for name, count in sorted(lacking.items())))
    return functions


def _tensor(value: Any) -> Tensor:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise Unsupported(f"constants of type {array.dtype}")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _constant(node: Node) -> Tensor:
    for key, dtype in (
        ("value", None),
        ("value_float", "f4"),
        ("value_floats", "f4"),
        ("value_int", "i8"),
        ("value_ints", "i8"),
    ):
        if key in node.attributes:
            return _tensor(np.asarray(node.attributes[key], dtype=dtype))
    raise Unsupported(f"Constant with {', '.join(node.attributes) or 'no value'}")


def _folded(
    where: str, nodes: Sequence[Node], functions: Mapping[int, Function], constants: dict[str, Tensor]
) -> list[Node]:
    """Run what depends on no row, into `constants`; return the other nodes."""
    rest = []
    for node in nodes:
        if node.op == "Constant":
            constants[node.outputs[0]] = _constant(node)
        elif node.op != "Shape" and all(name in constants for name in node.inputs if name):
            constants.update(_computed(where, node, functions[id(node)], constants))
        elif node.op == "Shape" and node.inputs[0] in constants:
            constants[node.outputs[0]] = functions[id(node)](constants[node.inputs[0]])
        else:
            rest.append(node)
    return rest


def _computed(where: str, node: Node, function: Function, constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
    try:
        with torch.no_grad():
            out = function(*(constants[name] if name else None for name in node.inputs))
    except (Unsupported, MemoryError):
        raise
    except TooLarge as error:
        raise ArtefactError(f"{where}: node {node.name!r} makes {error}; export the model again") from error
    except Exception as error:
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ArtefactError(
            f"{where}: node {node.name!r} ({node.op}) cannot be computed: {text}; export again"
        ) from error
    values = out if isinstance(out, tuple) else (out,)
    return {name: value for name, value in zip(node.outputs, values, strict=False) if name}


def _wired(
    nodes: Sequence[Node], functions: Mapping[int, Function], constants: Mapping[str, Tensor], port: Port, output: str
) -> GraphModule:
    slots = {port.name: 0}
    read = {name for node in nodes for name in node.inputs} | {output}
    for name in (*(name for name in constants if name in read), *(name for node in nodes for name in node.outputs)):
        if name:
            slots.setdefault(name, len(slots))
    steps = tuple(_steps(nodes, functions, slots, output))
    data = {name for node in nodes for place, name in enumerate(node.inputs) if place not in OPERATORS[node.op].host}
    weights: dict[int, Tensor] = {}
    sizes: dict[int, Tensor] = {}
    for name, value in constants.items():
        if name in read:
            # whole numbers in a row are sizes, axes or positions, whoever reads them
            small = value.ndim < 2 and not value.is_floating_point()
            (sizes if small or name not in data | {output} else weights)[slots[name]] = value
    return GraphModule(port, weights, sizes, steps, slots[output])


def _steps(
    nodes: Sequence[Node], functions: Mapping[int, Function], slots: Mapping[str, int], output: str
) -> Iterator[Step]:
    last = {name: number for number, node in enumerate(nodes) for name in node.inputs}
    for number, node in enumerate(nodes):
        over = {name for name in node.inputs if name and last[name] == number and name != output}
        reads, writes = (tuple(slots[name] if name else -1 for name in names) for names in (node.inputs, node.outputs))
        frees = tuple(slots[name] for name in sorted(over))
        yield Step(functions[id(node)], reads, writes, OPERATORS[node.op].host, frees, node.name)
