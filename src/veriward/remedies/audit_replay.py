"""A private trainer, run again on neighbouring data with identical randomness: what changes is what a row can do.

After "Re:cord-play" of Cebere et al., 2026 (arXiv:2602.17454). Four trainers go in step: on two neighbouring data sets,
under two noises, with the same coins. After each step all take over the weights of the first, as if it alone had been
published. Then
- the same noise on neighbours cancels: what is left is the row's effect, at most the clip (two clips where it is replaced);
- two noises on the same data cancel the data: what is left is noise, to be had on every parameter, as much as was stated;
- a row's effect is the same under both noises, and as many draws are made without it, or something else depends on the data.
The rows of the replay are planted canaries among the user's: orthogonal, so that no row that moves hides another.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from veriward.core.streams import Stream
from veriward.privacy.clipping import PerRow
from veriward.privacy.clipping.written import Loss, trainable
from veriward.privacy.dp.bounds import check_count
from veriward.privacy.dp.dp_sgd import PrivateTraining, Sums
from veriward.privacy.dp.noise import Bits, SimulatedSource
from veriward.privacy.dp.relation import Relation
from veriward.remedies.audit_canaries import Kind, Planted, check_rows, planted_loss, planted_settings, tagged
from veriward.remedies.audit_settings import TrainerSettings

ROWS = 24  # of the user's, and as many canaries
ALPHA = 1e-6  # chance that sound noise is called unsound, per parameter
LOOSE = {
    None: 1e-3,
    torch.bfloat16: 0.05,
}  # share of the clip that rounding may add: a batch of another size rounds anew


@dataclass(frozen=True)
class Replayed:
    """What a replay found, one sentence a problem; no private row is told."""

    problems: tuple[str, ...]
    steps: int
    relation: str

    @property
    def clean(self) -> bool:
        """Say whether nothing was found; a replay of a few steps on a few rows proves nothing beyond them."""
        return not self.problems


def replay(
    settings: TrainerSettings, module: nn.Module, loss: Loss, x: Tensor, y: Tensor, *, steps: int = 8, seed: int = 0
) -> Replayed:
    """Replay a trainer on neighbours that differ in a canary, and on neighbours that differ in one of the user's rows.

    Arguments as in `self_audit`; 24 rows are taken, with samplers of a public size made smaller. Dropout is switched off.
    Raises SettingsError for values out of range, and what the trainer raises.

    >>> from veriward.privacy.dp.sampling import Poisson
    >>> x, y = torch.ones(4, 2), torch.zeros(4)
    >>> settings = TrainerSettings(sampler=Poisson(0.5), clip=1.0, noise_multiplier=2.0, divisor=20)
    >>> replay(settings, nn.Linear(2, 1), lambda out, y: out[:, 0] - y, x, y).clean
    True
    """
    check_rows(x, y, 2 * ROWS)
    steps = check_count("steps", steps)
    settings = planted_settings(_smaller(settings), 2 * ROWS)
    relation = settings.sampler.event(settings.noise_multiplier, steps).relation
    quiet = _without_dropout(copy.deepcopy(module))
    found: list[str] = []
    for kind in (Kind.PRESENT, Kind.PLAIN):
        stream = Stream.of(seed, "remedies/replay").child(kind.name)
        sets = [_rows(x, y, kind, relation, there) for there in (False, True)]
        four = [
            [_Run.of(settings, quiet, loss, x, rows, stream, noise) for noise in ("first noise", "second noise")]
            for rows in sets
        ]
        found += [problem for problem in _in_step(four, relation, steps, settings.compute) if problem not in found]
    return Replayed(tuple(found), steps, relation.value)


def _smaller(settings: TrainerSettings) -> TrainerSettings:
    """Return settings whose sampler fits the few rows of a replay; its kind stays."""
    sampler, rows = settings.sampler, 2 * ROWS
    if not hasattr(sampler, "rows"):
        return settings
    batch = max(1, min(sampler.batch, rows // 4))  # type: ignore[attr-defined]
    return replace(settings, sampler=replace(sampler, batch=batch, rows=rows), divisor=settings.divisor)  # type: ignore[type-var]


def _without_dropout(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, _DropoutNd):
            part.p = 0.0
        elif isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0  # type: ignore[assignment]
    return module


def _rows(x: Tensor, y: Tensor, kind: Kind, relation: Relation, there: bool) -> tuple[Tensor, Tensor]:
    """Return the rows of one side: the user's and canaries in turn, last the row in which the sides differ."""
    kinds = torch.tensor([Kind.PLAIN, Kind.PRESENT] * ROWS)
    rows, numbers = torch.arange(2 * ROWS) % len(x), torch.arange(2 * ROWS)
    kinds[-1] = kind
    if not there and relation is Relation.ADD_OR_REMOVE:
        kinds, rows, numbers = kinds[:-1], rows[:-1], numbers[:-1]
    elif not there:
        kinds[-1] = Kind.OPPOSITE if relation is Relation.REPLACE else Kind.SILENT
    return tagged(x, rows, kinds, numbers), y[rows.to(y.device)]


