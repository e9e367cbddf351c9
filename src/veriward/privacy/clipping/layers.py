"""The layers whose per-row gradients are known in closed form. Each gets its calls and says what to hold of its parameters.

A call is a pair (input, output gradient), rows first. A layer called several times adds up its calls row by row.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from veriward.privacy.clipping.held import Held, Lookup, Rows
from veriward.privacy.clipping.outer import Conv, Convolution, Dense, outer

Calls = list[tuple[Tensor, Tensor]]
HeldByName = dict[str, Held]


def trains(layer: nn.Module, name: str) -> bool:
    """Say whether a layer has this parameter and it is not frozen."""
    parameter = getattr(layer, name, None)
    return isinstance(parameter, Tensor) and parameter.requires_grad


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _added(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def linear(layer: nn.Module, calls: Calls) -> HeldByName:
    """Any number of dimensions between rows and features: all are positions."""
    found: HeldByName = {}
    g = _joined([g.reshape(len(g), -1, g.shape[-1]) for _, g in calls])
    if trains(layer, "weight"):
        a = _joined([a.reshape(len(a), -1, a.shape[-1]) for a, _ in calls])
        found["weight"] = outer(Dense(), a, g)
    if trains(layer, "bias"):
        found["bias"] = Rows(g.sum(1) if g.shape[1] > 1 else g.squeeze(1))
    return found


def convolution(layer: nn.Module, calls: Calls) -> HeldByName:
    """Convolutions in one, two and three dimensions, with stride, padding of any mode, dilation and groups."""
    found: HeldByName = {}
    form = Convolution(cast(Conv, layer))
    if trains(layer, "weight"):
        padded = [(form.padded(a).contiguous(), g.contiguous()) for a, g in calls]
        many = len(calls) > 1
        found["weight"] = Rows(_added([form.rows(*c) for c in padded])) if many else outer(form, *padded[0])
    if trains(layer, "bias"):
        found["bias"] = Rows(_added([g.flatten(2).sum(2) for _, g in calls]))
    return found


def embedding(layer: nn.Module, calls: Calls) -> HeldByName:
    """Lines looked up; the padding line gets no gradient."""
    table = cast(nn.Embedding, layer)
    ids = _joined([a.reshape(len(a), -1) for a, _ in calls])
    g = _joined([g.reshape(len(g), -1, g.shape[-1]) for _, g in calls])
    if table.padding_idx is not None:
        g = g.masked_fill((ids == table.padding_idx)[..., None], 0)
    return {"weight": Lookup.of(ids, g, table.num_embeddings)}


def _affine(layer: nn.Module, calls: Calls, normal: Callable[[Tensor], Tensor], shape: list[int]) -> HeldByName:
    """Scale and shift after a normalisation; `shape` folds (n, ...) so that dimension 2 holds the positions."""
    found: HeldByName = {}
    parameters = cast(Tensor, layer.weight).shape
    if trains(layer, "weight"):
        rows = [normal(a).mul_(g).reshape(len(a), *shape).sum(2) for a, g in calls]
        found["weight"] = Rows(_added(rows).reshape(-1, *parameters))
    if trains(layer, "bias"):
        rows = [g.reshape(len(g), *shape).sum(2) for _, g in calls]
        found["bias"] = Rows(_added(rows).reshape(-1, *parameters))
    return found


def layer_norm(layer: nn.Module, calls: Calls) -> HeldByName:
    """Layer normalisation over the last dimensions; RMS normalisation likewise."""
    norm = cast(nn.LayerNorm, layer)
    shape, fold = list(norm.normalized_shape), [1, -1, norm.weight.numel()]
    if isinstance(layer, nn.RMSNorm):
        return _affine(layer, calls, lambda a: functional.rms_norm(a, shape, None, norm.eps), fold)
    return _affine(layer, calls, lambda a: functional.layer_norm(a, shape, None, None, norm.eps), fold)


def group_norm(layer: nn.Module, calls: Calls) -> HeldByName:
    """Group normalisation: channels come second."""
    norm = cast(nn.GroupNorm, layer)
    groups, eps = norm.num_groups, norm.eps
    return _affine(layer, calls, lambda a: functional.group_norm(a, groups, None, None, eps), [norm.num_channels, -1])


def instance_norm(layer: nn.Module, calls: Calls) -> HeldByName:
    """Instance normalisation without running statistics."""
    norm = cast(nn.InstanceNorm2d, layer)
    return _affine(layer, calls, lambda a: functional.instance_norm(a, eps=norm.eps), [norm.num_features, -1])


# the exact class: a subclass may compute something else
KINDS: dict[type[nn.Module], Callable[[nn.Module, Calls], HeldByName]] = {
    nn.Linear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    nn.Embedding: embedding,
    nn.LayerNorm: layer_norm,
    nn.RMSNorm: layer_norm,
    nn.GroupNorm: group_norm,
    nn.InstanceNorm1d: instance_norm,
    nn.InstanceNorm2d: instance_norm,
    nn.InstanceNorm3d: instance_norm,
}
