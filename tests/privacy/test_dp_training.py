"""Private training: every DP trap that belongs to the loop, and a replay on neighbouring data that catches planted bugs."""

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from veriward.core.errors import ArtefactError, BudgetExceeded, ModelError, PrivacyError, SettingsError
from veriward.core.streams import Stream
from veriward.privacy.clipping import Adaptive, Automatic, Flat, PerLayer, PerRow
from veriward.privacy.clipping.written import trainable
from veriward.privacy.dp import checkpoint, dp_sgd, events
from veriward.privacy.dp.accounting import epsilon, noise_multiplier
from veriward.privacy.dp.dp_sgd import PrivateTraining, Sums, gather, noisy
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.noise import SecureSource, SimulatedSource, Source
from veriward.privacy.dp.sampling import Fixed, Full, Poisson, Sampler, Shuffled
from veriward.privacy.dp.terms import Seen, Terms

STREAM = Stream.of(11, "tests/privacy/dp_training")
CLIP, SIGMA, DIVISOR = 0.5, 2.0, 8.0
STEP = 2.0**-14  # of the grid that noisy sums are rounded to: their noise has standard deviation SIGMA * CLIP = 1


def normal(*shape: int, name: str = "x") -> Tensor:
    return STREAM.child(name).normal(torch.arange(shape[0]), shape[1:]).double()


def squares(output: Tensor, y: Tensor) -> Tensor:
    return (output[:, 0] - y).square()


