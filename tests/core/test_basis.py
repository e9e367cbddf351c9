"""From counts to intervals and p-values: the two agree at every level, and more rows keep the shares."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriward.core import basis
from veriward.core.basis import SMALLEST_LEVEL

GAP = {"kind": "gap", "families": [[[30, 100], [70, 100]], [[5, 50], [9, 60]]]}
BINOMIAL = {"kind": "binomial", "k": 31, "n": 100}
NORMAL = {"kind": "normal", "value": 0.7, "se": 0.02, "n": 500}
CENSUS = {"kind": "census", "value": 3}


def test_the_normal_interval_and_its_tails() -> None:
    low, high = basis.interval(NORMAL)
    assert (low, high) == (pytest.approx(0.7 - 1.959964 * 0.02), pytest.approx(0.7 + 1.959964 * 0.02))
    assert basis.p_above(NORMAL, 0.7) == pytest.approx(0.5)
    assert basis.p_above(NORMAL, 0.7 - 1.644854 * 0.02) == pytest.approx(0.05, rel=1e-5)
    assert basis.p_below(NORMAL, 0.7 + 2.326348 * 0.02) == pytest.approx(0.01, rel=1e-5)


def test_no_spread_means_certainty() -> None:
    sure = {**NORMAL, "se": 0.0}
    assert (basis.p_above(sure, 0.6), basis.p_above(sure, 0.7), basis.p_below(sure, 0.8)) == (0.0, 1.0, 0.0)


def test_a_census_has_no_doubt() -> None:
    assert basis.interval(CENSUS) == (3, 3)
    assert (basis.p_above(CENSUS, 2), basis.p_above(CENSUS, 3), basis.p_below(CENSUS, 4)) == (0.0, 1.0, 0.0)


def test_values_and_rows() -> None:
    assert (basis.value(BINOMIAL), basis.rows(BINOMIAL)) == (0.31, 100)
    assert (basis.value(GAP), basis.rows(GAP)) == (pytest.approx(0.4), 310)
    assert (basis.value(NORMAL), basis.rows(NORMAL)) == (0.7, 500)
    assert math.isnan(basis.value({"kind": "binomial", "k": 0, "n": 0}))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="guess"):
        basis.interval({"kind": "guess"})


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.floats(0, 1), st.floats(0.01, 0.99))
def test_binomial_tail_and_interval_are_two_faces_of_one_test(n: int, share: float, limit: float) -> None:
    counts = {"kind": "binomial", "k": round(share * n), "n": n}
    for level in (0.1, 0.01):
        low, high = basis.interval(counts, 1 - 2 * level)
        assert (basis.p_above(counts, limit) <= level) == (low >= limit) or math.isclose(low, limit, rel_tol=1e-9)
        assert (basis.p_below(counts, limit) <= level) == (high <= limit) or math.isclose(high, limit, rel_tol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 150), st.floats(0, 1)), min_size=2, max_size=4),
    st.sampled_from([0.02, 0.1, 0.3]),
)
def test_gap_p_value_and_interval_are_dual(groups: list[tuple[int, float]], limit: float) -> None:
    counts = {"kind": "gap", "families": [[[round(share * n), n] for n, share in groups]]}
    p = basis.p_above(counts, limit)
    if p < 1:
        assert basis.interval(counts, 1 - p)[0] >= limit
    if p > 1.1 * SMALLEST_LEVEL:
        assert basis.interval(counts, 1 - p / 1.01)[0] <= limit
    p = basis.p_below(counts, limit)
    if p < 1:
        assert basis.interval(counts, 1 - p)[1] <= limit


def test_the_smallest_level_is_a_floor_and_hopeless_is_one() -> None:
    extreme = {"kind": "gap", "families": [[[0, 5000], [5000, 5000]]]}
    assert basis.p_above(extreme, 0.2) == SMALLEST_LEVEL
    assert basis.p_above(extreme, 1.0) == 1.0
    assert basis.p_below(extreme, 0.5) == 1.0


@pytest.mark.parametrize("n", [5, 40])
def test_binomial_p_values_never_exceed_their_level_at_the_limit(n: int) -> None:
    """By summation over every outcome: P(p <= level) <= level where the truth is the limit."""
    for share in (0.1, 0.5, 0.83):
        chances = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
        for tail in (basis.p_above, basis.p_below):
            p = [tail({"kind": "binomial", "k": k, "n": n}, share) for k in range(n + 1)]
            for level in (0.01, 0.05, 0.2):
                hit = [c for c, value in zip(chances, p, strict=True) if value <= level]
                assert sum(hit) <= level + 1e-12


def test_gap_p_values_never_exceed_their_level_at_the_limit() -> None:
    generator = np.random.default_rng(1)
    draws = generator.binomial((60, 90), (0.3, 0.5), size=(400, 2))
    p = [
        basis.p_above({"kind": "gap", "families": [np.stack([draw, (60, 90)], axis=1).tolist()]}, 0.2) for draw in draws
    ]
    assert sum(value <= 0.05 for value in p) <= 400 * 0.05 + 2 * math.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize("factor", [2.0, 3.7, 100.0])
def test_more_rows_keep_the_shares(factor: float) -> None:
    more = basis.scaled(BINOMIAL, factor)
    assert more["n"] == round(100 * factor)
    assert basis.value(more) == pytest.approx(0.31, abs=0.5 / more["n"])
    for before, after in zip(GAP["families"], basis.scaled(GAP, factor)["families"], strict=True):
        for (k, n), (many, total) in zip(before, after, strict=True):
            assert total == round(n * factor)
            assert many / total == pytest.approx(k / n, abs=0.5 / total)
    assert basis.scaled(NORMAL, factor)["se"] == pytest.approx(0.02 / math.sqrt(factor))
    assert basis.scaled(CENSUS, factor) == CENSUS


def test_an_empty_group_stays_empty() -> None:
    assert basis.scaled({"kind": "gap", "families": [[[0, 0], [1, 2]]]}, 10)["families"] == [[[0, 0], [10, 20]]]


def test_the_interval_of_a_quantile_covers_the_truth_whatever_the_distribution() -> None:
    """P95 of an exponential is log 20; with 200 rows both ends are order statistics."""
    from veriward.core.basis.quantiles import quantile_basis

    generator, covered = np.random.default_rng(0), 0
    for _ in range(200):
        found = quantile_basis(generator.exponential(size=200), 0.95, least=0.0, most=math.inf)
        low, high = basis.interval(found)
        assert low <= basis.value(found) <= high
        covered += low <= math.log(20) <= high
    assert covered >= 184  # 190 of 200 in the long run; 184 is three standard deviations below


def test_few_rows_leave_a_high_quantile_open() -> None:
    from veriward.core.basis.quantiles import quantile_basis

    found = quantile_basis(np.arange(20.0), 0.95, least=0.0, most=100.0)
    assert basis.interval(found)[1] == 100.0
    assert basis.p_above(found, 25.0) == 1.0
    assert basis.interval(basis.scaled(found, 50))[1] < 100.0


def test_a_quantile_with_infinite_values_is_plain_data() -> None:
    import json

    from veriward.core.basis.quantiles import quantile_basis

    found = quantile_basis([1.0, 2.0, math.inf, 3.0], 0.5, least=0.0, most=math.inf)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert basis.value(found) == 2.0
    assert basis.interval(found) == (0.0, math.inf)
