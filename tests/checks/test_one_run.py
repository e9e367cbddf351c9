"""Bounds from one run: published values, closed forms, and mechanisms whose truth is known."""

import math

import numpy as np
import pytest

import veriward as vw
from veriward.checks.leakage.one_run import one_run_epsilon, p_value
from veriward.checks.leakage.one_run_curve import Gaussian, Profile, gaussian_epsilon, one_run_mu, refuted
from veriward.core.errors import SettingsError
from veriward.privacy.dp.accounting import epsilon as accounted
from veriward.privacy.dp.analytic import gaussian_delta


# Published check values of the paper's own program, at confidence .95 and delta 1e-5.
@pytest.mark.parametrize(("r", "v", "bound"), [(100, 100, 3.465376), (100, 95, 2.165176), (1000, 700, 0.731740)])
def test_published_bounds(r: int, v: int, bound: float) -> None:
    found = vw.checks.leakage.one_run_epsilon(guesses=r, correct=v, canaries=1000, delta=1e-5, confidence=0.95)
    assert found == pytest.approx(bound, abs=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 3.0])
def test_without_delta_all_correct_is_a_power(epsilon: float) -> None:
    """Randomised response is the extreme mechanism: all of r right has chance (1 / (1 + exp(-epsilon)))**r."""
    right = 1 / (1 + math.exp(-epsilon))
    assert p_value(20, 20, 50, epsilon, 1e-300) == pytest.approx(right**20)
    bound = -math.log(0.05 ** (-1 / 20) - 1)
    assert one_run_epsilon(guesses=20, correct=20, canaries=50, delta=1e-300, confidence=0.95) == pytest.approx(bound)


def test_delta_counts_once_for_each_canary_twice() -> None:
    """One guess, right: 1 / (1 + e**-epsilon) and 2 m delta times the chance of missing it by one."""
    assert p_value(1, 1, 7, 1.0, 0.01) == pytest.approx(1 / (1 + math.exp(-1)) + 2 * 7 * 0.01 / (1 + math.exp(1)))


def test_more_confidence_canaries_or_delta_never_raise_a_bound() -> None:
    def bound(**other: float) -> float:
        known = {"guesses": 100, "correct": 90, "canaries": 1000, "delta": 1e-5, "confidence": 0.95}
        return one_run_epsilon(**(known | other))  # type: ignore[arg-type]

    assert bound() > bound(confidence=0.999) > 0
    assert bound() > bound(canaries=10_000) > bound(canaries=10_000, delta=1e-4)
    assert bound(correct=55) == 0 < bound(correct=80) < bound()


def test_no_correct_guess_and_no_more_than_half_say_nothing() -> None:
    for correct in (0, 50):
        known = {"guesses": 100, "correct": correct, "canaries": 200, "confidence": 0.999}
        assert one_run_epsilon(**known, delta=1e-5) == 0.0  # type: ignore[arg-type]
        assert one_run_mu(**known) == 0.0  # type: ignore[arg-type]


@pytest.mark.parametrize(("guesses", "correct", "canaries"), [(0, 0, 5), (5, 6, 9), (5, -1, 9), (10, 5, 9)])
def test_impossible_counts_are_refused(guesses: int, correct: int, canaries: int) -> None:
    with pytest.raises(SettingsError, match="correct <= guesses <= canaries"):
        one_run_epsilon(guesses=guesses, correct=correct, canaries=canaries, delta=1e-5, confidence=0.95)
    with pytest.raises(SettingsError, match="correct <= guesses <= canaries"):
        one_run_mu(guesses=guesses, correct=correct, canaries=canaries, confidence=0.95)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan, 95])
def test_impossible_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(SettingsError, match="confidence = "):
        one_run_epsilon(guesses=10, correct=5, canaries=10, delta=1e-5, confidence=confidence)


# The trade-off curve.


@pytest.mark.parametrize("mu", [0.1, 1.0, 4.0])
def test_a_gaussian_is_its_own_profile(mu: float) -> None:
    """Pairs (epsilon, delta) are tangents of the curve: they never exceed it, and many come close."""
    epsilons = np.linspace(0, 30, 3001)
    profile = Profile(epsilons, [gaussian_delta(1 / mu, epsilon) for epsilon in epsilons])
    for chance in (1e-4, 0.01, 0.3, 0.5, 0.9, 0.999):
        exact = Gaussian(mu).least(chance)
        assert exact * 0.999 - 1e-7 <= profile.least(chance) <= exact + 1e-12


