"""How far each row is scaled down: a rule reads norms and answers with factors, and says what a row can add at most."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from veriward.core.errors import SettingsError

LEAST, MOST = (
    1e-9,
    1e15,
)  # of a clip; below, squares of float32 gradients underflow: rows would look shorter than they are


class Rule(Protocol):
    """What `PerRow.clipped` asks of a rule."""

    @property
    def order(self) -> int:
        """The norm that is bounded: 2, or 1 for Laplace noise."""

    @property
    def sensitivity(self) -> float:
        """The largest norm that one row can add to the sums, in that order over all parameters together."""

    def factors(self, norms: Tensor) -> Tensor:
        """Norms per layer (layers, n) -> the factor of each row in each layer, (layers, n) or (1, n)."""


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise SettingsError(f"{name} = {value:g}: want a finite number above 0")


def _clip(name: str, value: float) -> None:
    if not LEAST <= value <= MOST:
        raise SettingsError(
            f"{name} = {value:g}: want at least {LEAST:g} and at most {MOST:g}, where norms in float32 are what they say; "
            "scale the loss"
        )


def _shrink(norms: Tensor, clip: float) -> Tensor:
    return (clip / norms).clamp(max=1.0)  # a norm of zero divides to inf: the factor is 1


@dataclass(frozen=True)
class Flat:
    """Scale a row whose norm over all parameters exceeds `clip` down to it: min(1, clip / norm).

    Abadi et al., 2016 (arXiv:1607.00133), algorithm 1. Raises SettingsError for a clip outside [1e-9, 1e15].

    >>> Flat(1.0).factors(torch.tensor([[3.0, 0.0], [4.0, 0.0]]))
    tensor([[0.2000, 1.0000]])
    """

    clip: float
    order: int = 2

    def __post_init__(self) -> None:
        _clip("clip", self.clip)
        if self.order not in (1, 2):
            raise SettingsError(f"order = {self.order}: want 2 (Gaussian noise) or 1 (Laplace noise)")

    @property
    def sensitivity(self) -> float:
        """The most that a row can add: the clip."""
        return self.clip

    def factors(self, norms: Tensor) -> Tensor:
        """Norms (layers, n) -> factors, as the class says."""
        return _shrink(torch.linalg.vector_norm(norms, self.order, dim=0, keepdim=True), self.clip)


@dataclass(frozen=True)
class PerLayer:
    """Clip each layer by a norm of its own; layers come in the order of `module.named_modules()`.

    McMahan et al., 2018 (arXiv:1710.06963), section 2.2. Raises SettingsError for a clip outside [1e-9, 1e15], or, when
    used, for another number of layers.

    >>> PerLayer((3.0, 4.0)).sensitivity
    5.0
    """

    clips: tuple[float, ...]
    order: int = 2

    def __post_init__(self) -> None:
        if not self.clips:
            raise SettingsError("clips: none given; want one per layer")
        for clip in self.clips:
            _clip("clips", clip)

    @classmethod
    def even(cls, clip: float, layers: int) -> "PerLayer":
        """Share one clip evenly: clip / sqrt(layers) each, together again `clip`."""
        return cls((clip / math.sqrt(layers),) * layers)

    @property
    def sensitivity(self) -> float:
        """The most that a row can add over all layers together."""
        return math.hypot(*self.clips) if self.order == 2 else math.fsum(self.clips)

    def factors(self, norms: Tensor) -> Tensor:
        """Norms (layers, n) -> factors, as the class says."""
        if len(norms) != len(self.clips):
            raise SettingsError(f"clips: {len(self.clips)} given for {len(norms)} layers; want one per layer")
        return (norms.new_tensor(self.clips)[:, None] / norms).clamp(max=1.0)


@dataclass(frozen=True)
class Automatic:
    """Scale every row, short ones up: clip / (norm + gamma). No clip has to be tuned; a row's norm stays below `clip`.

    AUTO-S of Bu et al., 2023 (arXiv:2206.07136), section 3. Raises SettingsError for clip or gamma outside [1e-9, 1e15].

    >>> Automatic(1.0, gamma=1.0).factors(torch.tensor([[3.0, 0.0]]))
    tensor([[0.2500, 1.0000]])
    """

    clip: float = 1.0
    gamma: float = 0.01
    order: int = 2

    def __post_init__(self) -> None:
        _clip("clip", self.clip)
        _clip("gamma", self.gamma)

    @property
    def sensitivity(self) -> float:
        """The most that a row can add: the clip."""
        return self.clip

    def factors(self, norms: Tensor) -> Tensor:
        """Norms (layers, n) -> factors, as the class says."""
        scaled: Tensor = self.clip / (torch.linalg.vector_norm(norms, self.order, dim=0, keepdim=True) + self.gamma)
        return scaled


@dataclass(frozen=True)
class Adaptive:
    """Flat clipping whose bound follows a quantile of the norms.

    Andrew et al., 2021 (arXiv:1905.03871), algorithm 1: clip <- clip * exp(-rate * (share - quantile)), where share is
    the noisy count of rows within the bound over a *public* divisor. The count is private: whoever calls `updated` has
    added noise to it and accounts for that. The clip stays within [1e-9, 1e15].
    Raises SettingsError for a quantile outside (0, 1), a clip outside its range and a rate not above 0.

    >>> round(Adaptive(1.0, quantile=0.5, rate=0.2).updated(100.0, divisor=100.0).clip, 4)  # all within: tighten
    0.9048
    """

    clip: float
    quantile: float = 0.5
    rate: float = 0.2
    order: int = 2

    def __post_init__(self) -> None:
        _clip("clip", self.clip)
        _positive("rate", self.rate)
        if not 0 < self.quantile < 1:
            raise SettingsError(f"quantile = {self.quantile:g}: want a number between 0 and 1")

    @property
    def sensitivity(self) -> float:
        """The most that a row can add: the clip."""
        return self.clip

    def factors(self, norms: Tensor) -> Tensor:
        """Norms (layers, n) -> factors, as the class says."""
        return _shrink(torch.linalg.vector_norm(norms, self.order, dim=0, keepdim=True), self.clip)

    def within(self, norms: Tensor) -> int:
        """Return how many rows of norms (n,) keep the bound; adding or removing a row changes it by at most one."""
        return int((norms <= self.clip).sum())

    def updated(self, noisy_count: float, divisor: float) -> "Adaptive":
        """Return the rule of the next step; what noise leaves outside [0, divisor] is taken to its border."""
        _positive("divisor", divisor)
        share = min(max(noisy_count / divisor, 0.0), 1.0)
        moved = math.exp(min(max(self.rate * (self.quantile - share), -100.0), 100.0))  # the clip's range is e**55 wide
        return replace(self, clip=min(max(self.clip * moved, LEAST), MOST))


def rule_of(clip: "Rule | float | Sequence[float]") -> Rule:
    """Return the rule that a number (flat) or numbers (per layer) stand for; a rule stays what it is.

    >>> rule_of(1.0)
    Flat(clip=1.0, order=2)
    """
    if isinstance(clip, int | float):
        return Flat(float(clip))
    return PerLayer(tuple(float(part) for part in clip)) if isinstance(clip, Sequence) else clip
