"""Accuracy, calibration and errors: closed forms, coverage, refusals, and what hostile subjects get instead of a crash."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from veriward.adapters.opened import open_subject
from veriward.checks.reliability.asking import told
from veriward.checks.reliability.balanced import WIDER, balanced_accuracy
from veriward.checks.reliability.probabilities import binned, judged
from veriward.checks.reliability.residuals import (
    error_increase,
    r_squared,
    relative_absolute_error,
    root_mean_squared_error,
)
from veriward.core import basis
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence
from veriward.core.subject import Subject

from .measure import measure, measure_opened, subject_of

NAME = "reliability/accuracy"


def value(found: Evidence, metric: str, **at: Any) -> Estimate:
    (one,) = (e for e in found.estimates if e.metric == metric and all(e.at.get(k) == v for k, v in at.items()))
    return one


def numbers(model: Any, x: Any, y: Any, train: Any = None, **data: Any) -> Subject:
    """A live regression subject."""
    parts = {"test": {"x": x, "y": y, **data}, "groups": list(data)}
    parts |= {} if train is None else {"train": train}
    return Subject.model_validate(
        {"task": "regression", "model": {"live": model, "output": "value"}, "data": parts, "input": {"kind": "tabular"}}
    )


def decided(x: Any) -> np.ndarray:
    chosen = np.asarray(x, dtype=np.float64)[:, :1]
    return np.concatenate([1 - chosen, chosen], axis=1)


def first(x: Any) -> np.ndarray:
    return np.asarray(x, dtype=np.float64)[:, 0]


def rows(*columns: Any) -> np.ndarray:
    return np.stack([np.asarray(c, dtype=np.float64) for c in columns], axis=1)


def test_balanced_accuracy_is_the_mean_recall() -> None:
    found = balanced_accuracy([[90, 100], [1, 10], [0, 0]])
    assert (found.value, found.n) == (0.5, 110)
    assert found.low == pytest.approx(0.5 - 1.959964 * WIDER * (1 / 100 + 1 / 10) ** 0.5 / 4)


@given(st.lists(st.integers(1, 400), min_size=2, max_size=12), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_balanced_interval_is_at_least_hoeffdings(sizes: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    found = balanced_accuracy([[int(generator.integers(0, n + 1)), n] for n in sizes])
    assert found.value is not None
    assert found.low is not None
    half = (np.log(2 / 0.05) / 2 * sum(1 / n for n in sizes)) ** 0.5 / len(sizes)
    assert found.low <= max(0.0, found.value - half) + 1e-12
    for level in (0.05, 0.01, 1e-4):  # the judge's p-values bound Hoeffding's tail
        away = (np.log(1 / level) / 2 * sum(1 / n for n in sizes)) ** 0.5 / len(sizes)
        assert basis.p_below(found.basis, found.value + away) >= level * (1 - 1e-9)


def test_the_balanced_interval_covers_the_truth_of_small_classes() -> None:
    generator, recalls, sizes = np.random.default_rng(0), (0.99, 0.9, 0.6), (7, 400, 30)
    truth, outside = sum(recalls) / 3, 0
    for _ in range(400):
        found = balanced_accuracy([[int(generator.binomial(n, p)), n] for n, p in zip(sizes, recalls, strict=True)])
        assert found.low is not None
        assert found.high is not None
        outside += not found.low <= truth <= found.high
    assert outside <= 20


def test_one_class_has_no_balance() -> None:
    assert balanced_accuracy([[3, 4], [0, 0]]).value is None


def test_bins_are_of_equal_width_and_closed_above() -> None:
    confidence = np.array([1 / 15, 1 / 15 + 1e-9, 1.0, 0.0])
    bins = binned(confidence, np.array([True, False, True, False]))
    assert [int(n) for _, n, _ in bins] == [2, 1, *[0] * 11, 0, 1]
    assert bins[-1][:2] == [1.0, 1.0]


def test_probabilities_by_hand() -> None:
    scores = torch.tensor([[0.8, 0.2], [0.8, 0.2], [1.0, 0.0]])
    found = judged(scores, "probabilities", torch.tensor([0, 1, 1]))
    assert found["confidence"] == pytest.approx([0.8, 0.8, 1.0])
    assert found["log_loss"] == pytest.approx([-np.log(0.8), -np.log(0.2), 708.0], rel=1e-5)
    assert found["brier"] == pytest.approx([0.08, 1.28, 2.0], abs=1e-6)
    assert found["answer"].tolist() == [0, 0, 0]


def test_errors_of_numbers_by_hand() -> None:
    error, target = np.array([1.0, -1.0, 3.0, -3.0]), np.array([0.0, 2.0, 4.0, 6.0])
    assert root_mean_squared_error(error).value == pytest.approx(5**0.5)
    assert r_squared(error, target).value == pytest.approx(0.0)
    assert relative_absolute_error(error, target, 3.0).value == pytest.approx(2.0 / 2.0)
    assert r_squared(error, np.full(4, 7.0)).value is None
    assert relative_absolute_error(error, np.full(4, 7.0), 7.0).value is None
    assert error_increase(np.abs(error) * 1.5, np.abs(error), at={}).value == pytest.approx(0.5)


def test_the_units_of_the_target_change_nothing_but_the_error() -> None:
    generator = np.random.default_rng(0)
    y = generator.normal(size=300)
    error = generator.normal(size=300) * 0.5
    for factor in (1e-150, 1e150):
        for plain, scaled in (
            (r_squared(error, y), r_squared(error * factor, y * factor)),
            (relative_absolute_error(error, y, 0.1), relative_absolute_error(error * factor, y * factor, 0.1 * factor)),
        ):
            assert (plain.value, plain.low) == (pytest.approx(scaled.value), pytest.approx(scaled.low))
        rmse = root_mean_squared_error(error * factor)
        assert rmse.value == pytest.approx(factor * (root_mean_squared_error(error).value or 0))


@pytest.mark.parametrize("metric", ["rmse", "r2", "relative"])
def test_delta_intervals_cover_the_truth_of_many_rows(metric: str) -> None:
    generator, inside = np.random.default_rng(3), 0
    truth = {"rmse": 0.5, "r2": 0.75, "relative": 0.5}[metric]  # y normal, errors normal with half the deviation
    for _ in range(300):
        y, error = generator.normal(size=400), generator.normal(size=400) * 0.5
        found = {
            "rmse": lambda e=error: root_mean_squared_error(e),
            "r2": lambda e=error, t=y: r_squared(e, t),
            "relative": lambda e=error, t=y: relative_absolute_error(e, t, 0.0),
        }[metric]()
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= truth <= found.high
    assert inside >= 270


def test_a_classifier_by_class_group_and_baseline() -> None:
    y = np.array([0] * 60 + [1] * 40)
    answers = y.copy()
    answers[[0, 1, 2, 60, 61]] = 1 - answers[[0, 1, 2, 60, 61]]
    sex = np.array(["f", "m"] * 50, dtype=object)
    part = {"x": rows(answers, answers), "y": y, "sex": sex}
    data = {"test": part, "train": part, "groups": ["sex"]}
    found = measure(NAME, subject_of(decided, None, None, output="probabilities", data=data, input={"kind": "tabular"}))
    assert value(found, "clean_accuracy").value == 0.95
    assert value(found, "class_accuracy", **{"class": "0"}).value == 0.95
    assert value(found, "balanced_accuracy").value == pytest.approx(0.95)
    assert value(found, "gain_over_baseline").value == pytest.approx(0.95 - 0.60)
    assert value(found, "group_accuracy", group="f").value == pytest.approx(1 - 3 / 50)
    assert value(found, "accuracy_gap", attribute="sex").value == pytest.approx(1 / 50)
    assert value(found, "calibration_error", bins=15).value == pytest.approx(0.05)
    assert found.outcomes["correct"].sum() == 95


def test_groups_of_a_private_column_are_not_named() -> None:
    y = np.arange(100) % 2
    part = {"x": rows(y, y), "y": y, "illness": np.array(["flu", "none"] * 50, dtype=object)}
    data = {"test": part, "groups": ["illness"], "private": ["illness"]}
    found = measure(NAME, subject_of(decided, None, None, output="probabilities", data=data, input={"kind": "tabular"}))
    assert {e.at["group"] for e in found.estimates if "group" in e.at} == {"#1", "#2"}
    assert "flu" not in str(found.to_dict())
    assert told(["flu"], private=False) == ["flu"]


def test_without_scores_calibration_is_named_as_untested() -> None:
    y = np.arange(50) % 2
    found = measure(NAME, subject_of(lambda x: first(x).astype(int), rows(y, y), y, output="labels"))
    assert "reliability.no_scores" in {n.code for n in found.untested}
    assert not {"log_loss", "calibration_error"} & {e.metric for e in found.estimates}


def test_classes_without_rows_are_named() -> None:
    y = np.arange(60) % 2
    model = lambda x: np.eye(5)[first(x).astype(int)]  # noqa: E731
    found = measure(NAME, subject_of(model, rows(y, y), y, output="probabilities"))
    (unseen,) = (n for n in found.untested if n.code == "reliability.classes_unseen")
    assert unseen.values["classes"] == ["2", "3", "4"]


def test_a_regression_by_group_and_against_the_training_median() -> None:
    y = np.arange(100.0)
    sex = np.array(["f"] * 50 + ["m"] * 50, dtype=object)
    off = np.where(np.arange(100) < 50, 1.0, 3.0)
    train = {"x": rows(y, y), "y": y, "sex": sex}
    found = measure(NAME, numbers(first, rows(y + off, y), y, train, sex=sex))
    assert value(found, "mean_absolute_error").value == pytest.approx(2.0)
    assert value(found, "group_absolute_error", group="m").value == pytest.approx(3.0)
    assert value(found, "relative_absolute_error").value == pytest.approx(2.0 / 25.0)
    assert found.outcomes["absolute_error"] == pytest.approx(off)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.ones((100, 2)), np.ones(100)),
        (np.ones((1, 2)), np.ones(1)),
        (np.full((9, 2), 1e308), np.full(9, -1.5e308)),
        (np.zeros((50, 2)), np.zeros(50)),
    ],
    ids=["constant", "one row", "beyond all numbers", "perfect"],
)
@pytest.mark.parametrize("name", [NAME, "reliability/noise", "reliability/slices", "reliability/environments"])
def test_hostile_regressions_give_reasons_instead_of_a_crash(name: str, x: np.ndarray, y: np.ndarray) -> None:
    found = measure(name, numbers(first, x, y))
    assert found.estimates
    assert all(e.value is not None or e.why is not None for e in found.estimates)


def test_rows_beyond_the_budget_are_not_asked() -> None:
    y = np.arange(500) % 2
    opened = open_subject(subject_of(decided, rows(y, y), y, output="probabilities"), device="cpu")
    found = measure_opened(NAME, opened, rows=100)
    assert found.rows == 100
    assert (found.outcomes["correct"] == -1).sum() == 400
    assert "reliability.sampled" in {n.code for n in found.assumptions}
