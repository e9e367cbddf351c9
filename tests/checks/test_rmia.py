"""RMIA and attack P: equal to their definitions, and to the Neyman-Pearson test where the world allows it."""

from typing import Any

import numpy as np
import pytest
from scipy.special import expit, ndtr, ndtri

from veriward.checks.leakage.attack_p import population_p
from veriward.checks.leakage.exposure import estimates
from veriward.checks.leakage.rmia import ratios, rmia
from veriward.core.errors import SettingsError

Array = np.ndarray[Any, Any]


def pairwise(x: Array, z: Array, gamma: float) -> Array:
    """The definition: the share of z with x / z > gamma."""
    with np.errstate(all="ignore"):
        return np.asarray((x[:, None] / z[None] > gamma).mean(1))


@pytest.mark.parametrize("gamma", [1.0, 2.0, 1.1, 1 / 3, 0.7, 1e300, 1e-300])
@pytest.mark.parametrize("seed", range(5))
def test_sorting_equals_comparing_all_pairs(gamma: float, seed: int) -> None:
    """To the last bit: with ties, zeros, infinities, numbers next to each other and numbers near the smallest."""
    rng = np.random.default_rng(seed)
    z = rng.lognormal(size=200)
    near = np.concatenate([np.nextafter(z[:50], 0), z[:50], np.nextafter(z[:50], 9)])
    grid = rng.integers(0, 6, size=60) / 3
    odd = np.array([0.0, np.inf, 5e-324, 1e-310, 1e308])
    z = np.concatenate([z, z[:20], near, grid, odd])
    with np.errstate(over="ignore"):
        x = np.concatenate([rng.lognormal(size=200), z * gamma, near * gamma, near, grid, odd])
    np.testing.assert_array_equal(rmia(x, z, gamma=gamma).values, pairwise(x, z, gamma))


def test_a_gaussian_world_gives_the_neyman_pearson_rate() -> None:
    """Rows alike, confidences small: log p is phi up to a constant, so the ratios order rows as phi does."""
    rng, members, rows, shadows = np.random.default_rng(0), 3000, 13_000, 256
    member = np.arange(rows) < members
    in_ = rng.random((shadows, rows)) < 0.5
    shadow_p = expit(rng.normal(size=in_.shape) + 2 * in_ - 9)
    p = expit(rng.normal(size=rows) + 2 * member - 9)
    population = expit(rng.normal(size=5000) - 9), expit(rng.normal(size=(shadows, 5000)) - 9)
    never = np.zeros((shadows, 5000), dtype=bool)
    for a in (None, 0.3):
        x = ratios(p, shadow_p, in_, offline_a=a)
        z = ratios(*population, never, offline_a=a)
        found = estimates(*rmia(x, z).sides(member))[-1]
        assert found.at["fpr"] == 0.01
        assert found.low is not None
        assert found.high is not None
        assert found.low <= ndtr(2 - ndtri(0.99)) <= found.high


def test_no_difference_is_found_where_there_is_none() -> None:
    """Of 40 worlds without leakage the interval of the area misses .5 in as many as chance allows (1 in 300: above 6)."""
    missed = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        easy = rng.normal(size=600) * 2
        in_ = (rng.random((8, 600)) < 0.5) & (np.arange(600) < 400)
        p, shadow_p = expit(rng.normal(size=600) + easy), expit(rng.normal(size=(8, 600)) + easy)
        x = ratios(p[:400], shadow_p[:, :400], in_[:, :400])
        z = ratios(p[400:], shadow_p[:, 400:], in_[:, 400:])
        found = estimates(*rmia(x, z).sides(np.arange(400) < 200))[0]
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= 0.5 <= found.high
    assert missed <= 6


def test_order_and_a_common_factor_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    x, z = rng.lognormal(size=100), rng.lognormal(size=80)
    known, order = rmia(x, z, gamma=1.5).values, rng.permutation(100)
    np.testing.assert_array_equal(rmia(x[order], rng.permutation(z), gamma=1.5).values, known[order])
    np.testing.assert_array_equal(rmia(4 * x, 4 * z, gamma=1.5).values, known)
    np.testing.assert_array_equal(rmia(x, z, gamma=3.0).values, rmia(x / 2, z, gamma=1.5).values)
    assert (np.diff(rmia(np.sort(x), z).values) >= 0).all()


