"""Operators that move numbers around: reshape, join, cut, pad, repeat. Sizes are taken from the rows at run time."""

import torch
from torch import Tensor
from torch.nn import functional

from veriward.adapters.onnx_graph.operator import Function, Node, Unsupported, affordable, ints, operator, simple


@operator("Flatten")
def _flatten(node: Node) -> Function:
    axis = node.get("axis", 1)

    def flatten(x: Tensor) -> Tensor:
        at = axis + x.ndim if axis < 0 else axis
        return x.reshape(int(torch.Size(x.shape[:at]).numel()), int(torch.Size(x.shape[at:]).numel()))

    return flatten


@operator("Reshape", host=(1,))
def _reshape(node: Node) -> Function:
    zero_is_size = bool(node.get("allowzero", 0))

    def reshape(x: Tensor, shape: Tensor) -> Tensor:
        sizes = ints(shape)
        if not zero_is_size:  # then 0 says: as it was
            sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
        return x.reshape(sizes)

    return reshape


@operator("Transpose")
def _transpose(node: Node) -> Function:
    order = node.get("perm")
    return lambda x: x.permute(order or tuple(reversed(range(x.ndim))))


def _axes(node: Node, axes: Tensor | None) -> list[int]:
    return list(node.get("axes") or ()) if axes is None else ints(axes)


@operator("Squeeze", host=(1,))
def _squeeze(node: Node) -> Function:
    def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = _axes(node, axes)
        if not chosen and axes is None and "axes" not in node.attributes:
            return x.squeeze()
        if any(x.shape[axis] != 1 for axis in chosen):
            raise ValueError(f"Squeeze of axes {chosen} of shape {tuple(x.shape)}, which are not of size 1")
        return x.squeeze(tuple(chosen))

    return squeeze


@operator("Unsqueeze", host=(1,))
def _unsqueeze(node: Node) -> Function:
    def unsqueeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = _axes(node, axes)
        rank = x.ndim + len(chosen)
        for axis in sorted(axis % rank for axis in chosen):
            x = x.unsqueeze(axis)
        return x

    return unsqueeze


@operator("Concat")
def _concat(node: Node) -> Function:
    axis = node.get("axis")
    return lambda *values: torch.cat(values, axis)


@operator("Split", host=(1,))
def _split(node: Node) -> Function:
    axis, given, count = node.get("axis", 0), node.get("split"), len(node.outputs)

    def split(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        parts = list(given or ()) if sizes is None else ints(sizes)
        if not parts:  # equal parts, the last one may be smaller
            each = -(-x.shape[axis] // count)
            parts = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
        return tuple(x.split(parts, axis))

    return split


@operator("Slice", host=(1, 2, 3, 4))
def _slice(node: Node) -> Function:
    def cut(
        x: Tensor,
        starts: Tensor | None = None,
        ends: Tensor | None = None,
        axes: Tensor | None = None,
        steps: Tensor | None = None,
    ) -> Tensor:
        first = list(node.get("starts", ())) if starts is None else ints(starts)
        last = list(node.get("ends", ())) if ends is None else ints(ends)
        where = _axes(node, axes) or list(range(len(first)))
        step = [1] * len(first) if steps is None else ints(steps)
        for axis, start, end, by in zip(where, first, last, step, strict=True):
            x = _cut(x, axis, slice(start, end, by))
        return x

    return cut


def _cut(x: Tensor, axis: int, wanted: slice) -> Tensor:
    # Python's own rules for ends out of range, except that a negative end counts before clamping as ONNX does: the same
    size, by = x.shape[axis], wanted.step
    if by > 0:
        start, end, step = wanted.indices(size)
        return x.narrow(axis, start, max(0, end - start)) if step == 1 else _picked(x, axis, range(start, end, step))
    start = min(max(wanted.start + size if wanted.start < 0 else wanted.start, 0), size - 1)
    end = min(max(wanted.stop + size if wanted.stop < 0 else wanted.stop, -1), size - 1)
    return _picked(x, axis, range(start, end, by))


def _picked(x: Tensor, axis: int, places: range) -> Tensor:
    return x.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))


