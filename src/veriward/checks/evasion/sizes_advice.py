"""Which size of change is worth testing: what a picture can store, what its noise is, and where another class begins."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from veriward.core.ball import Norm
from veriward.core.domain import ArrayDomain
from veriward.core.note import Note, note

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened

MOST_PAIRS = 500  # rows of which all pairs are compared
LEVELS = 255  # steps of an 8-bit picture
ORDER = {"linf": torch.inf, "l2": 2.0, "l1": 1.0}


def advice(opened: "Opened", norm: Norm, rows: Any) -> tuple[Note, ...]:
    """Return what the data say about sizes: their grid, their noise, and half the way to the nearest other class."""
    clean = opened.encoded("test", rows[:MOST_PAIRS].tolist()).cpu()
    y = opened.targets["test"][rows[:MOST_PAIRS]].cpu()
    found, floors = [], [0.0]
    step = grid(clean, opened.domain) if isinstance(opened.domain, ArrayDomain) else None
    if step is not None and norm == "linf":
        found.append(note("curve.grid", step=step, half=step / 2))
        floors.append(step)
    noise = pixel_noise(clean)
    if noise is not None and norm == "linf":
        found.append(note("curve.noise", noise=noise))
        floors.append(noise)
    half = separation(clean, y, norm) / 2
    if np.isfinite(half):
        found.append(note("curve.separation", half=half, rows=len(clean)))
        if max(floors) < half:
            found.append(note("curve.range", low=max(floors), high=half))
    return tuple(found)


def grid(clean: Tensor, domain: ArrayDomain) -> float | None:
    """Return the step of the 8-bit grid on which all numbers stand, None if they do not.

    >>> grid(torch.tensor([[0.0, 51.0, 255.0]]), ArrayDomain(0.0, 255.0))
    1.0
    """
    step = (domain.high - domain.low) / LEVELS
    place = (clean.double() - domain.low) / step
    return step if bool(((place - place.round()).abs() < 1e-3).all()) else None


def pixel_noise(clean: Tensor) -> float | None:
    """Return the standard deviation of the noise of pictures (n, ..., height, width), the median over rows; None for others.

    Immerkaer 1996, Computer Vision and Image Understanding 64(2), "Fast noise variance estimation": a mask that does not
    see edges, on pixels whose neighbourhood is not constant.
    """
    if clean.ndim < 3 or min(clean.shape[-2:]) < 5:
        return None
    pictures = clean.double().reshape(-1, 1, *clean.shape[-2:])
    mask = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], dtype=torch.float64)
    seen = torch.nn.functional.conv2d(pictures, mask.view(1, 1, 3, 3)).abs().flatten(1)
    return float(((torch.pi / 2) ** 0.5 / 6 * seen.mean(1)).median())


def separation(clean: Tensor, y: Tensor, norm: Norm) -> float:
    """Return the smallest distance between two rows of different classes, inf with a single class.

    An eps beyond half of it lets two real rows of different classes meet: no model is right about both (Yang et al. 2020,
    arXiv:2003.02460).

    >>> separation(torch.tensor([[0.0], [0.4], [9.0]]), torch.tensor([0, 1, 1]), "linf")
    0.4...
    """
    flat = clean.double().flatten(1).nan_to_num(0.0)
    apart = torch.cdist(flat, flat, p=ORDER[norm])
    other = y[:, None] != y[None, :]
    return float(apart[other].min()) if bool(other.any()) else float("inf")
