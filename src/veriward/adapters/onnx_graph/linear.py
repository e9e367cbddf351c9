"""Matrix products and convolutions."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from veriward.adapters.onnx_graph.operator import Function, Node, Unsupported, operator, simple

simple(torch.matmul, "MatMul")


@operator("Gemm")
def _gemm(node: Node) -> Function:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    left, right = node.get("transA", 0), node.get("transB", 0)

    def gemm(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a = a.t() if left else a
        if alpha == beta == 1.0 and (c is None or c.ndim == 1):
            return functional.linear(a, b if right else b.t(), c)
        product: Tensor = alpha * (a @ (b.t() if right else b))
        return product if c is None else product + beta * c

    return gemm


@operator("Einsum")
def _einsum(node: Node) -> Function:
    equation = node.get("equation", "")
    return lambda *values: torch.einsum(equation, *values)


def spans(node: Node, kernel: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Return strides, dilations and the kernel's reach per axis."""
    rank = len(kernel)
    strides, dilations = node.get("strides") or [1] * rank, node.get("dilations") or [1] * rank
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    return strides, dilations, reach


def margins(node: Node, sizes: list[int], strides: list[int], reach: list[int]) -> tuple[list[int], list[int]]:
    """Return the padding before and after each axis: given, or as `auto_pad` wants it for these sizes."""
    how, rank = node.get("auto_pad", "NOTSET"), len(sizes)
    if how == "VALID":
        return [0] * rank, [0] * rank
    if how in ("SAME_UPPER", "SAME_LOWER"):
        outs = [-(-size // stride) for size, stride in zip(sizes, strides, strict=True)]
        total = [
            max(0, (out - 1) * stride + span - size)
            for out, stride, span, size in zip(outs, strides, reach, sizes, strict=True)
        ]
        return halves(total, upper=how == "SAME_UPPER")
    if how != "NOTSET":
        raise Unsupported(f"{node.op} with auto_pad {how}")
    pads = node.get("pads") or [0] * (2 * rank)
    return list(pads[:rank]), list(pads[rank:])


def halves(total: list[int], *, upper: bool) -> tuple[list[int], list[int]]:
    """Share padding between both ends; the odd one goes to the end if `upper`.

    >>> halves([3], upper=True)
    ([1], [2])
    """
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (small, large) if upper else (large, small)


def padded(x: Tensor, before: list[int], after: list[int], value: float = 0.0) -> Tensor:
    """Pad the last axes; negative widths crop."""
    widths = [width for pair in zip(reversed(before), reversed(after), strict=True) for width in pair]
    return functional.pad(x, widths, value=value) if any(widths) else x


_CONV: tuple[Any, ...] = (functional.conv1d, functional.conv2d, functional.conv3d)
_TRANSPOSED: tuple[Any, ...] = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)


@operator("Conv")
def _conv(node: Node) -> Function:
    groups = node.get("group", 1)

    def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        strides, dilations, reach = spans(node, list(weight.shape[2:]))
        before, after = margins(node, list(x.shape[2:]), strides, reach)
        if before != after or min(before) < 0:
            x, before = padded(x, before, after), [0] * len(before)
        out: Tensor = _CONV[len(strides) - 1](x, weight, bias, strides, before, dilations, groups)
        return out

    return conv


@operator("ConvTranspose")
def _conv_transpose(node: Node) -> Function:
    groups = node.get("group", 1)

    def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        strides, dilations, reach = spans(node, list(weight.shape[2:]))
        more = node.get("output_padding") or [0] * len(strides)
        before, after = _cropped(node, list(x.shape[2:]), strides, reach, more)
        function = _TRANSPOSED[len(strides) - 1]
        if before == after and min(before) >= 0 and all(m < max(s, 1) for m, s in zip(more, strides, strict=True)):
            out: Tensor = function(x, weight, bias, strides, before, more, groups, dilations)
            return out
        # the whole product, then cropped; the bias comes last so that the output padding gets it too
        full: Tensor = function(x, weight, None, strides, 0, 0, groups, dilations)
        full = padded(full, [-b for b in before], [m - a for m, a in zip(more, after, strict=True)])
        return full if bias is None else full + bias.reshape(-1, *[1] * len(strides))

    return conv


def _cropped(
    node: Node, sizes: list[int], strides: list[int], reach: list[int], more: list[int]
) -> tuple[list[int], list[int]]:
    """Return what is cut off before and after each axis of a transposed convolution."""
    how, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    if wanted is None and how not in ("SAME_UPPER", "SAME_LOWER"):
        return margins(node, sizes, strides, reach)
    wanted = wanted or [size * stride for size, stride in zip(sizes, strides, strict=True)]
    whole = [
        (size - 1) * stride + span + extra
        for size, stride, span, extra in zip(sizes, strides, reach, more, strict=True)
    ]
    total = [max(0, w - out) for w, out in zip(whole, wanted[-len(sizes) :], strict=True)]
    return halves(total, upper=how == "SAME_UPPER")
