"""Normalisations, in inference."""

import torch
from torch import Tensor
from torch.nn import functional

from veriward.adapters.onnx_graph.operator import Function, Node, Unsupported, operator


@operator("BatchNormalization")
def _batch(node: Node) -> Function:
    node.only_first()
    if node.get("training_mode", 0):
        raise Unsupported("BatchNormalization in training mode")
    epsilon = node.get("epsilon", 1e-5)
    return lambda x, scale, bias, mean, var: functional.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)


@operator("InstanceNormalization")
def _instance(node: Node) -> Function:
    epsilon = node.get("epsilon", 1e-5)

    def norm(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        channels = x.shape[1]  # each one a group of its own: torch's instance_norm refuses maps of a single number
        return functional.group_norm(x, channels, scale, bias, epsilon)

    return norm


@operator("GroupNormalization")
def _group(node: Node) -> Function:
    groups, epsilon = node.get("num_groups"), node.get("epsilon", 1e-5)

    def norm(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if node.version < 21:  # one pair of numbers per group; since 21 one per channel
            each = x.shape[1] // groups
            scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
        return functional.group_norm(x, groups, scale, bias, epsilon)

    return norm


@operator("LayerNormalization")
def _layer(node: Node) -> Function:
    node.only_first()
    axis, epsilon = node.get("axis", -1), node.get("epsilon", 1e-5)

    def norm(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = x.shape[axis:]
        if scale.shape == shape and (bias is None or bias.shape == shape):
            return functional.layer_norm(x, shape, scale, bias, epsilon)
        out: Tensor = functional.layer_norm(x, shape, eps=epsilon) * scale
        return out if bias is None else out + bias

    return norm


@operator("RMSNormalization")
def _rms(node: Node) -> Function:
    axis, epsilon = node.get("axis", -1), node.get("epsilon", 1e-5)
    return lambda x, scale: functional.rms_norm(x, x.shape[axis:], eps=epsilon) * scale


@operator("LRN")
def _lrn(node: Node) -> Function:
    size, alpha, beta = node.get("size"), node.get("alpha", 1e-4), node.get("beta", 0.75)
    bias, before = node.get("bias", 1.0), (size - 1) // 2

    def norm(x: Tensor) -> Tensor:
        # by hand: torch's window of an even size starts one channel earlier
        widths = [0, 0] * (x.ndim - 2) + [before, size - 1 - before]
        sums = functional.pad(x * x, widths).unfold(1, size, 1).sum(-1)
        scale: Tensor = (bias + alpha / size * sums).pow(beta)
        return x / scale

    return norm


@operator("MeanVarianceNormalization")
def _mean_variance(node: Node) -> Function:
    axes = list(node.get("axes", [0, 2, 3]))
    if 0 in axes:
        raise Unsupported("MeanVarianceNormalization over axis 0, the rows")

    def norm(x: Tensor) -> Tensor:
        centred: Tensor = x - x.mean(axes, keepdim=True)
        return centred / ((centred * centred).mean(axes, keepdim=True).sqrt() + 1e-9)

    return norm


@operator("LpNormalization")
def _lp(node: Node) -> Function:
    axis, p = node.get("axis", -1), float(node.get("p", 2))

    def norm(x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, p, axis, keepdim=True)
        return x / torch.where(length == 0, torch.ones_like(length), length)

    return norm