def test_what_has_no_ratio_has_no_score() -> None:
    found = rmia(np.array([np.nan, 1.0]), np.array([np.nan, 0.5, 2.0]))
    np.testing.assert_array_equal(found.values, [np.nan, 0.5])
    assert found.unscored == 1
    assert rmia(np.ones(3), np.full(2, np.nan)).unscored == 3
    assert rmia(np.ones(3), np.ones(0)).unscored == 3


@pytest.mark.parametrize("gamma", [0.0, -1.0, np.inf, np.nan])
def test_a_gamma_that_is_not_positive_is_refused(gamma: float) -> None:
    with pytest.raises(SettingsError, match="want a positive number"):
        rmia(np.ones(2), np.ones(2), gamma=gamma)


# -- ratios


def test_both_worlds_weigh_the_same_however_many_shadows_they_have() -> None:
    shadow_p = np.array([[0.2], [0.2], [0.2], [0.8]])
    in_ = np.array([[False], [False], [False], [True]])
    assert ratios(np.array([0.5]), shadow_p, in_)[0] == pytest.approx(0.5 / 0.5)


def test_offline_knows_the_shadows_without_the_row_alone() -> None:
    rng = np.random.default_rng(4)
    p, shadow_p, in_ = rng.random(30), rng.random((12, 30)), rng.random((12, 30)) < 0.5
    outside = np.array([shadow_p[~in_[:, i], i].mean() for i in range(30)])
    for a in (0.0, 0.3, 1.0):
        wanted = p / (((a * outside + 1 - a) + outside) / 2)
        np.testing.assert_allclose(ratios(p, shadow_p, in_, offline_a=a), wanted)
        moved = ratios(p, np.where(in_, 0.5, shadow_p), in_, offline_a=a)
        np.testing.assert_array_equal(moved, ratios(p, shadow_p, in_, offline_a=a))


def test_a_population_that_no_shadow_saw_takes_all_shadows() -> None:
    rng = np.random.default_rng(5)
    p, shadow_p = rng.random(30), rng.random((12, 30))
    found = ratios(p, shadow_p, np.zeros((12, 30), dtype=bool))
    np.testing.assert_allclose(found, p / shadow_p.mean(0))
    np.testing.assert_allclose(found, ratios(p, shadow_p, np.zeros((12, 30), dtype=bool), offline_a=1.0))


def test_rows_without_shadows_of_a_side_have_no_ratio() -> None:
    shadow_p, in_ = np.full((3, 3), 0.5), np.array([[True, True, False], [True, False, False], [True, False, False]])
    assert np.isnan(ratios(np.ones(3), shadow_p, in_)).tolist() == [True, False, True]
    assert np.isnan(ratios(np.ones(3), shadow_p, in_, offline_a=0.5)).tolist() == [True, False, False]
    shadow_p[1:, 1] = np.nan  # shadows that failed on a row
    assert np.isnan(ratios(np.ones(3), shadow_p, in_, offline_a=0.5)).tolist() == [True, True, False]


def test_shapes_and_numbers_that_do_not_fit_are_refused() -> None:
    ones, never = np.ones(3), np.zeros((2, 3), dtype=bool)
    for bad in (
        (ones, np.ones((3, 2)), never),
        (np.ones(2), np.ones((2, 3)), never),
        (ones, np.ones((2, 3)), never * 1),
    ):
        with pytest.raises(SettingsError, match=r"want \(rows,\)"):
            ratios(*bad)
    for a in (-0.1, 1.1, np.nan):
        with pytest.raises(SettingsError, match="from 0 to 1"):
            ratios(ones, np.ones((2, 3)), never, offline_a=a)


# -- attack P


def test_the_p_value_holds_its_level() -> None:
    """Of non-members, the share with p at most a is a: p is uniform on 1 / (m + 1), ..., 1 over draws of both."""
    rng = np.random.default_rng(6)
    p = np.concatenate([population_p(rng.exponential(size=1), rng.exponential(size=19)) for _ in range(4000)])
    for level in (0.05, 0.1, 0.5):
        assert (p <= level + 1e-12).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 4000))


def test_ties_never_make_a_p_value_smaller() -> None:
    assert population_p(np.zeros(2), np.zeros(9)).tolist() == [1.0, 1.0]
    assert population_p(np.zeros(1), np.ones(9)).tolist() == [0.1]
    assert population_p(np.zeros(1), np.ones(0)).tolist() == [1.0]


def test_attack_p_orders_rows_as_the_loss_does() -> None:
    rng = np.random.default_rng(7)
    loss = np.sort(rng.exponential(size=50))
    assert (np.diff(population_p(loss, rng.exponential(size=100))) >= 0).all()
