"""ATen operators told as ours. Each function gets the reader and a node, and returns the number of its result."""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from veriward.checks.certify.affine import Add, Concat, Conv, Dense, Reshape, Scale, Sum, Take
from veriward.checks.certify.bends import MaxPool, Relu
from veriward.checks.certify.graph import Unreadable

if TYPE_CHECKING:
    from veriward.checks.certify.trace import _Reader

Handler = Callable[..., "int | tuple[int] | None"]
OPERATORS: dict[str, Handler] = {}


def told(*names: str) -> Callable[[Handler], Handler]:
    """Enter a function for ATen operators."""

    def enter(function: Handler) -> Handler:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return enter


def argument(node: Any, place: int, name: str, default: Any) -> Any:
    """Return an argument given by place or by name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def spans(value: Any, rank: int) -> tuple[int, ...]:
    """Return one number per axis."""
    listed = [value] if isinstance(value, int) else list(value)
    return tuple(int(v) for v in (listed * rank if len(listed) == 1 else listed))


@told("linear.default")
def _linear(read: _Reader, node: Any) -> int:
    bias = argument(node, 2, "bias", None)
    return _dense(read, node, node.args[0], read.double(read.constant(node.args[1])), bias)


def _dense(read: _Reader, node: Any, x: Any, weight: Tensor, bias: Any) -> int:
    if weight.ndim != 2:
        raise Unreadable("a product with a tensor of more than two axes")
    added = None if bias is None else read.per_row(bias)
    return read.add(Dense((read.number(x),), read.shape(node), added, weight=weight.contiguous()))


@told("mm.default", "matmul.default")
def _product(read: _Reader, node: Any) -> int:
    return _dense(read, node, node.args[0], read.double(read.constant(node.args[1])).T, None)


@told("addmm.default")
def _addmm(read: _Reader, node: Any) -> int:
    alpha, beta = node.kwargs.get("alpha", 1), node.kwargs.get("beta", 1)
    if (alpha, beta) != (1, 1):
        raise Unreadable("addmm with factors")
    return _dense(read, node, node.args[1], read.double(read.constant(node.args[2])).T, node.args[0])


@told("conv1d.default", "conv2d.default", "conv3d.default", "conv1d.padding", "conv2d.padding", "conv3d.padding")
def _conv(read: _Reader, node: Any) -> int:
    rank = int(node.target.__name__[4])
    stride, padding, dilation = (argument(node, i, "", default) for i, default in ((3, 1), (4, 0), (5, 1)))
    return _convolution(read, node, rank, stride, padding, dilation, argument(node, 6, "groups", 1))


@told("convolution.default", "_convolution.default")
def _general(read: _Reader, node: Any) -> int:
    stride, padding, dilation, transposed, _, groups = node.args[3:9]
    if transposed:
        raise Unreadable("a transposed convolution")
    return _convolution(read, node, len(node.args[3]), stride, padding, dilation, groups)


def _convolution(read: _Reader, node: Any, rank: int, stride: Any, padding: Any, dilation: Any, groups: int) -> int:
    weight = read.double(read.constant(node.args[1]))
    given = argument(node, 2, "bias", None)
    bias = None if given is None else read.double(read.constant(given)).view(-1, *[1] * rank)
    number, shape, steps = read.number(node.args[0]), read.shape(node), spans(dilation, rank)
    if len(shape) != rank + 1:
        raise Unreadable("a convolution over the axis of rows")
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(steps, weight.shape[2:], strict=True)]
        rest = [size % 2 for size in total]
        number = _padded(read, number, [(0, r) for r in rest]) if any(rest) else number
        padding = [size // 2 for size in total]
    before = read.ops[number].shape
    settings = (before, spans(stride, rank), spans(padding, rank), steps, int(groups))
    return read.add(Conv((number,), shape, bias, None, weight, *settings))


def _padded(read: _Reader, number: int, sides: list[tuple[int, int]]) -> int:
    """Pad the last axes of a row with zeros."""
    flat = [side for pair in reversed(sides) for side in pair]
    return _copied(read, number, lambda x: torch.nn.functional.pad(x, flat))


def _copied(read: _Reader, number: int, copy: Callable[[Tensor], Tensor]) -> int:
    """Tell an operator that only copies numbers by what it does to their positions; 0 is a number that it makes up."""
    before = read.ops[number].shape
    width = prod(before)
    places = torch.arange(1.0, read.count * width + 1, dtype=torch.float64, device=read.device)
    moved = copy(places.view(read.count, *before))
    if moved.ndim < 1 or len(moved) != read.count:
        raise Unreadable("a copy that moves the axis of rows")
    index = moved[0].flatten().long() - 1
    shift = torch.arange(read.count, device=read.device).view(-1, 1) * width
    if not bool((moved.flatten(1).long() - 1 == torch.where(index >= 0, index + shift, -1)).all()):
        raise Unreadable("a copy that lets rows meet")
    return read.add(Take((number,), tuple(moved.shape[1:]), None, None, before, index))


@told("view.default", "_unsafe_view.default", "reshape.default", "flatten.using_ints", "unflatten.int")
@told("squeeze.dim", "squeeze.dims", "squeeze.default", "unsqueeze.default")
def _reshape(read: _Reader, node: Any) -> int:
    number, shape = read.number(node.args[0]), read.shape(node)
    if node.meta["val"].shape[0] != read.count:
        raise Unreadable("a view that lets rows meet")
    return read.add(Reshape((number,), shape, None, None, read.ops[number].shape))


@told("permute.default", "transpose.int", "slice.Tensor", "select.int", "flip.default", "expand.default")
@told("upsample_nearest1d.default", "upsample_nearest2d.default", "upsample_nearest2d.vec", "pixel_shuffle.default")
@told("index_select.default", "t.default", "repeat.default", "roll.default", "narrow.default")
def _copy(read: _Reader, node: Any) -> int:
    rest = [read.constant(part) for part in node.args[1:]]
    return _copied(read, read.number(node.args[0]), lambda x: node.target(x, *rest, **node.kwargs))


@told("constant_pad_nd.default", "pad.default")
def _pad(read: _Reader, node: Any) -> int:
    value = argument(node, 2, "value", 0) if "constant" in str(node.target) else argument(node, 3, "value", None)
    mode = argument(node, 2, "mode", "constant") if "constant" not in str(node.target) else "constant"
    if value not in (0, 0.0, None) and mode == "constant":
        raise Unreadable("padding with a value other than 0")
    return _copied(read, read.number(node.args[0]), lambda x: torch.nn.functional.pad(x, list(node.args[1]), mode=mode))


@told("clone.default", "alias.default", "detach.default", "contiguous.default", "lift_fresh_copy.default")
@told("_assert_tensor_metadata.default")
def _same(read: _Reader, node: Any) -> int:
    return read.number(node.args[0])


@told("dropout.default", "feature_dropout.default", "native_dropout.default")
def _dropout(read: _Reader, node: Any) -> int:
    if argument(node, 2, "train", False):
        raise Unreadable("dropout that is at work")
    return read.number(node.args[0])


@told("_to_copy.default", "to.dtype", "to.device", "to.dtype_layout")
def _cast(read: _Reader, node: Any) -> int:
    return _scale(read, node, node.args[0], torch.ones(1))


def _scale(read: _Reader, node: Any, x: Any, factor: Any, bias: Any = None, extra: Any = None, steps: int = 3) -> int:
    number, shape = read.number(x), read.shape(node)
    parts = [None if part is None else _fit(read, read.double(part), shape) for part in (factor, bias, extra)]
    if parts[0] is None:
        raise AssertionError("a scale has its factor")
    if read.ops[number].shape != shape:
        number = _expanded(read, number, shape)
    return read.add(Scale((number,), shape, parts[1], parts[2], parts[0], steps))


def _fit(read: _Reader, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a constant without its axis of rows."""
    if value.ndim > len(shape):
        if value.shape[0] != 1:
            raise Unreadable("a constant that differs from row to row")
        value = value[0]
    return value


