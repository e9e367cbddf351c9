"""Picking by position; negative positions count from the end."""

import torch
from torch import Tensor

from veriward.adapters.onnx_graph.operator import Function, Node, ints, operator


def _wrapped(places: Tensor, size: int) -> Tensor:
    places = places.long()
    return torch.where(places < 0, places + size, places)


@operator("Gather")
def _gather(node: Node) -> Function:
    axis = node.get("axis", 0)

    def gather(x: Tensor, places: Tensor) -> Tensor:
        at = axis % x.ndim
        flat = x.index_select(at, _wrapped(places, x.shape[at]).reshape(-1))
        return flat.reshape([*x.shape[:at], *places.shape, *x.shape[at + 1 :]])

    return gather


@operator("GatherElements")
def _gather_elements(node: Node) -> Function:
    axis = node.get("axis", 0)
    return lambda x, places: x.gather(axis, _wrapped(places, x.shape[axis]))


@operator("GatherND")
def _gather_nd(node: Node) -> Function:
    batch = node.get("batch_dims", 0)

    def gather(x: Tensor, places: Tensor) -> Tensor:
        lead, depth = x.shape[:batch], places.shape[-1]
        rows = x.reshape(-1, *x.shape[batch:])
        chosen = places.reshape(len(rows), -1, depth)
        columns = [_wrapped(chosen[..., i], rows.shape[1 + i]) for i in range(depth)]
        row = torch.arange(len(rows), device=x.device)[:, None].expand(chosen.shape[:2])
        picked = rows[(row, *columns)]
        return picked.reshape([*lead, *places.shape[batch:-1], *x.shape[batch + depth :]])

    return gather


@operator("OneHot", host=(1,))
def _one_hot(node: Node) -> Function:
    axis = node.get("axis", -1)

    def one_hot(places: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        count = ints(depth)[0]
        hot = _wrapped(places, count).unsqueeze(-1) == torch.arange(count, device=places.device)
        off, on = values.unbind()
        return torch.where(hot, on, off).movedim(-1, axis)

    return one_hot