class Recorded:
    """Coins and noise from streams of their own, so that a row more or less leaves the noise as it is; remembers both."""

    name = "simulation"

    def __init__(self, seed: int = 0) -> None:
        self._coins = SimulatedSource(STREAM.child(f"coins {seed}"))
        self._noise = SimulatedSource(STREAM.child(f"noise {seed}"))
        self.asked: list[int] = []
        self.drawn: list[Tensor] = []

    def bits(self, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        self.asked.append(count)
        return self._coins.bits(count)

    def normal_(self, out: Tensor) -> Tensor:
        self.drawn.append(self._noise.normal_(out).clone())
        return out


class Net(nn.Module):
    """Two layers, and one that no row ever uses."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.unused = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(2, 2)
        for place, parameter in enumerate(self.parameters()):
            parameter.data = 0.5 * normal(*parameter.shape, name=f"weight {place}")

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).tanh())  # type: ignore[no-any-return]


SIZE = sum(p.numel() for p in Net().parameters())


def made(
    rows: int = 20, source: Source | None = None, kind: type[PrivateTraining] = PrivateTraining, **other: Any
) -> PrivateTraining:
    """Return a training whose learning rate is 0: its gradients are looked at, its module stays."""
    net = other.pop("module", None)
    net = Net() if net is None else net  # a compiled module has no truth value
    x, y = other.pop("x", normal(rows, 3)), other.pop("y", 3 * normal(rows, name="y"))
    optimiser = other.pop("optimiser", None) or torch.optim.SGD(net.parameters(), lr=0.0)
    settings: dict[str, Any] = {"sampler": Poisson(0.5), "clip": CLIP, "noise_multiplier": SIGMA, "divisor": DIVISOR}
    return kind(net, squares, x, y, optimiser=optimiser, source=source or Recorded(), **(settings | other))


def released(training: PrivateTraining) -> Tensor:
    """Return the noisy sum that the last step released, flat: the gradient times the divisor that the terms state."""
    gradients = [p.grad for p in training.module.parameters() if p.grad is not None]
    return torch.cat([g.flatten() for g in gradients]) * training.terms.divisor


def replay(kind: type[PrivateTraining], seed: int) -> list[str]:
    """Return what is wrong with a trainer: one step on data and on data with one row more, with identical randomness."""
    outputs, trainings = [], []
    for rows in (20, 21):
        source = Recorded(seed)
        training = made(rows, source, kind, sampler=Full(), y=1e3 + normal(rows, name="y"))  # every row is clipped
        training.step()
        outputs.append(released(training))
        trainings.append((training, source))
    problems = []
    if (outputs[1] - outputs[0]).norm() > CLIP * (1 + PerRow.slack) + STEP * math.sqrt(len(outputs[0])):
        problems.append("a row moves the sum by more than the clip")
    noise = torch.cat([drawn.flatten() for drawn in trainings[0][1].drawn]).double() * SIGMA * CLIP
    x, y, engine = normal(20, 3), 1e3 + normal(20, name="y"), PerRow(trainings[0][0].module, squares)
    clean = torch.cat([total.flatten() for total in engine.clipped(x, y, CLIP).sums.values()])
    if len(noise) != len(clean) or not torch.allclose(outputs[0] - clean, noise, rtol=2e-4, atol=1e-4):
        problems.append("the noise is not what the terms say, on every parameter")
    return problems


class NoClip(PrivateTraining):
    def step(self) -> None:
        terms_rule, self.rule = self.rule, Flat(1e9)
        self.terms, terms = _Stated(self.terms), self.terms  # type: ignore[assignment]
        super().step()
        self.rule, self.terms = terms_rule, terms


class _Stated:
    """Terms that state the noise of the honest clip."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terms, name)

    def std(self, _: object) -> float:
        return self._terms.std(Flat(CLIP))


class DivisorFromRows(PrivateTraining):
    def step(self) -> None:
        super().step()
        for parameter in self.module.parameters():
            if parameter.grad is not None:
                parameter.grad *= self.terms.divisor / len(self._x)


def half_noise(sums: Sums, std: float, source: Source) -> Sums:
    return noisy(sums, std / 2, source)


def one_layer_without_noise(sums: Sums, std: float, source: Source) -> Sums:
    return {
        name: total if name == "last.bias" else noisy({name: total}, std, source)[name] for name, total in sums.items()
    }


def same_noise_everywhere(sums: Sums, std: float, source: Source) -> Sums:
    drawn = source.normal_(torch.empty(()))
    return {name: total + std * drawn.double() for name, total in sums.items()}


def test_replay_finds_nothing_wrong_with_the_honest_trainer() -> None:
    assert [replay(PrivateTraining, seed) for seed in range(10)] == [[]] * 10


@pytest.mark.parametrize("bug", [NoClip, DivisorFromRows])
def test_replay_catches_what_is_planted_in_the_step(bug: type[PrivateTraining]) -> None:
    assert sum(bool(replay(bug, seed)) for seed in range(10)) == 10


@pytest.mark.parametrize("bug", [half_noise, one_layer_without_noise, same_noise_everywhere])
def test_replay_catches_what_is_planted_in_the_noise(bug: Callable[..., Sums], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dp_sgd, "noisy", bug)
    assert sum(bool(replay(PrivateTraining, seed)) for seed in range(10)) == 10


def test_one_row_moves_the_noisy_sum_by_its_clipped_gradient() -> None:
    """Against torch's own backward pass of the row alone."""
    outputs = []
    for rows in (20, 21):
        training = made(rows, sampler=Full())
        training.step()
        outputs.append(released(training))
    x, y = normal(21, 3)[20:], 3 * normal(21, name="y")[20:]
    net = Net()
    squares(net(x), y).sum().backward()
    row = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in net.parameters()])
    clipped = row * min(1.0, CLIP / float(row.norm()))
    assert float(row.norm()) > CLIP
    assert torch.allclose(outputs[1] - outputs[0], clipped, atol=STEP)


def test_draws_do_not_depend_on_the_data_beyond_the_coins() -> None:
    first, second = Recorded(), Recorded()
    made(20, first).run(6)
    made(20, second, x=torch.full((20, 3), torch.inf).double(), sampler=Poisson(0.9)).run(6)
    assert first.asked == second.asked == [20] * 6
    assert [d.shape for d in first.drawn] == [d.shape for d in second.drawn]
    assert sum(d.numel() for d in first.drawn) == 6 * SIZE


# The traps of the loop.