def _expanded(read: _Reader, number: int, shape: tuple[int, ...]) -> int:
    """Repeat numbers so that a row has the shape that broadcasting gives it."""
    before = read.ops[number].shape
    if len(before) > len(shape):
        raise Unreadable("broadcasting over the axis of rows")
    missing = [1] * (len(shape) - len(before))
    if missing and len(before):
        raise Unreadable("broadcasting over the axis of rows")  # torch would align the axis of rows with another one
    return _copied(read, number, lambda x: x.view(-1, *missing, *before).expand(-1, *shape))


@told("add.Tensor", "add.Scalar", "sub.Tensor", "sub.Scalar", "add_.Tensor", "subtract.Tensor")
def _add(read: _Reader, node: Any) -> int:
    left, right = node.args[:2]
    sign = float(node.kwargs.get("alpha", 1)) * (-1.0 if "sub" in str(node.target) else 1.0)
    if read.is_live(left) and read.is_live(right):
        shape = read.shape(node)
        numbers = [read.number(part) for part in (left, right)]
        fitted = [n if read.ops[n].shape == shape else _expanded(read, n, shape) for n in numbers]
        return read.add(Add(tuple(fitted), shape, None, None, (1.0, sign)))
    if read.is_live(left):
        return _scale(read, node, left, torch.ones(1), sign * read.per_row(right))
    return _scale(read, node, right, torch.full((1,), sign), read.per_row(left))


