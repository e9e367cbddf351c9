"""Samplers on whole numbers against their exact laws: by chi-square, and by 60-digit arithmetic for the distance."""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2, kstest, norm

from veriward.core.errors import SettingsError
from veriward.core.streams import Stream
from veriward.privacy.dp import discrete
from veriward.privacy.dp.noise import SimulatedSource

ALPHA = 1e-3
DRAWS = 1_000_000


def source(name: str) -> SimulatedSource:
    return SimulatedSource(Stream.of(11, name))


def fits(draws: NDArray[np.int64], support: NDArray[np.int64], weights: NDArray[np.float64]) -> bool:
    """Chi-square at ALPHA of draws against weights on a support, cells below 10 expected pooled."""
    wanted = weights / weights.sum() * len(draws)
    found = np.array([np.count_nonzero(draws == k) for k in support])
    big = wanted >= 10
    found = np.append(found[big], len(draws) - found[big].sum())
    wanted = np.append(wanted[big], max(len(draws) - wanted[big].sum(), 1e-9))
    if wanted[-1] < 1:
        found, wanted = found[:-1], wanted[:-1]
    return bool(((found - wanted) ** 2 / wanted).sum() < chi2.ppf(1 - ALPHA, len(found) - 1))


SUPPORT = np.arange(-60, 61)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.7])
def test_discrete_laplace_fits_its_pmf(scale: float) -> None:
    draws = discrete.discrete_laplace(scale, DRAWS, source(f"laplace {scale}"))
    assert fits(draws, SUPPORT, np.exp(-np.abs(SUPPORT) / scale))


def test_the_chi_square_test_notices_a_scale_off_by_one_percent() -> None:
    draws = discrete.discrete_laplace(3.7, DRAWS, source("laplace 3.7"))
    assert not fits(draws, SUPPORT, np.exp(-np.abs(SUPPORT) / 3.737))


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 8.0])
def test_discrete_gaussian_fits_its_pmf(sigma: float) -> None:
    draws = discrete.discrete_gaussian(sigma, DRAWS, source(f"gauss {sigma}"))
    assert fits(draws, SUPPORT, np.exp(-(SUPPORT**2) / (2 * sigma**2)))


@pytest.mark.parametrize("scale", [1, 3, 10])
def test_rounded_normal_fits_its_pmf(scale: int) -> None:
    draws = discrete.rounded_normal(scale, DRAWS, source(f"normal {scale}"))
    assert fits(draws, SUPPORT, norm.cdf((SUPPORT + 0.5) / scale) - norm.cdf((SUPPORT - 0.5) / scale))


@pytest.mark.parametrize(
    ("draw", "scale", "law"),
    [
        (discrete.discrete_laplace, 2.0**40, "laplace"),
        (discrete.discrete_gaussian, 2.0**40, "norm"),
        (discrete.rounded_normal, 2**20, "norm"),
    ],
)
def test_at_the_largest_scale_the_law_is_the_continuous_one(
    draw: Callable[..., NDArray[np.int64]], scale: float, law: str
) -> None:
    assert kstest(draw(scale, 200_000, source(f"large {law} {scale}")) / scale, law).pvalue > ALPHA


def exact_exp(x: Decimal) -> Decimal:
    with localcontext() as context:
        context.prec = 60
        return x.exp()


def threshold(p: float) -> Decimal:
    """What `coins` makes of a chance."""
    return Decimal(int(np.uint64(min(p, 1 - 2.0**-53) * 2.0**64))) / Decimal(2**64)


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 2.9, 1000.0, 123_456.789, 2.0**31 / 3, 2.0**40])
def test_discrete_laplace_is_within_its_distance(scale: float) -> None:
    digits = max(0, math.ceil(math.log2(45 * scale)))
    with localcontext() as context:
        context.prec = 60
        wrong = sum(
            abs(threshold(discrete.digit_chance(i, scale)) - 1 / (1 + exact_exp(Decimal(2**i) / Decimal(scale))))
            for i in range(digits)
        )
        beyond = exact_exp(-Decimal(2**digits) / Decimal(scale))
        assert 2 * (wrong + beyond) < Decimal(discrete.LAPLACE_DISTANCE)


