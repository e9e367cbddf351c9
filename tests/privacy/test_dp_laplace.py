"""Laplace noise in private training: its law, its cost, and rows clipped in the L1 norm."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dp_accounting.pld.privacy_loss_distribution import from_laplace_mechanism
from dp_accounting.rdp.rdp_privacy_accountant import _laplace_rdp
from numpy.typing import NDArray
from scipy import integrate, stats
from tests.privacy.test_dp_training import STREAM, made, released

from veriward.core.errors import BudgetExceeded, SettingsError
from veriward.privacy.clipping import Adaptive, Automatic, Flat, PerLayer, PerRow, Rule
from veriward.privacy.dp import checkpoint
from veriward.privacy.dp.divergences import sampled_laplace
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.laplaces import PART, fill_laplace, laplace_
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.noise import SimulatedSource
from veriward.privacy.dp.normals import EDGE
from veriward.privacy.dp.sampling import Fixed, Full, Poisson, Sampler, Shuffled
from veriward.privacy.dp.step_noise import GaussianNoise, LaplaceNoise

L1 = Flat(0.5, order=1)


def drawn(count: int, name: str) -> NDArray[np.float64]:
    out = np.empty(count, np.float32)
    fill_laplace(out, SimulatedSource(STREAM.child(name)).bits)
    return out.astype(np.float64)


# The draw.


def test_a_million_draws_are_laplace_by_chi_square() -> None:
    edges = stats.laplace.ppf(np.linspace(0, 1, 257)[1:-1])
    counts = np.bincount(np.searchsorted(edges, drawn(10**6, "million")), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_tails_are_laplace() -> None:
    far = int((np.abs(drawn(10**6, "tail")) > math.log(1e4)).sum())  # each has a chance of 1e-4
    assert stats.binomtest(far, 10**6, 1e-4).pvalue > 1e-3


def test_neighbouring_draws_are_independent() -> None:
    out = drawn(2 * PART + 2, "lag")
    for lag in (1, PART // 2, PART):
        pairs = np.corrcoef(np.abs(out[lag:]), np.abs(out[:-lag]))[0, 1] * math.sqrt(len(out) - lag)
        assert abs(pairs) < stats.norm.ppf(1 - 5e-4)


def test_a_draw_is_as_near_to_laplace_as_stated() -> None:
    """Against float64 from the same words, at random and with u forced to both edges."""
    rng = np.random.Generator(np.random.PCG64(3))
    for low, high in ((0, 1 << 32), (0, 64), ((1 << 32) - 64, 1 << 32), (EDGE - 64, EDGE + 64)):
        given: list[NDArray[np.uint64]] = []

        def bits(count: int, low: int = low, high: int = high, given: list[NDArray[np.uint64]] = given) -> Any:
            words = rng.integers(0, 1 << 64, count, dtype=np.uint64)
            if not given:
                words.view(np.uint32)[: count // 2 * 2][:count] = rng.integers(low, high, count, dtype=np.uint32)
            given.append(words.copy())
            return words

        out = np.empty(4096, np.float32)
        fill_laplace(out, bits)
        words = given[0].view(np.uint32)
        u, turn = words[: 2 * 4096], (words[2 * 4096 :].view(np.int32) + 0.5) * 2.0**-32
        fraction = np.full(len(u), 0.5)
        fraction[u + np.uint32(EDGE) < np.uint32(2 * EDGE)] = ((given[1] >> np.uint64(11)) + 0.5) * 2.0**-53
        near_one = (np.int64(1 << 32) - u.astype(np.int64) - fraction) * 2.0**-32
        exponents = np.where(u < 1 << 31, -np.log((u + fraction) * 2.0**-32), -np.log1p(-np.minimum(near_one, 0.6)))
        products = exponents * np.sin(2 * np.pi * turn)
        errors = np.abs(out - (products[:4096] + products[4096:]))
        assert errors.max() < 2.0**-13
        assert errors[exponents.reshape(2, -1).max(0) < 8.4].max(initial=0) < 2.0**-15


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1])
def test_any_number_of_draws(size: int) -> None:
    out = laplace_(torch.full((size,), torch.nan), SimulatedSource(STREAM.child("size")))
    assert out.isfinite().all()
    assert len(out.unique()) == size or size > 1000


# What it costs.


def test_the_whole_costs_what_mironov_says() -> None:
    orders = [1.5, 2.0, 8.0, 64.0, 512.0]
    for scale in (0.1, 1.0, 30.0):
        found = sampled_laplace(1.0, scale, orders)
        wanted = [_laplace_rdp(1 / scale, order) for order in orders]
        assert (found >= np.array(wanted) - 1e-12).all()
        assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("rate", "scale", "order"), [(0.1, 1.0, 2.0), (0.5, 0.4, 3.5), (0.01, 2.0, 20.0), (0.9, 5.0, 1.2)]
)
def test_sampled_laplace_bounds_both_directions(rate: float, scale: float, order: float) -> None:
    """Against numerical integration of the two divergences."""

    def ratio(x: float) -> float:
        return 1 - rate + rate * math.exp((abs(x) - abs(x - 1)) / scale)

    def expected(power: float) -> float:
        def value(x: float) -> float:
            return math.exp(-abs(x) / scale) / (2 * scale) * ratio(x) ** power

        parts = [(-60 * scale, 0.0), (0.0, 1.0), (1.0, 1 + 60 * scale)]
        return math.fsum(integrate.quad(value, *part, epsabs=1e-13)[0] for part in parts)

    found = float(sampled_laplace(rate, scale, [order])[0])
    forward, backward = (math.log(expected(power)) / (order - 1) for power in (order, 1 - order))
    assert found == pytest.approx(forward, rel=1e-5)
    assert backward <= found


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_a_shift_along_one_number_tells_most(share: float) -> None:
    """Any delta of a shift that is shared by two numbers is below that of the same L1 norm on one."""
    one = from_laplace_mechanism(parameter=1 / 2.0, value_discretization_interval=1e-3)
    first, second = (
        from_laplace_mechanism(parameter=1 / (2.0 * part), value_discretization_interval=1e-3)
        for part in (share, 1 - share)
    )
    shared = first.compose(second)
    for epsilon in (0.0, 0.1, 0.5, 1.0, 1.5, 1.9):
        assert shared.get_delta_for_epsilon(epsilon) <= one.get_delta_for_epsilon(epsilon) + 1e-6


def test_full_batches_are_pure() -> None:
    record = made(clip=L1, sampler=Full(), noise_multiplier=4.0).run(3)
    assert record.epsilon(0.0) == pytest.approx(3 / 4, rel=1e-9)
    assert record.epsilon(1e-5) <= record.epsilon(0.0)


def test_sampled_steps_are_pure_and_cheaper() -> None:
    record = made(clip=L1, sampler=Poisson(0.1), noise_multiplier=2.0).run(5)
    assert record.epsilon(0.0) == pytest.approx(5 * math.log(1 + 0.1 * (math.exp(0.5) - 1)), rel=1e-9)
    assert record.epsilon(1e-5) < record.epsilon(0.0)


def test_pure_epsilon_of_little_noise_does_not_overflow() -> None:
    event = LaplaceNoise().event(Poisson(0.5), 1e-3, 1)
    from veriward.privacy.dp.pure import pure_epsilon

    assert pure_epsilon(event) == pytest.approx(1000 + math.log(0.5))


def test_gaussian_noise_has_no_pure_epsilon() -> None:
    with pytest.raises(SettingsError, match="delta = 0: Gaussian noise has no epsilon there"):
        made().run(1).epsilon(0.0)


@pytest.mark.parametrize(
    ("sampler", "wanted"),
    [(Poisson(0.1), "PoissonSampled"), (Full(), "Laplace"), (Shuffled(5, rows=20), "Laplace")],
)
def test_the_event_is_that_of_the_sampler(sampler: Sampler, wanted: str) -> None:
    event = LaplaceNoise().event(sampler, 3.0, 8)
    gaussian = sampler.event(3.0, 8)
    assert type(event.dp.event).__name__ == f"{wanted}DpEvent"
    assert (event.relations, event.sampling, event.dp.count) == (
        gaussian.relations,
        gaussian.sampling,
        gaussian.dp.count,
    )


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_loss_distributions_and_divergences_agree(scale: float) -> None:
    from veriward.privacy.dp.accounting import composed

    event: Event = LaplaceNoise().event(Poisson(0.02), scale, 500)
    tight, renyi = (composed([event], delta=1e-5, accountant=kind) for kind in ("pld", "rdp"))
    assert 0.85 * renyi < tight <= renyi


# The step.


@pytest.mark.parametrize("rule", [L1, PerLayer((0.1, 0.2, 0.2), order=1), Automatic(0.5, order=1)])
def test_a_row_moves_the_sum_by_at_most_the_clip_in_l1(rule: Rule) -> None:
    sums = []
    for rows in (20, 21):
        training = made(rows, clip=rule, sampler=Full(), source=SimulatedSource(STREAM.child("replay")))
        training.step()
        sums.append(released(training))
    moved = float((sums[1] - sums[0]).abs().sum())
    rounding = len(sums[0]) * 2.0**-14 * training.terms.std(rule)  # to the grid that noisy sums are published on
    assert 0.5 * rule.sensitivity < moved <= rule.sensitivity * (1 + PerRow.slack) + rounding


def test_the_noise_has_the_stated_scale() -> None:
    training = made(
        clip=L1, noise_multiplier=3.0, source=SimulatedSource(STREAM.child("scale")), sampler=Poisson(1e-12)
    )
    entries = []
    for _ in range(150):
        training.step()
        entries.append(released(training))
    noise = torch.cat(entries) / (3.0 * 0.5)
    assert stats.kstest(noise.numpy(), "laplace").pvalue > 1e-3
    assert float(noise.abs().mean()) == pytest.approx(1.0, abs=3.3 / math.sqrt(len(noise)))


def test_the_record_names_the_noise() -> None:
    plain = made(clip=L1).run(1).plain()
    assert plain["noise"] == {"kind": "LaplaceNoise"}
    assert plain["clip"] == {"kind": "Flat", "clip": 0.5, "order": 1}
    assert plain["event"]["dp"]["event"]["event"] == {"kind": "Laplace", "noise_multiplier": 2.0}


def test_the_ledger_is_charged_before_laplace_noise(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l", (1.0, 1e-5)) as ledger:
        training = made(clip=L1, sampler=Full(), noise_multiplier=4.0, ledger=ledger)
        with pytest.raises(BudgetExceeded):
            training.run(1000)
        assert 0 < training.steps == sum(entry.count for entry in ledger.entries())
        assert training.trained().epsilon(1e-5) <= 1.0


def test_a_laplace_training_is_resumed(tmp_path: Path) -> None:
    stopped, again = made(clip=L1), made(clip=L1)
    stopped.run(2)
    checkpoint.save(stopped, tmp_path / "c")
    checkpoint.resume(again, tmp_path / "c")
    assert again.run(1).event == LaplaceNoise().event(Poisson(0.5), 2.0, 3)
    with pytest.raises(SettingsError, match=r"noise = .*GaussianNoise.*LaplaceNoise"):
        checkpoint.resume(made(), tmp_path / "c")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"clip": L1, "noise": GaussianNoise()}, "GaussianNoise covers rows clipped at order 2; the clip's is 1"),
        ({"clip": Flat(0.5), "noise": LaplaceNoise()}, "LaplaceNoise covers rows clipped at order 1; the clip's is 2"),
        ({"clip": Adaptive(0.5, order=1)}, "LaplaceNoise needs a clip that stays"),
        ({"clip": L1, "sampler": Fixed(5, rows=20)}, "no bound is known here for Laplace noise with Fixed"),
    ],
)
def test_noise_of_another_clip_is_refused(wrong: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=told):
        made(**wrong)
