"""A small network, rows and a settings that the audits' tests share."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from veriward.core.streams import Stream
from veriward.privacy.dp.accounting import noise_multiplier
from veriward.privacy.dp.sampling import Poisson
from veriward.remedies.audit_settings import TrainerSettings

STREAM = Stream.of(7, "tests/remedies")
X = STREAM.normal(torch.arange(60), (4,))
Y = (X[:, 0] > 0).long()
RATE, STEPS, DELTA = 0.1, 30, 1e-5


def cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(output, y, reduction="none")


def network() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    for place, parameter in enumerate(net.parameters()):
        parameter.data = 0.5 * STREAM.child(f"weight {place}").normal(torch.arange(len(parameter)), parameter.shape[1:])
    return net


def settings(epsilon: float = 3.0) -> TrainerSettings:
    sigma = noise_multiplier(epsilon=epsilon, sampling_rate=RATE, steps=STEPS, delta=DELTA)
    return TrainerSettings(sampler=Poisson(RATE), clip=1.0, noise_multiplier=sigma, divisor=300)