def test_rate_and_divisor_are_public_constants_and_a_row_more_changes_neither() -> None:
    one, more = (made(rows, sampler=Poisson(1 / 16), divisor=64).run(3) for rows in (1024, 1025))
    assert one.plain() == more.plain()
    assert one.terms.divisor == 64
    assert one.epsilon(1e-5) == more.epsilon(1e-5)


@pytest.mark.parametrize("sampler", [Poisson(0.1), Full()])
def test_a_divisor_is_never_made_up_from_the_rows(sampler: Sampler) -> None:
    with pytest.raises(SettingsError, match="divisor: none given; want the expected batch size"):
        made(sampler=sampler, divisor=None)


def test_empty_poisson_batches_add_noise_and_count_as_a_step() -> None:
    source = Recorded()
    training = made(20, source, sampler=Poisson(1e-12))
    record = training.run(3)
    assert (record.steps, record.holder.rows) == (3, 0)
    assert record.event == events.poisson(1e-12, SIGMA, 3)
    noise = torch.cat([drawn.flatten() for drawn in source.drawn])[-SIZE:].double()
    assert torch.allclose(released(training), noise * SIGMA * CLIP * (1 + PerRow.slack), rtol=1e-5, atol=STEP)


def test_no_rows_at_all_are_trained_on_like_an_empty_batch() -> None:
    training = made(x=torch.zeros(0, 3).double(), y=torch.zeros(0).double())
    assert training.run(2).steps == 2
    assert released(training).abs().min() > 0


def test_accumulation_within_a_logical_batch_adds_noise_once() -> None:
    """The variance of 4096 entries is that of one noise, not of 64: chi-square at alpha 1e-3."""
    net = nn.Linear(4096, 1, bias=False).double()
    x, source = torch.zeros(64, 4096).double(), SimulatedSource(STREAM.child("once"))
    training = made(module=net, x=x, y=torch.zeros(64).double(), source=source, sampler=Full(), physical=1)
    training.step()
    low, high = stats.chi2.ppf([0.0005, 0.9995], 4096)
    assert low < float((released(training) / (SIGMA * CLIP)).square().sum()) < high


def test_noise_has_the_stated_standard_deviation() -> None:
    training = made(clip=PerLayer((0.3, 0.4, 0.1)), source=SimulatedSource(STREAM.child("std")), sampler=Poisson(1e-12))
    entries = []
    for _ in range(150):
        training.step()
        entries.append(released(training))
    drawn = torch.cat(entries) / (SIGMA * math.hypot(0.3, 0.4, 0.1))
    assert stats.chi2.cdf(float(drawn.square().sum()), len(drawn)) == pytest.approx(0.5, abs=0.4995)  # alpha 1e-3
    assert stats.kstest(drawn.numpy(), "norm").pvalue > 1e-3


def test_every_trainable_parameter_gets_noise_also_what_the_loss_does_not_use() -> None:
    training = made()
    training.module.first.bias.requires_grad_(False)  # type: ignore[union-attr]
    training.step()
    noisy_ones = {name for name, p in training.module.named_parameters() if p.grad is not None and bool(p.grad.all())}
    assert noisy_ones == set(trainable(training.module)) >= {"unused.weight", "unused.bias"}


@pytest.mark.parametrize("physical", [1, 3, 256])
def test_microbatching_never_clips_several_rows_as_one(physical: int) -> None:
    whole, parts = made(sampler=Full()), made(sampler=Full(), physical=physical)
    whole.step()
    parts.step()
    assert torch.allclose(released(whole), released(parts), atol=1e-9)
    assert parts.seen == whole.seen


def test_shuffled_batches_are_accounted_as_such_never_as_poisson() -> None:
    shuffled = made(20, sampler=Shuffled(5, rows=20), divisor=None).run(8)
    assert shuffled.event == events.shuffled(2, SIGMA)
    assert shuffled.event.relation.value == "zero-out"
    assert shuffled.epsilon(1e-5) == pytest.approx(epsilon(noise_multiplier=SIGMA, steps=2, delta=1e-5), rel=1e-6)