@told("rsub.Scalar", "rsub.Tensor")
def _from(read: _Reader, node: Any) -> int:
    return _scale(read, node, node.args[0], torch.full((1,), -1.0), read.per_row(node.args[1]))


@told("mul.Tensor", "mul.Scalar", "multiply.Tensor")
def _multiply(read: _Reader, node: Any) -> int:
    left, right = node.args[:2]
    x, other = (left, right) if read.is_live(left) else (right, left)
    return _scale(read, node, x, read.per_row(other))


@told("div.Tensor", "div.Scalar", "divide.Tensor", "true_divide.Tensor")
def _divide(read: _Reader, node: Any) -> int:
    if not read.is_live(node.args[0]):
        raise Unreadable("a division by numbers of the row")
    return _scale(read, node, node.args[0], 1 / read.per_row(node.args[1]))


@told("neg.default")
def _negative(read: _Reader, node: Any) -> int:
    return _scale(read, node, node.args[0], torch.full((1,), -1.0), steps=1)


@told("_native_batch_norm_legit_no_training.default")
def _batch_norm(read: _Reader, node: Any) -> tuple[int]:
    return (_normalised(read, node, node.args[6]),)


@told("batch_norm.default")
def _batch_norm_whole(read: _Reader, node: Any) -> int:
    if node.args[5]:
        raise Unreadable("batch normalisation by the batch's own statistics")
    return _normalised(read, node, node.args[7])


def _normalised(read: _Reader, node: Any, eps: float) -> int:
    """Tell batch normalisation as a factor and an offset; the mean is rounded on its own way through."""
    weight, bias, mean, variance = node.args[1:5]
    shape = read.ops[read.number(node.args[0])].shape
    along = (-1, *[1] * (len(shape) - 1))
    middle, spread = (read.double(read.constant(part)) for part in (mean, variance))
    ones = torch.ones_like(middle)
    scale, shift = (read.constant(part) for part in (weight, bias))
    factor = (ones if scale is None else read.double(scale)) / (spread + eps).sqrt()
    offset = 0 * ones if shift is None else read.double(shift)
    number = read.number(node.args[0])
    extra = 2 * (factor * middle).abs()
    moved, extra, factor = (part.view(along) for part in ((offset - factor * middle), extra, factor))
    return read.add(Scale((number,), shape, moved, extra, factor, 12))


@told("getitem")
def _item(read: _Reader, node: Any) -> int | None:
    found = read.known[node.args[0].name]
    return found[node.args[1]] if isinstance(found, tuple) and node.args[1] < len(found) else None


