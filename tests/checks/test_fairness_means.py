"""Calibration by group and models of numbers: closed forms, edges, and intervals that cover."""

import math
from typing import Any

import numpy as np
import pytest

from veriward.adapters.opened import open_subject
from veriward.checks.contract import lacks
from veriward.checks.fairness.means import calibrated, means
from veriward.checks.fairness.planted import decisions, first
from veriward.checks.fairness.predicted import METRICS
from veriward.checks.registry import registry
from veriward.core.basis import p_above
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence
from veriward.core.groups import cut
from veriward.core.judge import judge
from veriward.core.policy import Policy
from veriward.core.threat import Threat
from veriward.run.control import run_controls
from veriward.run.job import Forgetful

from .measure import measure, subject_of

STRICT = '[[limit]]\ncheck = "fairness/*"\nmetric = "{metric}"\npass = "<= 0.1"\nfail = "> 0.1"\n'


def priced(truth: np.ndarray, told: np.ndarray, **groups: Any) -> Any:
    """A model of numbers that answers with a column of its rows."""
    x = np.stack([told, np.zeros(len(told))], axis=1)
    data = {"test": {"x": x, "y": truth, **groups}, "groups": list(groups)}
    bounds = {"kind": "tabular", "bounds": (-1e306, 1e306)}
    return subject_of(first, None, None, output="value", task="regression", data=data, input=bounds)


def one(found: Evidence, metric: str, **at: str) -> Estimate:
    (only,) = (e for e in found.estimates if e.metric == metric and all(e.at.get(k) == v for k, v in at.items()))
    return only


def test_gaps_of_a_model_of_numbers_in_closed_form() -> None:
    truth = np.tile(np.linspace(-1, 1, 50), 2)
    group, sd = np.repeat(["a", "b"], 50), truth.std(ddof=1)
    noise = np.tile([0.3, -0.3], 50)
    told = truth - 0.5 * (group == "b") + noise * (group == "a")
    found = measure("fairness/groups", priced(truth, told, g=group))
    assert one(found, "residual_difference").value == pytest.approx(0.5 / sd)
    assert one(found, "absolute_error_difference").value == pytest.approx(0.2 / sd)
    assert one(found, "prediction_difference").value == pytest.approx(0.5 / sd)
    assert one(found, "mean_residual", group="b").value == pytest.approx(0.5 / sd)
    assert one(found, "mean_residual", group="a").value == pytest.approx(0.0, abs=1e-12)
    assert found.outcomes["residual"] == pytest.approx(truth - told)
    assert {e.metric for e in found.estimates} == set(METRICS) | set(METRICS.values())
    assert all(e.unit == "standard deviations of the target" for e in found.estimates)


def test_the_unit_does_not_matter() -> None:
    generator = np.random.default_rng(0)
    truth, group = generator.normal(size=80), np.where(np.arange(80) % 2, "a", "b")
    told = truth + generator.normal(size=80)
    small, large = (measure("fairness/groups", priced(truth * s, told * s, g=group)) for s in (1.0, 1e300))
    for a, b in zip(small.estimates, large.estimates, strict=True):
        assert a.value == pytest.approx(b.value)
        assert a.high == pytest.approx(b.high)


def test_a_model_of_numbers_needs_values_and_runs_through_controls() -> None:
    truth, group = np.arange(40.0), np.where(np.arange(40) % 2, "a", "b")
    opened = open_subject(priced(truth, truth, g=group), device="cpu")
    for name in ("fairness/groups", "fairness/proxies", "leakage/loss"):
        check = registry()[name]
        assert lacks(opened.model, check.needs_of("regression")) == ()
        assert lacks(opened.model, check.needs_of("classification")) == ("labels",)
        results = run_controls(check, opened, Forgetful())
        assert len(results) > 1
        assert all(result.holds for result in results), results


@pytest.mark.parametrize(
    ("truth", "told"),
    [(np.full(40, 3.0), np.arange(40.0)), (np.full(40, 1e9) + 1e-7 * np.arange(40), np.zeros(40))],
    ids=["constant", "constant but for rounding"],
)
def test_a_constant_target_is_not_estimable(truth: np.ndarray, told: np.ndarray) -> None:
    found = measure("fairness/groups", priced(truth, told, g=np.where(np.arange(40) % 2, "a", "b")))
    assert len(found.estimates) == 3
    assert {e.why.code for e in found.estimates if e.why} == {"fairness.constant_target"}


def test_constant_predictions_tell_no_chance() -> None:
    found = measure("fairness/groups", priced(np.arange(40.0), np.zeros(40), g=np.where(np.arange(40) % 2, "a", "b")))
    assert one(found, "prediction_difference").value is None
    assert one(found, "residual_difference").value is not None


def test_groups_of_one_row_are_named_and_left_out() -> None:
    generator = np.random.default_rng(0)
    group = np.array(["a", "b"] * 20 + ["lonely"], dtype=object)
    found = measure("fairness/groups", priced(generator.normal(size=41), generator.normal(size=41), g=group))
    assert one(found, "mean_residual", group="lonely").value is None
    assert len(one(found, "residual_difference").basis["groups"]) == 2
    assert any(n.code == "fairness.groups_single" and n.values["groups"] == "lonely" for n in found.untested)


