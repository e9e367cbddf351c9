"""What private trainings cost: closed forms, published figures, and the traps of others, each by name."""

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
from dp_accounting import NeighboringRelation, dp_event, pld

import veriward as vw
from veriward.core.errors import SettingsError
from veriward.privacy.dp import accounting, events, losses
from veriward.privacy.dp.accountants import curve, epsilon_at
from veriward.privacy.dp.accounting import composed, delta, epsilon, noise_multiplier, steps, training
from veriward.privacy.dp.bounds import DeltaWarning
from veriward.privacy.dp.calibrate import smallest
from veriward.privacy.dp.divergences import discrete_laplace
from veriward.privacy.dp.relation import Relation

PRV = {  # REFERENCE: delta 1e-6, 100 steps; upper bounds with an error of .01
    (0.8, 0.001): 0.270403,
    (0.8, 0.05): 6.741052,
    (0.8, 0.2): 24.333664,
    (1.5, 0.001): 0.0393694,
    (1.5, 0.05): 1.953853,
    (1.5, 0.2): 8.498978,
    (2.0, 0.001): 0.0291045,
    (2.0, 0.05): 1.283637,
    (2.0, 0.2): 5.672056,
    (3.0, 0.001): 0.0215201,
    (3.0, 0.05): 0.767934,
    (3.0, 0.2): 3.381221,
}


@pytest.mark.parametrize(("setting", "reference"), PRV.items())
def test_pld_lies_just_below_the_prv_reference(setting: tuple[float, float], reference: float) -> None:
    sigma, rate = setting
    found = epsilon(noise_multiplier=sigma, sampling_rate=rate, steps=100, delta=1e-6)
    assert reference - 0.0112 <= found <= reference