OPERATORS[str(python.getitem)] = _item


@told("relu.default", "relu_.default")
def _relu(read: _Reader, node: Any) -> int:
    return _leaky(read, read.number(node.args[0]), torch.zeros(1))


def _leaky(read: _Reader, number: int, slope: Any) -> int:
    slopes = read.double(slope)
    if bool(((slopes < 0) | (slopes > 1)).any()):
        raise Unreadable("a leaky ReLU with a slope outside [0, 1]")
    return read.add(Relu((number,), read.ops[number].shape, slopes))


@told("leaky_relu.default", "leaky_relu_.default")
def _leaky_relu(read: _Reader, node: Any) -> int:
    return _leaky(read, read.number(node.args[0]), torch.tensor([float(argument(node, 1, "slope", 0.01))]))


@told("prelu.default", "_prelu_kernel.default")
def _prelu(read: _Reader, node: Any) -> int:
    slopes, shape = read.double(read.constant(node.args[1])).flatten(), read.shape(node)
    return _leaky(read, read.number(node.args[0]), slopes.view(-1, *[1] * (len(shape) - 1)))


@told(
    "hardtanh.default", "clamp.default", "clamp_min.default", "relu6.default", "hardtanh_.default", "clamp_max.default"
)
def _clamp(read: _Reader, node: Any) -> int:
    """min(max(x, low), high) is low + relu(x - low), and high - relu(high - that)."""
    least, most = _limits(node)
    number, shape = read.number(node.args[0]), read.shape(node)
    for sign, end in ((1.0, least), (-1.0, most)):
        if end is not None:
            number = _shifted(read, number, shape, sign, -sign * end)
            number = _leaky(read, number, torch.zeros(1))
            number = _shifted(read, number, shape, sign, end)
    return number


def _limits(node: Any) -> tuple[float | None, float | None]:
    name, rest = str(node.target), [None if v is None else float(v) for v in node.args[1:]]
    if "relu6" in name:
        return 0.0, 6.0
    if "hardtanh" in name:
        return (rest[0] if rest else -1.0), (rest[1] if len(rest) > 1 else 1.0)
    first, second = [*rest, None, None][:2]
    if "clamp_max" in name:
        return None, first
    return first, None if "clamp_min" in name else second


def _shifted(read: _Reader, number: int, shape: tuple[int, ...], factor: float, bias: float) -> int:
    parts = [read.double(torch.full((1,), value)) for value in (bias, factor)]
    return read.add(Scale((number,), shape, parts[0], None, parts[1], 2))


@told("abs.default")
def _absolute(read: _Reader, node: Any) -> int:
    number, shape = read.number(node.args[0]), read.shape(node)
    right = _leaky(read, number, torch.zeros(1))
    left = _leaky(read, _shifted(read, number, shape, -1.0, 0.0), torch.zeros(1))
    return read.add(Add((right, left), shape))


@told("cat.default")
def _cat(read: _Reader, node: Any) -> int:
    axis = argument(node, 1, "dim", 0)
    shape = read.shape(node)
    axis = axis % (len(shape) + 1)
    if axis == 0:
        raise Unreadable("rows joined end to end")
    numbers = tuple(read.number(part) for part in node.args[0])
    sizes = tuple(read.ops[n].shape[axis - 1] for n in numbers)
    return read.add(Concat(numbers, shape, None, None, axis, sizes))


@told("mean.dim", "sum.dim_IntList")
def _sum(read: _Reader, node: Any) -> int:
    number = read.number(node.args[0])
    before, given = read.ops[number].shape, argument(node, 1, "dim", None)
    axes = tuple(sorted(axis % (len(before) + 1) for axis in (given or range(len(before) + 1))))
    if 0 in axes:
        raise Unreadable("a sum over rows")
    over = float(prod(before[axis - 1] for axis in axes)) if "mean" in str(node.target) else 1.0
    return read.add(Sum((number,), read.shape(node), None, None, before, axes, over))