def test_one_canary_is_as_the_curve_says() -> None:
    """With one canary, right is at most as likely as 1 - x where x = least(1 - x); for a Gaussian Phi(mu / 2)."""
    mu, right = 1.0, 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))
    for slack, excluded in ((1e-6, True), (-1e-6, False)):
        confidence = 1 - (right + slack)
        assert refuted(Gaussian(mu), guesses=1, correct=1, canaries=1, confidence=confidence) is excluded


@pytest.mark.parametrize(("guesses", "canaries"), [(1, 1), (10, 10), (100, 1000), (1000, 1000)])
def test_a_mechanism_that_tells_all_once_in_twenty_is_not_refuted(guesses: int, canaries: int) -> None:
    """(0, .05)-private: everything is right with a chance of more than .05, so nothing is refuted at .951."""
    claim = Profile([0.0], [0.05])
    assert not refuted(claim, guesses=guesses, correct=guesses, canaries=canaries, confidence=0.951)


def test_and_that_bound_is_sharp() -> None:
    """All ten of ten are right with a chance of .05 + .95 / 1024 at most."""
    chance = 0.05 + 0.95 / 1024
    for slack, excluded in ((1e-3, True), (-1e-6, False)):
        confidence = 1 - (chance + slack)
        assert refuted(Profile([0.0], [0.05]), guesses=10, correct=10, canaries=10, confidence=confidence) is excluded


@pytest.mark.parametrize("mu", [0.2, 0.7, 2.0])
def test_epsilon_of_a_gaussian_is_the_accountants(mu: float) -> None:
    assert gaussian_epsilon(mu, 1e-5) == pytest.approx(
        accounted(noise_multiplier=1 / mu, steps=1, delta=1e-5), rel=1e-6
    )


def guessed(generator: np.random.Generator, coins: np.ndarray, scores: np.ndarray, guesses: int) -> int:
    order = np.argsort(scores)
    return int(coins[order[-guesses // 2 :]].sum() + (1 - coins[order[: guesses // 2]]).sum())


def share_above(chance_of_error: float, trials: int) -> int:
    """The count that a binomial exceeds once in a thousand times."""
    from scipy.special import bdtrik

    return math.ceil(float(bdtrik(0.999, trials, chance_of_error)))


def test_bounds_on_noisy_sums_exceed_the_truth_no_more_often_than_stated() -> None:
    mu, canaries, trials, above = 1.0, 500, 300, {"mu": 0, "epsilon": 0}
    generator, truth = np.random.default_rng(1), gaussian_epsilon(1.0, 1e-3)
    for _ in range(trials):
        coins = generator.integers(0, 2, canaries)
        correct = guessed(generator, coins, generator.normal(size=canaries) + mu * coins, 60)
        known = {"guesses": 60, "correct": correct, "canaries": canaries, "confidence": 0.9}
        above["mu"] += one_run_mu(**known) > mu  # type: ignore[arg-type]
        above["epsilon"] += one_run_epsilon(**known, delta=1e-3) > truth  # type: ignore[arg-type]
    assert max(above.values()) <= share_above(0.1, trials)


def test_guesses_that_fail_together_are_allowed_for() -> None:
    """Noise of half the size, once in twelve times, for all canaries at once: at .9 a binomial test would err that often."""
    canaries, trials, rare, above = 1000, 400, 1 / 12, 0
    generator, epsilons = np.random.default_rng(2), np.linspace(0, 12, 200)
    claim = Profile(epsilons, [rare * gaussian_delta(0.5, e) + (1 - rare) * gaussian_delta(2.0, e) for e in epsilons])
    for _ in range(trials):
        mu = 2.0 if generator.random() < rare else 0.5
        coins = generator.integers(0, 2, canaries)
        correct = guessed(generator, coins, generator.normal(size=canaries) + mu * coins, 150)
        above += refuted(claim, guesses=150, correct=correct, canaries=canaries, confidence=0.9)
    assert above <= share_above(0.1, trials)
