"""Gaps between groups: planted ones are found to the last digit, and a reference implementation agrees."""

from typing import Any

import numpy as np
import pytest

from veriward.adapters.opened import open_subject
from veriward.checks.fairness.groups import compare, favourable_class
from veriward.checks.fairness.planted import decisions
from veriward.checks.fairness.rates import count, families
from veriward.checks.registry import registry
from veriward.core.errors import SettingsError
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence

from .measure import measure, subject_of


def people(chosen: np.ndarray, deserved: np.ndarray, **groups: Any) -> Any:
    """A subject whose decisions are a column of its rows."""
    x = np.stack([chosen.astype(float), np.zeros(len(chosen))], axis=1)
    rows = {"x": x, "y": deserved.astype(int), **groups}
    data = {"test": rows, "groups": list(groups), "favourable": 1}
    return subject_of(decisions, None, None, output="probabilities", data=data, input={"kind": "tabular"})


def value(found: Evidence | list[Estimate], metric: str, **at: str) -> float | None:
    estimates = found.estimates if isinstance(found, Evidence) else found
    (one,) = (e for e in estimates if e.metric == metric and all(e.at.get(k) == v for k, v in at.items()))
    return one.value


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("seed", range(5))
def test_point_values_are_fairlearns(seed: int) -> None:
    metrics = pytest.importorskip("fairlearn.metrics")
    generator = np.random.default_rng(seed)
    groups = generator.choice(["a", "b", "c", "d"], 600, p=[0.6, 0.25, 0.1, 0.05])
    deserved, chosen = generator.random(600) < 0.4, generator.random(600) < 0.3 + 0.1 * (groups == "b")
    ours = compare("g", count(chosen, deserved, groups))
    arguments = {"y_true": deserved.astype(int), "y_pred": chosen.astype(int), "sensitive_features": groups}
    theirs = {
        "demographic_parity_difference": metrics.demographic_parity_difference(**arguments),
        "equal_opportunity_difference": metrics.equal_opportunity_difference(**arguments),
        "equalized_odds_difference": metrics.equalized_odds_difference(**arguments),
    }
    assert {name: value(ours, name) for name in theirs} == pytest.approx(theirs)
    frame = metrics.MetricFrame(metrics={"s": metrics.selection_rate, "t": metrics.true_positive_rate}, **arguments)
    for group in "abcd":
        assert value(ours, "selection_rate", group=group) == pytest.approx(frame.by_group["s"][group])
        assert value(ours, "true_positive_rate", group=group) == pytest.approx(frame.by_group["t"][group])


def test_counts_by_hand() -> None:
    chosen = np.array([1, 1, 0, 1, 0, 0], bool)
    deserved = np.array([1, 0, 1, 1, 1, 0], bool)
    rates = count(chosen, deserved, np.array(["a", "a", "a", "b", "b", "b"]))
    assert rates.names == ("a", "b")
    assert rates.selected.tolist() == [[2, 3], [1, 3]]
    assert rates.true_positive.tolist() == [[1, 2], [1, 2]]
    assert rates.false_positive.tolist() == [[1, 1], [0, 1]]
    assert set(families(rates)) == {
        "demographic_parity_difference",
        "equal_opportunity_difference",
        "equalized_odds_difference",
    }


def test_a_planted_gap_is_found_exactly() -> None:
    group = np.repeat(np.array(["m", "f"], dtype=object), 200)
    chosen = np.concatenate([np.arange(200) < 120, np.arange(200) < 50])
    found = measure("fairness/groups", people(chosen, np.arange(400) % 2 == 0, sex=group))
    assert value(found, "demographic_parity_difference") == pytest.approx(0.35, abs=1e-12)
    assert value(found, "selection_rate", group="f") == 0.25
    assert found.outcomes["favourable"].tolist() == chosen.astype(int).tolist()


def test_a_group_in_which_nobody_deserves_it_is_named_and_counts_as_no_gap() -> None:
    group = np.repeat(np.array(["a", "b", "c"], dtype=object), 100)
    deserved = np.concatenate([np.arange(200) % 2 == 0, np.zeros(100, bool)])
    found = measure("fairness/groups", people(deserved, deserved, g=group))
    assert value(found, "equal_opportunity_difference") == 0.0
    assert value(found, "true_positive_rate", group="c") is None
    assert any(item.code == "fairness.groups_unseen" and "c" in str(item.values) for item in found.untested)


def test_one_group_cannot_be_compared() -> None:
    found = measure(
        "fairness/groups", people(np.arange(40) % 3 == 0, np.arange(40) % 2 == 0, g=np.full(40, "a", object))
    )
    gaps = [e for e in found.estimates if e.metric.endswith("difference")]
    assert len(gaps) == 3
    assert all(e.value is None and e.why is not None for e in gaps)


def test_every_attribute_is_compared_by_itself_and_numbers_become_bands() -> None:
    generator = np.random.default_rng(0)
    age, sex = generator.integers(18, 90, 400), generator.choice(np.array(["f", "m"], dtype=object), 400)
    found = measure("fairness/groups", people(age > 40, generator.random(400) < 0.5, age=age, sex=sex))
    bands = [e for e in found.estimates if e.metric == "selection_rate" and e.at["attribute"] == "age"]
    assert len(bands) == 4
    assert sum(e.n for e in bands) == 400
    assert any(item.code == "fairness.bands" for item in found.assumptions)
    assert value(found, "demographic_parity_difference", attribute="age") == 1.0
    assert value(found, "demographic_parity_difference", attribute="sex") < 0.3


def test_missing_groups_are_a_group_of_their_own() -> None:
    group = np.array(["a", "b", None, "a"] * 30, dtype=object)
    found = measure("fairness/groups", people(np.arange(120) % 3 == 0, np.arange(120) % 2 == 0, g=group))
    assert {e.at["group"] for e in found.estimates if e.metric == "selection_rate"} == {"a", "b", "?"}


def test_the_favourable_outcome_is_the_declared_one() -> None:
    x = np.array([[0.0, 0.5], [1.0, 0.5], [0.0, 0.25], [1.0, 0.25]])
    for named, wanted in (("no", 0), ("yes", 1), (None, 1)):
        data = {"test": (x, np.array(["no", "yes", "no", "yes"], dtype=object)), "groups": [], "favourable": named}
        opened = open_subject(subject_of(decisions, None, None, output="probabilities", data=data), device="cpu")
        assert favourable_class(opened) == wanted


def test_a_favourable_outcome_that_the_model_does_not_know_is_refused() -> None:
    data = {"test": (np.eye(4, 2), np.array(["no", "yes"] * 2, dtype=object)), "favourable": "maybe"}
    with pytest.raises(SettingsError, match="favourable"):
        open_subject(subject_of(decisions, None, None, data=data), device="cpu")


def test_without_groups_the_check_is_refused_with_a_reason() -> None:
    opened = open_subject(people(np.arange(9) % 2 == 0, np.arange(9) % 2 == 0), device="cpu")
    reason = registry()["fairness/groups"].refuse(opened)
    assert reason is not None
    assert reason.code == "fairness.no_groups"
