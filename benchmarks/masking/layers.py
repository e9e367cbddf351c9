"""Defences inside the net or behind it: activations without slope, saturated answers, noise in the layers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Winners(nn.Module):
    """Only the largest part of the activations of a layer passes: k-winners-take-all."""

    def __init__(self, share: float = 0.2) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return x with all but the winners of each row at zero."""
        flat = x.flatten(1)
        least = flat.topk(max(1, int(self.share * flat.shape[1])), dim=1).values[:, -1:]
        return torch.where(flat >= least, flat, 0.0).view_as(x)


class Sign(nn.Module):
    """Plus or minus one. Training passes the gradient straight through where |x| < 1; the finished net passes none."""

    def __init__(self, *, straight: bool = False) -> None:
        super().__init__()
        self.straight = straight

    def forward(self, x: Tensor) -> Tensor:
        """Return signs."""
        hard = torch.where(x >= 0, 1.0, -1.0)
        return hard + x.clamp(-1, 1) - x.clamp(-1, 1).detach() if self.training or self.straight else hard


class Rounded(nn.Module):
    """ReLU of few levels."""

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        """Return activations rounded to the levels; training passes the gradient straight through."""
        soft = x.clamp(0, 1)
        hard = torch.round(soft * self.levels) / self.levels
        return hard + soft - soft.detach() if self.training else hard


class Pruned(nn.Module):
    """Activations kept with a chance that grows with their size, and made up for it: stochastic activation pruning."""

    def __init__(self, share: float = 1.0) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return pruned activations; not in training, as the paper does."""
        if self.training:
            return torch.relu(x)
        x = torch.relu(x)
        flat = x.flatten(1)
        chance = flat / flat.sum(1, keepdim=True).clamp(min=1e-9)
        kept = 1 - (1 - chance) ** (self.share * flat.shape[1])
        drawn = (torch.rand_like(flat) < kept).float()
        return (flat * drawn / kept.clamp(min=1e-9)).view_as(x)


class LayerNoise(nn.Module):
    """A layer of noise, in training and after it: random self-ensemble."""

    def __init__(self, size: float = 0.2) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return x with noise of the size of its own spread."""
        return torch.relu(x + self.size * x.detach().std() * torch.randn_like(x))


class Scaled(nn.Module):
    """Logits times a factor, as probabilities if wanted."""

    def __init__(self, net: nn.Module, factor: float, *, soft: bool) -> None:
        super().__init__()
        self.net, self.factor, self.soft = net, factor, soft

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes)."""
        scores = self.factor * self.net(x)
        return scores.softmax(1) if self.soft else scores


class Ripple(nn.Module):
    """Logits with a fast ripple of the input on top: small, and with an enormous slope."""

    def __init__(self, net: nn.Module, size: float = 0.02, speed: float = 1e4) -> None:
        super().__init__()
        self.net, self.size, self.speed = net, size, speed

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes)."""
        waves = (self.speed * x.flatten(1)).cos()
        shift = torch.linspace(0, 3, 10)
        return self.net(x) + self.size * (waves.mean(1, keepdim=True) * 8 + shift).sin()


class Chance(nn.Module):
    """One net of several, drawn for each call."""

    def __init__(self, *nets: nn.Module) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes)."""
        return self.nets[int(torch.randint(len(self.nets), ()))](x)


class Codes(nn.Module):
    """Classes as code words of 20 bits; the answer is how well saturated bits agree with each word."""

    def __init__(self, net: nn.Module, words: Tensor, *, hard: float) -> None:
        super().__init__()
        self.net, self.hard = net, hard
        self.register_buffer("words", words)

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities (n, 10)."""
        agreement = torch.tanh(self.hard * self.net(x)) @ self.words.T  # type: ignore[operator]
        agreement = torch.relu(agreement) + 1e-6
        return agreement / agreement.sum(1, keepdim=True)


def swapped(net: nn.Sequential, old: type[nn.Module], new: Callable[[], nn.Module]) -> nn.Sequential:
    """Return the same layers with other activations."""
    return nn.Sequential(*[new() if isinstance(layer, old) else layer for layer in net]).eval()