@dataclass
class Coins:
    """A source whose every call has a stream of its own, so that a row more shifts nothing; the last row is always drawn."""

    coins: Stream
    noise: Stream
    asked: int = 0
    drawn: list[tuple[int, ...]] = field(default_factory=list)

    name = "simulation"

    def bits(self, count: int) -> Bits:
        """Return words (count,); the word of the row in which the neighbours differ is the smallest."""
        self.asked += 1
        words = SimulatedSource(self.coins.child(str(self.asked))).bits(count)
        words[2 * ROWS - 1 :] = np.uint64(0)
        return words

    def normal_(self, out: Tensor) -> Tensor:
        """Fill out with normals of this call."""
        self.drawn.append(tuple(out.shape))
        return SimulatedSource(self.noise.child(str(len(self.drawn)))).normal_(out)


@dataclass
class _Run:
    training: PrivateTraining
    source: Coins

    @classmethod
    def of(
        cls, settings: TrainerSettings, module: nn.Module, loss: Loss, x: Tensor, rows: tuple[Tensor, Tensor],
        stream: Stream, noise: str,
    ) -> "_Run":  # fmt: skip
        source = Coins(stream.child("coins"), stream.child(noise))
        planted = Planted(module, x, 2 * ROWS)
        return cls(settings.training(planted, planted_loss(loss), *rows, source), source)

    def step(self) -> Sums:
        """Return the noisy sums that a step releases, by the divisor that the terms state."""
        self.training.step()
        named = trainable(self.training.module).items()
        divisor = self.training.terms.divisor
        return {
            name: torch.zeros_like(p).double() if p.grad is None else p.grad.double() * divisor for name, p in named
        }

    def follow(self, first: "_Run") -> None:
        self.training.module.load_state_dict(first.training.module.state_dict())
        self.training.rule = first.training.rule


def _in_step(four: Sequence[Sequence[_Run]], relation: Relation, steps: int, compute: torch.dtype | None) -> list[str]:
    """Run four trainers, [data][noise], and return what is wrong."""
    first, noises, found = four[0][0], _Noises(), []
    loose = LOOSE[compute]
    for _ in range(steps):
        rule, std = first.training.rule, first.training.terms.std(first.training.rule)
        limit = rule.sensitivity * (2 if relation is Relation.REPLACE else 1)
        sums = [[run.step() for run in runs] for runs in four]
        effects = [_less(sums[1][noise], sums[0][noise]) for noise in (0, 1)]
        slack = loose * limit + 1e-6 * _norm(sums[0][0])
        if max(_norm(effect) for effect in effects) > limit * (1 + PerRow.slack) + slack:
            found.append("a row moves the noisy sum by more than its bound: clipping, sampling or noise depend on it")
        if _norm(_less(effects[1], effects[0])) > slack + 1e-5 * _norm(sums[0][1]):
            found.append("what a row changes depends on the noise: noise or divisor are scaled by the data")
        if len({tuple(run.source.drawn) for runs in four for run in runs}) > 1:
            found.append("which draws are made depends on the data")
        noises.add({name: value / std / math.sqrt(2) for name, value in _less(sums[0][1], sums[0][0]).items()})
        for run in (*four[0][1:], *four[1]):
            run.follow(first)
    return [*dict.fromkeys(found), *noises.problems()]


def _less(a: Sums, b: Sums) -> Sums:
    return {name: a[name] - b[name] for name in a}


def _norm(sums: Sums) -> float:
    return math.sqrt(sum(float(value.square().sum()) for value in sums.values()))


class _Noises:
    """Differences of two noises, in units of what was stated: standard normals, if all is well."""

    def __init__(self) -> None:
        self._steps: list[Sums] = []

    def add(self, noise: Sums) -> None:
        self._steps.append(noise)

    def problems(self) -> list[str]:
        """Return what is not as normals: too little on a parameter, or the same on several entries or steps."""
        from scipy.special import chdtr, chdtrc

        found = []
        for name in self._steps[0]:
            drawn = torch.stack([step[name].flatten() for step in self._steps])
            if chdtr(drawn.numel(), float(drawn.square().sum())) < ALPHA:
                found.append(f"{name}: less noise than stated")
        every = torch.stack([torch.cat([value.flatten() for value in step.values()]) for step in self._steps])
        steps, entries = every.shape
        if chdtrc(steps, float(every.sum(1).square().sum()) / entries) < ALPHA:
            found.append("the noise of different entries is not independent")
        if chdtrc(entries, float(every.sum(0).square().sum()) / steps) < ALPHA:
            found.append("the noise of different steps is not independent")
        return found
