"""Mechanisms: the grid of what they release, the epsilon their exact laws have, the delta they state."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from veriward.core.errors import BudgetExceeded, DataError, SettingsError
from veriward.core.streams import Stream
from veriward.privacy.dp import sparse
from veriward.privacy.dp.analytic import gaussian_delta, gaussian_multiplier
from veriward.privacy.dp.mechanisms import DiscreteGaussian, DiscreteLaplace, Gaussian, Laplace, Mechanism
from veriward.privacy.dp.noise import SecureSource, SimulatedSource
from veriward.privacy.dp.released import LARGEST, slack
from veriward.privacy.dp.selection import Exponential, RandomisedResponse, ReportNoisyMax
from veriward.privacy.dp.sparse import AboveThreshold

ALPHA = 1e-3


def source(name: str) -> SimulatedSource:
    return SimulatedSource(Stream.of(13, name))


def close_to(found: NDArray[Any], chances: NDArray[np.float64]) -> bool:
    wanted = chances * found.sum()
    return bool(((found - wanted) ** 2 / wanted).sum() < chi2.ppf(1 - ALPHA, len(wanted) - 1))


# -- noise on numbers


def binned(
    draws: NDArray[np.float64], cdf: Callable[[NDArray[np.float64]], NDArray[np.float64]], spread: float
) -> bool:
    edges = np.concatenate([[-np.inf], np.linspace(-5, 5, 201) * spread, [np.inf]])
    found, _ = np.histogram(draws, edges)
    return close_to(found, np.diff(cdf(edges)))


def test_a_million_laplace_draws_fit_the_exact_pmf() -> None:
    mechanism = Laplace(sensitivity=3.0, epsilon=0.7, size=1_000_000)
    scale = mechanism.on_grid.scale
    draws = mechanism.release(np.zeros(mechanism.size), source("laplace")).value / mechanism.grid

    def cdf(x: NDArray[np.float64]) -> NDArray[np.float64]:
        below = np.ceil(x) - 1  # the largest step below the edge
        tail = np.exp(-(np.abs(below) + (below >= 0)) / scale) / (1 + math.exp(-1 / scale))
        return np.asarray(np.where(below < 0, tail, 1 - tail))

    assert binned(draws, cdf, scale)
    assert not binned(draws * 1.02, cdf, scale)


def test_a_million_gaussian_draws_fit_the_exact_pmf() -> None:
    mechanism = Gaussian(sensitivity=3.0, epsilon=0.7, delta=1e-5, size=1_000_000)
    draws = mechanism.release(np.zeros(mechanism.size), source("gaussian")).value / mechanism.grid

    def cdf(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(norm.cdf((np.ceil(x) - 0.5) / mechanism.steps))

    assert binned(draws, cdf, mechanism.steps)
    assert not binned(draws * 1.02, cdf, mechanism.steps)


@pytest.mark.parametrize(
    "mechanism",
    [Laplace(1.0, 1.0, size=100_000), Laplace(0.3, 9.0, size=100_000), Gaussian(1.0, 1.0, 1e-5, size=100_000)],
)
def test_trap_float_laplace_leaks_through_its_bits(mechanism: Laplace | Gaussian) -> None:
    """Mironov, 2012: from 0 and from 1/3 the same outputs are possible, all of them on the grid."""
    for value in (0.0, 1 / 3, -1e5 / 7):
        released = mechanism.release(np.full(mechanism.size, value), SecureSource()).value
        steps = released / mechanism.grid
        assert np.array_equal(steps, np.rint(steps))
        assert math.frexp(mechanism.grid)[0] == 0.5
        assert len(np.unique(steps % 2)) == 2  # and not on a coarser one


def test_the_grid_and_the_noise_do_not_depend_on_the_value() -> None:
    mechanism = Laplace(1.0, 1.0)
    a = mechanism.release(0.0, source("same")).value
    b = mechanism.release(1024.0, source("same")).value
    assert b - a == 1024.0


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("epsilon", [0.01, 1.0, 10.0])
def test_rounding_is_paid_by_the_sensitivity(size: int, epsilon: float) -> None:
    """The worst two values: as far apart as the sensitivity says, each rounded the other way."""
    laplace = Laplace(2.0, epsilon, size)
    gaussian = Gaussian(2.0, epsilon, 1e-4, size)
    rng = Stream.of(0, f"round {size} {epsilon}").generator()
    for mechanism in (laplace, gaussian):
        for _ in range(50):
            a = rng.normal(size=size)
            change = rng.normal(size=size)
            change *= 2.0 / (np.abs(change).sum() if mechanism is laplace else np.linalg.norm(change))
            steps = np.abs(np.rint((a + change) / mechanism.grid) - np.rint(a / mechanism.grid))
            if isinstance(mechanism, Laplace):
                assert steps.sum() <= mechanism.on_grid.sensitivity
            else:
                assert np.linalg.norm(steps) <= mechanism._sensitivity_steps
    assert laplace.scale == pytest.approx(2.0 / epsilon, rel=1e-4)


def test_analytic_gaussian_meets_the_published_value() -> None:
    assert gaussian_multiplier(1.0, 1e-6) == pytest.approx(4.224679, abs=1e-6)


def test_the_gaussian_never_spends_more_than_its_delta() -> None:
    rng = Stream.of(0, "calibrate").generator()
    for _ in range(100):
        epsilon, delta = math.exp(rng.uniform(-3, 2.5)), math.exp(rng.uniform(-15, -2))
        mechanism = Gaussian(1.0, epsilon, delta)
        spent = gaussian_delta(mechanism.event().noise_multiplier, epsilon) + slack(epsilon, mechanism.distance)
        assert spent <= delta
        assert gaussian_delta(mechanism.event().noise_multiplier * 0.999, epsilon) > delta


def test_the_accountant_reads_the_epsilon_of_the_mechanism_from_its_event() -> None:
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import PLDAccountant

    local = NeighboringRelation.REPLACE_ONE
    cases: list[tuple[Mechanism, NeighboringRelation, float]] = [
        (DiscreteLaplace(2, 1.3), NeighboringRelation.ADD_OR_REMOVE_ONE, 1e-12),
        (Gaussian(2.0, 1.3, 1e-6), NeighboringRelation.ADD_OR_REMOVE_ONE, 1e-6),
        (RandomisedResponse(4, 1.3), local, 1e-12),
    ]
    for mechanism, relation, delta in cases:
        accountant = PLDAccountant(relation)
        accountant.compose(mechanism.event())
        assert accountant.get_epsilon(delta) == pytest.approx(mechanism.epsilon, rel=1e-5)


def test_the_discrete_gaussian_is_within_its_epsilon() -> None:
    """Canonne, Kamath & Steinke, 2020, theorem 7: delta from the exact pmf."""
    m = DiscreteGaussian(sensitivity=1.0, sigma=4.0, delta=1e-5)
    k = np.arange(-200, 201)
    p = np.exp(-(k**2) / (2 * m.sigma**2))
    p /= p.sum()
    exact = np.maximum(p[1:] - math.exp(m.epsilon) * p[:-1], 0).sum()
    assert exact <= m.delta
    assert m.event().rho == pytest.approx(1 / 32)


def test_the_discrete_laplace_has_exactly_its_epsilon() -> None:
    m = DiscreteLaplace(sensitivity=3, epsilon=0.8)
    k = np.arange(-50, 51)
    p = np.exp(-np.abs(k) / m.scale)
    assert np.abs(np.log(p[3:] / p[:-3])).max() == pytest.approx(0.8)


def test_values_beyond_every_grid_are_clamped_and_infinities_too() -> None:
    m = Laplace(1.0, 1.0)
    for value in (math.inf, 1e300):
        assert m.release(value, source("inf")).value == pytest.approx(LARGEST * m.grid)
    assert m.release(-math.inf, source("inf")).value == pytest.approx(-LARGEST * m.grid)


def test_shapes_are_kept() -> None:
    assert DiscreteLaplace(1, 1.0, size=6).release(np.zeros((2, 3), int), source("shape")).value.shape == (2, 3)
    assert isinstance(DiscreteLaplace(1, 1.0).release(3, source("shape")).value, int)
    assert isinstance(Gaussian(1.0, 1.0, 1e-5).release(3.5, source("shape")).value, float)


def test_simulation_is_said_in_the_output() -> None:
    released = Laplace(1.0, 1.0).release(0.0, source("said"))
    assert repr(released).startswith("NotPrivate(simulation)(") and repr(released).endswith("source=simulation)")
    assert repr(Laplace(1.0, 1.0).release(0.0, SecureSource())).startswith("Released(")


def test_the_samplers_distance_is_in_delta() -> None:
    released = DiscreteLaplace(1, 2.0, size=5).release(np.zeros(5), source("delta"))
    assert released.delta == pytest.approx(5 * 2.0**-43 * (1 + math.exp(2)))


# -- choices


def flip_pmf(utilities: NDArray[np.float64], sensitivity: float, epsilon: float) -> NDArray[np.float64]:
    """Permute-and-flip by its definition: over all orders, the first coin that falls."""
    coin = np.exp(epsilon / (2 * sensitivity) * (utilities - utilities.max()))
    pmf = np.zeros(len(coin))
    for order in itertools.permutations(range(len(coin))):
        left = 1.0
        for i in order:
            pmf[i] += left * coin[i]
            left *= 1 - coin[i]
    return pmf / math.factorial(len(coin))


def test_permute_and_flip_fits_its_definition_and_its_epsilon() -> None:
    utilities = np.array([1.0, 3.0, 2.5, 0.0])
    mechanism, src = ReportNoisyMax(1.0, 1.2, 4), source("flip")
    draws = np.array([mechanism.release(utilities, src).value for _ in range(20_000)])
    pmf = flip_pmf(utilities, 1.0, 1.2)
    assert close_to(np.bincount(draws, minlength=4), pmf)
    worst = max(
        np.abs(np.log(flip_pmf(utilities + np.array(move), 1.0, 1.2) / pmf)).max()
        for move in itertools.product([-1.0, 0.0, 1.0], repeat=4)
    )
    assert 1.0 < worst <= 1.2 + 1e-12


def test_the_exponential_mechanism_fits_its_law_and_its_epsilon() -> None:
    utilities = np.array([1.0, 3.0, 2.5, 0.0])
    mechanism, src = Exponential(1.0, 1.2), source("exponential")

    def law(u: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = np.exp(0.6 * u)
        return np.asarray(weights / weights.sum())

    draws = np.array([mechanism.release(utilities, src).value for _ in range(20_000)])
    assert close_to(np.bincount(draws, minlength=4), law(utilities))
    moves = itertools.product([-1.0, 0.0, 1.0], repeat=4)
    worst = max(np.abs(np.log(law(utilities + np.array(m)) / law(utilities))).max() for m in moves)
    assert 0.9 < worst <= 1.2


@pytest.mark.parametrize("categories", [2, 3, 10])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_randomised_response_has_its_epsilon_exactly(categories: int, epsilon: float) -> None:
    m = RandomisedResponse(categories, epsilon)
    lie = m.chance / categories
    assert math.log((1 - m.chance + lie) / lie) <= epsilon
    assert math.log((1 - m.chance + lie) / lie) == pytest.approx(epsilon, rel=1e-5)
    assert m.chance * 2.0**40 == int(m.chance * 2.0**40)  # a coin of 64 bits meets it
    answers = m.release(np.ones(50_000, int), source(f"rr {categories} {epsilon}")).value
    chances = np.full(categories, lie)
    chances[1] += 1 - m.chance
    assert close_to(np.bincount(answers, minlength=categories), chances)


# -- above-threshold


def test_above_threshold_draws_as_algorithm_1_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lyu et al., 2017: without noise on the bar, or with too little on the queries, nothing is protected."""
    scales: list[float] = []

    def quiet(scale: float, size: int, source: object) -> NDArray[np.int64]:
        scales.append(scale)
        return np.zeros(size, np.int64)

    monkeypatch.setattr(sparse, "discrete_laplace", quiet)
    m = AboveThreshold(threshold=10.0, sensitivity=2.0, epsilon=0.5)
    watch = m.watch(source("watch"))
    assert [watch.above(v) for v in (9.0, 9.999, 10.0)] == [False, False, True]
    assert scales == [2 * m.steps / 0.5, *[4 * m.steps / 0.5] * 3]  # the bar once, then every query
    assert m.steps * m.grid == pytest.approx(2.0, rel=1e-4)


