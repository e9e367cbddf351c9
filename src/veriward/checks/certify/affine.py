"""Operators that are affine in the rows: y = W x + b, with what bounds need of each.

`push` gives W x, `spread` |W| r, `pull` carries coefficients backward: a W. All on tensors (n, ...) in float64.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Shape = tuple[int, ...]
CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSE = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
EMPTY = torch.empty(0)  # where an operator was built without what it needs
DENSE = 1 << 18  # entries up to which a convolution is applied backward as a matrix, which is faster in float64


@dataclass(frozen=True, eq=False)
class Affine:
    """The base. `terms`: summands of one result, 0 where numbers are only copied; `extra`: of |b| beyond |bias|."""

    inputs: tuple[int, ...]
    shape: Shape
    bias: Tensor | None = None
    extra: Tensor | None = None
    mixes = False  # whether numbers of a row meet, so that intervals lose what ties them

    @property
    def terms(self) -> int:
        """How many rounded products and sums make one result."""
        return 0

    @property
    def fan(self) -> int:
        """How many summands our own arithmetic has in this operator, forward and backward together."""
        return self.terms + prod(self.shape)

    def push(self, *xs: Tensor) -> Tensor:
        """Return W x, (n, *shape)."""
        raise NotImplementedError

    def spread(self, *rs: Tensor) -> Tensor:
        """Return |W| r, (n, *shape)."""
        return self.push(*rs)

    def pull(self, a: Tensor) -> tuple[Tensor, ...]:
        """Return a W for each input."""
        raise NotImplementedError

    def picked(self, chosen: Tensor) -> Tensor | None:
        """Return the rows of W for chosen outputs (numbers of the flat shape), where they are at hand."""
        return None

    def value(self, *xs: Tensor) -> Tensor:
        """Return W x + b."""
        pushed = self.push(*xs)
        return pushed if self.bias is None else pushed + self.bias

    def size(self, *ms: Tensor) -> Tensor:
        """Return |W| m + |b|, the size of what is summed."""
        size = self.spread(*ms)
        for part in (self.bias, self.extra):
            size = size if part is None else size + part.abs()
        return size


@dataclass(frozen=True, eq=False)
class Dense(Affine):
    """A matrix on the last axis, (out, in)."""

    weight: Tensor = EMPTY
    mixes = True

    @property
    def terms(self) -> int:
        """The width of the input."""
        return int(self.weight.shape[1]) + 1

    @cached_property
    def _sizes(self) -> Tensor:
        return self.weight.abs()

    @property
    def fan(self) -> int:
        """Rows and columns of the matrix."""
        return self.terms + prod(self.shape)

    def push(self, *xs: Tensor) -> Tensor:
        """Return W x."""
        return xs[0] @ self.weight.T

    def spread(self, *rs: Tensor) -> Tensor:
        """Return |W| r."""
        return rs[0] @ self._sizes.T

    def pull(self, a: Tensor) -> tuple[Tensor, ...]:
        """Return a W."""
        return (a @ self.weight,)

    def picked(self, chosen: Tensor) -> Tensor | None:
        """Return rows of the matrix."""
        return self.weight[chosen] if len(self.shape) == 1 else None


@dataclass(frozen=True, eq=False)
class Conv(Affine):
    """A convolution, (out, in / groups, *kernel); average pooling is one with a group per channel."""

    weight: Tensor = EMPTY
    before: Shape = ()  # the shape of an input row
    stride: Shape = (1,)
    padding: Shape = (0,)
    dilation: Shape = (1,)
    groups: int = 1
    mixes = True

    @property
    def terms(self) -> int:
        """The size of the kernel over its input channels."""
        return prod(self.weight.shape[1:]) + 1

    @cached_property
    def _sizes(self) -> Tensor:
        return self.weight.abs()

    @cached_property
    def _matrix(self) -> Tensor | None:
        """The convolution as (outputs, inputs), where that is small."""
        rows, columns = prod(self.shape), prod(self.before)
        if rows * columns > DENSE:
            return None
        ones = torch.eye(rows, dtype=self.weight.dtype, device=self.weight.device)
        return self._back(ones.view(rows, *self.shape)).flatten(1)

    def _forward(self, x: Tensor, weight: Tensor) -> Tensor:
        convolve = CONVOLVE[len(self.shape) - 1]
        return convolve(x, weight, None, self.stride, self.padding, self.dilation, self.groups)

    def _back(self, a: Tensor) -> Tensor:
        rank = len(self.shape) - 1
        reached = [
            (self.shape[i + 1] - 1) * self.stride[i]
            - 2 * self.padding[i]
            + self.dilation[i] * (self.weight.shape[i + 2] - 1)
            + 1
            for i in range(rank)
        ]
        rest = [self.before[i + 1] - reached[i] for i in range(rank)]
        return TRANSPOSE[rank](a, self.weight, None, self.stride, self.padding, rest, self.groups, self.dilation)

    def push(self, *xs: Tensor) -> Tensor:
        """Return W x."""
        return self._forward(xs[0], self.weight)

    def spread(self, *rs: Tensor) -> Tensor:
        """Return |W| r."""
        return self._forward(rs[0], self._sizes)

    def pull(self, a: Tensor) -> tuple[Tensor, ...]:
        """Return a W."""
        if self._matrix is None:
            return (self._back(a),)
        return ((a.flatten(1) @ self._matrix).view(-1, *self.before),)

    def picked(self, chosen: Tensor) -> Tensor | None:
        """Return rows of the matrix, shaped like inputs."""
        return None if self._matrix is None else self._matrix[chosen].view(-1, *self.before)


@dataclass(frozen=True, eq=False)
class Scale(Affine):
    """Each number times its factor, which broadcasts over a row: normalisation, constants, casts. `steps` are rounded."""

    factor: Tensor = EMPTY
    steps: int = 2

    @property
    def terms(self) -> int:
        """How often the deployed model rounds on the way."""
        return self.steps

    def push(self, *xs: Tensor) -> Tensor:
        """Return the products."""
        return xs[0] * self.factor

    def spread(self, *rs: Tensor) -> Tensor:
        """Return the sizes of the products."""
        return rs[0] * self.factor.abs()

    def pull(self, a: Tensor) -> tuple[Tensor, ...]:
        """Return a times the factors."""
        return (a * self.factor,)


@dataclass(frozen=True, eq=False)
class Reshape(Affine):
    """The same numbers in another shape."""

    before: Shape = ()

    def push(self, *xs: Tensor) -> Tensor:
        """Return them so."""
        return xs[0].reshape(-1, *self.shape)

    def pull(self, a: Tensor) -> tuple[Tensor, ...]:
        """Return coefficients in the old shape."""
        return (a.reshape(-1, *self.before),)


@dataclass(frozen=True, eq=False)
class Take(Affine):
    """Numbers copied from elsewhere in the row: slices, permutations, padding with zeros (-1), nearest upsampling."""

    before: Shape = ()
    index: Tensor = EMPTY  # int64 (numbers of `shape`,)

    def push(self, *xs: Tensor) -> Tensor:
        """Return the copies."""
        taken = xs[0].flatten(1)[:, self.index.clamp(min=0)]
        return (taken * (self.index >= 0)).view(-1, *self.shape)

    def pull(self, a: Tensor) -> tuple[Tensor, ...]:
        """Return coefficients summed where they came from."""
        kept = a.flatten(1) * (self.index >= 0)
        back = a.new_zeros(len(a), prod(self.before)).index_add(1, self.index.clamp(min=0), kept)
        return (back.view(-1, *self.before),)


@dataclass(frozen=True, eq=False)
class Sum(Affine):
    """Sums over some axes of a row (counted with the batch), each divided by `over`: mean and global pooling."""

    before: Shape = ()
    axes: Shape = ()
    over: float = 1.0
    mixes = True

    @property
    def terms(self) -> int:
        """The count of what is summed."""
        return prod(self.before[axis - 1] for axis in self.axes) + 1

    def push(self, *xs: Tensor) -> Tensor:
        """Return the sums."""
        return (xs[0].sum(self.axes) / self.over).view(-1, *self.shape)

    def pull(self, a: Tensor) -> tuple[Tensor, ...]:
        """Return coefficients spread evenly."""
        kept = [1 if axis + 1 in self.axes else size for axis, size in enumerate(self.before)]
        return ((a / self.over).view(-1, *kept).expand(-1, *self.before),)


@dataclass(frozen=True, eq=False)
class Add(Affine):
    """Branches that meet, each with a factor: residuals."""

    signs: tuple[float, ...] = (1.0, 1.0)
    mixes = True

    @property
    def terms(self) -> int:
        """One product and one sum for each branch."""
        return 2 * len(self.signs)

    def push(self, *xs: Tensor) -> Tensor:
        """Return the sum."""
        total = xs[0] * self.signs[0]
        for sign, x in zip(self.signs[1:], xs[1:], strict=True):
            total = total + sign * x
        return total

    def spread(self, *rs: Tensor) -> Tensor:
        """Return the sum of the sizes."""
        total = rs[0] * abs(self.signs[0])
        for sign, r in zip(self.signs[1:], rs[1:], strict=True):
            total = total + abs(sign) * r
        return total

    def pull(self, a: Tensor) -> tuple[Tensor, ...]:
        """Return a for each branch."""
        return tuple(sign * a for sign in self.signs)


@dataclass(frozen=True, eq=False)
class Concat(Affine):
    """Branches side by side along an axis (counted with the batch)."""

    axis: int = 1
    sizes: Shape = ()

    def push(self, *xs: Tensor) -> Tensor:
        """Return them together."""
        return torch.cat(xs, self.axis)

    def pull(self, a: Tensor) -> tuple[Tensor, ...]:
        """Return each branch's part."""
        return tuple(a.split(list(self.sizes), self.axis))


def named(op: Any) -> str:
    """Return an operator's name, for people."""
    return type(op).__name__.lower()