@operator("Pad", host=(1, 2, 3))
def _pad(node: Node) -> Function:
    mode, given, filled = node.get("mode", "constant"), node.get("pads"), node.get("value", 0.0)
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise Unsupported(f"Pad with mode {mode}")

    def pad(x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        widths = list(given or ()) if pads is None else ints(pads)
        where = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in ints(axes)]
        before = dict(zip(where, widths[: len(where)], strict=True))
        after = dict(zip(where, widths[len(where) :], strict=True))
        affordable([size + before.get(i, 0) + after.get(i, 0) for i, size in enumerate(x.shape)])
        if mode == "constant":
            ends = [width for i in reversed(range(x.ndim)) for width in (before.get(i, 0), after.get(i, 0))]
            return functional.pad(x, ends, value=filled if value is None else value.item())
        for axis in where:
            x = _extended(x, axis, before[axis], after[axis], mode)
        return x

    return pad


def _extended(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    size = x.shape[axis]
    if not before and not after:
        return x
    places = torch.arange(-before, size + after, device=x.device)
    if mode == "edge":
        places = places.clamp(0, size - 1)
    elif mode == "wrap":
        places = places % size
    else:
        places = (places.abs() % max(1, 2 * size - 2)).clamp(max=2 * size - 2)
        places = torch.where(places >= size, 2 * size - 2 - places, places)
    return x.index_select(axis, places)


@operator("Expand", host=(1,))
def _expand(node: Node) -> Function:
    def expand(x: Tensor, shape: Tensor) -> Tensor:
        sizes = affordable(list(torch.broadcast_shapes(x.shape, tuple(ints(shape)))))
        return x.expand(sizes)

    return expand


@operator("Tile", host=(1,))
def _tile(node: Node) -> Function:
    def tile(x: Tensor, repeats: Tensor) -> Tensor:
        times = ints(repeats)
        affordable([size * by for size, by in zip(x.shape, times, strict=True)])
        return x.repeat(times)

    return tile


@operator("Shape")
def _shape(node: Node) -> Function:
    start, end = node.get("start", 0), node.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)  # on the host, where sizes are read


simple(lambda x: torch.tensor(x.numel(), dtype=torch.int64), "Size")


@operator("ConstantOfShape", host=(0,))
def _constant_of_shape(node: Node) -> Function:
    value = node.get("value")
    filled = torch.zeros(1) if value is None else torch.from_numpy(value)

    def fill(shape: Tensor) -> Tensor:
        return filled.reshape(()).expand(affordable(ints(shape))).clone()

    return fill


@operator("Range", host=(0, 1, 2))
def _range(node: Node) -> Function:
    def count(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        first, last, by = start.item(), limit.item(), delta.item()
        affordable([int(max(0.0, (last - first) / by))])
        return torch.arange(first, last, by, dtype=start.dtype)

    return count


@operator("DepthToSpace")
def _depth_to_space(node: Node) -> Function:
    block, columns_first = node.get("blocksize"), node.get("mode", "DCR") == "DCR"

    def spread(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        deep = c // (block * block)
        if columns_first:
            x = x.reshape(n, block, block, deep, h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            x = x.reshape(n, deep, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
        return x.reshape(n, deep, h * block, w * block)

    return spread


@operator("SpaceToDepth")
def _space_to_depth(node: Node) -> Function:
    block = node.get("blocksize")

    def stack(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
        return x.reshape(n, c * block * block, h // block, w // block)

    return stack


@operator("Trilu", host=(1,))
def _triangle(node: Node) -> Function:
    upper = node.get("upper", 1)

    def cut(x: Tensor, diagonal: Tensor | None = None) -> Tensor:
        at = 0 if diagonal is None else ints(diagonal)[0]
        return x.triu(at) if upper else x.tril(at)

    return cut