@pytest.mark.parametrize(
    ("sigma", "rate", "count", "at", "accountant", "published", "error"),
    [
        (1.5, 0.04, 2250, 1e-5, "rdp", 7.32933, 3e-5),
        (0.7, 0.01, 120, 1e-5, "rdp", 3.2392676, 1e-6),
        (0.7, 0.01, 120, 1e-5, "pld", 2.4612381, 1e-6),
        (0.7, 1.0, 2, 1e-5, "rdp", 10.8602036, 1e-6),
        (0.7, 1.0, 2, 1e-5, "pld", 10.1224946, 1e-6),
        (0.35, 0.01, 120, 1e-5, "rdp", 22.6248601, 1e-6),
        (1.3, 150 / 60000, 6000, 1e-5, "rdp", 0.7242234026, 1e-7),
        (1.0, 100 / 100000, 30000, 1e-7, "rdp", 1.4154988495, 1e-7),
        (0.67379294682, 0.01, 1, 1e-5, "pld", 1.0, 1e-5),
        (1.3, 256 / 60000, 15 * 60000 // 256, 1e-5, "rdp", 0.954, 6e-4),
        (1.1, 256 / 60000, 60 * 60000 // 256, 1e-5, "rdp", 2.597, 6e-4),
        (0.7, 256 / 60000, 45 * 60000 // 256, 1e-5, "rdp", 6.319, 6e-4),
        (1.3, 256 / 60000, 15 * 60000 // 256, 1e-5, "pld", 0.864, 6e-4),
        (1.1, 256 / 60000, 60 * 60000 // 256, 1e-5, "pld", 2.382, 6e-4),
        (0.7, 256 / 60000, 45 * 60000 // 256, 1e-5, "pld", 5.639, 6e-4),
    ],
)
def test_published_figures(
    sigma: float, rate: float, count: int, at: float, accountant: str, published: float, error: float
) -> None:
    found = epsilon(noise_multiplier=sigma, sampling_rate=rate, steps=count, delta=at, accountant=accountant)
    assert found == pytest.approx(published, abs=error)


def test_published_noise_multipliers() -> None:
    assert noise_multiplier(epsilon=1, steps=1, delta=1e-6) == pytest.approx(4.224679, rel=2e-6)
    assert noise_multiplier(epsilon=1, steps=1, delta=1e-6, accountant="rdp") == pytest.approx(4.530877, rel=2e-6)
    found = noise_multiplier(epsilon=1, sampling_rate=0.01, steps=1, delta=1e-5)
    assert found == pytest.approx(0.67379294682, rel=1e-6)
    assert found >= 0.6737929  # above the smallest one


def test_the_face_leads_there() -> None:
    assert vw.privacy.dp.epsilon is accounting.epsilon
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        _ = vw.privacy.dp.nobody
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        _ = vw.privacy.nobody


@pytest.mark.parametrize("rate", [0.003, 0.2, 0.9])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 8.0])
def test_our_loss_distributions_are_those_of_dp_accounting(rate: float, sigma: float) -> None:
    event = dp_event.SelfComposedDpEvent(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(sigma)), 7)
    add_or_remove = NeighboringRelation.ADD_OR_REMOVE_ONE
    ours = losses.Accountant(add_or_remove, 1e-3).compose(event)
    theirs = pld.PLDAccountant(add_or_remove, 1e-3).compose(event)
    for at in (1e-3, 1e-6, 1e-9):
        assert ours.get_epsilon(at) == pytest.approx(theirs.get_epsilon(at), rel=1e-5)  # at 1e-9, some 1e-15 count


def test_groups_and_discrete_noise_are_those_of_dp_accounting() -> None:
    add_or_remove = NeighboringRelation.ADD_OR_REMOVE_ONE
    cases = [events.poisson(0.1, 2.0, 5, group=3).dp, dp_event.DiscreteLaplaceDpEvent(0.3, 4)]
    for event in cases:
        ours = losses.Accountant(add_or_remove, 1e-3).compose(event).get_epsilon(1e-5)
        assert ours == pytest.approx(pld.PLDAccountant(add_or_remove, 1e-3).compose(event).get_epsilon(1e-5), abs=1e-9)


def test_a_group_of_one_draws_as_one_row_does() -> None:
    mixture = dp_event.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0], [0.9, 0.1])
    one = events.Event(mixture, events.BOTH, "poisson").times(50)
    assert epsilon_at(one, 1e-5, "pld") == pytest.approx(
        epsilon(noise_multiplier=1.0, sampling_rate=0.1, steps=50, delta=1e-5), rel=1e-9
    )


def test_a_group_costs_more_than_a_row_and_unsampled_groups_are_scaled_gaussians() -> None:
    known: dict[str, Any] = {"noise_multiplier": 4.0, "steps": 10, "delta": 1e-5}
    assert epsilon(**known, sampling_rate=0.1, group=3) > epsilon(**known, sampling_rate=0.1)
    assert epsilon(**known, group=4) == pytest.approx(epsilon(**{**known, "noise_multiplier": 1.0}), rel=1e-9)
    assert training(noise_multiplier=4.0, sampling_rate=0.1, steps=10, group=3).unit == "3 rows together"


@pytest.mark.parametrize("at", [2.0, 3.5, 64.0])
@pytest.mark.parametrize(("rate", "shift"), [(1.0, 1), (0.3, 4), (0.01, 50)])
def test_divergence_of_discrete_laplace_noise_is_the_sum(rate: float, shift: int, at: float) -> None:
    x = np.arange(-4000, 4000)
    loss = rate * (np.abs(x - shift) - np.abs(x))
    masses = np.tanh(rate / 2) * np.exp(-rate * np.abs(x))
    wanted = math.log(float(np.sum(masses * np.exp((at - 1) * loss)))) / (at - 1)
    assert discrete_laplace(rate, shift, [at])[0] == pytest.approx(wanted, rel=1e-9)


def test_fine_grids_of_laplace_noise_cost_what_laplace_noise_costs() -> None:
    """A thousand million grid steps: no loop over them, neither in divergences nor in loss distributions."""
    fine = events.Event(dp_event.DiscreteLaplaceDpEvent(1e-9, 10**9), events.BOTH, "release").times(8)
    rough = events.Event(dp_event.LaplaceDpEvent(1.0), events.BOTH, "release").times(8)
    for accountant in ("pld", "rdp"):
        assert epsilon_at(fine, 1e-5, accountant) == pytest.approx(epsilon_at(rough, 1e-5, accountant), rel=1e-5)


def test_delta_is_the_inverse_of_epsilon() -> None:
    for accountant in ("pld", "rdp"):
        known: dict[str, Any] = {"noise_multiplier": 1.0, "sampling_rate": 0.05, "steps": 200, "accountant": accountant}
        assert delta(epsilon=epsilon(delta=1e-5, **known), **known) == pytest.approx(1e-5, rel=1e-3)


def test_steps_fit_exactly() -> None:
    known: dict[str, Any] = {"noise_multiplier": 1.0, "sampling_rate": 0.05, "delta": 1e-5}
    count = steps(epsilon=2.0, **known)
    assert epsilon(steps=count, **known) <= 2.0 < epsilon(steps=count + 1, **known)
    assert steps(epsilon=0.01, noise_multiplier=0.5, delta=1e-6) == 0


# -- traps of others


def test_trap_shuffling_accounted_as_poisson_is_impossible() -> None:
    """The sampler decides the event: one unamplified Gaussian an epoch, several times what Poisson sampling would cost."""
    known: dict[str, Any] = {"noise_multiplier": 0.8, "sampling_rate": 0.01, "steps": 100, "delta": 1e-5}
    shuffled = training(noise_multiplier=0.8, sampling_rate=0.01, steps=100, sampling="shuffled")
    assert shuffled.dp == dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(0.8), 1)
    assert shuffled.relations == (Relation.ZERO_OUT,)
    assert epsilon(**known, sampling="shuffled") > 3 * epsilon(**known, sampling="poisson")
    with pytest.raises(SettingsError, match="sampling = 'shuffle'"):
        epsilon(**known, sampling="shuffle")