@pytest.mark.parametrize("sigma", [0.05, 0.7, 1.0, 17.3, 1e6 / 3, 2.0**40])
def test_the_acceptance_of_the_discrete_gaussian_is_exact_to_2_to_the_minus_49(sigma: float) -> None:
    scale = math.floor(sigma) + 1.0
    y = np.unique((np.linspace(0, 12, 300) * max(sigma, 1)).astype(np.int64))
    d = (np.abs(y) - sigma * (sigma / scale)) / sigma
    with localcontext() as context:
        context.prec = 60
        s = Decimal(sigma)
        for k, p in zip(y.tolist(), np.exp(-0.5 * d * d).tolist(), strict=True):
            exact = exact_exp(-((abs(Decimal(k)) - s * s / Decimal(scale)) ** 2) / (2 * s * s))
            assert abs(threshold(p) - exact) < Decimal(2) ** -49


def test_the_steps_of_the_rounded_normal_are_exact() -> None:
    weights = [exact_exp(Decimal(-k * k) / 2) for k in range(30)]
    with localcontext() as context:
        context.prec = 60
        total = sum(weights, Decimal(0))
        for k, found in enumerate(discrete._CUMULATIVE.tolist()):
            assert abs(Decimal(found) / Decimal(2**64) - sum(weights[: k + 1], Decimal(0)) / total) < Decimal(2) ** -50


def test_rounding_is_that_of_the_exact_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Follow the words: k, x, acceptance and sign in turn, and round scale (k + x) by whole numbers of any length."""
    words = [
        np.array(w, np.uint64) for w in ([0, 2**63, 2**64 - 1], [2**64 - 1, 2**61 + 12345, 7], [0] * 3, [2**63] * 3)
    ]

    class Scripted:
        name = "simulation"

        def bits(self, count: int) -> NDArray[np.uint64]:
            return words.pop(0)[:count]

    monkeypatch.setattr(discrete, "_until", lambda size, propose: propose(size))
    scale = 999_983
    k = np.searchsorted(discrete._CUMULATIVE, words[0], side="right").tolist()
    x = words[1].tolist()
    draws = discrete.rounded_normal(scale, 3, Scripted())  # type: ignore[arg-type]
    assert draws.tolist() == [(2 * scale * (k_ * 2**64 + x_) + 2**64) // 2**65 for k_, x_ in zip(k, x, strict=True)]


def test_coins_meet_dyadic_chances_exactly_and_the_ends() -> None:
    class Ends:
        name = "simulation"

        def bits(self, count: int) -> NDArray[np.uint64]:
            return np.array([0, 2**62 - 1, 2**62, 2**64 - 1], np.uint64)[:count]

    def coins(p: float) -> list[bool]:
        return [bool(c) for c in discrete.coins(p, 4, Ends())]  # type: ignore[arg-type]

    assert coins(0.25) == [True, True, False, False]
    assert coins(0.0) == [False] * 4
    assert coins(1.0) == [True] * 4


def test_below_is_uniform_and_redraws_the_biased_end() -> None:
    draws = discrete.below(7, 100_000, source("below"))
    assert fits(draws, np.arange(7), np.ones(7))

    class Script:
        name = "simulation"
        calls = 0

        def bits(self, count: int) -> NDArray[np.uint64]:
            self.calls += 1
            return np.full(count, 2**64 - 1 if self.calls == 1 else 5, np.uint64)

    assert discrete.below(3 << 60, 2, Script()).tolist() == [5, 5]  # type: ignore[arg-type]


def test_choose_fits_its_weights_and_never_takes_weight_zero() -> None:
    weights = np.array([3.0, 0.0, 1.0, 0.5, 5.5, 0.0, 2.0])
    src = source("choose")
    draws = np.array([discrete.choose(weights, src) for _ in range(20_000)])
    assert not np.isin(draws, [1, 5]).any()
    assert fits(draws, np.arange(7), weights)
    assert discrete.choose(np.array([5.0]), src) == 0


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan, 2.0**41])
def test_scales_without_proof_are_refused(scale: float) -> None:
    for draw in (discrete.discrete_laplace, discrete.discrete_gaussian):
        with pytest.raises(SettingsError, match="grid steps"):
            draw(scale, 1, source("refused"))