def test_above_threshold_ends_with_the_first_pass_and_after_the_most() -> None:
    watch = AboveThreshold(threshold=0.0, sensitivity=1.0, epsilon=1.0).watch(source("ends"))
    assert watch.above(1e6)
    with pytest.raises(BudgetExceeded, match="new run"):
        watch.above(-1e6)
    watch = AboveThreshold(threshold=0.0, sensitivity=1.0, epsilon=1.0, most=2).watch(source("ends"))
    assert not watch.above(-1e6) and not watch.above(-1e6)
    with pytest.raises(BudgetExceeded, match="new run"):
        watch.above(-1e6)


def test_above_threshold_loses_at_most_epsilon_on_the_known_worst_case() -> None:
    """Three queries just below, one above, each moved by its sensitivity against the bar: exact, by summing over the bar."""
    epsilon, steps = 1.0, 8
    k = np.arange(-2000, 2001)
    bar = np.exp(-np.abs(k) * epsilon / (2 * steps))
    q = math.exp(-epsilon / (4 * steps))

    def passes(value: int) -> NDArray[np.float64]:
        gap = k - value  # noise >= gap
        return np.where(gap > 0, q ** np.maximum(gap, 0), 1 + q - q ** np.maximum(1 - gap, 0)) / (1 + q)

    def chance(values: list[int]) -> float:
        below = np.prod([1 - passes(v) for v in values[:-1]], axis=0)
        return float((bar * below * passes(values[-1])).sum())

    worst = max(
        abs(math.log(chance([a] * 3 + [b]) / chance([a + x] * 3 + [b + y])))
        for a, b, x, y in itertools.product([-8, 0, 8], [-8, 0, 8], [-steps, 0, steps], [-steps, 0, steps])
    )
    assert 0.5 < worst <= epsilon


