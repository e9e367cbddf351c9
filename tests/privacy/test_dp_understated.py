"""Ways in which more could be spent than is said, or a bound be passed unseen: each of them is closed."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from veriward.core.errors import ArtefactError, BudgetExceeded, LedgerError, ModelError, SettingsError
from veriward.core.streams import Stream
from veriward.privacy.clipping import Adaptive, Automatic, Flat, PerLayer, PerRow
from veriward.privacy.dp import checkpoint, events, release
from veriward.privacy.dp.accounting import training as trained_event
from veriward.privacy.dp.dp_sgd import PrivateTraining, gather
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.noise import SimulatedSource
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.sampling import Fixed, Full, Poisson, Sampler, Shuffled

STREAM = Stream.of(13, "tests/privacy/dp_understated")


def squares(output: Tensor, y: Tensor) -> Tensor:
    return (output[:, 0] - y).square()


def made(rows: int = 20, **other: Any) -> PrivateTraining:
    net = other.pop("module", None)
    if net is None:
        net = nn.Linear(2, 1)
        net.weight.data = torch.ones(1, 2)
        net.bias.data = torch.zeros(1)
    settings: dict[str, Any] = {"sampler": Full(), "clip": 1.0, "noise_multiplier": 2.0, "divisor": 5.0}
    settings |= {"source": SimulatedSource(STREAM), "optimiser": torch.optim.SGD(net.parameters(), lr=0.0)} | other
    x, y = STREAM.child("x").normal(torch.arange(rows), (2,)), torch.zeros(rows)
    return PrivateTraining(net, settings.pop("loss", squares), x, y, **settings)


# A charge covers one epoch: no row twice under it.


class Kept:
    """A sampler that remembers its batches."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler, self.drawn = sampler, list[Tensor]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def batches(self, rows: int, source: Any) -> Iterator[Tensor]:
        for batch in self._sampler.batches(rows, source):
            self.drawn.append(batch)
            yield batch


