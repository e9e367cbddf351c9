"""Weights whose gradient is a sum over positions of output gradient times input: linear layers and convolutions.

Per row the norm comes from Gram matrices over positions, |G'A|^2 = sum of (AA' * GG') ("ghost norm": Goodfellow, 2015,
arXiv:1510.01799; Li et al., 2022, arXiv:2110.05679, section 4), or from the gradient written out, whichever is cheaper
(Bu et al., 2022, arXiv:2205.10683, section 4). What was written out and is small is kept: its weighted sum is then one
product of a vector and a matrix, and inputs and output gradients are free at once. Else one weighted product of all rows
follows (Bu et al., 2023, arXiv:2210.00038, section 3).
"""

from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from veriward.privacy.clipping.held import Held, Rows, column, erased, square_of

TRAFFIC = 17  # products in the time it takes to write a number, read it for the norm and again for the sum: measured
CHUNK = 1 << 18  # numbers of patches and Gram matrices at a time: they stay in the cache
FEW = 64  # output positions up to which a convolution's rows are faster from patches than as groups of one wide row
CANCELLED = 1e-2  # below this share of its largest possible value a ghost norm has lost digits: written out instead


class Form(Protocol):
    """One bilinear map from inputs and output gradients, rows first, to weight gradients."""

    def rows(self, a: Tensor, g: Tensor) -> Tensor:
        """Return each row's gradient, (n, *weight shape)."""

    def total(self, a: Tensor, g: Tensor) -> Tensor:
        """Return the sum of the rows' gradients in one product."""

    def positions(self, a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return a (n, t, d) and g (n, t, p) such that a row's gradient is g' a; groups come between n and t."""


def gram(a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared norms of g' a for a (n, ..., t, d), g (n, ..., t, p), and the largest they could be, (n,) each."""
    aa, gg = a @ a.mT, g @ g.mT
    # Cauchy and Schwarz bound the sum of products, and with it the rounding error, which is a few units in the last
    # place of this bound
    most = torch.linalg.vector_norm(aa.flatten(1), dim=1) * torch.linalg.vector_norm(gg.flatten(1), dim=1)
    return (aa.mul_(gg)).flatten(1).sum(1), most


@dataclass(frozen=True)
class Outer:
    """Inputs and output gradients of a layer whose rows' gradients would be too large to keep."""

    form: Form
    a: Tensor
    g: Tensor

    def square(self) -> Tensor:
        """Return squared norms by row, written out where rounding has eaten the ghost norm."""
        if isinstance(self.form, Dense) and self.a.shape[1] == 1:
            return square_of(self.a) * square_of(self.g)
        size = max(1, CHUNK // _cost(self.form, self.a, self.g).scratch)
        parts = zip(self.a.split(size), self.g.split(size), strict=True)
        return torch.cat([self._ghost(a, g) for a, g in parts])

    def _ghost(self, a: Tensor, g: Tensor) -> Tensor:
        found, most = gram(*self.form.positions(a, g))
        for row in (found < CANCELLED * most).nonzero()[:, 0]:
            one = slice(int(row), int(row) + 1)
            found[one] = square_of(self.form.rows(a[one], g[one]))
        return found

    def total(self, factors: Tensor, bad: Tensor | None) -> Tensor:
        """Return the weighted sum over rows in one product; the factors scale whichever side is smaller."""
        a, g = erased(self.a, bad), erased(self.g, bad)
        if a.numel() < g.numel():
            return self.form.total(a * column(factors, a), g)
        return self.form.total(a, g * column(factors, g))


@dataclass(frozen=True)
class _Cost:
    """Of one row: the numbers in its weight gradient; those written, and the products, for its Gram matrices."""

    weight: int
    scratch: int
    ghost: int


def _cost(form: Form, a: Tensor, g: Tensor) -> _Cost:
    if isinstance(form, Convolution):
        layer, t, p = form.layer, g[0, 0].numel(), g.shape[1]
        patches = t * layer.groups * layer.weight[0].numel()
        return _Cost(layer.weight.numel(), patches + 2 * t * t, t * t * p + (t + TRAFFIC) * patches)
    t, d, p = a.shape[1], a.shape[2], g.shape[2]
    return _Cost(d * p, 2 * t * t, t * t * (d + p))


def outer(form: Form, a: Tensor, g: Tensor) -> Held:
    """Return what to keep of a layer: the rows written out where that is fast and no larger than a and g, else these."""
    cost = _cost(form, a, g)
    small = TRAFFIC * cost.weight <= cost.ghost and cost.weight * len(a) <= a.numel() + g.numel()
    return Rows(form.rows(a, g)) if small else Outer(form, a, g)


@dataclass(frozen=True)
class Dense:
    """A linear layer: a (n, t, d), g (n, t, p)."""

    def rows(self, a: Tensor, g: Tensor) -> Tensor:
        """Return each row's gradient."""
        return g.mT @ a

    def total(self, a: Tensor, g: Tensor) -> Tensor:
        """Return their sum."""
        return g.flatten(0, 1).mT @ a.flatten(0, 1)

    def positions(self, a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return both with positions last but one."""
        return a, g


Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True)
class Convolution:
    """A convolution: a (n, c, ...) padded where the layer does not pad with a number of zeros, g (n, p, ...)."""

    layer: Conv

    def padded(self, a: Tensor) -> Tensor:
        """Return inputs with the layer's padding where torch's backward cannot do it."""
        if self._native:
            return a
        mode = "constant" if self.layer.padding_mode == "zeros" else self.layer.padding_mode
        return functional.pad(a, self.layer._reversed_padding_repeated_twice, mode=mode)

    @property
    def _native(self) -> bool:
        return self.layer.padding_mode == "zeros" and not isinstance(self.layer.padding, str)

    @property
    def _padding(self) -> list[int]:
        return [int(k) for k in self.layer.padding] if self._native else [0] * len(self.layer.kernel_size)

    def rows(self, a: Tensor, g: Tensor) -> Tensor:
        """Return each row's gradient."""
        if self.layer.groups == 1 and g[0, 0].numel() <= FEW:
            return self._from_patches(a, g)
        # rows become groups of one wide row: the same kernel, and no patches are written out
        wide = self._weight_gradient(a.flatten(0, 1)[None], g.flatten(0, 1)[None], len(a))
        return wide.view(len(a), *self.layer.weight.shape)

    def _from_patches(self, a: Tensor, g: Tensor) -> Tensor:
        patches, g = self.positions(a, g)
        found: Tensor = (g.mT @ patches)[:, 0].unflatten(2, (*self.layer.kernel_size, -1))
        return found.movedim(-1, 2).reshape(len(a), *self.layer.weight.shape)

    def total(self, a: Tensor, g: Tensor) -> Tensor:
        """Return their sum."""
        return self._weight_gradient(a, g, 1)

    def _weight_gradient(self, a: Tensor, g: Tensor, times: int) -> Tensor:
        layer, (p, *rest) = self.layer, self.layer.weight.shape
        ghost = a.new_empty(1).expand(times * p, *rest)  # only its shape is read
        sizes: tuple[Any, ...] = (layer.stride, self._padding, layer.dilation, False, [0] * len(layer.stride))
        found = torch.ops.aten.convolution_backward(
            g, a, ghost, [0], *sizes, layer.groups * times, [False, True, False]
        )
        return cast(Tensor, found[1])

    def positions(self, a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return both with positions last but one."""
        layer, n, axes = self.layer, len(a), len(self.layer.kernel_size)
        borders = [side for size in reversed(self._padding) for side in (size, size)]
        # channels go last, so that patches are copied in runs of them: twice as fast
        patches = functional.pad(a, borders).unflatten(1, (layer.groups, -1)).movedim(2, -1).contiguous()
        for axis, (k, step, gap) in enumerate(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)):
            patches = patches.unfold(axis + 2, gap * (k - 1) + 1, step)[..., ::gap]
        # n, groups, positions..., c / groups, kernel... -> n, groups, positions, kernel and c / groups
        order = [*range(2 + axes), *range(3 + axes, 3 + 2 * axes), 2 + axes]
        a = patches.permute(order).reshape(n, layer.groups, g[0, 0].numel(), -1)
        return a, g.reshape(n, layer.groups, g.shape[1] // layer.groups, -1).mT
