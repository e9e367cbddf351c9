"""Canaries whose gradients are orthogonal: row i moves coordinate i of a layer beside the user's network, and nothing else.

Gradient ("Dirac") canaries of Nasr et al., 2023 (arXiv:2302.07956), section 4, and Maddock et al., 2023 (arXiv:2210.02912).
They travel through the trainer as rows like any other: its sampler draws them, its clipping cuts their large gradients down
to the bound, its noise covers their layer, its divisor scales it.
"""

import math
from dataclasses import replace
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor, nn

from veriward.core.errors import SettingsError
from veriward.privacy.clipping import Adaptive, PerLayer, Rule
from veriward.privacy.clipping.rules import rule_of
from veriward.privacy.clipping.written import Loss, checked
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.sampling import Sampler
from veriward.privacy.dp.terms import Terms
from veriward.remedies.audit_settings import TrainerSettings

LARGE = 1e4  # of a canary's gradient: every rule cuts it down to its bound; finite in float16
JUST = 0.999  # of a bound: what keeps it
BASE = 128  # of a canary's number in columns of x: exact in every format, uint8 and bfloat16 too
MOST = BASE**2
SHARE = 0.99  # of the squared bounds per layer that the canaries' own layer gets


class Kind(IntEnum):
    """What a row is."""

    PLAIN = 0  # the user's
    PRESENT = 1  # a canary
    OPPOSITE = 2  # a canary the other way: what replaces one at the full distance
    SILENT = 3  # a row that adds nothing: what stands in the place of a row that was zeroed out


class Planted(nn.Module):
    """The user's network, and beside it one weight for each canary, zero at first."""

    def __init__(self, module: nn.Module, x: Tensor, count: int) -> None:
        super().__init__()
        like = next(module.parameters())
        self.module = module
        self.canary = nn.Embedding(
            count, 1, device=like.device, dtype=like.dtype
        )  # last: a rule per layer finds it there
        nn.init.zeros_(self.canary.weight)
        self.reach = LARGE
        self._shape, self._truth = x.shape[1:], x.dtype == torch.bool

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tagged rows (n, size + 3) -> the network's output, the canaries' losses (n,), kinds (n,)."""
        rows, tag = x[:, :-3].reshape(len(x), *self._shape), x[:, -3:].float().round().long()
        kind = tag[:, 0].clamp(0, 3)  # whoever probes the network with random rows gets some kind, too
        number = (tag[:, 1] * BASE + tag[:, 2]).clamp(0, self.canary.num_embeddings - 1)
        way = torch.tensor([0.0, 1.0, -1.0, 0.0], device=x.device, dtype=self.canary.weight.dtype)[kind]
        planted = self.canary(number)[:, 0] * way * self.reach
        return self.module(rows.bool() if self._truth else rows), planted, kind


def planted_loss(loss: Loss) -> Loss:
    """Return the user's loss on the user's rows, the planted one on the others: what `Planted` returns -> (n,)."""

    def losses(output: Any, y: Tensor) -> Tensor:
        given, planted, kind = output
        found = checked(loss(given, y), len(kind))
        return torch.where(kind == Kind.PLAIN, found, planted.to(found.dtype))

    return losses


def tagged(x: Tensor, rows: Tensor, kinds: Tensor, numbers: Tensor) -> Tensor:
    """Return x[rows] as (n, size + 3) with kinds (n,) and canary numbers (n,) in columns of its own."""
    tags = torch.stack([kinds, numbers // BASE, numbers % BASE], dim=1).to(x.device)
    plain = x[rows.to(x.device)].reshape(len(rows), -1)
    plain = plain.to(torch.uint8) if plain.dtype == torch.bool else plain
    return torch.cat([plain, tags.to(plain.dtype)], dim=1)


def check_rows(x: Tensor, y: Tensor, canaries: int) -> None:
    """Raise SettingsError for data without rows and for more canaries than have a number."""
    if not len(x) or len(x) != len(y):
        raise SettingsError(f"x, y: {len(x)} and {len(y)} rows; want at least one row, and a target for each")
    if not 2 <= canaries <= MOST:
        raise SettingsError(f"canaries = {canaries}: want at least 2 and at most {MOST}")


def planted_rows(x: Tensor, y: Tensor, coins: Tensor, relation: Relation) -> tuple[Tensor, Tensor]:
    """Return tagged rows and targets: canary i is in the data where coins (m,) bool has 1.

    Where the relation keeps the number of rows, the canaries take the place of the first m rows, and what stands there
    instead of an absent one is silent (zero-out) or moves its coordinate the other way (replace-one).
    """
    count, n = len(coins), len(x)
    numbers = torch.arange(count)
    if relation is Relation.ADD_OR_REMOVE:
        numbers = numbers[coins]
        kept, kinds = torch.arange(n), torch.full((len(numbers),), int(Kind.PRESENT))
    else:
        absent = Kind.OPPOSITE if relation is Relation.REPLACE else Kind.SILENT
        kept, kinds = torch.arange(count, n), torch.where(coins, int(Kind.PRESENT), int(absent))
    rows = torch.cat([numbers % n, kept])
    zeros = torch.zeros(len(kept), dtype=torch.long)
    return tagged(x, rows, torch.cat([kinds, zeros]), torch.cat([numbers, zeros])), y[rows.to(y.device)]


def planted_settings(settings: TrainerSettings, rows: int) -> TrainerSettings:
    """Return settings for the planted network and so many rows, as private as the given one.

    Bounds per layer get one more, and are the same over all layers together. The divisor of an adaptive rule becomes the
    size of the audit's own batches: with another one its bound drifts; the noise of its count stays as it was.
    """
    rule = rule_of(settings.clip)
    if isinstance(rule, PerLayer):
        rest = math.sqrt(1 - SHARE)
        clips = (*(rest * clip for clip in rule.clips), math.sqrt(SHARE) * rule.sensitivity)
        return replace(settings, clip=PerLayer(clips))
    if isinstance(rule, Adaptive):
        terms = Terms.of(settings.sampler, rule, settings.noise_multiplier, settings.divisor, settings.count_noise)
        return replace(settings, divisor=max(1.0, rate_of(settings.sampler) * rows), count_noise=terms.count_noise)
    return settings


def rate_of(sampler: Sampler) -> float:
    """Return how likely a row is in a batch, as the sampler states it."""
    if hasattr(sampler, "rate"):
        return float(sampler.rate)
    return float(sampler.batch / sampler.rows) if hasattr(sampler, "rows") and hasattr(sampler, "batch") else 1.0


def reach(rule: Rule, step: int) -> float:
    """Return how long the canaries' gradients are to be in a step.

    An adaptive rule counts the rows within its bound, and the canaries are most of them: they keep it in the share of steps
    that it aims at. Always beyond it, they would drive it up without end.
    """
    if not isinstance(rule, Adaptive):
        return LARGE
    within = math.floor((step + 1) * rule.quantile) > math.floor(step * rule.quantile)
    return rule.clip * (JUST if within else LARGE)


def bound(rule: Rule) -> float:
    """Return how far a canary can move its coordinate under a rule."""
    return rule.clips[-1] if isinstance(rule, PerLayer) else rule.sensitivity