def test_a_watch_tells_neither_its_bar_nor_a_value() -> None:
    watch = AboveThreshold(threshold=5.0, sensitivity=1.0, epsilon=1.0).watch(source("quiet"))
    assert repr(watch) == "Watch(epsilon=1.0, source=simulation)"


# -- what is refused

MAKERS: list[Callable[..., object]] = [
    lambda **o: Laplace(**{"sensitivity": 1.0, "epsilon": 1.0} | o),
    lambda **o: Gaussian(**{"sensitivity": 1.0, "epsilon": 1.0, "delta": 1e-6} | o),
    lambda **o: DiscreteLaplace(**{"sensitivity": 1, "epsilon": 1.0} | o),
    lambda **o: Exponential(**{"sensitivity": 1.0, "epsilon": 1.0} | o),
    lambda **o: ReportNoisyMax(**{"sensitivity": 1.0, "epsilon": 1.0, "candidates": 2} | o),
    lambda **o: AboveThreshold(**{"threshold": 1.0, "sensitivity": 1.0, "epsilon": 1.0} | o),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan, 50.0])
def test_epsilon_out_of_range_is_refused(make: Callable[..., object], epsilon: float) -> None:
    with pytest.raises(SettingsError, match="epsilon = "):
        make(epsilon=epsilon)