def test_an_inf_row_is_zeroed_and_counted_as_clipped() -> None:
    x, y = normal(20, 3), 3 * normal(20, name="y")
    x[7] = torch.inf
    with_inf, without = (
        made(x=x, sampler=Full()),
        made(x=torch.cat([x[:7], x[8:]]), y=torch.cat([y[:7], y[8:]]), sampler=Full()),
    )
    record, other = with_inf.run(1), without.run(1)
    assert torch.allclose(released(with_inf), released(without), atol=1e-9)
    assert (record.holder.bad, record.holder.clipped) == (1, other.holder.clipped + 1)


def test_batchnorm_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="BatchNorm1d"):
        made(module=nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double())


def test_a_resumed_run_counts_every_step(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    first = made(optimiser=None)
    first.run(3)
    checkpoint.save(first, file)
    second = made(source=Recorded(1))
    checkpoint.resume(second, file)
    record = second.run(2)
    assert record.steps == 5
    assert record.event == events.poisson(0.5, SIGMA, 5)
    assert record.holder.rows == first.seen.rows + sum(
        len(rows) for rows, _ in zip(Poisson(0.5).batches(20, Recorded(1)), range(2), strict=False)
    )


# Samplers.


def first_batches(sampler: Sampler, rows: int, count: int, seed: int = 0) -> list[Tensor]:
    batches: Iterator[Tensor] = sampler.batches(rows, SimulatedSource(STREAM.child(f"batches {seed}")))
    return [next(batches) for _ in range(count)]


def test_poisson_coins_are_independent_and_have_their_rate() -> None:
    drawn = torch.zeros(400, 50)
    for step, rows in enumerate(first_batches(Poisson(0.3), 50, 400)):
        drawn[step, rows] = 1
    assert stats.binomtest(int(drawn.sum()), 400 * 50, 0.3).pvalue > 1e-3
    spread = float((drawn.sum(1) - 15).square().sum()) / (50 * 0.3 * 0.7)  # of batch sizes: binomial, not fixed
    assert stats.chi2.cdf(spread, 400) == pytest.approx(0.5, abs=0.4995)


def test_fixed_batches_hold_different_rows_and_every_row_equally_often() -> None:
    batches = first_batches(Fixed(7, rows=30), 30, 600)
    assert all(len(set(rows.tolist())) == 7 for rows in batches)
    counts = torch.stack(batches).flatten().bincount(minlength=30)
    # counts of a draw without replacement vary less than multinomial ones, by (30 - 7) / 29
    statistic = float((counts - 140).square().sum()) / 140 * 29 / 23
    assert stats.chi2.cdf(statistic, 29) == pytest.approx(0.5, abs=0.4995)


def test_an_epoch_holds_every_row_once_and_the_next_is_another() -> None:
    batches = first_batches(Shuffled(5, rows=20), 20, 8)
    epochs = [torch.cat(batches[:4]).tolist(), torch.cat(batches[4:]).tolist()]
    assert [sorted(epoch) for epoch in epochs] == [list(range(20))] * 2
    assert epochs[0] != epochs[1]


def test_what_does_not_fill_a_batch_sits_the_epoch_out() -> None:
    batches = first_batches(Shuffled(6, rows=20), 20, 6)
    assert [len(rows) for rows in batches] == [6] * 6
    assert len(set(torch.cat(batches[:3]).tolist())) == 18


class Tied:
    """Bits that tie at first."""

    name = "simulation"

    def __init__(self) -> None:
        self.turn = 0

    def bits(self, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        self.turn += 1
        return np.zeros(count, np.uint64) if self.turn == 1 else np.arange(count, 0, -1).astype(np.uint64)

    def normal_(self, out: Tensor) -> Tensor:
        return out


def test_ties_across_the_border_are_drawn_again() -> None:
    source = Tied()
    assert next(Fixed(2, rows=5).batches(5, source)).tolist() == [4, 3]
    assert source.turn == 2


@pytest.mark.parametrize("sampler", [Fixed(5, rows=20), Shuffled(5, rows=20)])
def test_a_public_number_of_rows_is_exact(sampler: Sampler) -> None:
    with pytest.raises(SettingsError, match=r"rows = 20: the data have 21"):
        made(21, sampler=sampler).step()


@pytest.mark.parametrize("wrong", [lambda: Poisson(0.0), lambda: Poisson(1.5), lambda: Poisson(math.nan)])
def test_impossible_rates_are_refused(wrong: Callable[[], Sampler]) -> None:
    with pytest.raises(SettingsError, match="want the share of rows"):
        wrong()


@pytest.mark.parametrize("kind", [Fixed, Shuffled])
@pytest.mark.parametrize(("batch", "rows"), [(0, 5), (6, 5), (2.5, 5), (True, 5)])
def test_impossible_batches_are_refused(kind: Callable[..., Sampler], batch: Any, rows: int) -> None:
    with pytest.raises(SettingsError, match="batch = "):
        kind(batch, rows)


# Adaptive clipping.


def test_adaptive_clipping_costs_what_the_terms_state() -> None:
    """Both releases together are one Gaussian of the stated multiplier: 1/z**2 adds up, the count's sensitivity is 1/2."""
    terms = Terms.of(Poisson(0.1), Adaptive(1.0), 1.5, 40.0)
    assert terms.count_noise == 2.0
    assert terms.gradient_multiplier**-2 + (0.5 / 2.0) ** 2 == pytest.approx(1.5**-2)
    assert terms.gradient_multiplier > 1.5


def test_adaptive_clip_follows_the_noisy_count() -> None:
    source = Recorded()
    rule = Adaptive(1.0, quantile=0.5, rate=0.2)
    training = made(30, source, clip=rule, sampler=Full(), divisor=32)
    within = gather(PerRow(Net(), squares), normal(30, 3), 3 * normal(30, name="y"), torch.arange(30), rule, 30).within
    training.step()
    count = within - 15 + 1.6 * float(source.drawn[-1])
    assert training.rule == rule.updated(round(count / 0.1) * 0.1 + 16, 32)  # a grid of a sixteenth of the noise's 1.6
    assert source.drawn[-1].shape == ()


def test_the_norm_of_a_bad_row_is_not_within() -> None:
    x = torch.full((4, 3), torch.nan).double()
    found = gather(PerRow(Net(), squares), x, torch.zeros(4).double(), torch.arange(4), Adaptive(1.0), 2)
    assert (found.within, found.seen) == (0, Seen(4, 4, 4))


def test_adaptive_clipping_reaches_the_quantile() -> None:
    training = made(
        200, SimulatedSource(STREAM), clip=Adaptive(100.0), sampler=Full(), divisor=200, noise_multiplier=0.5
    )
    norms = PerRow(training.module, squares).norms(normal(200, 3), 3 * normal(200, name="y"))
    training.run(60)
    share = float((norms <= training.rule.sensitivity).double().mean())
    assert abs(share - 0.5) < 0.15
    assert training.terms.std(training.rule) == pytest.approx(0.5 * training.rule.sensitivity, rel=0.01)


def test_a_count_that_would_spend_everything_is_refused() -> None:
    with pytest.raises(SettingsError, match="so exact a count spends all"):
        made(clip=Adaptive(1.0), noise_multiplier=2.0, divisor=20)
    with pytest.raises(SettingsError, match="only an Adaptive rule counts"):
        made(count_noise=3.0)


# Ledger.


def test_a_step_is_charged_before_its_noise_is_drawn(tmp_path: Path) -> None:
    source = Recorded()
    with Ledger(tmp_path / "a.ledger", (3.0, 1e-5)) as ledger:
        fits = ledger.fits(events.poisson(0.5, SIGMA, 1))
        training = made(20, source, ledger=ledger, what="model")
        with pytest.raises(BudgetExceeded):
            training.run(fits + 1)
        assert training.steps == fits == sum(entry.count for entry in ledger.entries())
        assert sum(d.numel() for d in source.drawn) == fits * SIZE
        assert {entry.what for entry in ledger.entries()} == {"model"}


def test_an_epoch_of_shuffled_batches_is_one_charge(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.ledger", (30.0, 1e-5), relation="zero-out") as ledger:
        made(20, sampler=Shuffled(5, rows=20), ledger=ledger).run(9)
        assert sum(entry.count for entry in ledger.entries()) == 3


def test_a_module_that_is_refused_costs_nothing(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.ledger", (3.0, 1e-5)) as ledger:
        training = made(ledger=ledger)
        training._engine.loss = lambda output, y: (output[:, 0] - y).square().mean()
        with pytest.raises(SettingsError, match="one loss per row"):
            training.step()
        assert (training.steps, ledger.entries()) == (0, [])


# Checkpoints.


@pytest.mark.parametrize("optimiser", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop, torch.optim.AdamW])
def test_a_checkpoint_restores_module_and_optimiser(optimiser: Any, tmp_path: Path) -> None:
    """Two steps on equal randomness after a resume are those of the training that was never stopped."""
    ways: dict[str, Any] = {"momentum": 0.9} if optimiser is torch.optim.SGD else {}
    nets = [Net(), Net()]
    first = made(module=nets[0], optimiser=optimiser(nets[0].parameters(), lr=0.1, **ways))
    first.run(2)
    checkpoint.save(first, tmp_path / "a")
    second = made(module=nets[1], optimiser=optimiser(nets[1].parameters(), lr=0.7, **ways))
    checkpoint.resume(second, tmp_path / "a")
    for training in (first, second):
        training._source = Recorded(2)
        training._batches = training.terms.sampler.batches(20, training._source)
        training.run(2)
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_a_resumed_run_draws_fresh_randomness(tmp_path: Path) -> None:
    outputs = []
    first = made(source=SecureSource(), sampler=Poisson(1e-12))
    first.run(1)
    checkpoint.save(first, tmp_path / "a")
    for _ in range(2):
        training = made(source=SecureSource(), sampler=Poisson(1e-12))
        checkpoint.resume(training, tmp_path / "a")
        training.step()
        outputs.append(released(training))
    assert not torch.equal(outputs[0], outputs[1])


def test_a_broken_epoch_counts_whole_after_a_resume(tmp_path: Path) -> None:
    """Its rows may come again in the new epoch: three steps of four, then one: two epochs, not one."""
    first = made(20, sampler=Shuffled(5, rows=20))
    first.run(3)
    checkpoint.save(first, tmp_path / "a")
    second = made(20, sampler=Shuffled(5, rows=20), source=Recorded(1))
    checkpoint.resume(second, tmp_path / "a")
    record = second.run(1)
    assert (record.steps, record.paid, record.event) == (4, 5, events.shuffled(2, SIGMA))


def test_the_ledger_holds_at_least_what_a_resumed_record_says(tmp_path: Path) -> None:
    """Also the step that was executed after the last checkpoint, and is lost to the record."""
    with Ledger(tmp_path / "a.ledger", (30.0, 1e-5), relation="zero-out") as ledger:
        first = made(20, sampler=Shuffled(5, rows=20), ledger=ledger)
        first.run(3)
        checkpoint.save(first, tmp_path / "a")
        first.run(2)  # into the second epoch; then killed
        second = made(20, sampler=Shuffled(5, rows=20), source=Recorded(1), ledger=ledger)
        checkpoint.resume(second, tmp_path / "a")
        record = second.run(1)
        assert record.event == events.shuffled(2, SIGMA)
        assert sum(entry.count for entry in ledger.entries()) == 3


def test_what_was_simulated_once_stays_simulated(tmp_path: Path) -> None:
    first = made()
    first.run(1)
    checkpoint.save(first, tmp_path / "a")
    second = made(source=SecureSource())
    checkpoint.resume(second, tmp_path / "a")
    assert second.run(1).source == "simulation"
    assert repr(second.trained()).startswith("NotPrivate(simulation)")
    assert repr(made(source=SecureSource()).run(1)).startswith("Trained(")


def test_an_adapted_clip_is_resumed(tmp_path: Path) -> None:
    first = made(clip=Adaptive(1.0), divisor=64)
    first.run(4)
    checkpoint.save(first, tmp_path / "a")
    second = made(clip=Adaptive(1.0), divisor=64)
    checkpoint.resume(second, tmp_path / "a")
    assert second.rule == first.rule != Adaptive(1.0)


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"sampler": Poisson(0.25)}, "sampler"),
        ({"noise_multiplier": 1.0}, "noise_multiplier"),
        ({"divisor": 9}, "divisor"),
        ({"clip": 0.7}, "rule"),
        ({"clip": Automatic(CLIP)}, "rule"),
    ],
)
def test_other_terms_are_not_resumed(other: dict[str, Any], name: str, tmp_path: Path) -> None:
    checkpoint.save(made(), tmp_path / "a")
    with pytest.raises(SettingsError, match=f"{name} = .*: the checkpoint has"):
        checkpoint.resume(made(**other), tmp_path / "a")


