"""What a step of private training adds to its clipped sums, and what all steps cost: one small contract.

Independent noise stands here: Gaussian for rows clipped in the L2 norm, Laplace for the L1 norm. Noise that is correlated
over steps is in `ftrl`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from veriward.core.errors import SettingsError
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.laplaces import laplace_
from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.sampling import Sampler

if TYPE_CHECKING:
    from dp_accounting import DpEvent

Sums = dict[str, Tensor]
Normals = Callable[[Sums, float, Source], Sums]  # sums plus independent normal noise of a standard deviation


class Adder(Protocol):
    """Adds the noise of one step after the other; what it remembers in between is secret and never stored."""

    def __call__(self, sums: Sums, scale: float, source: Source, normals: Normals) -> Sums:
        """Return sums (any shapes) plus the noise of the next step, `scale` times its unit; the sums may be overwritten."""


class StepNoise(Protocol):
    """Noise of a training: public settings. `order`: of the norm it needs rows to be clipped in."""

    @property
    def order(self) -> int:
        """2 or 1."""

    def span(self, sampler: Sampler) -> int:
        """Return how many steps one charge covers."""

    def event(self, sampler: Sampler, sigma: float, steps: int) -> Event:
        """Return what `steps` steps cost at noise multiplier `sigma`. Raises SettingsError where no bound is known."""

    def begin(self) -> Adder:
        """Return what adds the noise, from the first step on."""


@dataclass(frozen=True)
class GaussianNoise:
    """Independent Gaussian noise, of standard deviation `sigma` times the L2 clip: DP-SGD, Abadi et al., 2016.

    >>> from veriward.privacy.dp.sampling import Full
    >>> GaussianNoise().event(Full(), 2.0, 3).dp.event
    GaussianDpEvent(noise_multiplier=2.0)
    """

    order = 2

    def span(self, sampler: Sampler) -> int:
        """See `StepNoise`."""
        return sampler.span

    def event(self, sampler: Sampler, sigma: float, steps: int) -> Event:
        """See `StepNoise`: the sampler's own event."""
        return sampler.event(sigma, steps)

    def begin(self) -> Adder:
        """See `StepNoise`."""
        return lambda sums, scale, source, normals: normals(sums, scale, source)


@dataclass(frozen=True)
class LaplaceNoise:
    """Independent Laplace noise on every coordinate, of scale `sigma` times the L1 clip (Dwork et al., 2006, proposition 1).

    A step on all rows is (1 / sigma)-private with delta 0. Of all shifts of an L1 norm, the one along a single coordinate
    tells most (docs/why/dp-training.md), so the event is that of one number. Not with `Fixed`: no bound is known here.

    >>> from veriward.privacy.dp.sampling import Full
    >>> LaplaceNoise().event(Full(), 2.0, 3).dp.event
    LaplaceDpEvent(noise_multiplier=2.0)
    """

    order = 1

    def span(self, sampler: Sampler) -> int:
        """See `StepNoise`."""
        return sampler.span

    def event(self, sampler: Sampler, sigma: float, steps: int) -> Event:
        """See `StepNoise`: the sampler's event, with Laplace in the place of Gaussian noise."""
        gaussian = sampler.event(sigma, steps)
        return replace(gaussian, dp=_laplace_for_gaussian(gaussian.dp, sampler))

    def begin(self) -> Adder:
        """See `StepNoise`."""
        return _add_laplace


def _add_laplace(sums: Sums, scale: float, source: Source, normals: Normals) -> Sums:
    return {name: _laplace(total, source).mul_(scale).add_(total) for name, total in sums.items()}


def _laplace(like: Tensor, source: Source) -> Tensor:
    return laplace_(torch.empty(like.shape, dtype=torch.float32, device=like.device), source).to(like.dtype)


def _laplace_for_gaussian(event: "DpEvent", sampler: Sampler) -> "DpEvent":
    """Return the event with each Gaussian replaced; a multiplier is noise over sensitivity in both."""
    import dp_accounting as dp

    match event:
        case dp.SelfComposedDpEvent():
            return dp.SelfComposedDpEvent(_laplace_for_gaussian(event.event, sampler), event.count)
        case dp.PoissonSampledDpEvent():
            return dp.PoissonSampledDpEvent(event.sampling_probability, _laplace_for_gaussian(event.event, sampler))
        case dp.GaussianDpEvent():
            return dp.LaplaceDpEvent(event.noise_multiplier)
    raise SettingsError(
        f"noise: no bound is known here for Laplace noise with {type(sampler).__name__}; use Poisson, Full or Shuffled"
    )
