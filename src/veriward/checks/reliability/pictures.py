"""Everyday corruptions of pictures. Hendrycks & Dietterich, 2019 (arXiv:1903.12261), section 3 and appendix B.

Written anew in torch for arrays of any size and number of channels. x (n, channels, height, width) in [0, 1] in, the same
out, clamped; `rows` (n,) number the rows, so that each is corrupted alike in any company. Noise and contrast have the
strengths of ImageNet-C; sizes in pixels are those of CIFAR-10-C (32 pixels a side) and grow with the picture, never below.
Only elementwise operations: a convolution rounds otherwise in another batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from veriward.core.streams import Stream

SEVERITIES = (1, 2, 3, 4, 5)
SIDE = 32  # pixels a side in CIFAR-10-C
CHANNELS = (1, 3, 4)
Apply = Callable[[Tensor, float, Stream, Tensor], Tensor]


@dataclass(frozen=True)
class Corruption:
    """A kind of trouble; `levels` holds its strength at severities 1 to 5. `flat`: needs no height and width."""

    apply: Apply
    levels: tuple[float, float, float, float, float]
    flat: bool = True


def corrupt(name: str, severity: int, x: Tensor, bounds: tuple[float, float], stream: Stream, rows: Tensor) -> Tensor:
    """Return pictures (n, ...) in [low, high] with a corruption at a severity of 1 to 5.

    >>> x = torch.full((1, 1, 2, 2), 0.5)
    >>> corrupt("brightness", 1, x, (0.0, 1.0), Stream.of(0, "doc"), torch.arange(1)).mean().item()
    0.6000000238418579
    """
    low, high = bounds
    kind, own = CORRUPTIONS[name], stream.child(f"{name} {severity}")
    unit = ((x.double() - low) / (high - low)).to(torch.float32)
    planes = _planes(unit)
    changed = kind.apply(planes, kind.levels[severity - 1], own, rows).clamp(0.0, 1.0)
    back = _back(changed, x.shape).double() * (high - low) + low
    return back.to(x.dtype).clamp(min=low, max=high)


def suitable(shape: Sequence[int]) -> tuple[str, ...]:
    """Return the corruptions that rows of this shape can have: those of the plane need height and width.

    >>> len(suitable((3, 32, 32))) > len(suitable((100,)))
    True
    """
    axes = _axes(shape)
    plane = axes is not None and min(shape[axes[0]], shape[axes[1]]) >= 4
    return tuple(name for name, kind in CORRUPTIONS.items() if plane or kind.flat)


def _axes(shape: Sequence[int]) -> tuple[int, int] | None:
    """Return which axes of a row are height and width: the last two, or the first two before a few channels."""
    if len(shape) < 2:
        return None
    if len(shape) == 3 and shape[2] in CHANNELS and shape[0] not in CHANNELS:
        return 0, 1
    return len(shape) - 2, len(shape) - 1


def _planes(x: Tensor) -> Tensor:
    """Return rows of any shape as (n, channels, height, width)."""
    axes = _axes(x.shape[1:])
    if axes is None:
        return x.reshape(len(x), 1, 1, -1)
    if axes == (0, 1) and x.ndim == 4:
        return x.permute(0, 3, 1, 2).contiguous()
    return x.reshape(len(x), -1, *x.shape[-2:])


def _back(planes: Tensor, shape: Sequence[int]) -> Tensor:
    if _axes(shape[1:]) == (0, 1) and len(shape) == 4:
        return planes.permute(0, 2, 3, 1).contiguous()
    return planes.reshape(tuple(shape))


def gaussian_noise(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Add normal noise of standard deviation `level`: a weak sensor in poor light."""
    return x + level * stream.normal(rows, tuple(x.shape[1:])).to(x.device)