def test_steps_are_never_forgotten_by_a_load(tmp_path: Path) -> None:
    training = made()
    checkpoint.save(training, tmp_path / "a")
    training.step()
    with pytest.raises(PrivacyError, match="executed 1 steps"):
        checkpoint.resume(training, tmp_path / "a")


def test_a_state_that_says_too_little_was_paid_counts_its_steps() -> None:
    training = made()
    training.run(2)
    tensors, plain = checkpoint.state(training)
    again = made()
    checkpoint.load(again, tensors, plain | {"paid": 0})
    assert again.trained().event == events.poisson(0.5, SIGMA, 2)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04", b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ArtefactError, match="no checkpoint of a private training"):
        checkpoint.resume(made(), tmp_path / "a")
    with pytest.raises(ArtefactError, match="no checkpoint of a private training"):
        checkpoint.resume(made(), tmp_path / "missing")


@pytest.mark.parametrize(
    "damage", [{"steps": "many"}, {"steps": -1}, {"paid": 1.5}, {"holder": {}}, {"holder": 3}, {"groups": []}]
)
def test_a_state_that_does_not_fit_is_refused(damage: dict[str, Any]) -> None:
    training = made()
    training.run(2)
    tensors, plain = checkpoint.state(training)
    with pytest.raises(ArtefactError, match="does not fit"):
        checkpoint.load(made(), tensors, plain | damage)


