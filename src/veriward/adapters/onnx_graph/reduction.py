"""Reductions over axes, which are attributes in older opsets and inputs in newer ones."""

from collections.abc import Callable

import torch
from torch import Tensor

from veriward.adapters.onnx_graph.operator import Function, Node, ints, operator

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.mean(axes, keepdim=keep) if x.is_floating_point() else x.double().mean(axes, keepdim=keep).to(x.dtype)


_REDUCTIONS: dict[str, Reduce] = {
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep, dtype=x.dtype),
    "ReduceMean": _mean,
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceProd": _product,
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep, dtype=x.dtype),
    # the norm's own derivative is 0 at the origin, the square root's is not a number
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keepdim=keep, dtype=x.dtype),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep, dtype=x.dtype).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
}


@operator(*_REDUCTIONS, host=(1,))
def _reduce(node: Node) -> Function:
    function, keep = _REDUCTIONS[node.op], bool(node.get("keepdims", 1))
    given, untouched = node.get("axes"), bool(node.get("noop_with_empty_axes", 0))

    def reduce(x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = list(given or ()) if axes is None else ints(axes)
        if not chosen and (untouched or not x.ndim):
            return x
        return function(x, chosen or list(range(x.ndim)), keep)

    return reduce


@operator("ArgMax", "ArgMin")
def _arg(node: Node) -> Function:
    function = torch.argmax if node.op == "ArgMax" else torch.argmin
    axis, keep, last = node.get("axis", 0), bool(node.get("keepdims", 1)), node.get("select_last_index", 0)

    def arg(x: Tensor) -> Tensor:
        places: Tensor = function(x.flip(axis) if last else x, axis, keep)
        return x.shape[axis] - 1 - places if last else places

    return arg


@operator("CumSum", host=(1,))
def _cumulated(node: Node) -> Function:
    exclusive, reverse = node.get("exclusive", 0), node.get("reverse", 0)

    def cumulate(x: Tensor, axis: Tensor) -> Tensor:
        at = ints(axis)[0]
        x = x.flip(at) if reverse else x
        sums = x.cumsum(at, dtype=x.dtype)
        sums = sums - x if exclusive else sums
        return sums.flip(at) if reverse else sums

    return cumulate


@operator("TopK", host=(1,))
def _top(node: Node) -> Function:
    axis, largest, ordered = node.get("axis", -1), bool(node.get("largest", 1)), bool(node.get("sorted", 1))

    def top(x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        values, places = x.topk(ints(k)[0], axis, largest, ordered)
        return values, places

    return top
