"""Rates, areas and their variances against their definitions; the null world raises no alarm."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from veriward.adapters.opened import open_subject
from veriward.checks.leakage.exposure import estimates
from veriward.checks.leakage.roc import estimable, operate
from veriward.checks.registry import registry
from veriward.core.delong import auc, midranks
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence
from veriward.core.finding import Finding
from veriward.core.judge import judge
from veriward.core.policy import Policy
from veriward.core.threat import Threat
from veriward.run.control import run_controls
from veriward.run.job import Forgetful

from .measure import Linear, drawn, measure, subject_of

SCORES = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=12).map(np.array)


def placements(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """DeLong et al. 1988, equations 2 to 5: the kernel over all pairs, and the variance of its components."""
    kernel = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    theta, m, n = kernel.mean(), len(positive), len(negative)
    s10 = ((kernel.mean(1) - theta) ** 2).sum() / (m - 1)
    s01 = ((kernel.mean(0) - theta) ** 2).sum() / (n - 1)
    return float(theta), float(np.sqrt(s10 / m + s01 / n))


@settings(max_examples=100, deadline=None)
@given(SCORES, SCORES)
def test_area_and_variance_are_those_of_all_pairs(positive: np.ndarray, negative: np.ndarray) -> None:
    assert auc(positive, negative) == pytest.approx(placements(positive, negative), abs=1e-12)


def test_the_area_of_a_shifted_normal_is_known() -> None:
    generator = np.random.default_rng(0)
    value, se = auc(generator.normal(1, 1, 4000), generator.normal(0, 1, 4000))
    assert abs(value - ndtr(1 / math.sqrt(2))) < 4 * se
    assert se == pytest.approx(math.sqrt(0.0535 * 2 / 4000 / 2), rel=0.1) or se < 0.01


def test_the_standard_error_is_the_spread_of_repetitions() -> None:
    generator = np.random.default_rng(1)
    found = [auc(generator.normal(0.7, 1.3, 60), generator.normal(0, 1, 90)) for _ in range(400)]
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.1)


def test_one_row_has_no_variance() -> None:
    with pytest.raises(ValueError, match="at least two"):
        auc(np.array([1.0]), np.array([0.0, 1.0]))


@given(SCORES)
def test_midranks_add_up(values: np.ndarray) -> None:
    ranks = midranks(values)
    assert ranks.sum() == len(values) * (len(values) + 1) / 2
    assert all((values < v).sum() + (values <= v).sum() + 1 == 2 * r for v, r in zip(values, ranks, strict=True))


@settings(max_examples=150, deadline=None)
@given(SCORES, SCORES, st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 1.0]))
def test_no_threshold_names_more_members_within_the_rate(members: np.ndarray, others: np.ndarray, fpr: float) -> None:
    point = operate(members, others, fpr)
    assert point.fpr <= fpr + 1e-9
    best = 0
    for threshold in (-np.inf, *members, *others):
        if (others > threshold).sum() <= fpr * len(others) + 1e-9:
            best = max(best, int((members > threshold).sum()))
    assert (point.hits, point.members, point.non_members) == (best, len(members), len(others))


def test_ties_never_raise_the_rate() -> None:
    point = operate(np.ones(500), np.ones(1000), 0.01)
    assert (point.hits, point.false_alarms) == (0, 0)


@pytest.mark.parametrize(
    ("n", "fpr", "wanted"), [(999, 0.01, False), (1000, 0.01, True), (99, 0.1, False), (100, 0.1, True)]
)
def test_ten_errors_must_stand_behind_a_rate(n: int, fpr: float, wanted: bool) -> None:
    assert estimable(n, fpr) is wanted


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0, 3.0])
def test_a_gaussian_world_leaks_what_the_formula_says(shift: float) -> None:
    generator = np.random.default_rng(2)
    point = operate(generator.normal(shift, 1, 200_000), generator.normal(0, 1, 200_000), 0.01)
    truth = 1 - ndtr(ndtri(0.99) - shift)
    assert point.hits / point.members == pytest.approx(truth, abs=0.012)


def at(found: tuple[Estimate, ...], metric: str, fpr: float) -> Estimate | None:
    return next((e for e in found if e.metric == metric and e.at.get("fpr") == fpr), None)


def test_too_few_non_members_are_said_and_ten_percent_is_told_instead() -> None:
    generator = np.random.default_rng(0)
    found = estimates(generator.normal(size=300), generator.normal(size=300))
    missing, told = at(found, "tpr_at_fpr", 0.01), at(found, "tpr_at_fpr", 0.1)
    assert missing is not None
    assert missing.value is None
    assert missing.why is not None
    assert missing.why.values["wanted"] == 1000
    assert told is not None
    assert told.value == pytest.approx(0.1, abs=0.06)
    found = estimates(generator.normal(size=300), generator.normal(size=50))
    assert [e.value for e in found if e.metric == "tpr_at_fpr"] == [None, None]
    found = estimates(generator.normal(size=300), generator.normal(size=1000))
    assert at(found, "tpr_at_fpr", 0.1) is None
    assert at(found, "tpr_at_fpr", 0.01) is not None


@pytest.mark.parametrize("sizes", [(1000, 1000), (4000, 1500)])
@pytest.mark.parametrize(("rate", "wrong"), [(0.10, "fail"), (0.03, "pass")])
def test_at_the_limit_the_verdict_is_wrong_in_at_most_a_twentieth_of_runs(
    rate: float, wrong: str, sizes: tuple[int, int]
) -> None:
    """The threshold is estimated as well: an interval that takes it for granted fails sound models in 29 % of runs."""
    generator, policy, runs, bad, covered = np.random.default_rng(7), Policy.load("default"), 300, 0, 0
    shift = ndtri(0.99) - ndtri(1 - rate)
    for _ in range(runs):
        found = estimates(generator.normal(shift, 1, sizes[0]), generator.normal(size=sizes[1]))
        one = at(found, "tpr_at_fpr", 0.01)
        assert one is not None
        covered += one.low <= rate <= one.high
        judged = judge({"leakage/loss": Evidence("leakage/loss", "1", Threat("membership", "scores"), found)}, policy)
        bad += any(limit.verdict == wrong for limit in judged["leakage/loss"])
    assert bad <= 0.05 * runs + 2 * math.sqrt(runs * 0.05 * 0.95)
    assert covered >= 0.95 * runs - 2 * math.sqrt(runs * 0.95 * 0.05)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0)])
def test_a_perfect_separation_has_a_width(ends: tuple[float, float]) -> None:
    found = estimates(np.full(50, ends[0]), np.full(50, ends[1]))[0]
    assert found.metric == "auc"
    assert found.high is not None
    assert found.low is not None
    assert found.high - found.low == pytest.approx(1 - 0.025 ** (1 / 50))


def test_who_does_not_leak_is_not_accused() -> None:
    """300 null runs: what is named stays near 1 %, no bound reaches .10, and no verdict is `fail`."""
    generator, policy, fails, covered = np.random.default_rng(20), Policy.load("default"), 0, 0
    for _ in range(300):
        found = estimates(generator.normal(size=1000), generator.normal(size=1000))
        rate = at(found, "tpr_at_fpr", 0.01)
        assert rate is not None
        assert rate.low is not None
        assert rate.low < 0.10
        evidence = Evidence("leakage/loss", "1", Threat("membership", "scores"), found)
        judged = judge({"leakage/loss": evidence}, policy)["leakage/loss"]
        fails += any(limit.verdict == "fail" for limit in judged)
        area = found[0]
        covered += area.low <= 0.5 <= area.high
    assert fails == 0
    assert covered >= 300 * 0.95 - 2 * math.sqrt(300 * 0.95 * 0.05)


def test_the_score_is_the_loss_whatever_the_model_answers() -> None:
    x, weight = drawn(0, 60, 5, 3)
    y = np.arange(60) % 3
    logits = x.astype(np.float64) @ weight.double().numpy().T
    wanted = np.log(np.exp(logits).sum(1)) - logits[np.arange(60), y]
    data = {"train": (x[::-1].copy(), y[::-1].copy())}
    soft = lambda rows: np.exp(p := np.asarray(rows) @ weight.double().numpy().T) / np.exp(p).sum(1, keepdims=True)  # noqa: E731
    for model, output in ((Linear(weight), "logits"), (soft, "probabilities")):
        found = measure("leakage/loss", subject_of(model, x, y, output=output, data=data))
        assert found.outcomes["loss"] == pytest.approx(wanted, abs=1e-4)


def test_without_training_rows_the_check_is_refused_with_a_reason() -> None:
    x, weight = drawn(0, 20, 5, 2)
    opened = open_subject(subject_of(Linear(weight), x, np.arange(20) % 2), device="cpu")
    reason = registry()["leakage/loss"].refuse(opened)
    assert reason is not None
    assert reason.code == "leakage.no_train"


def regression(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], **groups: Any) -> Any:
    """A model of numbers that answers with the first column; both splits have the same groups."""
    model = lambda x: np.asarray(x)[:, 0].astype(np.float64)  # noqa: E731
    data: dict[str, Any] = {"groups": list(groups)}
    data |= {which: {"x": part[0], "y": part[1], **groups} for which, part in (("train", train), ("test", test))}
    return subject_of(model, None, None, output="value", task="regression", data=data)


def errors(seed: int, size: float, rows: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = np.stack([generator.normal(size=rows), np.zeros(rows)], axis=1)
    return x, x[:, 0] + size * generator.normal(size=rows)


def test_a_model_of_numbers_is_attacked_by_the_size_of_its_error() -> None:
    """Errors N(0, s) on members, N(0, 1) on others: the area is P(|E| > s |E'|) = 1 - 2 atan(s) / pi."""
    train, test = errors(0, 0.3, 4000), errors(1, 1.0, 4000)
    found = measure("leakage/loss", regression(train, test), rows=None)
    area, rate = found.estimates[0], at(found.estimates, "tpr_at_fpr", 0.01)
    assert area.low is not None
    assert area.high is not None
    assert area.low <= 1 - 2 * math.atan(0.3) / math.pi <= area.high
    assert rate is not None
    assert rate.low is not None
    assert rate.high is not None
    truth = 2 * ndtr(ndtri(0.505) / 0.3) - 1
    assert rate.low <= truth <= rate.high
    assert found.outcomes["loss"] == pytest.approx(np.abs(test[1] - test[0][:, 0]))


def test_squared_errors_would_tell_the_same() -> None:
    train, test = errors(0, 0.5, 300), errors(1, 1.0, 300)
    size = [-np.abs(y - x[:, 0]) for x, y in (train, test)]
    assert auc(*size) == pytest.approx(auc(-(size[0] ** 2), -(size[1] ** 2)))


def test_the_exposed_group_is_told_first() -> None:
    train, test = errors(0, 1.0, 2000), errors(1, 1.0, 2000)
    group = np.array(["kept", "leaked"] * 1000, dtype=object)
    train[1][1::2] = train[0][1::2, 0]
    found = measure("leakage/loss", regression(train, test, g=group), rows=None)
    parts = [e for e in found.estimates if e.metric == "auc" and "group" in e.at]
    assert [e.at["group"] for e in parts] == ["leaked", "kept"]
    assert parts[0].value == 1.0
    assert parts[1].low is not None
    assert parts[1].high is not None
    assert parts[1].low < 0.5 < parts[1].high
    rates = {e.at["group"]: e.value for e in found.estimates if e.metric == "tpr_at_fpr" and "group" in e.at}
    assert rates["leaked"] == 1.0
    assert rates["kept"] < 0.05


def test_each_class_is_looked_at_by_itself_and_rates_need_rows() -> None:
    x, weight = drawn(0, 300, 5, 3)
    y = np.arange(300) % 3
    y[:5] = 2
    found = measure("leakage/loss", subject_of(Linear(weight), x, y, data={"train": (x.copy(), y)}))
    parts = [e for e in found.estimates if "class" in e.at]
    assert {e.at["class"] for e in parts} == {"0", "1", "2"}
    assert [e.value for e in parts if e.metric == "auc"] == pytest.approx([0.5] * 3)
    assert {e.at["fpr"] for e in parts if e.metric == "tpr_at_fpr"} == {0.1}, "300 others allow no lower rate"
    y[:250] = 0
    y[250:275] = 1
    found = measure("leakage/loss", subject_of(Linear(weight), x, y, data={"train": (x.copy(), y)}))
    rates = {e.at["class"] for e in found.estimates if "class" in e.at and e.metric == "tpr_at_fpr"}
    assert rates == {"0"}, "small classes have no rate"


def test_the_number_of_all_rows_is_the_one_that_is_asked_for() -> None:
    group = np.where(np.arange(2400) % 2, "a", "b")
    found = measure("leakage/loss", regression(errors(0, 1.0, 2400), errors(1, 1.0, 2400), g=group), rows=None)
    finding = Finding("leakage/loss", "leakage/loss", "?", "pass", found)
    assert finding.estimate("auc") is found.estimates[0]
    assert finding.estimate("tpr_at_fpr", fpr=0.01).at == {"fpr": 0.01}
    assert finding.estimate("auc", group="a").at["attribute"] == "g"
    with pytest.raises(KeyError, match="2 estimates"):
        finding.estimate("auc", attribute="g")


def test_parts_are_bounded_and_those_left_out_are_counted() -> None:
    train, test = errors(0, 1.0, 1200), errors(1, 1.0, 1200)
    sizes = [100] * 11 + [99, 1]
    group = np.repeat([f"g{i}" for i in range(13)], sizes)
    found = measure("leakage/loss", regression(train, test, g=group))
    assert len([e for e in found.estimates if e.metric == "auc" and "group" in e.at]) == 10
    (left,) = (n for n in found.untested if n.code == "leakage.parts_left")
    assert left.values["parts"] == 3


def test_labels_alone_give_the_gap_between_accuracies() -> None:
    y = np.arange(1000) % 2
    told = {"train": np.where(np.arange(1000) < 900, y, 1 - y), "test": np.where(np.arange(1000) < 700, y, 1 - y)}
    x = {which: np.stack([v.astype(float), np.zeros(1000)], axis=1) for which, v in told.items()}
    model = lambda rows: np.asarray(rows)[:, 0].astype(int)  # noqa: E731
    subject = subject_of(model, x["test"], y, output="labels", data={"train": (x["train"], y)})
    found = measure("leakage/loss", subject)
    assert found.threat.access == "labels"
    advantage = next(e for e in found.estimates if e.metric == "membership_advantage")
    assert advantage.value == pytest.approx(0.2)
    se = math.sqrt(0.9 * 0.1 / 999 + 0.7 * 0.3 / 999)
    assert advantage.low == pytest.approx(0.2 - 1.96 * se, abs=1e-4)
    missing = at(found.estimates, "tpr_at_fpr", 0.01)
    assert missing is not None
    assert missing.value is None


def test_perfect_decisions_on_both_sides_have_a_width() -> None:
    y = np.arange(100) % 2
    x = np.stack([y.astype(float), np.zeros(100)], axis=1)
    model = lambda rows: np.asarray(rows)[:, 0].astype(int)  # noqa: E731
    found = measure("leakage/loss", subject_of(model, x, y, output="labels", data={"train": (x.copy(), y)}))
    advantage = next(e for e in found.estimates if e.metric == "membership_advantage")
    assert advantage.value == 0.0
    assert advantage.low is not None
    assert advantage.high is not None
    assert advantage.low < -0.03
    assert advantage.high > 0.03


@pytest.mark.parametrize("access", ["scores", "labels"])
def test_controls_of_classifiers_hold_whatever_is_granted(access: str) -> None:
    x, weight = drawn(0, 60, 5, 2)
    y = np.arange(60) % 2
    subject = subject_of(Linear(weight), x, y, data={"train": (x.copy(), y)})
    granted = subject.model.model_copy(update={"access": access})
    opened = open_subject(subject.model_copy(update={"model": granted}), device="cpu")
    results = run_controls(registry()["leakage/loss"], opened, Forgetful())
    assert len(results) == 2
    assert all(result.holds for result in results), results
