"""Gaps between groups: planted ones are found to the last digit, and a reference implementation agrees."""

import itertools
from typing import Any

import numpy as np
import pytest

from veriward.adapters.opened import open_subject
from veriward.checks.fairness.compare import MOST_TOLD, gaps, group_rates
from veriward.checks.fairness.crossed import MOST_CELLS, MOST_CROSSED, crossed
from veriward.checks.fairness.decided import MOST_OUTCOMES, favourable_class
from veriward.checks.fairness.planted import decisions
from veriward.checks.fairness.rates import count, families
from veriward.checks.registry import registry
from veriward.core.errors import SettingsError
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence
from veriward.core.groups import cut

from .measure import measure, subject_of


def people(chosen: np.ndarray, deserved: np.ndarray, **groups: Any) -> Any:
    """A subject whose decisions are a column of its rows."""
    x = np.stack([chosen.astype(float), np.zeros(len(chosen))], axis=1)
    rows = {"x": x, "y": deserved.astype(int), **groups}
    data = {"test": rows, "groups": list(groups), "favourable": 1}
    return subject_of(decisions, None, None, output="probabilities", data=data, input={"kind": "tabular"})


def choose(x: Any) -> np.ndarray:
    """Class numbers that stand in the first column."""
    return np.asarray(x)[:, 0].astype(int)


def one_of(decided: np.ndarray, true: np.ndarray, classes: int, **groups: Any) -> Any:
    """A subject with several classes that gives labels alone."""
    x = np.stack([decided.astype(float), np.zeros(len(decided))], axis=1)
    data = {"test": {"x": x, "y": true, **groups}, "groups": list(groups), "classes": tuple(range(classes))}
    return subject_of(choose, None, None, output="labels", data=data, input={"kind": "tabular"})


def one(found: Evidence | list[Estimate], metric: str, **at: str) -> Estimate:
    estimates = found.estimates if isinstance(found, Evidence) else found
    (only,) = (e for e in estimates if e.metric == metric and all(e.at.get(k) == v for k, v in at.items()))
    return only


def value(found: Evidence | list[Estimate], metric: str, **at: str) -> float | None:
    return one(found, metric, **at).value


