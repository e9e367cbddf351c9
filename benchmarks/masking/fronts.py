"""Defences that change the picture before the net sees it. Those that round or draw give no useful gradient."""

from functools import cache

import torch
from torch import Tensor, nn

from benchmarks.masking.nets import digits


class Fronted(nn.Module):
    """A net behind a front."""

    def __init__(self, front: nn.Module, net: nn.Module) -> None:
        super().__init__()
        self.front, self.net = front, net

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (n, classes)."""
        return self.net(self.front(x))


class Thermometer(nn.Module):
    """One channel per level, 1 where the pixel is brighter. `soft` is the stand-in for the steps."""

    def __init__(self, levels: int = 12, soft: float | None = None) -> None:
        super().__init__()
        self.levels, self.soft = levels, soft

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, levels, 8, 8)."""
        cuts = (torch.arange(self.levels) + 0.5).view(1, -1, 1, 1) / self.levels
        return ((x - cuts) * self.soft).sigmoid() if self.soft else (x > cuts).float()


class Bits(nn.Module):
    """Fewer levels of grey."""

    def __init__(self, levels: int = 3) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        """Return rounded pixels."""
        return torch.round(x * (self.levels - 1)) / (self.levels - 1)


class Floor(nn.Module):
    """The identity on average: a staircase of many small steps."""

    def forward(self, x: Tensor) -> Tensor:
        """Return pixels cut off to 1/64."""
        return torch.floor(x * 64) / 64


@cache
def cosines(size: int = 8) -> Tensor:
    """Return the orthonormal discrete cosine transform, (size, size)."""
    k, i = torch.arange(size).view(-1, 1), torch.arange(size)
    basis = (torch.pi * (2 * i + 1) * k / (2 * size)).cos() * (2 / size) ** 0.5
    basis[0] /= 2**0.5
    return basis


class Jpeg(nn.Module):
    """Cosine coefficients of the 8 × 8 block, rounded more coarsely the higher their frequency."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the picture after coding and decoding."""
        basis, place = cosines(), torch.arange(8)
        steps = 0.15 + 0.08 * (place.view(-1, 1) + place)
        coefficients = torch.round((basis @ x @ basis.T) / steps) * steps
        return (basis.T @ coefficients @ basis).clamp(0, 1)


class Median(nn.Module):
    """The median of 3 × 3 pixels: has gradients, and a plain attack breaks it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return smoothed pixels."""
        windows = nn.functional.unfold(nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3)
        return windows.median(1).values.view_as(x)


class Variation(nn.Module):
    """Pixels kept by a coin, and the picture of least total variation near them, found by descent."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction, cut from the graph as any inner optimisation in numpy is."""
        with torch.no_grad():
            kept = (torch.rand_like(x) < 0.8).float()
            z = x * kept + 0.5 * (1 - kept)
            for _ in range(10):
                down = nn.functional.pad(z[..., 1:, :] - z[..., :-1, :], (0, 0, 0, 1))
                right = nn.functional.pad(z[..., :, 1:] - z[..., :, :-1], (0, 1))
                down, right = torch.tanh(20 * down), torch.tanh(20 * right)
                slope = -down - right
                slope[..., 1:, :] += down[..., :-1, :]
                slope[..., :, 1:] += right[..., :, :-1]
                z = z - 0.1 * (4 * kept * (z - x) + 0.3 * slope)
        return z.clamp(0, 1)


class ResizePad(nn.Module):
    """Enlarged to a random size and put at a random place of a larger canvas, then brought back to 8 × 8."""

    def forward(self, x: Tensor) -> Tensor:
        """Return pictures of the usual size, moved and scaled by chance."""
        size = int(torch.randint(8, 11, ()))
        big = nn.functional.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
        room = 10 - size
        top, left = int(torch.randint(0, room + 1, ())), int(torch.randint(0, room + 1, ()))
        canvas = nn.functional.pad(big, (left, room - left, top, room - top))
        return nn.functional.interpolate(canvas, size=(8, 8), mode="bilinear", align_corners=False)