def test_groups_that_look_alike_inside_are_not_taken_for_certain() -> None:
    values = np.array([1.0, 1.0, 0.0, 2.0, 4.0, -2.0])
    found = means(values, cut("g", np.array(["a", "a", "b", "b", "b", "b"])))
    assert found.mean.tolist() == [1.0, 1.0]
    assert found.se[0] == pytest.approx(values.std(ddof=1) / 2)
    assert found.se[1] == pytest.approx(values[2:].std(ddof=1) / 2)


def test_calibration_by_group_in_closed_form() -> None:
    right = np.array([True, False] * 50 + [True, True, True, False] * 25)
    predicted = np.repeat([0.6, 0.7], 100)
    x = np.stack([predicted, np.zeros(200)], axis=1)
    data = {"test": {"x": x, "y": right.astype(int), "g": np.repeat(["a", "b"], 100)}, "groups": ["g"], "favourable": 1}
    found = measure("fairness/groups", subject_of(decisions, None, None, output="probabilities", data=data))
    assert one(found, "calibration_gap", group="a").value == pytest.approx(-0.1)
    assert one(found, "calibration_gap", group="b").value == pytest.approx(0.05)
    assert one(found, "calibration_difference").value == pytest.approx(0.15)


def test_a_group_without_the_outcome_has_a_width() -> None:
    """100 rows at .01 and none of them came true: Student alone would be certain to the last digit."""
    attribute = cut("g", np.repeat(["a", "b"], 100))
    right = np.concatenate([np.zeros(100, bool), np.arange(100) % 2 == 0])
    found = calibrated(right, np.repeat([0.01, 0.5], 100), attribute)
    from veriward.core.intervals import clopper_pearson

    assert found.mean.tolist() == pytest.approx([-0.01, 0.0])
    assert found.se[0] * 1.98 > clopper_pearson(0, 100)[1] - 0.001


def test_one_row_tells_no_calibration() -> None:
    found = calibrated(np.array([True, False, True]), np.array([0.5, 0.5, 0.5]), cut("g", np.array(["a", "a", "b"])))
    assert math.isfinite(found.se[0])
    assert math.isnan(found.se[1])


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_calibration_of_sound_models_is_rarely_called_unequal(share: float) -> None:
    """Calibrated in every group: the p-value of "no gap" is at most .05 in at most 5 % of runs, rare outcomes included."""
    generator, runs, wrong = np.random.default_rng(11), 400, 0
    attribute = cut("g", np.repeat(["a", "b", "c"], [800, 150, 25]))
    for _ in range(runs):
        chance = generator.beta(2 * share, 2 * (1 - share), 975)
        found = calibrated(generator.random(975) < chance, chance, attribute)
        known = [[float(m), float(se), int(n)] for m, se, n in zip(found.mean, found.se, found.rows, strict=True)]
        wrong += p_above({"kind": "means", "groups": known}, 0.0) <= 0.05
    assert wrong <= 0.05 * runs + 2 * math.sqrt(runs * 0.05 * 0.95)


@pytest.mark.slow
def test_no_metric_of_a_sound_classifier_fails_more_often_than_allowed() -> None:
    """60 null subjects, five unequal groups, two attributes and their intersection, all limits of the default policy."""
    generator, fails, policy = np.random.default_rng(5), 0, Policy.load("default")
    more = "".join(STRICT.format(metric=m) for m in ("calibration_difference", "accuracy_difference"))
    policy = Policy(limit=(*policy.limit, *Policy.parse(more, name="more", where="more").limit))
    for _ in range(60):
        chance = generator.beta(1, 2, 400)
        x = np.stack([chance, np.zeros(400)], axis=1)
        rows = {"x": x, "y": (generator.random(400) < chance).astype(int)}
        rows["race"] = generator.choice(np.array(list("abcde"), dtype=object), 400, p=[0.8, 0.1, 0.05, 0.03, 0.02])
        rows["sex"] = generator.choice(np.array(list("fm"), dtype=object), 400)
        data = {"test": rows, "groups": ["race", "sex"], "favourable": 1}
        found = measure("fairness/groups", subject_of(decisions, None, None, output="probabilities", data=data))
        judged = judge({"fairness/groups": found}, policy)["fairness/groups"]
        fails += any(limit.verdict == "fail" for limit in judged)
    assert fails <= 0.05 * 60


@pytest.mark.slow
@pytest.mark.parametrize("errors", ["normal", "skewed"])
def test_no_metric_of_a_sound_model_of_numbers_fails_more_often_than_allowed(errors: str) -> None:
    generator, fails = np.random.default_rng(6), 0
    policy = Policy.parse("".join(STRICT.format(metric=m) for m in METRICS), name="p", where="p")
    for _ in range(200):
        noise = generator.normal(size=300) if errors == "normal" else generator.lognormal(0, 1, 300) - math.exp(0.5)
        told = generator.normal(size=300)
        group = generator.choice(np.array(list("abcde"), dtype=object), 300, p=[0.8, 0.1, 0.05, 0.03, 0.02])
        found = measure("fairness/groups", priced(told + noise, told, g=group))
        judged = judge(
            {"fairness/groups": Evidence("fairness/groups", "2", Threat("x", "labels"), found.estimates)}, policy
        )
        fails += any(limit.verdict == "fail" for limit in judged["fairness/groups"])
    assert fails <= 0.05 * 200 + 2 * math.sqrt(200 * 0.05 * 0.95)
