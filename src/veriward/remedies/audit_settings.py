"""What a private trainer is called with, but for module, rows and randomness: an audit calls it again with its own."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from veriward.privacy.clipping import Rule
from veriward.privacy.clipping.written import Loss
from veriward.privacy.dp.dp_sgd import PrivateTraining
from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.sampling import Sampler

Optimiser = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class TrainerSettings:
    """The settings of a private training, named as in `PrivateTraining`; `trainer` is what is called with them.

    `optimiser` gets the parameters; the audits read gradients, so which one it is changes little. There is no ledger: an
    audit trains on planted rows with simulated noise, and spends nothing. Another trainer is audited if it takes the same
    arguments and has `step()`, `trained()`, `terms` and `rule`; it must draw from the source that it is given, and leave
    the noisy mean in `.grad`.

    >>> from veriward.privacy.dp.sampling import Poisson
    >>> TrainerSettings(sampler=Poisson(0.1), clip=1.0, noise_multiplier=2.0, divisor=100).trainer.__name__
    'PrivateTraining'
    """

    sampler: Sampler
    clip: Rule | float | Sequence[float]
    noise_multiplier: float
    divisor: float | None = None
    count_noise: float | None = None
    physical: int = 256
    compute: torch.dtype | None = None
    optimiser: Optimiser = partial(torch.optim.SGD, lr=0.1)  # noqa: RUF009 -- a constant: it holds no state
    trainer: Callable[..., PrivateTraining] = PrivateTraining

    def training(self, module: nn.Module, loss: Loss, x: Tensor, y: Tensor, source: Source) -> PrivateTraining:
        """Return the trainer, ready for its first step on a copy of the module; errors are those of the trainer."""
        mine = copy.deepcopy(module)
        return self.trainer(
            mine,
            loss,
            x,
            y,
            sampler=self.sampler,
            clip=self.clip,
            noise_multiplier=self.noise_multiplier,
            divisor=self.divisor,
            count_noise=self.count_noise,
            physical=self.physical,
            compute=self.compute,
            optimiser=self.optimiser(p for p in mine.parameters() if p.requires_grad),
            source=source,
        )
