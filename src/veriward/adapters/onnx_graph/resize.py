"""Resize and Upsample, axis by axis: where each output lies in the input, and which neighbours it blends."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.onnx_graph.operator import Function, Node, Unsupported, affordable, ints, operator

Places = np.ndarray[tuple[int], np.dtype[np.float32]]


@dataclass(frozen=True)
class Axis:
    """One axis: its sizes, and the scale, which need not be their quotient."""

    size: int
    out: int
    scale: np.float32


def _half_pixel(axis: Axis, at: Places) -> Places:
    return (at + np.float32(0.5)) / axis.scale - np.float32(0.5)


def _pytorch_half_pixel(axis: Axis, at: Places) -> Places:
    return _half_pixel(axis, at) if axis.out > 1 else at * np.float32(0)


def _align_corners(axis: Axis, at: Places) -> Places:
    return at * np.float32(axis.size - 1) / np.float32(max(axis.out - 1, 1))


def _symmetric(axis: Axis, at: Places) -> Places:
    share = np.float32(axis.out) / (axis.scale * np.float32(axis.size))
    return np.float32(axis.size / 2) * (1 - share) + _half_pixel(axis, at)


# in float32, as runtimes compute them: a tie between two neighbours must fall to the same side
_COORDINATES: dict[str, Callable[[Axis, Places], Places]] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": lambda axis, at: at / axis.scale,
    "half_pixel_symmetric": _symmetric,
}
_ROUNDINGS: dict[str, Callable[[Places], Places]] = {
    "round_prefer_floor": lambda at: np.ceil(at - np.float32(0.5)),
    "round_prefer_ceil": lambda at: np.floor(at + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class Rule:
    """How a node maps coordinates and blends neighbours."""

    mode: str
    coordinates: str
    rounding: str
    cubic: float
    exclude: bool

    def apply(self, x: Tensor, at: int, axis: Axis) -> Tensor:
        """Return x with one axis resized."""
        if axis.size == axis.out and axis.scale == 1:
            return x
        where = _COORDINATES[self.coordinates](axis, np.arange(axis.out, dtype=np.float32))
        if self.mode == "nearest":
            return _picked(x, at, self._rounded(where, axis))
        if self.mode == "linear":
            where = where.clip(0, axis.size - 1)
            share = where - np.floor(where)
            return self._blend(x, at, where, {0: 1 - share, 1: share})
        return self._blend(x, at, where, self._cubic_shares(where, axis))

    def _rounded(self, where: Places, axis: Axis) -> Places:
        if self.rounding == "simple":  # opset 10 and before: down when enlarging, up when shrinking
            return np.ceil(where) if axis.scale < 1 else np.floor(where)
        return _ROUNDINGS[self.rounding](where)

    def _blend(self, x: Tensor, at: int, where: Places, shares: dict[int, Places]) -> Tensor:
        low, shape = np.floor(where), [-1] + [1] * (x.ndim - at - 1)
        parts = [
            _picked(x, at, low + step) * torch.from_numpy(share).to(x).reshape(shape) for step, share in shares.items()
        ]
        return sum(parts[1:], parts[0])

    def _cubic_shares(self, where: Places, axis: Axis) -> dict[int, Places]:
        """Keys, 1981, "Cubic convolution interpolation for digital image processing", equation 15 with a free."""
        a, low = self.cubic, np.floor(where)
        shares = {}
        for step in (-1, 0, 1, 2):
            d = np.abs(where - low - step)
            near = (a + 2) * d**3 - (a + 3) * d**2 + 1
            shares[step] = np.where(d <= 1, near, a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a).astype(np.float32)
            if self.exclude:
                shares[step] = shares[step] * ((low + step >= 0) & (low + step < axis.size))
        total = sum(shares.values()) if self.exclude else 1
        return {step: (share / total).astype(np.float32) for step, share in shares.items()}


def _picked(x: Tensor, at: int, places: Places) -> Tensor:
    inside = places.clip(0, x.shape[at] - 1).astype(np.int64)
    return x.index_select(at, torch.from_numpy(inside).to(x.device))


def _rule(node: Node) -> Rule:
    coordinates = node.get("coordinate_transformation_mode", "half_pixel" if node.version >= 11 else "asymmetric")
    rounding = node.get("nearest_mode", "round_prefer_floor" if node.version >= 11 else "simple")
    mode = node.get("mode", "nearest")
    wanted = {
        "mode": (mode, ("nearest", "linear", "cubic")),
        "coordinates": (coordinates, _COORDINATES),
        "rounding": (rounding, (*_ROUNDINGS, "simple")),
        "keep_aspect_ratio_policy": (node.get("keep_aspect_ratio_policy", "stretch"), ("stretch",)),
        "antialias": (node.get("antialias", 0), (0,)),
    }
    for key, (came, known) in wanted.items():
        if came not in known:
            raise Unsupported(f"{node.op} with {key} {came}")
    cubic, exclude = node.get("cubic_coeff_a", -0.75), bool(node.get("exclude_outside", 0))
    return Rule(mode, coordinates, rounding, cubic, exclude)


def _resized(x: Tensor, rule: Rule, axes: dict[int, Axis]) -> Tensor:
    affordable([axes[i].out if i in axes else size for i, size in enumerate(x.shape)])
    for at, axis in axes.items():
        x = rule.apply(x, at, axis)
    return x


def _by_scales(x: Tensor, where: list[int], scales: list[float]) -> dict[int, Axis]:
    found = {}
    for at, scale in zip(where, scales, strict=True):
        single = np.float32(scale)
        found[at] = Axis(x.shape[at], int(np.floor(np.float32(x.shape[at]) * single)), single)
    return found


def _by_sizes(x: Tensor, where: list[int], sizes: list[int]) -> dict[int, Axis]:
    return {
        at: Axis(x.shape[at], size, np.float32(size) / np.float32(x.shape[at]))
        for at, size in zip(where, sizes, strict=True)
    }


@operator("Upsample", host=(1,))
def _upsample(node: Node) -> Function:
    rule = _rule(node)
    return lambda x, scales: _resized(x, rule, _by_scales(x, list(range(x.ndim)), scales.tolist()))


@operator("Resize", host=(1, 2, 3))
def _resize(node: Node) -> Function:
    rule, given = _rule(node), node.get("axes")

    def resize(x: Tensor, *inputs: Tensor | None) -> Tensor:
        # before opset 11 there is no region of interest between the rows and the scales
        scales, sizes = (*inputs[node.version >= 11 :], None, None)[:2]
        where = [axis % x.ndim for axis in given] if given else list(range(x.ndim))
        if sizes is not None and sizes.numel():
            return _resized(x, rule, _by_sizes(x, where, ints(sizes)))
        if scales is None:
            raise ValueError("Resize without scales and sizes")
        return _resized(x, rule, _by_scales(x, where, scales.tolist()))

    return resize