class Noted(PrivateTraining):
    """Remembers the rows that entered each paid step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows: list[list[int]] = []

    def step(self) -> None:
        before, x = self.paid, self._x
        seen: list[int] = []
        clipped = self._engine.clipped
        self._engine.clipped = lambda rows, y, clip: (seen.extend(y.long().tolist()), clipped(rows, y, clip))[1]  # type: ignore[method-assign]
        try:
            super().step()
        finally:
            self._engine.clipped = clipped  # type: ignore[method-assign]
            if self.paid > before:
                self.rows.append(seen)
            assert self._x is x


def shuffled(**other: Any) -> Noted:
    net = nn.Linear(2, 1)
    settings: dict[str, Any] = {"sampler": Shuffled(4, rows=20), "clip": 1.0, "noise_multiplier": 50.0}
    settings |= {"source": SimulatedSource(STREAM), "optimiser": torch.optim.SGD(net.parameters(), lr=0.0)} | other
    return Noted(net, squares, torch.ones(20, 2), torch.arange(20.0), **settings)


def test_a_refused_first_step_does_not_let_a_row_come_twice_under_one_charge(tmp_path: Path) -> None:
    """The ledger is held for a moment at the first step; afterwards each charge covers an epoch from its beginning."""
    with Ledger(tmp_path / "a", (9.0, 1e-5), relation="zero-out") as ledger:
        training = shuffled(ledger=ledger)
        charge, ledger.charge = ledger.charge, _held  # type: ignore[method-assign]
        with pytest.raises(LedgerError):
            training.step()
        ledger.charge = charge  # type: ignore[method-assign]
        training.run(10)
        assert sum(entry.count for entry in ledger.entries()) == 2
    for epoch in (training.rows[:5], training.rows[5:]):
        assert sorted(row for batch in epoch for row in batch) == list(range(20))


def _held(*_: object, **__: object) -> Any:
    raise LedgerError("held")


def test_a_step_that_failed_before_it_was_paid_comes_again_with_its_own_rows() -> None:
    training = shuffled()
    training.run(2)
    loss, training._engine.loss = training._engine.loss, _broken
    with pytest.raises(ZeroDivisionError):
        training.step()
    training._engine.loss = loss
    training.run(8)
    for epoch in (training.rows[:5], training.rows[5:]):
        assert sorted(row for batch in epoch for row in batch) == list(range(20))


def _broken(output: Tensor, y: Tensor) -> Tensor:
    raise ZeroDivisionError


def test_a_batch_too_large_for_memory_is_not_drawn_anew() -> None:
    """Drawing until a batch fits would be another sampler than the one that is accounted for."""
    sampler = Kept(Poisson(0.5))
    training = made(sampler=sampler)
    loss, training._engine.loss = training._engine.loss, _broken
    for _ in range(3):
        with pytest.raises(ModelError, match="ZeroDivisionError"):
            training.step()
    training._engine.loss = loss
    training.step()
    assert len(sampler.drawn) == 1
    training.step()
    assert len(sampler.drawn) == 2


# A release is charged under its own relation and unit.


@pytest.mark.parametrize(("relation", "unit"), [("replace-one", "row"), ("add-or-remove-one", "user")])
def test_a_release_of_another_relation_or_unit_is_not_charged_as_the_ledgers(
    relation: str, unit: str, tmp_path: Path
) -> None:
    """A histogram has sensitivity 1 for a row added, 2 for one replaced, and no bound for a user."""
    with Ledger(tmp_path / "a", (3.0, 1e-5), relation=relation, unit=unit) as ledger:
        with pytest.raises(SettingsError, match=r"protects|keeps"):
            release.histogram([0.5], edges=[0, 1, 2], epsilon=1.0, charge=ledger.charging("histogram"))
        assert ledger.entries() == []


def test_a_release_is_charged_under_the_relation_that_it_names(tmp_path: Path) -> None:
    for relation in Relation:
        with Ledger(tmp_path / relation, (3.0, 1e-5), relation=relation) as ledger:
            said: dict[str, Any] = {"neighbouring": relation, "epsilon": 0.1, "charge": ledger.charging("x")}
            release.mean([0.5], low=0, high=1, **said)
            release.histogram([0.5], edges=[0, 1, 2], **said)
            assert [entry.event.relations for entry in ledger.entries()] == [(relation,)] * 2


# A clip so small that squares of gradients underflow bounds nothing.


@pytest.mark.parametrize("rule", [Flat, lambda c: PerLayer((1.0, c)), Automatic, Adaptive, lambda c: Automatic(1.0, c)])
@pytest.mark.parametrize("tiny", [1e-30, 5e-324])
def test_clips_below_what_float32_squares_can_show_are_refused(rule: Any, tiny: float) -> None:
    with pytest.raises(SettingsError, match="at least 1e-09"):
        rule(tiny)


@pytest.mark.parametrize("rule", [Flat, Automatic, Adaptive, lambda c: Automatic(1.0, c)])
def test_at_the_smallest_clip_a_row_adds_no_more_than_it_says(rule: Any) -> None:
    net = nn.Linear(1000, 1, bias=False)
    made_rule, engine = rule(1e-9), PerRow(net, lambda out, y: out[:, 0] * y)
    for size in 10.0 ** torch.arange(-44, 30.0, 2):
        found = engine.clipped(size * torch.ones(1, 1000), torch.ones(1), made_rule)
        assert float(found.sums["weight"].double().norm()) <= made_rule.sensitivity * (1 + PerRow.slack)


def test_a_row_of_zeros_adds_zeros_under_every_rule() -> None:
    net = nn.Linear(3, 1)
    for rule in (Flat(1e15), Automatic(1e15, 1e-9), Adaptive(1e15), PerLayer((1e15,))):
        found = PerRow(net, lambda out, y: 0 * out[:, 0]).clipped(torch.zeros(2, 3), torch.ones(2), rule)
        assert all(bool((total == 0).all()) for total in found.sums.values())


def test_an_adaptive_clip_never_falls_below_the_smallest_one_nor_grows_without_end() -> None:
    low = high = Adaptive(1.0, rate=5.0)
    for _ in range(40):
        low, high = low.updated(1.0, 1.0), high.updated(0.0, 1.0)
    assert (low.clip, high.clip) == (1e-9, 1e15)


# The noisy count of adaptive clipping tells nothing through its last bits.


def test_the_count_of_adaptive_clipping_stays_on_a_grid_that_does_not_depend_on_the_rows() -> None:
    """The clip is public, in double precision, and the noise has float32's: their sum alone would show the count."""
    for rows in (20, 21):
        training = made(rows, clip=Adaptive(1.0, rate=1.0), divisor=100.0, count_noise=5.0)
        training.step()
        share = 0.5 - math.log(training.rule.sensitivity)
        steps = 100.0 * share / (5.0 / 16)
        assert steps == pytest.approx(round(steps), abs=1e-6)


# What has been trained counts, whatever fails.


def test_a_load_that_fails_half_way_has_counted_the_steps_of_what_it_loaded() -> None:
    training = made()
    training.run(7)
    tensors, plain = checkpoint.state(training)
    again = made()
    with pytest.raises(ArtefactError):
        checkpoint.load(again, tensors, plain | {"groups": []})
    assert again.steps == 7 or not torch.equal(again.module.weight, training.module.weight)  # type: ignore[arg-type]
    again.run(1)
    assert again.trained().event == events.full_batch(2.0, 8)


# A buffer that rows write into is released without noise.