# What is refused, what is said, what is learnt.


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip": 0.0},
        {"clip": -1.0},
        {"clip": math.inf},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
        {"noise_multiplier": math.nan},
        {"divisor": 0},
        {"divisor": -4},
        {"divisor": math.inf},
        {"physical": 0},
        {"x": [[1.0, 2.0, 3.0]]},
        {"y": torch.zeros(3)},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        made(**wrong)


def test_a_module_without_trainable_parameters_is_refused() -> None:
    net = Net()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ModelError):
        made(module=net)


def test_an_optimiser_has_to_hold_every_trainable_parameter() -> None:
    net = Net()
    with pytest.raises(SettingsError, match=r"does not hold last\.weight"):
        made(module=net, optimiser=torch.optim.SGD([*net.first.parameters(), *net.unused.parameters()]))
    with pytest.raises(SettingsError, match="LBFGS"):
        made(module=net, optimiser=torch.optim.LBFGS(net.parameters()))


def test_a_stale_gradient_is_never_applied() -> None:
    net, other = Net(), nn.Parameter(torch.ones(2))
    other.grad = torch.ones(2)
    made(module=net, optimiser=torch.optim.SGD([*net.parameters(), other], lr=1.0)).step()
    assert other.tolist() == [1.0, 1.0]