def shot_noise(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Draw each number from a Poisson law of `level` times itself: the grain of few photons."""
    counts = [
        stream.child(str(row)).generator().poisson((part * level).double().cpu().numpy())
        for row, part in zip(rows.tolist(), x, strict=True)
    ]
    return torch.as_tensor(np.stack(counts), device=x.device).to(x.dtype) / level if len(x) else x


def impulse_noise(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Turn a share of the numbers into the darkest or the brightest: salt and pepper, bit errors."""
    u = stream.uniform(rows, tuple(x.shape[1:])).to(x.device)
    return torch.where(u < level / 2, 0.0, torch.where(u < level, 1.0, x))


def speckle_noise(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Add normal noise in proportion to each number."""
    return x + x * level * stream.normal(rows, tuple(x.shape[1:])).to(x.device)


def brightness(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Add to every number: daylight."""
    return x + level


def darkness(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Take from every number: dusk. Not in the paper; the other half of brightness."""
    return x - level


def contrast(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Draw the numbers of each channel towards their mean, to `level` of the distance."""
    middle = x.double().mean((2, 3), keepdim=True).to(x.dtype)
    return (x - middle) * level + middle


def gaussian_blur(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Blur with a normal kernel of standard deviation `level`, in pixels of a side of 32: out of focus."""
    sigma = level * _scale(x)
    reach = max(1, round(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return _smeared(_smeared(x, weights, 2), weights, 3)


def motion_blur(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Blur along a line of `level` pixels, sideways: the camera moves."""
    return _smeared(x, np.ones(2 * max(1, round(level * _scale(x) / 2)) + 1), 3)


def pixelate(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Make the picture smaller, to `level` of each side, and larger again."""
    height, width = x.shape[2:]
    small = torch.nn.functional.adaptive_avg_pool2d(x, (max(1, round(height * level)), max(1, round(width * level))))
    return torch.nn.functional.interpolate(small, size=(height, width), mode="nearest")


def translate(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Shift by a share of the side, in one of four directions for each row; the edge is repeated."""
    step, direction = max(1, round(level * min(x.shape[2:]))), stream.integers(rows, 4).to(x.device)
    moved = x.clone()
    for number, (axis, sign) in enumerate(((2, 1), (2, -1), (3, 1), (3, -1))):
        chosen = direction == number
        moved[chosen] = _shifted(x[chosen], sign * step, axis)
    return moved


def occlusion(x: Tensor, level: float, stream: Stream, rows: Tensor) -> Tensor:
    """Cover a grey square of `level` of each side, anywhere: dirt on the lens. DeVries & Taylor, 2017 (arXiv:1708.04552)."""
    covered = torch.ones(len(x), 1, 1, 1, dtype=torch.bool, device=x.device)
    for axis, name in ((2, "top"), (3, "left")):
        size = x.shape[axis]
        length = max(1, round(level * size))
        start = stream.child(name).integers(rows, size - length + 1).to(x.device)[:, None]
        place = torch.arange(size, device=x.device)[None]
        inside = (place >= start) & (place < start + length)
        covered = covered & inside.view(len(x), 1, *((size, 1) if axis == 2 else (1, size)))
    return torch.where(covered, 0.5, x)


def _scale(x: Tensor) -> float:
    return max(1.0, min(x.shape[2:]) / SIDE)


def _smeared(x: Tensor, weights: "np.ndarray[tuple[int], np.dtype[np.float64]]", axis: int) -> Tensor:
    """Return the weighted mean of neighbours along an axis; the edge is repeated."""
    reach, shares = len(weights) // 2, weights / weights.sum()
    return sum(
        (
            _shifted(x, offset, axis) * float(share)
            for offset, share in zip(range(-reach, reach + 1), shares, strict=True)
        ),
        start=torch.zeros_like(x),
    )


def _shifted(x: Tensor, step: int, axis: int) -> Tensor:
    place = torch.arange(x.shape[axis], device=x.device) - step
    return x.index_select(axis, place.clamp(0, x.shape[axis] - 1))


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": Corruption(shot_noise, (60, 25, 12, 5, 3)),
    "impulse_noise": Corruption(impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "speckle_noise": Corruption(speckle_noise, (0.15, 0.2, 0.35, 0.45, 0.6)),
    "brightness": Corruption(brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "darkness": Corruption(darkness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": Corruption(contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "gaussian_blur": Corruption(gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0), flat=False),
    "motion_blur": Corruption(motion_blur, (2, 3, 4, 5, 6), flat=False),
    "pixelate": Corruption(pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), flat=False),
    "translate": Corruption(translate, (0.04, 0.08, 0.12, 0.18, 0.25), flat=False),
    "occlusion": Corruption(occlusion, (0.15, 0.2, 0.25, 0.35, 0.5), flat=False),
}
