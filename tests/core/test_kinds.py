"""The kinds of numbers that reliability, data checks and the gate brought: closed forms, coverage, refusals."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from veriward.core import basis
from veriward.core.basis.paired import p_at_most
from veriward.core.estimate import calibration, drop, flagged, mean, mean_gap, worst_share
from veriward.core.evidence import Evidence
from veriward.core.judge import judge
from veriward.core.policy import Limit, Policy
from veriward.core.threat import Threat


@pytest.mark.parametrize("n", [4, 12, 25])
@pytest.mark.parametrize("truth", [-0.2, 0.0, 0.1, 0.3])
def test_the_paired_test_keeps_its_level_whatever_the_share_that_disagrees(n: int, truth: float) -> None:
    outcomes = [(b, c) for b, c in product(range(n + 1), repeat=2) if b + c <= n]
    rejected = [o for o in outcomes if p_at_most({"b": o[0], "c": o[1], "n": n}, truth) <= 0.05]
    for share in np.linspace(max(abs(truth), 0.02), 1, 20):
        chances = [(share + truth) / 2, max((share - truth) / 2, 0.0)]
        law = multinomial(n, [*chances, max(1 - sum(chances), 0.0)])
        assert sum(law.pmf([b, c, n - b - c]) for b, c in rejected) <= 0.05 + 1e-9


def test_a_drop_is_the_mirror_of_a_rise() -> None:
    worse, better = drop("d", 30, 10, 400), drop("d", 10, 30, 400)
    assert worse.value == pytest.approx(0.05)
    assert (worse.low, worse.high) == (pytest.approx(-better.high), pytest.approx(-better.low))
    assert basis.p_above(worse.basis, 0.0) == pytest.approx(basis.p_below(better.basis, 0.0))


def test_rows_that_all_agree_bound_the_drop_by_the_rule_of_three() -> None:
    still = drop("d", 0, 0, 1000)
    assert still.value == 0
    assert still.high == pytest.approx(0.0037, abs=2e-4)  # P(no row disagrees) = .975 ^ ... at 3.7 of 1000
    assert basis.p_above(still.basis, 0.0) == 1.0


def test_the_paired_interval_is_the_set_of_drops_that_are_not_rejected() -> None:
    for b, c, n in ((5, 1, 40), (0, 3, 30), (300, 210, 2000), (40, 0, 40), (1, 1, 2)):
        found = drop("d", b, c, n)
        for end, tail in ((found.low, basis.p_above), (found.high, basis.p_below)):
            assert end is not None
            if -1 < end < 1:
                slack = 0.01 * math.sqrt(b + c) / n
                outward = -slack if tail is basis.p_above else slack
                assert tail(found.basis, end + outward) <= 0.025 + 1e-3
                assert tail(found.basis, end - outward) >= 0.025 - 2e-3


def test_a_million_pairs_take_no_longer_than_a_thousand_terms() -> None:
    large = drop("d", 80_000, 70_000, 1_000_000)
    assert large.value == pytest.approx(0.01)
    half = 1.96 * math.sqrt(0.15 - 0.0001) / 1000
    assert large.high - large.low == pytest.approx(2 * half, rel=0.05)


def test_the_worst_of_overlapping_groups_is_judged_at_bonferroni_from_below() -> None:
    found = worst_share("worst", [[90, 100], [10, 20], [0, 0]], 120)
    assert found.value == 0.5
    assert basis.p_below(found.basis, 0.8) == pytest.approx(2 * binom.cdf(10, 20, 0.8))
    assert basis.p_above(found.basis, 0.2) == pytest.approx(binom.sf(9, 20, 0.2))
    assert found.low < 0.3 < found.value < found.high


def test_flags_count_what_holds_and_name_the_p_value_of_the_next() -> None:
    found = flagged("weak_slices", [0.001, 0.6, 0.03, 1.0], 500, unit="slices")
    assert (found.value, found.bound, found.basis["of"]) == (2, "lower", 4)
    assert basis.p_above(found.basis, 0) == 0.001
    assert basis.p_above(found.basis, 1) == 0.03
    assert basis.p_above(found.basis, 2) == 0.6
    assert basis.p_above(found.basis, 9) == 1.0
    assert basis.p_below(found.basis, 3) == 1.0


def _flag_verdict(power: float) -> tuple[str, str]:
    estimate = flagged("weak_slices", [0.9], 500, unit="slices", power=power)
    limit = {"check": "*", "metric": "weak_slices", "pass": "<= 0", "sufficient": "quick"}
    evidence = Evidence("reliability/slices", "1", Threat("none", "labels"), (estimate,))
    judged = judge({"s": evidence}, Policy(limit=(Limit.model_validate(limit),)))["s"][0]
    return judged.verdict, judged.why


def test_nothing_found_passes_only_with_the_power_to_find_it() -> None:
    assert _flag_verdict(0.95) == ("pass", "limit_kept")
    assert _flag_verdict(0.5) == ("inconclusive", "power")


def test_student_for_means_and_their_gaps() -> None:
    found = mean("m", [1.0, 2.0, 3.0, 4.0], unit="points")
    assert found.high - found.value == pytest.approx(3.182446 * math.sqrt(5 / 3) / 2, rel=1e-6)
    assert mean("m", [1.0], unit="points").value is None
    groups = [np.full(10, 1.0) + np.arange(10) / 10, np.full(10, 5.0) + np.arange(10) / 10, np.array([3.0])]
    apart = mean_gap("g", groups, unit="points")
    assert apart.value == pytest.approx(4.0)
    assert 0 < apart.low < 4 < apart.high
    assert basis.p_above(apart.basis, 0.0) < 0.001
    assert mean_gap("g", [np.ones(5)], unit="points").value is None


def test_the_calibration_interval_covers_the_truth_of_a_calibrated_model() -> None:
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        p = generator.uniform(0.5, 1, 600)
        right = generator.random(600) < p
        number = np.minimum((p * 15).astype(int), 14)
        bins = [
            [int(right[number == b].sum()), int((number == b).sum()), float(p[number == b].sum())] for b in range(15)
        ]
        inside += calibration("e", bins).low <= 0
    assert inside == 200


def test_the_calibration_error_of_a_liar_is_seen() -> None:
    found = calibration("e", [[500, 1000, 950.0]])
    assert found.value == pytest.approx(0.45)
    assert found.low > 0.38
    assert basis.p_above(found.basis, 0.2) < 1e-6


@pytest.mark.parametrize(
    "counts",
    [
        {"kind": "paired", "b": 30, "c": 20, "n": 500},
        {"kind": "worst", "groups": [[90, 100], [15, 30]], "n": 100},
        {"kind": "mean", "value": 0.5, "se": 0.1, "n": 30},
        {"kind": "means", "groups": [[0.1, 0.05, 40], [0.3, 0.05, 60]]},
        {"kind": "binned", "bins": [[40, 50, 30.0], [10, 50, 20.0]]},
    ],
    ids=lambda counts: counts["kind"],
)
def test_more_rows_keep_the_value_and_narrow_the_interval(counts: dict[str, object]) -> None:
    low, high = basis.interval(counts)
    more = basis.scaled(counts, 9)
    assert basis.value(more) == pytest.approx(basis.value(counts), abs=0.01)
    assert basis.interval(more)[1] - basis.interval(more)[0] < 0.6 * (high - low)
    assert basis.rows(more) == 9 * basis.rows(counts)