def test_the_public_record_holds_nothing_of_the_rows() -> None:
    record = made().run(2)
    assert set(record.plain()) == {
        "sampler", "noise_multiplier", "divisor", "count_noise", "noise", "clip", "steps", "event", "source",
    }  # fmt: skip
    assert record.plain()["source"] == "simulation"
    assert "Seen" not in repr(record)
    assert 0 < record.holder.clip_fraction <= 1


def test_before_the_first_step_there_is_nothing_to_account() -> None:
    with pytest.raises(SettingsError, match="steps = 0"):
        made().trained().epsilon(1e-5)


class Told:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def begin(self, stage: str, total: int) -> None:
        self.heard.append((stage, total))

    def advance(self, done: int) -> None:
        self.heard.append(done)

    def say(self, text: str) -> None:
        raise AssertionError(text)


def test_progress_tells_steps() -> None:
    told = Told()
    made().run(3, told)
    assert told.heard == [("training", 3), 1, 1, 1]


@pytest.mark.parametrize("optimiser", [torch.optim.SGD, torch.optim.Adam])
def test_logistic_regression_learns_at_epsilon_three(optimiser: Any) -> None:
    x = normal(2000, 5, name="learn").float()
    y = (x @ torch.tensor([2.0, -1.0, 0.5, 0.0, 1.0]) > 0).float()
    net = nn.Linear(5, 1)
    net.weight.data.zero_()
    net.bias.data.zero_()
    sigma = noise_multiplier(epsilon=3.0, sampling_rate=0.05, steps=100, delta=1e-5)
    record = PrivateTraining(
        net, lambda out, y: nn.functional.binary_cross_entropy_with_logits(out[:, 0], y, reduction="none"), x, y,
        sampler=Poisson(0.05), divisor=100, clip=1.0, noise_multiplier=sigma,
        optimiser=optimiser(net.parameters(), lr=1.0 if optimiser is torch.optim.SGD else 0.1),
        source=SimulatedSource(STREAM.child("learn")),
    ).run(100)  # fmt: skip
    assert 2.9 < record.epsilon(1e-5) <= 3.0
    assert float(((net(x)[:, 0] > 0) == (y > 0)).float().mean()) > 0.93


