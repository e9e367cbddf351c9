"""A replay on neighbouring data: clean for the honest trainer, and one sentence for each planted fault."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from veriward.core.errors import SettingsError
from veriward.privacy.dp.dp_sgd import PrivateTraining
from veriward.remedies import TrainerSettings, replay
from veriward.remedies.audit_planted import FAULTS

from .trained import X, Y, cross_entropy, network, settings

SEEDS = range(10)
SAID = {
    "no clip": "a row moves the noisy sum by more than its bound",
    "half noise": "module.0.weight: less noise than stated",
    "one layer without noise": "module.0.weight: less noise than stated",
    "divisor from n": "what a row changes depends on the noise",
    "shuffle accounted as Poisson": "a row moves the noisy sum by more than its bound",
}


def problems(way: TrainerSettings, seed: int = 0, steps: int = 8) -> tuple[str, ...]:
    return replay(way, network(), cross_entropy, X, Y, seed=seed, steps=steps).problems


def told(fault: str, seed: int) -> bool:
    return any(problem.startswith(SAID[fault]) for problem in problems(FAULTS[fault](settings()), seed))


def test_nothing_is_found_in_the_honest_trainer() -> None:
    assert problems(settings()) == problems(settings(8.0), seed=1, steps=20) == ()


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_told(fault: str) -> None:
    assert told(fault, seed=0)


@pytest.mark.slow
def test_nothing_is_found_in_the_honest_trainer_in_ten_seeds() -> None:
    assert [problems(settings(), seed) for seed in SEEDS] == [()] * 10


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_found_in_nine_of_ten_seeds(fault: str) -> None:
    assert sum(told(fault, seed) for seed in SEEDS) >= 9


class Altered(PrivateTraining):
    """Its noise is altered in place: `alter` gets the number of the draw, the number of rows, and the draw."""

    alter: Callable[[int, int, Tensor], Tensor]

    def __init__(self, *rows: Any, **settings: Any) -> None:
        super().__init__(*rows, **settings)
        self._inner, self._draw = self._source, 0
        self._source = self  # type: ignore[assignment]

    def normal_(self, out: Tensor) -> Tensor:
        self._draw += 1
        return type(self).alter(self._draw, len(self._x), self._inner.normal_(out))


class SameEverywhere(Altered):
    alter = staticmethod(lambda draw, rows, out: out.fill_(out.flatten()[0]))


class ScaledByRows(Altered):
    alter = staticmethod(lambda draw, rows, out: out.mul_(48 / rows))


class Repeated(PrivateTraining):
    """The first step's noise, again and again."""

    def __init__(self, *rows: Any, **settings: Any) -> None:
        super().__init__(*rows, **settings)
        self._inner, self._kept, self._draw = self._source, [], 0
        self._source = self  # type: ignore[assignment]

    def normal_(self, out: Tensor) -> Tensor:
        if self._draw == len(self._kept):
            self._kept.append(self._inner.normal_(torch.empty_like(out)))
        self._draw += 1
        return out.copy_(self._kept[self._draw - 1])

    def step(self) -> None:
        self._draw = 0
        super().step()


class MoreDrawsForMoreRows(PrivateTraining):
    def step(self) -> None:
        if len(self._x) % 2:
            self._source.normal_(torch.empty(1))
        super().step()


class ForgetsAParameter(PrivateTraining):
    """The last layer's noise is drawn, and thrown away."""

    def step(self) -> None:
        parameter = list(self.module.parameters())[-1]
        super().step()
        assert parameter.grad is not None
        parameter.grad *= 1e-3


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        (SameEverywhere, "the noise of different entries is not independent"),
        (Repeated, "the noise of different steps is not independent"),
        (ScaledByRows, "what a row changes depends on the noise"),
        (MoreDrawsForMoreRows, "which draws are made depends on the data"),
        (ForgetsAParameter, "canary.weight: less noise than stated"),
    ],
)
def test_other_faults_of_noise_are_told_by_name(trainer: type[PrivateTraining], said: str) -> None:
    assert said in "; ".join(problems(replace(settings(), trainer=trainer)))


class Microbatched(PrivateTraining):
    """Pairs of rows are clipped as one: a row can move the sum by two clips."""

    def __init__(self, *rows: Any, **settings: Any) -> None:
        super().__init__(*rows, **settings)
        clipped = self._engine.clipped

        def doubled(x: Tensor, y: Tensor, clip: Any) -> Any:
            found = clipped(x, y, clip)
            return replace(found, sums={name: 2 * total for name, total in found.sums.items()})

        self._engine.clipped = doubled  # type: ignore[method-assign]


def test_microbatching_doubles_sensitivity_and_is_found() -> None:
    found = problems(replace(settings(), trainer=Microbatched))
    assert any("a row moves the noisy sum by more than its bound" in problem for problem in found)


def test_dropout_is_switched_off_and_the_module_keeps_it() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    assert replay(settings(), net, cross_entropy, X, Y, steps=3).clean
    assert net[1].p == 0.5


class Words(nn.Module):
    """A network on whole numbers, with a layer that per-row clipping maps by torch.func."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.bend, self.last = nn.Embedding(9, 5), nn.PReLU(), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.bend(self.table(x).mean(1)))  # type: ignore[no-any-return]


class Drawn(nn.Module):
    """A weight that no layer answers for: the whole network is mapped."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_words_and_layers_of_no_known_kind_are_replayed() -> None:
    words = (X * 2).long() % 9
    assert replay(settings(), Words(), cross_entropy, words, Y, steps=3).clean
    assert replay(settings(), Drawn(), cross_entropy, X, Y, steps=3).clean
    said = SAID["no clip"]
    for module, x in ((Words(), words), (Drawn(), X)):
        found = replay(FAULTS["no clip"](settings()), module, cross_entropy, x, Y, steps=3).problems
        assert any(problem.startswith(said) for problem in found)


def test_bfloat16_rounding_is_no_problem() -> None:
    assert problems(replace(settings(), compute=torch.bfloat16), steps=4) == ()


def test_a_replay_needs_steps_and_rows() -> None:
    with pytest.raises(SettingsError, match="steps = 0"):
        problems(settings(), steps=0)
    with pytest.raises(SettingsError, match="want at least one row"):
        replay(settings(), network(), cross_entropy, X[:0], Y[:0])
