"""Recurrent layers: RNN, GRU and LSTM with their usual activations, step by step."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from veriward.adapters.onnx_graph.operator import Function, Node, Unsupported, operator

State = tuple[Tensor, ...]  # h, and c for an LSTM; each (rows, hidden)
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


@dataclass(frozen=True)
class Weights:
    """One direction: w (gates·hidden, inputs), r (gates·hidden, hidden), and a bias for each."""

    w: Tensor
    r: Tensor
    wb: Tensor
    rb: Tensor


Cell = Callable[[Tensor, State, Weights], State]  # x·w (rows, gates·hidden), the state before, the weights -> after


def _lstm(xw: Tensor, state: State, weights: Weights) -> State:
    h, c = state
    i, o, f, g = (xw + h @ weights.r.t() + weights.rb).chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(after: bool) -> Cell:
    """Return the cell; `after`: the reset gate acts on the product with r, as torch and cuDNN have it."""

    def cell(xw: Tensor, state: State, weights: Weights) -> State:
        (h,) = state
        size = h.shape[1]
        gates = xw[:, : 2 * size] + h @ weights.r[: 2 * size].t() + weights.rb[: 2 * size]
        z, r = gates.sigmoid().chunk(2, 1)
        last, bias = weights.r[2 * size :].t(), weights.rb[2 * size :]
        inner = r * (h @ last + bias) if after else (r * h) @ last + bias
        return ((1 - z) * (xw[:, 2 * size :] + inner).tanh() + z * h,)

    return cell


def _rnn(relu: bool) -> Cell:
    activation = torch.relu if relu else torch.tanh
    return lambda xw, state, weights: (activation(xw + state[0] @ weights.r.t() + weights.rb),)


def _cell(node: Node) -> Cell:
    names = node.get("activations") or USUAL[node.op] * len(DIRECTIONS[node.get("direction", "forward")])
    relu = node.op == "RNN" and set(names) == {"Relu"}
    if names != USUAL[node.op] * (len(names) // len(USUAL[node.op])) and not relu:
        raise Unsupported(f"{node.op} with activations {' '.join(names)}")
    for key in ("clip", "input_forget", "layout"):  # onnxruntime itself takes no layout but steps first
        if node.get(key, 0):
            raise Unsupported(f"{node.op} with {key}")
    if node.has(7):
        raise Unsupported(f"{node.op} with peepholes")
    return {"RNN": _rnn(relu), "GRU": _gru(bool(node.get("linear_before_reset", 0))), "LSTM": _lstm}[node.op]


@operator("RNN", "GRU", "LSTM")
def _recurrent(node: Node) -> Function:
    cell, states = _cell(node), 2 if node.op == "LSTM" else 1
    turns = DIRECTIONS[node.get("direction", "forward")]

    def run(x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, *rest: Tensor | None) -> tuple[Tensor, ...]:
        lengths, *starts = (*rest, None, None, None)[: 1 + states]  # x is (steps, rows, inputs)
        if lengths is not None and bool((lengths != len(x)).any()):
            raise Unsupported(f"{node.op} with rows of different lengths")
        b = x.new_zeros(len(turns), 2 * w.shape[1]) if b is None else b
        zero = x.new_zeros(len(turns), x.shape[1], r.shape[2])
        befores = [zero if start is None else start for start in starts]
        passes = []
        for at, backwards in enumerate(turns):
            weights = Weights(w[at], r[at], *b[at].chunk(2))
            passes.append(_passed(cell, x, tuple(s[at] for s in befores), weights, backwards))
        whole = torch.stack([hidden for hidden, _ in passes], 1)  # (steps, directions, rows, hidden)
        ends = [torch.stack([end[i] for _, end in passes]) for i in range(states)]
        return (whole, *ends)

    return run


def _passed(cell: Cell, x: Tensor, state: State, weights: Weights, backwards: bool) -> tuple[Tensor, State]:
    xw = x @ weights.w.t() + weights.wb  # all steps at once
    hidden: list[Tensor] = []
    for step in reversed(range(len(x))) if backwards else range(len(x)):
        state = cell(xw[step], state, weights)
        hidden.append(state[0])
    return torch.stack(hidden[::-1] if backwards else hidden), state