def test_trap_epochs_of_shuffled_batches_round_up() -> None:
    for count, wanted in ((1, 1), (100, 1), (101, 2), (1000, 10)):
        event = training(noise_multiplier=1.0, sampling_rate=0.01, steps=count, sampling="shuffled")
        assert event.dp.count == wanted
    ragged = training(noise_multiplier=1.0, sampling_rate=0.3, steps=6, sampling="shuffled")  # 3 whole batches an epoch
    assert ragged.dp.count == 2


def test_trap_microbatching_doubles_sensitivity() -> None:
    """Sums clipped per microbatch move by two norms when a row is changed: half the multiplier, as published."""
    half = epsilon(noise_multiplier=0.35, sampling_rate=0.01, steps=120, delta=1e-5, accountant="rdp")
    assert half == pytest.approx(22.6248601, abs=1e-6)


def test_trap_replacing_a_row_moves_the_sum_by_two_norms() -> None:
    event = events.fixed(10, 100, 2.0, 1).dp.event
    assert event == dp_event.SampledWithoutReplacementDpEvent(100, 10, dp_event.GaussianDpEvent(1.0))


def test_trap_gdp_underreports_and_is_not_offered() -> None:
    for name in ("gdp", "clt", "prv", ""):
        with pytest.raises(SettingsError, match="Gaussian DP"):
            epsilon(noise_multiplier=0.7, sampling_rate=0.01, steps=100, delta=1e-5, accountant=name)


def test_trap_empty_batches_count_as_steps() -> None:
    """With one expected row in ten thousand steps, nearly all batches are empty, and every one of them costs."""
    known: dict[str, Any] = {"noise_multiplier": 1.0, "sampling_rate": 1e-4, "delta": 1e-5}
    costs = [epsilon(steps=count, **known) for count in (1000, 2000, 10_000)]
    assert 0 < costs[0] < costs[1] < costs[2]


def test_trap_pld_has_no_bound_for_sampling_without_replacement() -> None:
    known: dict[str, Any] = {"noise_multiplier": 2.0, "sampling_rate": 0.01, "steps": 100, "delta": 1e-5}
    with pytest.raises(SettingsError, match="accountant='rdp'"):
        epsilon(**known, sampling="fixed")
    assert training(noise_multiplier=2.0, sampling_rate=0.01, steps=100, sampling="fixed").relation is Relation.REPLACE
    assert 0 < epsilon(**known, sampling="fixed", accountant="rdp") < math.inf


def test_trap_choosing_hyperparameters_costs_all_candidates_and_the_choice() -> None:
    one = training(noise_multiplier=2.0, sampling_rate=0.05, steps=100)
    choice = events.full_batch(10.0, 4)
    searched = events.search([one] * 4, choice)
    assert composed([searched], delta=1e-5) == pytest.approx(composed([one, one, one, one, choice], delta=1e-5))
    assert composed([searched], delta=1e-5) > composed([one.times(4)], delta=1e-5) > composed([one], delta=1e-5)
    assert composed([events.search([one], None)], delta=1e-5) == composed([one], delta=1e-5)