class Noise(nn.Module):
    """Gaussian noise on whatever passes."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return x with noise."""
        return x + self.size * torch.randn_like(x)


class RandomMask(nn.Module):
    """A random part of the pixels set to zero, the rest made up for it."""

    def __init__(self, share: float = 0.3) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return pixels that a coin kept."""
        return x * (torch.rand_like(x) >= self.share) / (1 - self.share)


class LowRank(nn.Module):
    """A random mask, and the matrix of low rank nearest to what is left."""

    def __init__(self, rank: int = 4) -> None:
        super().__init__()
        self.mask, self.rank = RandomMask(0.15), rank

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction; the decomposition is cut from the graph."""
        with torch.no_grad():
            u, s, v = torch.linalg.svd(self.mask(x))
            s[..., self.rank :] = 0
            return (u * s[..., None, :]) @ v


class Deflect(nn.Module):
    """Some pixels replaced by a neighbour drawn by chance, then smoothed."""

    def __init__(self, share: float = 0.3) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return deflected pixels."""
        across, down = (int(torch.randint(-1, 2, ())) for _ in range(2))
        moved = x.roll((across, down), dims=(2, 3))
        hit = torch.rand_like(x) < self.share
        with torch.no_grad():
            out = torch.where(hit, moved, x)
            return 0.8 * out + 0.2 * nn.functional.avg_pool2d(out, 3, 1, 1)


class Barrage(nn.Module):
    """Several weak random changes one after the other, in numbers drawn anew."""

    def forward(self, x: Tensor) -> Tensor:
        """Return changed pictures; the rounding among the changes has no slope."""
        x = x + 0.05 * torch.randn_like(x)
        x = (x.clamp(0, 1) + 1e-6) ** (0.8 + 0.4 * torch.rand(len(x), 1, 1, 1))
        levels = int(torch.randint(3, 9, ()))
        x = torch.round(x * levels) / levels
        return x + 0.1 * (torch.rand(len(x), 1, 1, 1) - 0.5)


class Mixup(nn.Module):
    """Mixed with random training pictures, the answers averaged over few draws."""

    def __init__(self, draws: int = 3, share: float = 0.6) -> None:
        super().__init__()
        self.draws, self.share = draws, share

    def forward(self, x: Tensor) -> Tensor:
        """Return mixed pictures, (n, 1, 8, 8)."""
        pool = digits().x
        others = torch.stack([pool[torch.randint(len(pool), (len(x),))] for _ in range(self.draws)])
        return self.share * x + (1 - self.share) * others.mean(0)


class Nearest(nn.Module):
    """The mean of the nearest training pictures instead of the picture: the manifold as Defense-GAN means it."""

    def __init__(self, neighbours: int = 3, patch: int = 8, stride: int = 8) -> None:
        super().__init__()
        self.neighbours, self.patch, self.stride = neighbours, patch, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return reconstructions patch by patch, cut from the graph as a search is."""
        with torch.no_grad():
            pool = nn.functional.unfold(digits().x, self.patch, stride=self.stride)
            parts = nn.functional.unfold(x, self.patch, stride=self.stride)
            found = torch.empty_like(parts)
            for i in range(parts.shape[2]):
                near = torch.cdist(parts[:, :, i], pool[:, :, i]).topk(self.neighbours, largest=False).indices
                found[:, :, i] = pool[:, :, i][near].mean(1)
            cover = nn.functional.fold(torch.ones_like(found), (8, 8), self.patch, stride=self.stride)
            return nn.functional.fold(found, (8, 8), self.patch, stride=self.stride) / cover


class Detached(nn.Module):
    """A front that leaves the graph for no reason of its own, as a round trip through numpy does."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the same pixels without their history."""
        return x.detach().clone()
