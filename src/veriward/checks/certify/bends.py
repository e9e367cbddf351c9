"""Operators with bends, and lines that hold below and above them between the ends of what enters.

ReLU: the chord above, any slope below (Zhang et al. 2018, arXiv:1811.00866, table 2, for leaky slopes too). Maximum of a
window: the entry with the largest lower end below; above it the exact entry where one dominates, else the largest upper
end or the sum of chords from the largest lower end, whichever is lower in the middle.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, ...]
GUARD = 2.0**-48  # relative: chords are lifted by more than their own rounding


@dataclass(frozen=True, eq=False)
class Relu:
    """max(x, slope * x), slope in [0, 1]; 0 is the ReLU. `slope` broadcasts over a row."""

    inputs: tuple[int, ...]
    shape: Shape
    slope: Tensor

    def value(self, x: Tensor) -> Tensor:
        """Return max(x, slope x)."""
        return torch.maximum(x, self.slope * x)


class Lines(NamedTuple):
    """Of a ReLU, each (n, ...): alpha x <= f(x) <= chord x + lift; alpha may be anything in [slope, 1] where `free`."""

    alpha: Tensor
    chord: Tensor
    lift: Tensor
    free: Tensor


def relu_lines(op: Relu, low: Tensor, high: Tensor) -> Lines:
    """Return the lines between `low` and `high`, (n, ...)."""
    slope = op.slope.expand_as(low)
    free = (low < 0) & (high > 0)
    settled = torch.where(low >= 0, torch.ones_like(low), slope)
    chord = (high - slope * low) / torch.where(free, high - low, torch.ones_like(low))
    chord = torch.minimum(torch.maximum(torch.where(free, chord, settled), slope), torch.ones_like(low))
    # the chord holds between two ends if it holds at both, whatever its slope was rounded to
    lift = torch.maximum(high - chord * high, slope * low - chord * low)
    lift = torch.where(free, lift + GUARD * (high - low), torch.zeros_like(low))
    alpha = torch.where(free, torch.where(high >= -low, torch.ones_like(low), slope), settled)
    return Lines(alpha, chord, lift, free)


@dataclass(frozen=True, eq=False)
class MaxPool:
    """The maximum of windows; `windows` (outputs, entries) are flat positions in a row, -1 beyond its edge."""

    inputs: tuple[int, ...]
    shape: Shape
    before: Shape
    windows: Tensor

    def entries(self, x: Tensor, missing: float = -torch.inf) -> Tensor:
        """Return what each window sees, (n, outputs, entries)."""
        seen = x.flatten(1)[:, self.windows.clamp(min=0)]
        return torch.where(self.windows >= 0, seen, missing)

    def value(self, x: Tensor) -> Tensor:
        """Return the maxima."""
        return self.entries(x).amax(2).view(-1, *self.shape)


class PoolLines(NamedTuple):
    """Of maxima: x[below] <= f(x) <= sum(slopes * window) + lift; below (n, outputs), slopes (n, outputs, entries)."""

    below: Tensor
    slopes: Tensor
    lift: Tensor


def pool_lines(op: MaxPool, low: Tensor, high: Tensor) -> PoolLines:
    """Return the lines between `low` and `high`, (n, ...)."""
    lows, highs = op.entries(low), op.entries(high)
    bottom, which = lows.max(2)
    top = highs.amax(2)
    rise = (highs - bottom[:, :, None]).clamp(min=0)
    width = (highs - lows).nan_to_num(1.0, posinf=1.0).clamp(min=torch.finfo(low.dtype).tiny)
    slopes = torch.where(rise > 0, rise / width, torch.zeros_like(rise)).clamp(max=1.0)
    others = highs.scatter(2, which[:, :, None], -torch.inf).amax(2)
    exact = bottom >= others
    chosen = torch.nn.functional.one_hot(which, lows.shape[2]).to(low.dtype)
    constant = ~exact & (top <= bottom + rise.sum(2) / 2)
    slopes = torch.where(exact[:, :, None], chosen, torch.where(constant[:, :, None], 0.0, slopes))
    safe = torch.where(slopes > 0, lows, torch.zeros_like(lows))
    chords = bottom - (slopes * safe).sum(2)
    chords = chords + GUARD * (bottom.abs() + (slopes * safe.abs()).sum(2) + rise.sum(2))
    lift = torch.where(exact, torch.zeros_like(top), torch.where(constant, top, chords))
    below = op.windows[torch.arange(len(op.windows), device=low.device), which]
    return PoolLines(below, slopes, lift)
