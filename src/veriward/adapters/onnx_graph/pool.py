"""Pooling: sizes as the specification counts them, so that torch's own rounding rules never decide."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from veriward.adapters.onnx_graph.linear import margins, padded, spans
from veriward.adapters.onnx_graph.operator import Function, Node, operator, simple

_MAX: tuple[Any, ...] = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_MEAN: tuple[Any, ...] = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)
_CONV: tuple[Any, ...] = (functional.conv1d, functional.conv2d, functional.conv3d)


def _windows(node: Node, x: Tensor) -> tuple[list[int], list[int], list[int], list[int], list[int], list[int]]:
    """Return kernel, strides, dilations, padding before, after, and what the last, cut window lacks (ceil_mode)."""
    kernel = list(node.get("kernel_shape"))
    strides, dilations, reach = spans(node, kernel)
    sizes = list(x.shape[2:])
    before, after = margins(node, sizes, strides, reach)
    lacking = [0] * len(kernel)
    if node.get("ceil_mode", 0) and node.get("auto_pad", "NOTSET") == "NOTSET":
        lacking = [_lacking(*axis) for axis in zip(sizes, before, after, strides, reach, strict=True)]
    return kernel, strides, dilations, before, after, lacking


def _lacking(size: int, before: int, after: int, stride: int, reach: int) -> int:
    whole = size + before + after
    count = -(-(whole - reach) // stride) + 1
    if (count - 1) * stride >= size + before:  # a window that starts in the padding after the input is none
        count -= 1
    return max(0, (count - 1) * stride + reach - whole)


def _is_plain(kernel: list[int], before: list[int], after: list[int], lacking: list[int]) -> bool:
    """Return whether torch's pooling takes it as it is: the same padding at both ends, half a window at most."""
    return before == after and not any(lacking) and all(2 * b <= k for b, k in zip(before, kernel, strict=True))


@operator("MaxPool")
def _max_pool(node: Node) -> Function:
    node.only_first()

    def pool(x: Tensor) -> Tensor:
        kernel, strides, dilations, before, after, lacking = _windows(node, x)
        function: Callable[..., Tensor] = _MAX[len(kernel) - 1]
        if _is_plain(kernel, before, after, lacking):
            return function(x, kernel, strides, before, dilations)
        ends = [a + more for a, more in zip(after, lacking, strict=True)]
        return function(padded(x, before, ends, -torch.inf), kernel, strides, 0, dilations)

    return pool


@operator("AveragePool")
def _average_pool(node: Node) -> Function:
    whole = bool(node.get("count_include_pad", 0))

    def pool(x: Tensor) -> Tensor:
        kernel, strides, dilations, before, after, lacking = _windows(node, x)
        if _is_plain(kernel, before, after, lacking) and set(dilations) == {1}:
            means: Tensor = _MEAN[len(kernel) - 1](x, kernel, strides, before, False, whole)
            return means
        counted = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
        counted = padded(padded(counted, before, after, float(whole)), [0] * len(kernel), lacking)
        ends = [a + more for a, more in zip(after, lacking, strict=True)]
        sums = _sums(padded(x, before, ends), kernel, strides, dilations)
        return sums / _sums(counted, kernel, strides, dilations)

    return pool


def _sums(x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> Tensor:
    """Return the sum of each window: a convolution with ones, channel by channel."""
    ones = torch.ones(1, 1, *kernel, dtype=x.dtype, device=x.device)
    flat = x.reshape(-1, 1, *x.shape[2:])
    sums: Tensor = _CONV[len(kernel) - 1](flat, ones, None, strides, 0, dilations)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


@operator("LpPool")
def _lp_pool(node: Node) -> Function:
    p = node.get("p", 2)

    def pool(x: Tensor) -> Tensor:
        kernel, strides, dilations, before, after, lacking = _windows(node, x)
        ends = [a + more for a, more in zip(after, lacking, strict=True)]
        sums = _sums(padded(x.abs() ** p, before, ends), kernel, strides, dilations)
        return sums.pow(1 / p)

    return pool


def _spread(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(*x.shape[:2], *[1] * (x.ndim - 2))


# one maximum keeps the gradient, as in max pooling: amax would share it out among ties
simple(lambda x: _spread(x.flatten(2).max(2).values, x), "GlobalMaxPool")
simple(lambda x: _spread(x.flatten(2).mean(2), x), "GlobalAveragePool")


@operator("GlobalLpPool")
def _global_lp(node: Node) -> Function:
    p = float(node.get("p", 2))
    assert math.isfinite(p)
    return lambda x: _spread(torch.linalg.vector_norm(x.flatten(2), p, 2), x)