@pytest.mark.parametrize("make", MAKERS)
def test_trap_zero_sensitivity_is_refused(make: Callable[..., object]) -> None:
    with pytest.raises(SettingsError, match="needs no noise"):
        make(sensitivity=0)
    for sensitivity in (math.inf, math.nan, -1.0):
        with pytest.raises(SettingsError, match="positive, finite"):
            make(sensitivity=sensitivity)


@pytest.mark.parametrize("delta", [-1e-9, 1.0, 2.0, math.nan])
def test_delta_out_of_range_is_refused(delta: float) -> None:
    with pytest.raises(SettingsError, match="delta = "):
        Gaussian(1.0, 1.0, delta)
    with pytest.raises(SettingsError, match="delta = "):
        DiscreteGaussian(1.0, 1.0, delta)


@pytest.mark.parametrize("delta", [0.0, 1e-13])
def test_a_delta_below_the_samplers_own_is_refused(delta: float) -> None:
    with pytest.raises(SettingsError, match="own distance"):
        Gaussian(1.0, 1.0, delta)


def test_what_cannot_be_released_is_refused() -> None:
    src = source("refused")
    with pytest.raises(DataError, match="NaN"):
        Laplace(1.0, 1.0).release(math.nan, src)
    with pytest.raises(DataError, match="2 numbers came; want 1"):
        Gaussian(1.0, 1.0, 1e-6).release([1.0, 2.0], src)
    with pytest.raises(DataError, match="not whole"):
        DiscreteGaussian(1.0, 5.0, 1e-6).release(0.5, src)
    with pytest.raises(DataError, match="utilities"):
        Exponential(1.0, 1.0).release([], src)
    with pytest.raises(DataError, match="utilities"):
        ReportNoisyMax(1.0, 1.0, 2).release([1.0, math.nan], src)
    with pytest.raises(DataError, match="want 3"):
        ReportNoisyMax(1.0, 1.0, 3).release([1.0, 2.0], src)
    for values in ([2], [-1], [0.5], ["a"]):
        with pytest.raises(DataError, match="from 0 to 1"):
            RandomisedResponse(2, 1.0).release(values, src)
    with pytest.raises(SettingsError, match="at least 2"):
        RandomisedResponse(1, 1.0)
    with pytest.raises(SettingsError, match="want an integer"):
        DiscreteLaplace(1.5, 1.0)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="size = 0"):
        Laplace(1.0, 1.0, size=0)
    with pytest.raises(SettingsError, match="grid steps"):
        Laplace(1.0, 1e-9)
