"""Reads a torch module into a Graph: torch.export lists its ATen operators, and each is told here as one of ours.

torch.export refuses control flow that depends on numbers, so what is read is what runs for every row. What is not
understood is refused by name; nothing is guessed.
"""

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from veriward.checks.certify.affine import Scale
from veriward.checks.certify.graph import Graph, Input, Op, Unreadable, pool_first
from veriward.checks.certify.rounding import TAIL, UNITS, unit_of

SOFT = ("softmax.int", "_softmax.default", "log_softmax.int", "_log_softmax.default")
Value = Any  # a number of an operator, a constant tensor, or a plain argument
_read: "WeakKeyDictionary[nn.Module, Graph | Unreadable]" = WeakKeyDictionary()


class _One(nn.Module):
    """The one answer that counts, as the backend takes it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.training = module, False  # the module is in evaluation mode already

    def forward(self, x: Tensor) -> Any:
        """Return it."""
        out = self.module(x)
        if isinstance(out, tuple | list) and out:
            out = out[0]
        return out.get("logits", list(out)) if isinstance(out, Mapping) else out


def read(module: nn.Module, example: Tensor) -> Graph:
    """Return the graph of a module in evaluation mode; `example` is one row or more, (n, ...), of its own type.

    Raises Unreadable, naming every operator that is not understood. What was read is remembered for the module.
    """
    known = _read.get(module)
    if known is None:
        try:
            known = _Reader(_exported(module, example), example).graph()
        except Unreadable as error:
            known = error
        _read[module] = known
    if isinstance(known, Unreadable):
        raise known
    return known


def _exported(module: nn.Module, example: Tensor) -> Any:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about classes that torch has deprecated and still uses
        try:
            script = getattr(module, "program", None)  # of `adapters/torchscript`
            if isinstance(script, torch.jit.ScriptModule):
                module = _converted(script, example)
            program = torch.export.export(_One(module), (example,), strict=False)
            return program.run_decompositions({})  # writes in place become values
        except Exception as error:
            text = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise Unreadable(f"the network cannot be exported by torch.export ({text})") from error


def _converted(script: torch.jit.ScriptModule, example: Tensor) -> nn.Module:
    """Return a TorchScript program as a module that torch.export reads; a branch becomes an operator, refused by name."""
    from torch._export.converter import TS2EPConverter

    said = logging.getLogger("torch._export.non_strict_utils")  # warns of every size of one
    level = said.level
    said.setLevel(logging.ERROR)
    try:
        converted: nn.Module = TS2EPConverter(script, (example,)).convert().module()
        return converted
    finally:
        said.setLevel(level)


class _Reader:
    """Walks through an exported program once."""

    def __init__(self, program: Any, example: Tensor) -> None:
        self.program, self.example = program, example
        self.count, self.device = len(example), example.device
        self.ops: list[Input | Op] = []
        self.known: dict[str, Value] = {}  # by name: the number of an operator, or a constant
        self.live: set[str] = set()
        self.unknown: dict[str, int] = {}
        self.dtypes: set[torch.dtype] = {example.dtype}

    def graph(self) -> Graph:
        """Return what was read."""
        from veriward.checks.certify.operators import OPERATORS

        nodes = list(self.program.graph.nodes)
        self._inputs(nodes)
        end = next(node for node in nodes if node.op == "output").args[0]
        end = end[0] if isinstance(end, tuple | list) else end
        end, taken_off = self._without_softmax(end)
        for node in nodes:
            if node.op == "call_function":
                self._call(node, OPERATORS)
            if node is end:
                break
        if self.unknown:
            raise Unreadable(", ".join(f"{name} × {count}" for name, count in sorted(self.unknown.items())))
        if getattr(end, "name", None) not in self.live or len(self.shape(end)) != 1:
            raise Unreadable("an answer that is no row of scores")
        self._last(self.known[end.name])
        return self._finished(taken_off)

    def _last(self, number: int) -> None:
        """Make the answer the last operator; it may stand before others that only other answers need."""
        if number == 0:
            number = self.add(Scale((0,), self.ops[0].shape, factor=self.double(torch.ones(1)), steps=0))
        del self.ops[number + 1 :]

    def _finished(self, taken_off: str) -> Graph:
        unit = unit_of(self.dtypes, self.device)
        tail = TAIL * unit if taken_off else 0.0
        return Graph(pool_first(self.ops), unit, self.example.dtype, tail, taken_off)

    def _inputs(self, nodes: list[Any]) -> None:
        signature, state = self.program.graph_signature, self.program.state_dict
        for node in (node for node in nodes if node.op == "placeholder"):
            name = node.name
            target = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.get(name)
            if target is not None:
                value = state.get(target, self.program.constants.get(target))
            elif name in signature.inputs_to_lifted_tensor_constants:
                value = self.program.constants[signature.inputs_to_lifted_tensor_constants[name]]
            elif name in signature.user_inputs:
                self.known[name] = 0
                self.live.add(name)
                self.ops.append(Input(tuple(self.example.shape[1:])))
                continue
            else:
                raise Unreadable(f"an input of a kind of its own ({name})")
            self.known[name] = value

    def _without_softmax(self, end: Any) -> tuple[Any, str]:
        """Take off a softmax over classes, or a sigmoid of one score, at the very end: neither changes the decision."""
        name = _name(end)
        over = end.args[1] if name in SOFT else None
        width = end.meta["val"].shape[-1] if "val" in getattr(end, "meta", {}) else 0
        if over in (1, -1) and width > 1 and end.meta["val"].ndim == 2:
            return end.args[0], "log_softmax" if "log" in name else "softmax"
        return (end.args[0], "sigmoid") if name == "sigmoid.default" and width == 1 else (end, "")

    def _call(self, node: Any, operators: Mapping[str, Callable[..., int | tuple[int] | None]]) -> None:
        arguments = list(node.all_input_nodes)
        if any(part.name not in self.known for part in arguments):
            return  # it hangs on something that was not understood, and is named already
        if not any(part.name in self.live for part in arguments):
            self.known[node.name] = self._constant(node)
            return
        name = _name(node)
        try:
            number = operators[name](self, node) if name in operators else None
        except Unreadable as error:
            name, number = str(error), None
        if number is None:
            self.unknown[name] = self.unknown.get(name, 0) + 1
            return
        if isinstance(number, int):
            self._checked(node, number)
        self.known[node.name] = number
        self.live.add(node.name)

    def _checked(self, node: Any, number: int) -> None:
        value = node.meta.get("val")  # None for operators that only assert
        if isinstance(value, Tensor):
            self.dtypes.add(value.dtype)
            if value.shape[0] != self.count or tuple(value.shape[1:]) != self.ops[number].shape:
                raise Unreadable(f"{_name(node)} that lets rows meet")
            if value.dtype not in UNITS:
                raise Unreadable(f"numbers of type {str(value.dtype).removeprefix('torch.')}")

    def _constant(self, node: Any) -> Any:
        def plain(part: Any) -> Any:
            return self.known[part.name] if isinstance(part, torch.fx.Node) else part

        if node.target is not getattr and "rand" in _name(node):
            raise Unreadable(f"{_name(node)}, which is random")
        return node.target(*torch.fx.map_arg(node.args, plain), **torch.fx.map_arg(node.kwargs, plain))

    # what operators ask

    def add(self, op: Input | Op) -> int:
        """Append an operator and return its number."""
        self.ops.append(op)
        return len(self.ops) - 1

    def is_live(self, part: Any) -> bool:
        """Whether an argument depends on the rows."""
        return isinstance(part, torch.fx.Node) and part.name in self.live

    def number(self, part: Any) -> int:
        """Return the operator that an argument is."""
        if not self.is_live(part):
            raise Unreadable("a constant where rows were expected")
        return int(self.known[part.name])

    def constant(self, part: Any) -> Any:
        """Return an argument that depends on no row: a tensor or a plain value."""
        if self.is_live(part):
            raise Unreadable("a product of numbers that both depend on the row")
        return self.known[part.name] if isinstance(part, torch.fx.Node) else part

    def double(self, value: Any) -> Tensor:
        """Return a constant in float64."""
        return torch.as_tensor(value, device=self.device).detach().double()

    def per_row(self, part: Any) -> Tensor:
        """Return a constant that meets rows of any number: without the axis of rows, or the same for each."""
        value = self.double(self.constant(part))
        if value.ndim and value.ndim > len(self.ops[0].shape) and value.shape[0] == self.count > 1:
            if not bool((value == value[:1]).all()):
                raise Unreadable("a constant that differs from row to row")
            value = value[:1]
        return value

    def shape(self, node: Any) -> tuple[int, ...]:
        """Return the shape of a row of a node."""
        return tuple(int(size) for size in node.meta["val"].shape[1:])


def _name(node: Any) -> str:
    """Return e.g. "conv2d.default"."""
    return str(getattr(node, "target", "")).removeprefix("aten.")
