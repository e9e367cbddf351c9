"""Operators with bends, and lines that hold below and above them between the ends of what enters.

ReLU: the chord above, any slope below (Zhang et al. 2018, arXiv:1811.00866, table 2, for leaky slopes too). Maximum of a
window: the entry with the largest lower end below; above it the exact entry where one dominates, else the largest upper
end or the sum of chords from the largest lower end, whichever is lower in the middle.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, ...]
GUARD = 2.0**-48  # relative: chords are lifted by more than their own rounding


class Lines(NamedTuple):
    """Slopes below and above, and what is added above. alpha may be anything in [slope, 1] where a ReLU is `free`.

    Of a ReLU each is (n, *shape). Of maxima the slopes are those of each window's entries, (n, *spread) as `MaxPool` lays
    them out, and `lift` is (n, *shape).
    """

    alpha: Tensor
    chord: Tensor
    lift: Tensor
    free: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Relu:
    """max(x, slope * x), slope in [0, 1]; 0 is the ReLU. `slope` broadcasts over a row."""

    inputs: tuple[int, ...]
    shape: Shape
    slope: Tensor

    def value(self, x: Tensor) -> Tensor:
        """Return max(x, slope x)."""
        return torch.maximum(x, self.slope * x)

    def lines(self, low: Tensor, high: Tensor) -> Lines:
        """Return the lines between `low` and `high`, (n, ...)."""
        slope, one = self.slope.expand_as(low), torch.ones_like(low)
        free = (low < 0) & (high > 0)
        settled = torch.where(low >= 0, one, slope)
        chord = (high - slope * low) / torch.where(free, high - low, one)
        chord = torch.minimum(torch.maximum(torch.where(free, chord, settled), slope), one)
        # the chord holds between two ends if it holds at both, whatever its slope was rounded to
        lift = torch.maximum(high - chord * high, slope * low - chord * low)
        lift = torch.where(free, lift + GUARD * (high - low), 0.0)
        alpha = torch.where(free, torch.where(high >= -low, one, slope), settled)
        return Lines(alpha, chord, lift, free)


@dataclass(frozen=True, eq=False)
class MaxPool:
    """The maximum of windows; `windows` (outputs, entries) are flat positions in a row, -1 beyond its edge."""

    inputs: tuple[int, ...]
    shape: Shape
    before: Shape
    windows: Tensor

    @cached_property
    def _owner(self) -> tuple[Tensor, Tensor] | None:
        """For windows that do not overlap: each input's window, and its place among all entries; None if they do."""
        flat, size = self.windows.flatten(), prod(self.before)
        inside = flat >= 0
        if bool((torch.bincount(flat[inside], minlength=size) > 1).any()):
            return None
        place = torch.zeros(size, dtype=torch.int64, device=flat.device)
        owned = torch.zeros(size, dtype=torch.bool, device=flat.device)
        place[flat[inside]], owned[flat[inside]] = inside.nonzero().squeeze(1), True
        return place // self.windows.shape[1], torch.where(owned, place, -1)

    def entries(self, x: Tensor, missing: float = -torch.inf) -> Tensor:
        """Return what each window sees, (n, outputs, entries)."""
        seen = x.flatten(1)[:, self.windows.clamp(min=0)]
        return torch.where(self.windows >= 0, seen, missing)

    def value(self, x: Tensor) -> Tensor:
        """Return the maxima."""
        return self.entries(x).amax(2).view(-1, *self.shape)

    def open(self, low: Tensor, high: Tensor, *, floor: bool) -> Tensor:
        """Return which inputs (n, inputs) can be the maximum of a window that is not settled.

        With `floor` a ReLU follows: windows below zero are settled too, and those of open sign are not.
        """
        lows, highs = self.entries(low), self.entries(high)
        bottom, top = lows.amax(2, keepdim=True), highs.amax(2, keepdim=True)
        rivals = (highs >= bottom) & (self.windows >= 0)
        several = rivals.sum(2, keepdim=True) > 1
        can = rivals & ((several | (bottom < 0)) & (top > 0) if floor else several)
        back = torch.zeros_like(low.flatten(1))
        return back.index_add(1, self.windows.clamp(min=0).flatten(), can.flatten(1).to(low.dtype)) > 0

    def lines(self, low: Tensor, high: Tensor) -> Lines:
        """Return the lines between `low` and `high`, (n, ...)."""
        lows, highs = self.entries(low), self.entries(high)
        bottom, top = lows.amax(2), highs.amax(2)
        # of several with the same lower end (after a ReLU that is mostly 0) the one that may become largest
        which = torch.where(lows == bottom[:, :, None], highs, -torch.inf).argmax(2)
        rise = (highs - bottom[:, :, None]).clamp(min=0)
        width = (highs - lows).nan_to_num(1.0, posinf=1.0).clamp(min=torch.finfo(low.dtype).tiny)
        slopes = torch.where(rise > 0, rise / width, 0.0).clamp(max=1.0)
        exact = bottom >= highs.scatter(2, which[:, :, None], -torch.inf).amax(2)
        chosen = torch.nn.functional.one_hot(which, lows.shape[2]).to(low.dtype)
        constant = ~exact & (top <= bottom + rise.sum(2) / 2)
        slopes = torch.where(exact[:, :, None], chosen, torch.where(constant[:, :, None], 0.0, slopes))
        inside = torch.where(slopes > 0, lows, 0.0)
        chords = bottom - (slopes * inside).sum(2)
        chords = chords + GUARD * (bottom.abs() + (slopes * inside.abs()).sum(2) + rise.sum(2))
        lift = torch.where(exact, 0.0, torch.where(constant, top, chords))
        return Lines(self._laid(chosen), self._laid(slopes), lift.view(-1, *self.shape))

    def _laid(self, slopes: Tensor) -> Tensor:
        """Lay out slopes (n, outputs, entries) like inputs, if each input has one window at most."""
        flat = slopes.flatten(1)
        if self._owner is None:
            return flat
        place = self._owner[1]
        return torch.where(place >= 0, flat[:, place.clamp(min=0)], 0.0)

    def spread(self, a: Tensor) -> Tensor:
        """Give each entry its window's coefficient, laid out as the slopes are, (n, entries of all or inputs)."""
        if self._owner is None:
            return a.flatten(1).repeat_interleave(self.windows.shape[1], 1)
        return a.flatten(1).index_select(1, self._owner[0])

    def gather(self, parts: Tensor) -> Tensor:
        """Bring what was laid out so back to inputs, (n, *before)."""
        if self._owner is None:
            back = parts.new_zeros(len(parts), prod(self.before))
            parts = back.index_add(1, self.windows.clamp(min=0).flatten(), parts)
        return parts.view(-1, *self.before)
