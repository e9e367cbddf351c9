"""Trainers with a known fault, to show what an audit sees: each turns sound settings into faulty ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from veriward.privacy.clipping import Flat
from veriward.privacy.clipping.written import trainable
from veriward.privacy.dp.dp_sgd import PrivateTraining, Sums
from veriward.privacy.dp.noise import Bits, Source
from veriward.privacy.dp.sampling import Poisson, Shuffled
from veriward.remedies.audit_settings import TrainerSettings

HUGE = 1e15  # a clip that clips nothing


class _Altered:
    """A source whose normals are altered."""

    def __init__(self, source: Source, alter: Callable[[Tensor], Tensor]) -> None:
        self._source, self._alter = source, alter
        self.name = source.name

    def bits(self, count: int) -> Bits:
        return self._source.bits(count)

    def normal_(self, out: Tensor) -> Tensor:
        return self._alter(self._source.normal_(out))


class _NoClip(PrivateTraining):
    def __init__(self, *rows: Any, **settings: Any) -> None:
        super().__init__(*rows, **settings)
        clipped = self._engine.clipped
        self._engine.clipped = lambda x, y, clip: clipped(x, y, Flat(HUGE))  # type: ignore[method-assign]


class _HalfNoise(PrivateTraining):
    def __init__(self, *rows: Any, **settings: Any) -> None:
        super().__init__(*rows, **settings)
        self._source = _Altered(self._source, lambda out: out.mul_(0.5))


class _OneLayerWithoutNoise(PrivateTraining):
    def _noisy(self, sums: Sums, std: float) -> Sums:
        first = next(iter(sums))
        bare = sums[first].clone()
        return {**super()._noisy(sums, std), first: bare}


class _DivisorFromRows(PrivateTraining):
    def step(self) -> None:
        super().step()
        for parameter in trainable(self.module).values():
            assert parameter.grad is not None
            parameter.grad *= self.terms.divisor / len(self._x)


@dataclass(frozen=True)
class _ShuffledAsPoisson(Poisson):
    """Batches of a shuffled epoch, accounted as if every row had been drawn by its own coin."""

    def batches(self, rows: int, source: Source) -> Iterator[Tensor]:
        return Shuffled(max(1, int(self.rate * rows)), rows).batches(rows, source)


def _shuffled_as_poisson(settings: TrainerSettings) -> TrainerSettings:
    assert isinstance(settings.sampler, Poisson)
    return replace(settings, sampler=_ShuffledAsPoisson(settings.sampler.rate))


def _trained_by(trainer: type[PrivateTraining]) -> Callable[[TrainerSettings], TrainerSettings]:
    return lambda settings: replace(settings, trainer=trainer)


# For flat clipping and, the last one, Poisson sampling.
FAULTS: dict[str, Callable[[TrainerSettings], TrainerSettings]] = {
    "no clip": _trained_by(_NoClip),
    "half noise": _trained_by(_HalfNoise),
    "one layer without noise": _trained_by(_OneLayerWithoutNoise),
    "divisor from n": _trained_by(_DivisorFromRows),
    "shuffle accounted as Poisson": _shuffled_as_poisson,
}