def test_the_examples_of_the_guide_run() -> None:
    guide = (Path(__file__).parents[2] / "docs/dp-training.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL):
        exec(block, names)
    assert names["record"].epsilon(delta=1e-5) <= 3.0
    assert names["again"].trained().steps == 100
    assert names["correlated"].trained().epsilon(delta=1e-5) == pytest.approx(3.0)


# Compiled modules, and compute in bfloat16.


@pytest.mark.slow  # torch's compiler takes its time to load
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_module_trains_as_the_module_itself() -> None:
    outputs = []
    for compiled in (False, True):
        net = Net()
        module = torch.compile(net, backend="eager") if compiled else net
        training = made(module=module, optimiser=torch.optim.SGD(net.parameters(), lr=0.1))
        training.run(2)
        outputs.append(released(training))
    assert torch.allclose(outputs[0], outputs[1], atol=STEP)


def test_with_bfloat16_compute_a_row_still_adds_no_more_than_clip_and_slack() -> None:
    """Through the whole loop: outputs with and without a row, on the same noise, of gradients that bfloat16 rounds."""
    for seed in range(5):
        outputs = []
        for rows in (20, 21):
            net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 1))
            for place, parameter in enumerate(net.parameters()):
                parameter.data = 0.3 * normal(*parameter.shape, name=f"bf16 {seed} {place}").float()
            x, y = normal(rows, 64, name=f"bf16 x {seed}").float(), 1e3 * torch.ones(rows)
            training = made(rows, Recorded(seed), module=net, x=x, y=y, sampler=Full(), compute=torch.bfloat16)
            training.run(1)
            outputs.append(released(training).double())
        moved = float((outputs[1] - outputs[0]).norm())
        grid = STEP * math.sqrt(len(outputs[0]))
        assert CLIP * 0.99 - grid < moved < CLIP * (1 + PerRow.slack) + grid
        assert training.seen.clipped == 21