@told("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "_adaptive_avg_pool2d.default")
def _adaptive(read: _Reader, node: Any) -> int:
    number, shape = read.number(node.args[0]), read.shape(node)
    before, size = read.ops[number].shape, spans(node.args[1], 1)
    rank = len(shape) - 1
    if all(s == 1 for s in size):
        axes = tuple(range(2, 2 + rank))
        return read.add(Sum((number,), shape, None, None, before, axes, float(prod(before[1:]))))
    if any(b % s for b, s in zip(before[1:], shape[1:], strict=True)):
        raise Unreadable("adaptive pooling with windows of several sizes")
    kernel = tuple(b // s for b, s in zip(before[1:], shape[1:], strict=True))
    return _averaged(read, number, shape, kernel, kernel, (0,) * rank)


@told("avg_pool1d.default", "avg_pool2d.default", "avg_pool3d.default")
def _avg_pool(read: _Reader, node: Any) -> int:
    rank = int(node.target.__name__[8])
    kernel = spans(node.args[1], rank)
    stride = spans(argument(node, 2, "stride", None) or kernel, rank)
    padding = spans(argument(node, 3, "padding", 0), rank)
    counted, divisor = argument(node, 5, "count_include_pad", True), argument(node, 6, "divisor_override", None)
    if (any(padding) and not counted) or argument(node, 4, "ceil_mode", False) or divisor is not None:
        raise Unreadable("average pooling with windows of several sizes")
    return _averaged(read, read.number(node.args[0]), read.shape(node), kernel, stride, padding)


def _averaged(
    read: _Reader, number: int, shape: Any, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> int:
    channels, ones = shape[0], (1,) * len(kernel)
    weight = read.double(torch.full((channels, 1, *kernel), 1.0, dtype=torch.float64)) / prod(kernel)
    settings = (read.ops[number].shape, stride, padding, ones, channels)
    return read.add(Conv((number,), tuple(shape), None, None, weight, *settings))


@told("max_pool1d.default", "max_pool2d.default", "max_pool3d.default")
def _max_pool(read: _Reader, node: Any) -> int:
    return _pooled(read, node, read.shape(node))


@told("max_pool1d_with_indices.default", "max_pool2d_with_indices.default", "max_pool3d_with_indices.default")
def _max_pool_both(read: _Reader, node: Any) -> tuple[int]:
    return (_pooled(read, node, tuple(node.meta["val"][0].shape[1:])),)


def _pooled(read: _Reader, node: Any, shape: tuple[int, ...]) -> int:
    rank = len(shape) - 1
    kernel = spans(node.args[1], rank)
    stride = spans(argument(node, 2, "stride", None) or kernel, rank)
    padding, dilation = (spans(argument(node, i, "", default), rank) for i, default in ((3, 0), (4, 1)))
    number = read.number(node.args[0])
    before = read.ops[number].shape
    places = torch.arange(1, prod(before) + 1, device=read.device).view(before)
    for axis in range(rank):
        reach = (shape[axis + 1] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        first = torch.arange(shape[axis + 1], device=read.device) * stride[axis]
        offsets = torch.arange(kernel[axis], device=read.device) * dilation[axis]
        after = max(0, reach - before[axis + 1] - padding[axis])
        places = _windows(places, axis + 1, (padding[axis], after), first[:, None] + offsets)
    windows = places.flatten(rank + 1).flatten(0, rank) - 1
    return read.add(MaxPool((number,), shape, before, windows))


def _windows(places: Tensor, axis: int, sides: tuple[int, int], index: Tensor) -> Tensor:
    """Return positions with an axis cut into windows, whose entries come last; 0 stands beyond the edge."""
    ends = [torch.zeros_like(places.narrow(axis, 0, 1)).repeat_interleave(side, axis) for side in sides]
    padded = torch.cat([ends[0], places, ends[1]], axis)
    cut = padded.index_select(axis, index.flatten()).unflatten(axis, tuple(index.shape))
    moved: Tensor = cut.movedim(axis + 1, -1)
    return moved
