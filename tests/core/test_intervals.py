"""Exact intervals and tails against published values, direct summation and brute-force coverage."""

import math
from fractions import Fraction

import numpy as np
import pytest

from veriward.core.intervals import clopper_pearson, gap_interval, gap_value, lower_tail, simultaneous, upper_tail


def pmf(n: int, share: float) -> list[float]:
    return [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]


def test_published_values() -> None:
    assert clopper_pearson(0, 300) == (0.0, pytest.approx(0.0122, abs=5e-5))
    # the log-ratio bound on epsilon for TP 500, FP 0, FN 0, TN 500: each share at alpha .01
    rates = clopper_pearson(500, 500, 0.99), clopper_pearson(0, 500, 0.99)
    assert math.log(rates[0][0] / rates[1][1]) == pytest.approx(4.54, abs=5e-3)
    # Clopper and Pearson 1934, table: 3 of 10 at 95 %
    assert clopper_pearson(3, 10) == (pytest.approx(0.0667, abs=5e-5), pytest.approx(0.6525, abs=5e-5))


@pytest.mark.parametrize("n", [1, 2, 10, 300, 10_000])
def test_all_or_nothing_in_closed_form(n: int) -> None:
    low, high = clopper_pearson(0, n)
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / n), rel=1e-12))
    mirrored = clopper_pearson(n, n)
    assert mirrored == (pytest.approx(1 - high, rel=1e-9), 1.0)


def test_no_rows_know_nothing() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("n", [1, 5, 17, 40])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_coverage_is_at_least_the_confidence_at_every_share(n: int, confidence: float) -> None:
    ends = [clopper_pearson(k, n, confidence) for k in range(n + 1)]
    for share in np.linspace(0, 1, 201):
        chance = sum(p for p, (low, high) in zip(pmf(n, share), ends, strict=True) if low <= share <= high)
        assert chance >= confidence - 1e-12


def test_each_end_misses_by_exactly_half_of_the_level() -> None:
    low, high = clopper_pearson(7, 30, 0.9)
    assert upper_tail(7, 30, low) == pytest.approx(0.05, rel=1e-9)
    assert lower_tail(7, 30, high) == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize("wrong", [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 0.0), (1, 3, 1.0)])
def test_nonsense_is_refused(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="clopper_pearson"):
        clopper_pearson(*wrong)


@pytest.mark.parametrize("n", [1, 7, 25])
@pytest.mark.parametrize("share", [Fraction(1, 100), Fraction(3, 10), Fraction(1, 2), Fraction(97, 100)])
def test_tails_are_the_sums_of_the_binomial(n: int, share: Fraction) -> None:
    exact = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    for k in range(n + 1):
        assert lower_tail(k, n, float(share)) == pytest.approx(float(sum(exact[: k + 1])), rel=1e-9)
        assert upper_tail(k, n, float(share)) == pytest.approx(float(sum(exact[k:])), rel=1e-9)


def test_tails_at_the_ends_of_the_line() -> None:
    assert lower_tail(3, 10, 0.0) == 1.0  # "at least 0" is always true
    assert lower_tail(3, 10, 1.0) == 0.0  # "every row" is refuted by one that is not
    assert upper_tail(3, 10, 1.0) == 1.0
    assert upper_tail(3, 10, 0.0) == 0.0
    assert lower_tail(10, 10, 0.7) == upper_tail(0, 10, 0.7) == 1.0


def test_simultaneous_intervals_share_the_level_after_sidak() -> None:
    together = simultaneous([(5, 20), (9, 30)], 0.95)
    assert together == [clopper_pearson(5, 20, 0.95**0.5), clopper_pearson(9, 30, 0.95**0.5)]
    assert simultaneous([(5, 20)], 0.95) == [clopper_pearson(5, 20)]


def test_gap_of_the_widest_family() -> None:
    assert gap_value([[[1, 10], [4, 10], [2, 10]], [[0, 5], [5, 5]]]) == 1.0
    assert gap_value([[[1, 10], [4, 10], [0, 0]]]) == pytest.approx(0.3)
    assert math.isnan(gap_value([[[1, 10]]]))


def test_a_group_without_rows_may_have_any_share() -> None:
    low, high = gap_interval([[[50, 100], [50, 100], [0, 0]]])
    assert low == 0.0
    assert high > 0.5


def test_more_groups_make_the_interval_wider() -> None:
    two, three = gap_interval([[[50, 100], [80, 100]]]), gap_interval([[[50, 100], [80, 100], [60, 100]]])
    assert three[0] < two[0] < two[1] < three[1]


@pytest.mark.parametrize(
    ("shares", "sizes"),
    [((0.5, 0.5), (40, 40)), ((0.1, 0.3, 0.2), (30, 200, 5)), ((0.02, 0.0, 0.01, 0.03), (100, 50, 400, 20))],
)
def test_the_gap_is_covered_whatever_the_sizes(shares: tuple[float, ...], sizes: tuple[int, ...]) -> None:
    generator, truth = np.random.default_rng(0), max(shares) - min(shares)
    draws = generator.binomial(sizes, shares, size=(400, len(sizes)))
    ends = [gap_interval([np.stack([draw, sizes], axis=1).tolist()]) for draw in draws]
    assert sum(low <= truth <= high for low, high in ends) >= 400 * 0.95 - 2 * math.sqrt(400 * 0.95 * 0.05)
