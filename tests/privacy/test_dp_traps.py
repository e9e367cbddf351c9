"""Traps that other libraries of differential privacy fell into: one test each, named after it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tests.privacy.clipping_cases import classes, drawn, integers, loop, norms_of
from tests.privacy.clipping_cases import normal as doubles
from tests.privacy.test_dp_training import (
    CLIP,
    SIGMA,
    DivisorFromRows,
    Net,
    NoClip,
    Recorded,
    half_noise,
    made,
    one_layer_without_noise,
    released,
    replay,
    squares,
)
from torch import Tensor, nn

from veriward.core.errors import BudgetExceeded, ModelError, SettingsError
from veriward.core.streams import Stream
from veriward.privacy import dp
from veriward.privacy.clipping import Flat, PerRow
from veriward.privacy.dp import checkpoint, dp_sgd, events
from veriward.privacy.dp.accounting import composed, epsilon, training
from veriward.privacy.dp.dp_sgd import PrivateTraining
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.noise import SimulatedSource
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.sampling import Full, Poisson, Shuffled

STREAM = Stream.of(17, "tests/privacy/dp_traps")
MNIST: dict[str, Any] = {
    "sampling_rate": 256 / 60000,
    "noise_multiplier": 0.7,
    "steps": 45 * 60000 // 256,
    "delta": 1e-5,
}


def test_rate_and_divisor_are_never_derived_from_the_private_row_count() -> None:
    """Of 1024 and 1025 rows, elsewhere 1/16 and 1/17, 64 and 60: here a row more changes neither, nor the noise."""
    trainings = [made(rows, sampler=Poisson(1 / 16), divisor=64) for rows in (1024, 1025)]
    for each in trainings:
        each.step()
    assert trainings[0].terms == trainings[1].terms
    assert trainings[0].trained().plain() == trainings[1].trained().plain()
    assert torch.equal(trainings[0]._source.drawn[0], trainings[1]._source.drawn[0])  # type: ignore[attr-defined]
    for sampler in (Poisson(1 / 16), Full()):
        with pytest.raises(SettingsError, match="not computed from the number of rows"):
            made(1024, sampler=sampler, divisor=None)


def test_one_example_with_inf_is_zeroed_and_counted_as_clipped_and_no_weight_turns_nan() -> None:
    x = torch.zeros(20, 3).double()
    x[3, 1] = torch.inf
    net = Net()
    private = made(
        module=net, x=x, y=torch.zeros(20).double(), sampler=Full(), optimiser=torch.optim.SGD(net.parameters(), 1.0)
    )
    private.run(3)
    assert all(bool(p.isfinite().all()) for p in net.parameters())
    assert private.seen.bad == 3 <= private.seen.clipped


def test_tied_and_functionally_used_weights_are_refused_by_name() -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    with pytest.raises(ModelError, match=r"0\.weight"):
        made(module=tied.double()).step()

    class Functional(Net):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(self.first(x), self.last.weight) + 0 * self.last(self.first(x))

    with pytest.raises(ModelError, match=r"last\.weight"):
        made(module=Functional()).step()


def test_batchnorm_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"1 \(BatchNorm1d\).*GroupNorm"):
        made(module=nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))


def test_empty_poisson_batches_add_noise_and_count_as_a_step() -> None:
    private = made(sampler=Poisson(1e-15))
    record = private.run(3)
    assert (record.holder.rows, record.steps, record.event) == (0, 3, events.poisson(1e-15, SIGMA, 3))
    assert bool(released(private).all())


def test_gradient_accumulation_within_a_logical_batch_adds_noise_once() -> None:
    sources = [Recorded(), Recorded()]
    whole, parts = (made(source=s, sampler=Full(), physical=n) for s, n in zip(sources, (20, 3), strict=True))
    whole.step()
    parts.step()
    size = sum(p.numel() for p in Net().parameters())
    assert [sum(noise.numel() for noise in source.drawn) for source in sources] == [size, size]
    assert torch.allclose(released(whole), released(parts), atol=1e-9)


def test_shuffled_fixed_size_batches_are_accounted_as_such_never_as_poisson() -> None:
    record = made(20, sampler=Shuffled(5, rows=20), divisor=None).run(5)
    assert (record.event, record.event.relation) == (events.shuffled(2, SIGMA), Relation.ZERO_OUT)
    known: dict[str, Any] = {"noise_multiplier": 0.8, "sampling_rate": 0.01, "steps": 100, "delta": 1e-5}
    assert epsilon(**known, sampling="shuffled") > 3 * epsilon(**known, sampling="poisson")


def test_microbatching_never_doubles_sensitivity() -> None:
    """However the batch is cut, a row more moves the sum of the clipped rows by its own clip, never by two."""
    x, y, engine = doubles(9, 3), 1e3 + torch.zeros(9).double(), PerRow(Net(), squares)
    for physical in (1, 4, 9):
        sums = [dp_sgd.gather(engine, x, y, torch.arange(n), Flat(CLIP), physical).sums for n in (8, 9)]
        moved = torch.cat([(sums[1][name] - sums[0][name]).flatten() for name in sums[0]]).norm()
        assert float(moved) == pytest.approx(CLIP)


def test_gdp_under_reports_and_is_not_offered() -> None:
    """mu = q sqrt(T (exp(1/sigma**2) - 1)) of the central limit says 5.07 for the MNIST tutorial; the truth is 5.64."""
    mu = MNIST["sampling_rate"] * math.sqrt(MNIST["steps"] * math.expm1(0.7**-2))
    normal = stats.norm
    says = [
        e
        for e in np.arange(4, 7, 0.001)
        if normal.cdf(mu / 2 - e / mu) - math.exp(e) * normal.cdf(-mu / 2 - e / mu) <= 1e-5
    ]
    assert says[0] == pytest.approx(5.07, abs=0.01)
    assert epsilon(**MNIST) == pytest.approx(5.639, abs=1e-3)
    for name in ("gdp", "clt"):
        with pytest.raises(SettingsError, match="understates epsilon"):
            epsilon(**MNIST, accountant=name)


def test_noise_is_never_drawn_in_low_precision() -> None:
    """A model in bfloat16 gets noise of float32 on sums of float32: 65536 entries show more values than bfloat16 has."""
    net = nn.Linear(1 << 16, 1, bias=False, dtype=torch.bfloat16)
    engine = PerRow(net, lambda out, y: out[:, 0].float())
    sums = dp_sgd.gather(
        engine, torch.ones(1, 1 << 16, dtype=torch.bfloat16), torch.ones(1), torch.arange(1), Flat(1.0), 1
    )
    noisy = dp_sgd.noisy(sums.sums, 1.0, SimulatedSource(STREAM.child("precision")))["weight"]
    assert noisy.dtype == torch.float32
    assert len(noisy.unique()) > 60_000 > len(noisy.bfloat16().unique())
    with pytest.raises(SettingsError, match=r"want torch\.float32"):
        SimulatedSource(STREAM).normal_(torch.empty(3, dtype=torch.bfloat16))


def test_float_laplace_does_not_leak_through_its_bits() -> None:
    """Mironov, 2012: two values that differ in their last bits release from one and the same grid."""
    source = SimulatedSource(STREAM.child("bits"))
    for value in (0.1, 1 / 3, math.pi):
        outputs = np.array([dp.laplace(value, sensitivity=1.0, epsilon=1.0, source=source).value for _ in range(500)])
        steps = outputs * 2.0**16
        assert np.array_equal(steps, np.rint(steps))
        assert len(np.unique(outputs)) > 450


def test_every_trainable_parameter_gets_noise_used_in_the_batch_or_not() -> None:
    private = made(sampler=Poisson(1e-15))
    private.step()
    for name, parameter in private.module.named_parameters():
        assert parameter.grad is not None, name
        assert bool((parameter.grad != 0).all()), name


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
def test_zero_sensitivity_is_refused(mechanism: str) -> None:
    more = {"delta": 1e-6} if mechanism == "gaussian" else {}
    with pytest.raises(SettingsError, match="sensitivity = 0"):
        getattr(dp, mechanism)(1.0, sensitivity=0.0, epsilon=1.0, **more)


def test_choosing_hyper_parameters_costs_all_candidates_and_the_selection_or_random_stopping() -> None:
    one, choice = training(noise_multiplier=2.0, sampling_rate=0.05, steps=100), events.full_batch(10.0, 4)
    searched = composed([events.search([one] * 4, choice)], delta=1e-5)
    assert searched > composed([one.times(4)], delta=1e-5) > composed([one], delta=1e-5)
    stopped = events.random_stopping(one, mean=50, shape=1)
    alone, drawn, all_of_them = (composed([e], delta=1e-5, accountant="rdp") for e in (one, stopped, one.times(50)))
    assert alone < drawn < all_of_them


def test_adaptively_chosen_spending_goes_through_a_privacy_filter_of_renyi_divergences(tmp_path: Path) -> None:
    """Each charge is chosen by what is left: the sum of divergences of some fixed order stays within its budget."""
    with Ledger(tmp_path / "a", (2.0, 1e-5)) as ledger:
        sigma = 5.0
        with pytest.raises(BudgetExceeded):
            while True:
                ledger.charge(events.full_batch(sigma, 1), "next")
                sigma = 5.0 if ledger.remaining > 0.5 else 40.0
        spent = math.fsum(e.count / (2 * e.event.dp.event.noise_multiplier**2) for e in ledger.entries())  # type: ignore[attr-defined]
        filters = zip(ledger._filter.orders, ledger._filter.budgets, strict=True)
        assert any(order * spent <= budget for order, budget in filters)
        assert composed([entry.event.times(entry.count) for entry in ledger.entries()], delta=1e-5) <= 2.0


def test_a_resumed_run_counts_every_step_executed_and_the_ledger_writes_before_the_noise_is_drawn(
    tmp_path: Path,
) -> None:
    """The process dies while it draws the noise of step 4, after a checkpoint at step 2: four steps are charged."""

    class Dies(Recorded):
        def normal_(self, out: Tensor) -> Tensor:
            if sum(noise.numel() for noise in self.drawn) == 3 * sum(p.numel() for p in Net().parameters()):
                with Ledger(tmp_path / "a") as other:
                    assert sum(entry.count for entry in other.entries()) >= 4
                raise KeyboardInterrupt
            return super().normal_(out)

    with Ledger(tmp_path / "a", (30.0, 1e-5)) as ledger:
        first = made(source=Dies(), ledger=ledger)
        first.run(2)
        checkpoint.save(first, tmp_path / "run")
        with pytest.raises(KeyboardInterrupt):
            first.run(2)
        assert (first.steps, sum(entry.count for entry in ledger.entries())) == (4, dp_sgd._ahead(Poisson(0.5)))
        second = made(ledger=ledger, source=Recorded(1))
        checkpoint.resume(second, tmp_path / "run")
        assert second.run(1).event == events.poisson(0.5, SIGMA, 3)
        assert sum(entry.count for entry in ledger.entries()) >= 4 + 1


# What the tests have to be.


@pytest.mark.parametrize("seed", range(4))
def test_per_row_gradients_are_those_of_a_loop_over_single_rows(seed: int) -> None:
    sizes = STREAM.child(f"sizes {seed}").integers(torch.arange(1), 7, (3,))[0] + 2
    rows, wide, hidden = (int(size) for size in sizes)
    net = drawn(nn.Sequential(nn.Linear(wide, hidden), nn.Tanh(), nn.LayerNorm(hidden), nn.Linear(hidden, 3)))
    x, y = doubles(rows, wide, name=f"x {seed}"), integers(3, rows)
    alone = loop(net, classes, x, y)
    found = PerRow(net, classes).clipped(x, y, 0.3)
    norms = norms_of(alone)
    assert torch.allclose(found.norms, norms, rtol=1e-9)
    for name, total in found.sums.items():
        factors = (0.3 / norms).clamp(max=1).view(-1, *[1] * total.ndim)
        assert torch.allclose(total, (factors * alone[name]).sum(0), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_replay_on_neighbouring_data_with_identical_randomness(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert replay(PrivateTraining, seed) == []
    assert replay(NoClip, seed)
    assert replay(DivisorFromRows, seed)
    for bug in (half_noise, one_layer_without_noise):
        with monkeypatch.context() as patch:
            patch.setattr(dp_sgd, "noisy", bug)
            assert replay(PrivateTraining, seed)


def test_control_flow_does_not_depend_on_the_rows() -> None:
    """A row more, a bad row, a row far away: the same draws in the same order; one coin more for a row more."""
    asked, shapes = [], []
    for rows, value in ((20, 0.0), (21, 0.0), (20, torch.inf), (20, 1e30)):
        x = doubles(rows, 3)
        x[0] = value
        source = Recorded()
        made(rows, source, x=x).run(3)
        asked.append([count - rows for count in source.asked])
        shapes.append([tuple(noise.shape) for noise in source.drawn])
    assert asked[1:] == asked[:-1]
    assert shapes[1:] == shapes[:-1]


def test_sampled_noise_fits_its_distribution() -> None:
    private = made(sampler=Poisson(1e-15), source=SimulatedSource(STREAM.child("noise")))
    entries = []
    for _ in range(100):
        private.step()
        entries.append(released(private))
    noise = torch.cat(entries).numpy() / (SIGMA * CLIP * (1 + PerRow.slack))
    assert stats.kstest(noise, "norm").pvalue > 1e-3
    assert stats.chi2.cdf(float(np.square(noise).sum()), len(noise)) == pytest.approx(0.5, abs=0.4995)


def test_epsilon_is_the_published_one() -> None:
    assert epsilon(**MNIST) == pytest.approx(5.639, abs=6e-4)
    assert epsilon(**MNIST, accountant="rdp") == pytest.approx(6.319, abs=6e-4)
    one = epsilon(noise_multiplier=4.224679, steps=1, delta=1e-6)  # the analytic Gaussian of Balle & Wang
    assert one == pytest.approx(1.0, abs=1e-6)


CANARIES = 2048


def canary_mu(noise_multiplier: float) -> float:
    """Return how far apart, in standard deviations of the noise, canaries that are in and out come to lie in one step.

    Each of 2048 rows has a gradient of its own, orthogonal to the others, and is in the data by a fair coin. An honest
    step separates them by 1 / sigma: its mu in Gaussian differential privacy.
    """
    net = nn.Linear(CANARIES, 1, bias=False)
    member = STREAM.child("coins").integers(torch.arange(1), 2, (CANARIES,))[0].bool()
    x = 100 * torch.eye(CANARIES)[member]
    source = SimulatedSource(STREAM.child("audit"))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.0)
    private = PrivateTraining(
        net, lambda out, y: -out[:, 0], x, torch.zeros(len(x)), sampler=Full(), divisor=1.0, clip=1.0,
        noise_multiplier=noise_multiplier, optimiser=optimiser, source=source, physical=512,
    )  # fmt: skip
    private.step()
    scores = -net.weight.grad[0]  # type: ignore[index]
    return float((scores[member].mean() - scores[~member].mean()) / scores[~member].std())


def test_a_one_run_audit_stays_below_epsilon_and_catches_planted_bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    error = 4 * 2 / math.sqrt(CANARIES)  # four standard errors of the difference of two means
    assert canary_mu(2.0) == pytest.approx(0.5, abs=error)
    with monkeypatch.context() as patch:
        patch.setattr(dp_sgd, "noisy", half_noise)
        assert canary_mu(2.0) > 0.5 + error
    monkeypatch.setattr(Flat, "factors", lambda _, norms: torch.ones_like(norms[:1]))
    assert canary_mu(2.0) > 0.5 + error