def test_trap_random_stopping_is_for_renyi_alone_and_beats_many_candidates() -> None:
    one = training(noise_multiplier=2.0, sampling_rate=0.05, steps=100)
    stopped = events.random_stopping(one, mean=50, shape=1)
    with pytest.raises(SettingsError, match="accountant='rdp'"):
        composed([stopped], delta=1e-5)
    cost = composed([stopped], delta=1e-5, accountant="rdp")
    alone, all_of_them = (composed([each], delta=1e-5, accountant="rdp") for each in (one, one.times(50)))
    assert alone < cost < all_of_them


def test_trap_relations_do_not_mix() -> None:
    fixed, shuffled = events.fixed(10, 100, 2.0, 1), events.shuffled(1, 2.0)
    with pytest.raises(SettingsError, match="different neighbouring relations"):
        events.compose([fixed, shuffled])
    with pytest.raises(SettingsError, match="not under zero-out"):
        curve(fixed, Relation.ZERO_OUT, (2.0,))
    with pytest.raises(SettingsError, match="different units"):
        events.compose([events.full_batch(2.0, 1), events.full_batch(2.0, 1, unit="user")])


# -- bad input and limits


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"noise_multiplier": 0}, "noise_multiplier = 0"),
        ({"noise_multiplier": -1.0}, "noise_multiplier"),
        ({"noise_multiplier": math.nan}, "noise_multiplier"),
        ({"noise_multiplier": math.inf}, "noise_multiplier"),
        ({"noise_multiplier": True}, "noise_multiplier"),
        ({"noise_multiplier": "1"}, "noise_multiplier"),
        ({"sampling_rate": 0}, "sampling_rate"),
        ({"sampling_rate": 1.0001}, "sampling_rate"),
        ({"sampling_rate": math.nan}, "sampling_rate"),
        ({"steps": 0}, "steps = 0"),
        ({"steps": 1.5}, "steps = 1.5"),
        ({"steps": -1}, "steps"),
        ({"delta": 0}, "delta = 0"),
        ({"delta": 1}, "delta = 1"),
        ({"delta": math.nan}, "delta"),
        ({"delta": -1e-5}, "delta"),
        ({"group": 0}, "group"),
        ({"sampling": "full", "sampling_rate": 0.5}, "all rows are in every batch"),
        ({"sampling": "fixed", "group": 2}, "group = 2"),
    ],
)
def test_bad_values_are_named(wrong: dict[str, Any], named: str) -> None:
    good: dict[str, Any] = {"noise_multiplier": 1.0, "sampling_rate": 0.1, "steps": 10, "delta": 1e-5}
    with pytest.raises(SettingsError, match=named):
        epsilon(**{**good, **wrong})


@pytest.mark.parametrize("budget", [0, -1.0, math.nan, math.inf])
def test_bad_budgets_are_named(budget: float) -> None:
    with pytest.raises(SettingsError, match="epsilon"):
        noise_multiplier(epsilon=budget, steps=1, delta=1e-5)


def test_a_delta_of_one_over_the_rows_warns_with_its_reason() -> None:
    with pytest.warns(DeltaWarning, match="publishing a row at random"):
        epsilon(noise_multiplier=1.0, steps=1, delta=0.01, rows=100)
    epsilon(noise_multiplier=1.0, steps=1, delta=0.0099, rows=100)  # warnings are errors here


@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_epsilon_falls_with_noise_and_grows_with_rate_and_steps(accountant: str) -> None:
    def at(sigma: float = 1.0, rate: float = 0.02, count: int = 100) -> float:
        return epsilon(noise_multiplier=sigma, sampling_rate=rate, steps=count, delta=1e-6, accountant=accountant)

    falling = [at(sigma=sigma) for sigma in (0.3, 0.5, 0.7, 0.9, 1.0, 1.5, 3.0, 10.0, 100.0)]
    assert all(a > b for a, b in itertools.pairwise(falling))
    for growing in ([at(rate=r) for r in (1e-4, 0.01, 0.1, 0.5, 1.0)], [at(count=c) for c in (1, 10, 1000, 100_000)]):
        assert all(a < b for a, b in itertools.pairwise(growing))