class Remembers(nn.Module):
    """Keeps a running mean of what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.layer(x)  # type: ignore[no-any-return]


class Counts(Remembers):
    """Keeps what does not depend on the rows."""

    def forward(self, x: Tensor) -> Tensor:
        self.mean = self.mean + 1
        return self.layer(x)  # type: ignore[no-any-return]


def test_a_buffer_that_rows_change_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="mean"):
        made(module=Remembers()).step()
    made(module=Counts()).step()


# Rounding.


def test_epochs_of_shuffled_batches_never_hold_more_steps_than_there_are_whole_batches() -> None:
    """Of 10**10 - 1 rows in batches of 10**9 nine are whole; a tenth would be another epoch."""
    event = trained_event(noise_multiplier=1.0, sampling_rate=1e9 / (1e10 - 1), steps=10, sampling="shuffled")
    assert event.dp.count == 2  # type: ignore[attr-defined]
    for batch in range(1, 200):
        for whole in (1, 2, 3, 7, 49, 100):
            rate = batch / (batch * whole)
            one = trained_event(noise_multiplier=1.0, sampling_rate=rate, steps=whole, sampling="shuffled")
            assert one.dp.count == 1  # type: ignore[attr-defined]


def test_a_coin_never_falls_more_often_than_its_rate() -> None:
    class Edge:
        name = "simulation"

        def __init__(self, word: int) -> None:
            self.word = word

        def bits(self, count: int) -> Any:
            return np.full(count, self.word, np.uint64)

    for rate in (0.1, 1 / 3, 1 - 2.0**-53, 2.0**-64):
        least = math.floor(rate * 2**64)
        assert len(next(Poisson(rate).batches(1, Edge(least)))) == 0  # type: ignore[arg-type]
        assert len(next(Poisson(rate).batches(1, Edge(least - 1)))) == 1  # type: ignore[arg-type]


# A ledger says what it refuses, and a damaged one says so.


def test_noise_too_coarse_for_the_ledgers_delta_is_named_as_the_reason(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a", (3.0, 1e-10)) as ledger:
        with pytest.raises(BudgetExceeded, match=r"distance.*larger delta"):
            release.count([1.0], epsilon=0.1, charge=ledger.charging("count"))
        assert ledger.entries() == []


def test_fixed_batches_double_both_sensitivities_of_an_adaptive_rule() -> None:
    training = made(sampler=Fixed(4, rows=20), clip=Adaptive(1.0), divisor=None, count_noise=4.0)
    training.step()
    event = training.trained().event
    assert (event.relation, event.dp.event.event.noise_multiplier) == (Relation.REPLACE, 1.0)  # type: ignore[attr-defined]
    gradients, count = training.terms.gradient_multiplier / 2, 4.0  # a replaced row: two clips, and a whole count
    assert gradients**-2 + count**-2 == pytest.approx(event.dp.event.event.noise_multiplier**-2)  # type: ignore[attr-defined]


# The last bits of a noisy sum tell nothing of the sum.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noisy_sums_lie_on_a_grid_that_does_not_depend_on_the_rows(dtype: torch.dtype) -> None:
    """A float32 normal times 1.5 leaves out every third float32 between 1.5 and 2: on what no other row touches (a rare
    word's embedding) one such value would show that a row was there. In float64 every value would.
    """
    net = nn.Linear(4096, 1, bias=False, dtype=dtype)
    optimiser, drawn = torch.optim.SGD(net.parameters(), lr=0.0), SimulatedSource(STREAM.child("grid"))
    for size in (0.0, 1e-3, 0.7):
        x, y = torch.full((1, 4096), size, dtype=dtype), torch.ones(1, dtype=dtype)
        training = PrivateTraining(
            net, lambda out, y: out[:, 0] * y, x, y, sampler=Full(), divisor=1.0, clip=100.0,
            noise_multiplier=0.015, optimiser=optimiser, source=SimulatedSource(STREAM.child("grid")),
        )  # fmt: skip
        training.step()
        assert isinstance(net.weight.grad, Tensor)
        steps = net.weight.grad.double() * 2.0**14
        assert torch.equal(steps, steps.round())
        if size == 0:
            exact = 1.5 * (1 + PerRow.slack) * drawn.normal_(torch.empty(1, 4096)).double()
            assert 0.01 < float((steps - exact * 2.0**14).abs().max()) < 0.51


def test_an_unused_parameter_of_a_bfloat16_module_gets_the_noise_that_a_used_one_gets() -> None:
    net = nn.Linear(1 << 14, 1, bias=False, dtype=torch.bfloat16)
    engine = PerRow(net, lambda out, y: out[:, 0].float())
    rows = torch.ones(1, 1 << 14, dtype=torch.bfloat16), torch.ones(1)
    for count in (0, 1):
        sums = gather(engine, *rows, torch.arange(count), Flat(1.0), 1).sums
        assert sums["weight"].dtype == torch.float32
