"""Laplace noise for training, from random words, in float32: the sum of two products of normals, with every tail kept.

For independent standard normals, A B + C D is Laplace of scale 1, and the product of the two normals that Box and Muller
(1958) make of one pair of words is -ln(u) sin(t), t uniform over the circle. So four words make a draw. A logarithm with a
sign would take one word and tell by its low bits which sums are possible (Mironov, 2012); two products have so many
combinations for each float32 value that they no longer do (Holohan & Braghin, 2021, arXiv:2107.10138, section 4).
"""

from typing import TYPE_CHECKING

import numpy as np

from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.normals import Float32, MoreBits, to_half_radii

if TYPE_CHECKING:
    from torch import Tensor

PART = 1 << 15  # draws worked on at a time: they and their words stay in the cache
TURN = np.float32(2 * np.pi * 2.0**-32)  # radians to a step of a signed word


def fill_laplace(out: Float32, bits: MoreBits) -> None:
    """Fill `out` (n,) in place with independent Laplace draws of scale 1, n >= 0; `bits(k)` returns k words of 64 bits.

    With L exactly Laplace there is a coupling in which |out - L| <= 2^-13 for every draw but a share of 2^-85, and
    |out - L| <= 2^-15 for all but one in two thousand: docs/why/dp-noise.md derives both. The tails reach 119 scales.

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> out = np.empty(5, np.float32)
    >>> fill_laplace(out, SecureSource().bits)
    >>> bool(np.isfinite(out).all())
    True
    """
    scratch = np.empty(2 * min(PART, len(out)), np.float32)
    for start in range(0, len(out), PART):
        part = out[start : start + PART]
        words = bits(2 * len(part)).view(np.uint32)
        turns = words[2 * len(part) :].view(np.int32).astype(np.float32)
        products = np.square(to_half_radii(words[: 2 * len(part)], bits, scratch[: 2 * len(part)]))  # -ln u
        np.multiply(turns, TURN, out=turns)
        np.multiply(products, np.sin(turns, out=turns), out=products)
        np.add(products[: len(part)], products[len(part) :], out=part)


def laplace_(out: "Tensor", source: Source) -> "Tensor":
    """Fill a float32 tensor of any shape and device in place with Laplace draws of scale 1, and return it.

    >>> import torch
    >>> from veriward.privacy.dp.noise import SecureSource
    >>> laplace_(torch.empty(2, 3), SecureSource()).shape
    torch.Size([2, 3])
    """
    import torch

    drawn = torch.empty(out.numel(), dtype=torch.float32)
    fill_laplace(drawn.numpy(), source.bits)
    out.detach().copy_(drawn.view(out.shape))
    return out