@pytest.mark.parametrize(
    ("sigma", "rate", "count"),
    [
        (1e-3, 0.5, 100),
        (1e-8, 1.0, 1),
        (0.05, 0.01, 10),
        (1e7, 1.0, 1),
        (1.0, 1e-6, 10**8),
        (1.0, 1e-12, 10**9),
        (1e3, 0.5, 10**6),
        (1e4, 0.5, 10**9),
        (1.0, 0.001, 10**15),
    ],
)
def test_limits_are_answered(sigma: float, rate: float, count: int) -> None:
    found = epsilon(noise_multiplier=sigma, sampling_rate=rate, steps=count, delta=1e-5)
    assert found >= 0
    assert not math.isnan(found)
    assert sigma > 0.01 or found > 1000


def test_searches_over_many_steps_are_answered() -> None:
    sigma = noise_multiplier(epsilon=1e-3, sampling_rate=0.01, steps=10**6, delta=1e-5)
    assert epsilon(noise_multiplier=sigma, sampling_rate=0.01, steps=10**6, delta=1e-5) <= 1e-3
    assert steps(epsilon=1.0, noise_multiplier=10.0, sampling_rate=0.001, delta=1e-5) > 10**6


@pytest.mark.parametrize(
    ("sigma", "rate", "count", "above"),
    [(1.0, 1e-6, 10**8, 0.01), (1e4, 0.5, 10**9, 0.05), (862_411, 0.5, 10**6, 0.001), (30.0, 0.3, 10**5, 0.001)],
)
def test_many_steps_cost_a_little_more_than_their_limit(sigma: float, rate: float, count: int, above: float) -> None:
    """The sum of many small losses is about a Gaussian's (its limit, no bound): rounding must not take us below it."""
    limit = 1 / (rate * math.sqrt(count * math.expm1(sigma**-2)))
    found = epsilon(noise_multiplier=sigma, sampling_rate=rate, steps=count, delta=1e-5)
    assert 1 <= found / epsilon(noise_multiplier=limit, steps=1, delta=1e-5) < 1 + above


def test_fixed_batches_with_huge_noise_are_still_bounded() -> None:
    """Their own bound leaves double precision there; the unsampled Gaussian bounds it, too."""
    known: dict[str, Any] = {"sampling_rate": 0.5, "steps": 1, "delta": 1e-5, "accountant": "rdp"}
    sampled = epsilon(noise_multiplier=1e9, sampling="fixed", **known)
    assert 0 <= sampled < 0.02
    assert epsilon(noise_multiplier=2.0, sampling="fixed", **known) <= epsilon(
        noise_multiplier=1.0, steps=1, delta=1e-5, accountant="rdp"
    )


# -- calibration


def settings(count: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        sampling = draw.choices(["poisson", "rdp", "fixed", "shuffled", "full"], [10, 10, 5, 40, 35])[0]
        found.append(
            {
                "epsilon": 10 ** draw.uniform(-0.7, 1.2),
                "delta": 10 ** draw.uniform(-8, -3),
                "steps": round(10 ** draw.uniform(0, 4)),
                "sampling_rate": 1.0 if sampling == "full" else 10 ** draw.uniform(-3, -0.3),
                "sampling": "poisson" if sampling == "rdp" else sampling,
                "accountant": "rdp" if sampling in ("rdp", "fixed") else "pld",
            }
        )
    return found


def spends(setting: dict[str, Any]) -> float:
    known = {name: value for name, value in setting.items() if name != "epsilon"}
    return epsilon(noise_multiplier=noise_multiplier(**setting), **known) / setting["epsilon"]


def test_calibration_never_overspends() -> None:
    shares = [spends(setting) for setting in settings(15, seed=1)]
    assert max(shares) <= 1
    assert sorted(shares)[2] > 1 - 1e-4  # and wastes next to nothing


@pytest.mark.slow
def test_calibration_never_overspends_on_a_thousand_random_settings() -> None:
    assert max(spends(setting) for setting in settings(1000, seed=2)) <= 1


def test_calibration_survives_a_staircase() -> None:
    """An accountant that jumps and a rough one that lies: what comes back still keeps the budget."""
    exact = lambda sigma: math.ceil(10 / sigma) / 10  # noqa: E731
    for target in (0.05, 0.3, 0.95, 2.0):
        for lie in (0.3, 1.0, 3.0):
            if target < 0.1:
                with pytest.raises(SettingsError, match="no noise multiplier"):
                    smallest(target, rough=lambda s, lie=lie: lie / s, exact=exact)
            else:
                assert exact(smallest(target, rough=lambda s, lie=lie: lie / s, exact=exact)) <= target
