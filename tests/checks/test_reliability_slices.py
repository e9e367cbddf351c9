"""Weak slices: exact tails, candidates chosen without the answers, few false alarms, planted slices found."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from veriward.adapters.opened import open_subject
from veriward.checks.reliability.candidates import Feature, feature, fewest, slices
from veriward.checks.reliability.hypergeometric import power, upper_tails
from veriward.checks.reliability.slices import is_wrong, scan
from veriward.core.intervals import clopper_pearson
from veriward.core.subject import Subject

from .measure import measure, measure_opened, subject_of

NAME = "reliability/slices"
LEVELS = (2, 3, 4, 5, 10)


@given(st.integers(2, 60), st.data())
@settings(max_examples=80, deadline=None)
def test_tails_are_scipys(rows: int, data: Any) -> None:
    wrong, size = data.draw(st.integers(0, rows)), data.draw(st.integers(1, rows))
    k = data.draw(st.integers(0, min(wrong, size)))
    (found,) = upper_tails([k], [size], wrong, rows)
    assert found == pytest.approx(hypergeom.sf(k - 1, rows, wrong, size), rel=1e-8, abs=1e-12)


def test_tails_by_counting() -> None:
    draws = list(itertools.combinations(range(6), 3))
    share = sum(sum(row < 2 for row in draw) >= 2 for draw in draws) / len(draws)
    assert upper_tails([2], [3], 2, 6)[0] == pytest.approx(share)


def test_power_grows_with_the_rows_and_falls_with_the_slices() -> None:
    powers = [power(n, 0.8, 300) for n in (300, 500, 1000, 2000)]
    assert powers == sorted(powers)
    assert powers[0] < 0.9 < powers[-1]
    assert power(500, 0.8, 3000) < power(500, 0.8, 30)
    assert power(500, 0.8, 0) == 0.0
    assert 0 <= power(500, 0.05, 300) <= 1
    assert power(2000, 1.0, 300) > 0.99


def test_power_is_how_often_the_slice_is_seen() -> None:
    generator, n, looked_at = np.random.default_rng(0), 600, 200
    stated, seen = power(n, 0.8, looked_at), 0
    for _ in range(400):
        k = int(generator.binomial(60, 1 - 0.53))
        rest = int(generator.binomial(540, 1 - 0.83))
        seen += upper_tails([k], [60], k + rest, n)[0] <= 0.05 / looked_at
    low, high = clopper_pearson(seen, 400, 0.999)
    assert low <= stated <= high


def drawn(generator: np.random.Generator, rows: int) -> list[Feature]:
    columns = [feature(f"c{i}", generator.integers(0, k, rows)) for i, k in enumerate(LEVELS)]
    return [column for column in columns if column is not None]


@pytest.mark.slow
def test_pure_noise_is_seldom_flagged_and_planted_slices_are_found() -> None:
    """The facts that `python -m benchmarks slices` measures on 400 runs each, with a naive scan beside."""
    false, naive, found = 0, 0, 0
    for run in range(100):
        generator = np.random.default_rng([7, run])
        candidates = slices(drawn(generator, 500), 500, 1000)
        wrong = generator.random(500) < 0.2
        looked = scan(candidates, wrong)
        false += bool((looked.p <= 0.05).any())
        raw = upper_tails(looked.wrong.tolist(), candidates.sizes.tolist(), int(wrong.sum()), 500)
        naive += bool((raw <= 0.05).any())
        columns = drawn(generator, 2000)
        planted = columns[4].number == 0
        looked = scan(slices(columns, 2000, 1000), generator.random(2000) < np.where(planted, 0.5, 0.2))
        seen = [looked.slices.rows(int(i)) for i in np.flatnonzero(looked.p <= 0.05)]
        found += any((rows & planted).sum() >= 0.5 * (rows | planted).sum() for rows in seen)
    assert clopper_pearson(false, 100)[0] <= 0.05
    assert naive >= 90
    assert found >= 90


def test_candidates_are_large_enough_distinct_and_never_their_own_parent() -> None:
    number = np.arange(400)
    columns = [
        Feature("a", number % 2, ("0", "1")),
        Feature("twin", number % 2, ("x", "y")),
        Feature("b", (number // 2) % 4, ("p", "q", "r", "s")),
        Feature("rare", (number < 10).astype(int), ("no", "yes")),
    ]
    found = slices(columns, 400, 1000)
    names = [found.name(i) for i in range(len(found.parts))]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "twin" in name or "rare" in name]
    assert (found.sizes >= fewest(400)).all()
    assert all(found.rows(i).sum() == found.sizes[i] for i in range(len(names)))
    marked = number % 3 == 0
    assert found.counts(marked).tolist() == [int((found.rows(i) & marked).sum()) for i in range(len(names))]
    assert slices(columns, 400, 7).dropped == len(names) - 7


def test_columns_are_cut_as_they_are() -> None:
    assert feature("t", np.array([f"text {i}" for i in range(100)], dtype=object)) is None
    quarters = feature("n", np.arange(100.0))
    assert quarters is not None
    assert len(quarters.values) == 4
    gaps = feature("g", np.where(np.arange(100) % 2, np.nan, 1.0))
    assert gaps is not None
    assert "?" in gaps.values
    private = feature("p", np.array(["flu", "none"] * 50, dtype=object), private=True)
    assert private is not None
    assert list(private.values) == ["#1", "#2"]
    long = feature("l", np.array(["x" * 50 + "a", "x" * 50 + "b"] * 50, dtype=object))
    assert long is not None
    assert len(set(long.values)) == 2


def weak(rows: int = 1200) -> Subject:
    """The second column has a category in which the model is mostly wrong; a group of the same name is private."""
    generator = np.random.default_rng(0)
    place = generator.integers(0, 10, rows)
    y = generator.integers(0, 2, rows)
    wrong = generator.random(rows) < np.where(place == 3, 0.7, 0.1)
    x = np.stack([np.where(wrong, 1 - y, y), place], axis=1).astype(float)
    data = {"test": {"x": x, "y": y, "ward": np.array([f"w{p}" for p in place], dtype=object)}}
    return subject_of(
        lambda rows: np.stack([1 - np.asarray(rows)[:, 0], np.asarray(rows)[:, 0]], 1),
        None,
        None,
        output="probabilities",
        data={**data, "groups": ["ward"], "private": ["ward"]},
        input={"kind": "tabular", "bounds": (-10.0, 10.0)},
    )


def test_a_weak_slice_is_named_measured_and_marked_row_by_row() -> None:
    found = measure(NAME, weak())
    flags = next(e for e in found.estimates if e.metric == "weak_slices")
    assert flags.value is not None
    assert flags.value >= 1
    assert flags.basis["power"] > 0.9
    first = next(e for e in found.estimates if e.metric == "slice_accuracy")
    assert first.at["slice"] == "x1 3.0"
    assert first.bound == "lower"
    assert first.value is not None
    assert first.value < 0.5
    inside = found.outcomes["slice"] == 1
    assert inside.sum() == first.n
    worst = next(e for e in found.estimates if e.metric == "worst_slice_accuracy")
    assert worst.low is not None
    assert worst.low < first.value
    assert "w3" not in str(found.to_dict())


def test_the_budget_bounds_the_slices_and_says_so() -> None:
    opened = open_subject(weak(), device="cpu")
    found = measure_opened(NAME, opened, slices=5)
    assert "reliability.slices_dropped" in {n.code for n in found.untested}
    assert next(e for e in found.estimates if e.metric == "weak_slices").basis["of"] == 5


def test_few_rows_give_a_reason() -> None:
    y = np.arange(20) % 2
    x = np.stack([y, y], axis=1).astype(float)
    found = measure(NAME, subject_of(lambda rows: np.eye(2)[rows[:, 0].astype(int)], x, y, output="probabilities"))
    assert [e.value for e in found.estimates] == [None, None, None]


def test_predicted_numbers_are_wrong_where_their_error_is_large() -> None:
    y = np.zeros(100)
    opened = open_subject(
        Subject.model_validate(
            {
                "task": "regression",
                "model": {"live": lambda x: x[:, 0], "output": "value"},
                "data": {"test": (np.stack([y, y], 1), y)},
                "input": {"kind": "tabular", "bounds": (-1.0, 1.0)},
            }
        ),
        device="cpu",
    )
    assert is_wrong(opened, np.arange(100.0), y).sum() == 20
    assert is_wrong(opened, y, y).sum() == 0