def codes(found: Evidence) -> set[str]:
    return {item.code for item in (*found.assumptions, *found.untested)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("seed", range(5))
def test_point_values_are_fairlearns(seed: int) -> None:
    metrics = pytest.importorskip("fairlearn.metrics")
    generator = np.random.default_rng(seed)
    groups = generator.choice(["a", "b", "c", "d"], 600, p=[0.6, 0.25, 0.1, 0.05])
    deserved, chosen = generator.random(600) < 0.4, generator.random(600) < 0.3 + 0.1 * (groups == "b")
    attribute = cut("g", groups)
    rates = count(chosen, deserved, attribute)
    ours = gaps(attribute, rates) + group_rates(attribute, rates)
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


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_intersections_and_accuracy_are_fairlearns() -> None:
    metrics = pytest.importorskip("fairlearn.metrics")
    generator = np.random.default_rng(7)
    sex, race = generator.choice(["f", "m"], 2000), generator.choice(["p", "q", "r"], 2000)
    deserved = generator.random(2000) < 0.4
    chosen = generator.random(2000) < np.where((sex == "f") & (race == "r"), 0.2, 0.5)
    found = measure("fairness/groups", people(chosen, deserved, sex=sex, race=race))
    arguments = {"y_true": deserved.astype(int), "y_pred": chosen.astype(int)}
    both = np.array([f"{a} × {b}" for a, b in zip(sex, race, strict=True)])
    theirs = metrics.demographic_parity_difference(**arguments, sensitive_features=both)
    assert value(found, "demographic_parity_difference", attribute="sex × race") == pytest.approx(theirs)
    right = metrics.MetricFrame(metrics=lambda a, b: np.mean(a == b), **arguments, sensitive_features=race)
    assert value(found, "accuracy_difference", attribute="race") == pytest.approx(right.difference())


def test_several_classes_are_held_against_the_rest_one_by_one() -> None:
    generator = np.random.default_rng(3)
    true, told = generator.integers(0, 3, 900), generator.integers(0, 3, 900)
    group = generator.choice(np.array(["a", "b"], dtype=object), 900)
    told[(group == "a") & (true == 2)] = 2
    found = measure("fairness/groups", one_of(told, true, 3, g=group))
    spans: dict[str, list[float]] = {}
    for outcome in range(3):
        mine, theirs = (told == outcome), (true == outcome)
        rate = lambda rows, m=mine: [m[rows & (group == g)].mean() for g in "ab"]  # noqa: E731
        gap = lambda rows, r=rate: max(r(rows)) - min(r(rows))  # noqa: E731
        every = np.ones(900, bool)
        spans[str(outcome)] = [gap(every), gap(theirs), max(gap(theirs), gap(~theirs))]
    for outcome, wanted in spans.items():
        metrics = ("demographic_parity_difference", "equal_opportunity_difference", "equalized_odds_difference")
        assert [value(found, m, outcome=outcome) for m in metrics] == pytest.approx(wanted)
    first = found.estimates[0]
    assert first.at["outcome"] == "2", "the outcome with the widest gap comes first"
    assert {e.at["outcome"] for e in found.estimates if "group" in e.at} == {"2"}
    assert found.outcomes["decision"].tolist() == told.tolist()
    assert {"fairness.one_against_rest", "fairness.no_scores"} <= codes(found)


def test_of_many_classes_the_most_frequent_are_told() -> None:
    true = np.repeat(np.arange(14), np.arange(14, 0, -1) * 4)
    found = measure("fairness/groups", one_of(true, true, 14, g=np.where(np.arange(len(true)) % 2, "a", "b")))
    told = {e.at["outcome"] for e in found.estimates if e.metric == "demographic_parity_difference"}
    assert told == {str(number) for number in range(MOST_OUTCOMES)}
    (left,) = (item for item in found.untested if item.code == "fairness.classes_left")
    assert left.values["classes"] == 4


def test_a_declared_outcome_among_several_is_the_only_one() -> None:
    true = np.arange(120) % 3
    subject = one_of(true, true, 3, g=np.where(np.arange(120) % 2, "a", "b"))
    subject = subject.model_copy(update={"data": subject.data.model_copy(update={"favourable": 2})})
    found = measure("fairness/groups", subject)
    assert not any("outcome" in e.at for e in found.estimates)
    assert found.outcomes["favourable"].sum() == 40


def test_counts_by_hand() -> None:
    chosen = np.array([1, 1, 0, 1, 0, 0], bool)
    deserved = np.array([1, 0, 1, 1, 1, 0], bool)
    attribute = cut("g", np.array(["a", "a", "a", "b", "b", "b"]))
    rates = count(chosen, deserved, attribute)
    assert attribute.groups == ("a", "b")
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


def test_two_fair_halves_of_an_unfair_whole_show_where_they_cross() -> None:
    """Kearns et al. 2018, section 1: each attribute alone is fair, the intersection is not."""
    sex, race = (np.array(list(word), dtype=object) for word in ("fmfm" * 100, "ppqq" * 100))
    chosen = (sex == "f") == (race == "p")
    found = measure("fairness/groups", people(chosen, np.arange(400) % 8 < 4, sex=sex, race=race))
    assert value(found, "demographic_parity_difference", attribute="sex") == 0.0
    assert value(found, "demographic_parity_difference", attribute="race") == 0.0
    both = one(found, "demographic_parity_difference", attribute="sex × race")
    assert both.value == 1.0
    assert both.low is not None
    assert both.low > 0.9
    assert value(found, "selection_rate", attribute="sex × race", group="f × p") == 1.0


def test_a_tiny_cell_widens_the_interval_but_does_not_make_the_value() -> None:
    sex = np.array(["f", "m"] * 200 + ["f"], dtype=object)
    race = np.array(["p", "p", "q", "q"] * 100 + ["z"], dtype=object)
    chosen = np.array([True, True, False, False] * 100 + [True]) ^ (np.arange(401) % 8 < 4)
    found = measure("fairness/groups", people(chosen, np.arange(401) % 2 == 0, sex=sex, race=race))
    both = one(found, "demographic_parity_difference", attribute="sex × race")
    assert both.value == 0.0
    assert both.high is not None
    assert both.high > 0.6
    assert one(found, "selection_rate", attribute="sex × race", group="f × z").n == 1


def test_a_tiny_cell_that_is_shown_to_differ_moves_the_value() -> None:
    sex, race = np.array(["f"] * 2000 + ["m"] * 9), np.array(["p"] * 2000 + ["p"] * 9)
    race[:1000], chosen = "q", np.arange(2009) < 2000
    found = measure("fairness/groups", people(chosen, np.arange(2009) % 2 == 0, sex=sex, race=race))
    both = one(found, "demographic_parity_difference", attribute="sex × race")
    assert both.value == both.low
    assert both.value is not None
    assert both.value > 0.3


def test_cells_without_rows_are_no_groups_and_small_ones_alone_are_not_estimable() -> None:
    sex, race = np.array(["f", "m", "f"] * 4), np.array(["p", "p", "q"] * 4)
    (cells,), notes = crossed([cut("sex", sex), cut("race", race)])
    assert cells.groups == ("f × p", "f × q", "m × p")
    assert cells.sizes.tolist() == [4, 4, 4]
    assert notes == []
    found = measure("fairness/groups", people(np.arange(12) % 2 == 0, np.arange(12) % 3 == 0, sex=sex, race=race))
    missing = one(found, "demographic_parity_difference", attribute="sex × race")
    assert missing.value is None
    assert missing.why is not None
    assert missing.why.code == "fairness.cells_too_small"


def test_intersections_are_bounded_and_those_left_out_are_named() -> None:
    generator = np.random.default_rng(0)
    few = [cut(name, generator.integers(0, 2, 500).astype(str).astype(object)) for name in "abcde"]
    found, (left,) = crossed(few)
    assert [a.name for a in found] == ["a × b", "a × c", "a × d", "a × e", "b × c", "b × d"]
    assert len(found) == MOST_CROSSED
    assert left.values["attributes"] == ["b × e", "c × d", "c × e", "d × e"]
    assert [a.name for a in crossed(few[:3])[0]] == ["a × b", "a × c", "b × c", "a × b × c"]
    wide = cut("wide", np.arange(500).astype(str).astype(object))
    found, (left,) = crossed([wide, few[0]])
    assert found == []
    assert left.values == {"attributes": ["wide × a"], "most": MOST_CROSSED, "groups": MOST_CELLS}
    assert crossed([few[0], cut("one", np.full(500, "x"))]) == ([], [])


def test_a_group_in_which_nobody_deserves_it_is_named_and_counts_as_no_gap() -> None:
    group = np.repeat(np.array(["a", "b", "c"], dtype=object), 100)
    deserved = np.concatenate([np.arange(200) % 2 == 0, np.zeros(100, bool)])
    found = measure("fairness/groups", people(deserved, deserved, g=group))
    assert value(found, "equal_opportunity_difference") == 0.0
    assert one(found, "equal_opportunity_difference").high == 1.0, "nobody knows how that group would fare"
    assert value(found, "true_positive_rate", group="c") is None
    assert any(item.code == "fairness.groups_unseen" and "c" in str(item.values) for item in found.untested)


def test_no_positives_at_all_are_not_estimable() -> None:
    group = np.where(np.arange(60) % 2, "a", "b")
    deserved = np.arange(60) == 0
    found = measure("fairness/groups", people(np.zeros(60, bool), deserved, g=group))
    assert value(found, "demographic_parity_difference") == 0.0
    assert value(found, "equal_opportunity_difference") is None
    assert value(found, "equalized_odds_difference") is None


def test_one_group_cannot_be_compared() -> None:
    found = measure(
        "fairness/groups", people(np.arange(40) % 3 == 0, np.arange(40) % 2 == 0, g=np.full(40, "a", object))
    )
    differences = [e for e in found.estimates if e.metric.endswith("difference")]
    assert len(differences) == 5
    assert all(e.value is None and e.why is not None for e in differences)


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
    assert len([e for e in found.estimates if e.metric == "selection_rate" and e.at["attribute"] == "age × sex"]) == 8


@pytest.mark.parametrize(
    "group",
    [
        np.array(["a", "b", None, "a"] * 30, dtype=object),
        np.array([0.0, 1.0, np.nan, 0.0] * 30),
        np.array(["a", 1, 2.5, True] * 30, dtype=object),
        np.array(["👩🏽‍🚀", "<b>", "１３８", "a\nb"] * 30, dtype=object),
        np.arange(120).astype(str).astype(object),
        np.array(["a"] * 119 + ["lonely"], dtype=object),
    ],
    ids=["none", "nan", "mixed", "names", "rows of their own", "one row"],
)
def test_hostile_groups_are_groups(group: np.ndarray) -> None:
    found = measure("fairness/groups", people(np.arange(120) % 3 == 0, np.arange(120) % 2 == 0, g=group))
    told = {e.at["group"] for e in found.estimates if e.metric == "selection_rate"}
    assert len(told) == min(len(set(map(str, group.tolist()))), MOST_TOLD)
    gap = one(found, "demographic_parity_difference")
    assert gap.low is not None
    assert gap.low < 0.2, "chance alone shows no gap"


def test_missing_groups_are_a_group_of_their_own() -> None:
    group = np.array(["a", "b", None, "a"] * 30, dtype=object)
    found = measure("fairness/groups", people(np.arange(120) % 3 == 0, np.arange(120) % 2 == 0, g=group))
    assert {e.at["group"] for e in found.estimates if e.metric == "selection_rate"} == {"a", "b", "?"}


def test_of_five_hundred_groups_all_are_compared_and_those_at_the_ends_told() -> None:
    group = np.repeat([f"g{i}" for i in range(500)], 4)
    chosen = np.repeat(np.arange(500) % 2 == 0, 4)
    found = measure("fairness/groups", people(chosen, np.arange(2000) % 2 == 0, g=group))
    gap = one(found, "demographic_parity_difference")
    assert gap.value == 1.0
    assert len(gap.basis["groups"]) == 500
    told = [e.value for e in found.estimates if e.metric == "selection_rate"]
    assert sorted(told) == [0.0] * 12 + [1.0] * 12
    assert "fairness.groups_untold" in codes(found)


def test_private_groups_are_told_by_number() -> None:
    subject = people(np.arange(60) % 3 == 0, np.arange(60) % 2 == 0, faith=np.where(np.arange(60) % 2, "x1", "x2"))
    subject = subject.model_copy(update={"data": subject.data.model_copy(update={"private": ("faith",)})})
    found = measure("fairness/groups", subject)
    assert {e.at["group"] for e in found.estimates if e.metric == "selection_rate"} == {"#1", "#2"}
    assert "x1" not in str(found.to_dict())


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


def test_without_groups_the_checks_are_refused_with_a_reason() -> None:
    opened = open_subject(people(np.arange(9) % 2 == 0, np.arange(9) % 2 == 0), device="cpu")
    for name in ("fairness/groups", "fairness/proxies"):
        reason = registry()[name].refuse(opened)
        assert reason is not None
        assert reason.code == "fairness.no_groups"


def test_every_number_has_a_place_of_its_own() -> None:
    generator = np.random.default_rng(1)
    groups = {name: generator.choice(np.array(list("xyz"), dtype=object), 300) for name in ("g", "h", "i")}
    found = measure(
        "fairness/groups", one_of(generator.integers(0, 3, 300), generator.integers(0, 3, 300), 3, **groups)
    )
    for a, b in itertools.pairwise(sorted((e.metric, sorted(e.at.items())) for e in found.estimates)):
        assert a != b
