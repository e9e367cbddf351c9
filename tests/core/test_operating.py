"""The rate's interval covers the truth although the threshold is estimated; ties never flatter."""

import numpy as np
import pytest
from scipy.special import ndtri

from veriward.core import basis
from veriward.core.intervals import clopper_pearson
from veriward.core.operating import counts, lower, point, reach_of, scaled, upper

FPR = 0.01


def world(generator: np.random.Generator, members: int, others: int, truth: float) -> tuple[np.ndarray, np.ndarray]:
    shift = float(ndtri(1 - FPR) - ndtri(1 - truth))
    return generator.normal(size=members) + shift, generator.normal(size=others)


@pytest.mark.parametrize(("members", "others", "truth"), [(1000, 1000, 0.1), (500, 2000, 0.03), (1000, 1000, 0.01)])
def test_the_interval_covers_the_truth_and_the_naive_one_does_not(members: int, others: int, truth: float) -> None:
    generator, covered, naive, runs = np.random.default_rng(1), 0, 0, 400
    for _ in range(runs):
        roc = counts(*world(generator, members, others, truth), FPR)
        low, high = basis.interval(roc)
        covered += low <= truth <= high
        low, high = clopper_pearson(point(roc)[0], members)
        naive += low <= truth <= high
    assert clopper_pearson(covered, runs, 0.999)[1] >= 0.95
    assert covered >= 0.95 * runs
    assert naive < 0.93 * runs


def test_p_values_are_small_no_more_often_than_they_say() -> None:
    generator, runs = np.random.default_rng(2), 400
    small = sum(basis.p_above(counts(*world(generator, 800, 1500, 0.1), FPR), 0.1) <= 0.05 for _ in range(runs))
    assert small <= 0.05 * runs


def test_p_value_and_interval_agree() -> None:
    roc = counts(*world(np.random.default_rng(3), 2000, 3000, 0.15), FPR)
    low, high = basis.interval(roc, 0.95)
    assert basis.p_above(roc, low - 1e-6) <= 0.025 * 1.01
    assert basis.p_above(roc, low + 1e-3) >= 0.025
    assert basis.p_below(roc, high + 1e-6) <= 0.025 * 1.01


def test_a_step_curve_is_covered_too() -> None:
    """Members that all score at the 99.5 % point of the others: the rate jumps from 0 to 1 below the wanted FPR."""
    generator, runs, covered = np.random.default_rng(4), 300, 0
    for _ in range(runs):
        others = generator.random(1000)
        roc = counts(np.full(300, 0.995), others, FPR)
        low, high = basis.interval(roc)
        covered += low <= 1.0 <= high
    assert covered >= 0.95 * runs


def test_ties_lower_the_lower_end_and_raise_the_upper_one() -> None:
    same = counts(np.ones(1000), np.ones(1000), FPR)
    assert point(same)[0] == 0
    assert lower(same, 0.025) == 0.0
    assert upper(same, 0.025) == 1.0


def test_few_non_members_show_nothing_from_below() -> None:
    roc = counts(np.full(100, 2.0), np.zeros(50), FPR)
    assert lower(roc, 0.025) == 0.0


@pytest.mark.parametrize("factor", [1.0, 3.0, 40.0])
def test_more_rows_narrow_the_interval_around_the_same_rate(factor: float) -> None:
    roc = counts(*world(np.random.default_rng(5), 2000, 2000, 0.1), FPR)
    more = scaled(roc, factor)
    assert more["members"] == 2000 * factor
    assert basis.value(more) == pytest.approx(basis.value(roc), abs=0.02)
    widths = [np.diff(basis.interval(r))[0] for r in (roc, more)]
    assert widths[1] <= widths[0] * 1.02
    if factor == 40:
        assert widths[1] < widths[0] / 4


def test_what_is_called_detectable_is_detected() -> None:
    roc = counts(*world(np.random.default_rng(6), 3000, 4000, 0.02), FPR)
    truth = reach_of(roc, 0.10, 0.05, 0.9)
    assert truth is not None
    generator, runs = np.random.default_rng(7), 200
    found = sum(basis.p_above(counts(*world(generator, 3000, 4000, truth), FPR), 0.10) <= 0.05 for _ in range(runs))
    assert found >= 0.9 * runs
