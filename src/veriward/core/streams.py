"""Counter-based random numbers: each depends on (seed, name, row, step, element) and on nothing else.

The batch a row travels in, the worker that computes it and the order of the calls therefore never change a result.
The mixer is splitmix64 (Steele, Lea & Flood, 2014, "Fast splittable pseudorandom number generators", figure 17).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from veriward.core.canonical import derive_key

CHUNK = 1 << 16  # elements mixed at a time: stays in the cache


def _signed(value: int) -> int:
    """Wrap a constant into int64 by hand: torch wraps tensors, not Python integers."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


GAMMA = _signed(0x9E3779B97F4A7C15)
MIX_1 = _signed(0xBF58476D1CE4E5B9)
MIX_2 = _signed(0x94D049BB133111EB)


def _xor_shift(z: Tensor, bits: int) -> Tensor:
    # >> is arithmetic on int64: the copies of the sign bit are masked away
    return z.bitwise_xor_((z >> bits).bitwise_and_((1 << (64 - bits)) - 1))


def mix(z: Tensor) -> Tensor:
    """Return splitmix64's finaliser of z (int64, any shape), computed in place.

    >>> mix(torch.tensor([GAMMA])).item() & (2**64 - 1) == 0xE220A8397B1DCDAF
    True
    """
    _xor_shift(z, 30).mul_(MIX_1)
    _xor_shift(z, 27).mul_(MIX_2)
    return _xor_shift(z, 31)


@dataclass(frozen=True)
class Stream:
    """A named source of random numbers; `child` names a part of it."""

    key: int

    @classmethod
    def of(cls, seed: int, name: str) -> "Stream":
        """Return the stream called `name` under `seed`.

        >>> Stream.of(0, "pgd") == Stream.of(0, "pgd")
        True
        """
        return cls(derive_key(seed, name))

    def child(self, name: str) -> "Stream":
        """Return the independent stream called `name` inside this one."""
        return Stream(derive_key(self.key, name))

    def bits(self, rows: Tensor, size: int, step: int = 0) -> Tensor:
        """Return (n, size) int64 random bits for rows (n,) int64 at a step of an algorithm."""
        start = torch.tensor(_signed(self.key + (step + 1) * GAMMA), device=rows.device)
        state = mix(mix(rows.to(torch.int64) * GAMMA + start) + start)
        out = torch.empty(len(rows), size, dtype=torch.int64, device=rows.device)
        counters = torch.arange(1, size + 1, device=rows.device) * GAMMA
        height = max(1, CHUNK // max(size, 1))
        for top in range(0, len(rows), height):
            part = out[top : top + height]
            torch.add(state[top : top + height, None], counters, out=part)
            mix(part)
        return out

    def uniform(self, rows: Tensor, shape: Sequence[int] = (), step: int = 0) -> Tensor:
        """Return (n, *shape) float32 uniforms in [0, 1), from the top 24 bits.

        >>> u = Stream.of(0, "doc").uniform(torch.arange(3), (4,))
        >>> bool(((u >= 0) & (u < 1)).all()), u.shape
        (True, torch.Size([3, 4]))
        """
        bits = self.bits(rows, math.prod(shape), step)
        return (bits >> 40).bitwise_and_(0xFFFFFF).float().mul_(2.0**-24).view(len(rows), *shape)

    def normal(self, rows: Tensor, shape: Sequence[int] = (), step: int = 0) -> Tensor:
        """Return (n, *shape) float32 standard normals by Box and Muller (1958)."""
        size = math.prod(shape)
        half = (size + 1) // 2
        u = self.uniform(rows, (2 * half,), step)
        radius = (1.0 - u[:, :half]).log_().mul_(-2.0).sqrt_()  # 1 - u lies in (0, 1]: the logarithm is finite
        angle = u[:, half:].mul(2 * math.pi)
        pairs = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
        return pairs[:, :size].reshape(len(rows), *shape)

    def integers(self, rows: Tensor, high: int, shape: Sequence[int] = (), step: int = 0) -> Tensor:
        """Return (n, *shape) int64 integers in [0, high); high up to 2**40, from the top 53 bits."""
        bits = self.bits(rows, math.prod(shape), step) >> 11
        share = bits.bitwise_and_((1 << 53) - 1).double().mul_(2.0**-53)
        return (share * high).long().clamp_(max=high - 1).view(len(rows), *shape)

    def generator(self) -> np.random.Generator:
        """Return a numpy generator for code that draws by the call, not by the row."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.key & ((1 << 64) - 1)])))
