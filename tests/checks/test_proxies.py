"""Drivers and stand-ins: planted ones are found, unrelated ones are not; real data with known ones."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriward.adapters.opened import open_subject
from veriward.checks.fairness.planted_proxies import Copy
from veriward.checks.fairness.telling import FEWEST, MOST_TARGETS, by_rates, power_to_tell, targets
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence
from veriward.core.subject import Subject
from veriward.run.control import run_controls
from veriward.run.job import Forgetful

from .measure import Linear, drawn, measure, subject_of

DATA = Path(__file__).parents[3] / "shared/data"
ROWS = 400


def table(train: dict[str, Any], test: dict[str, Any], reads: str, groups: list[str], columns: list[str]) -> Subject:
    """A classifier that copies one of its columns."""
    return Subject.model_validate(
        {
            "task": "classification",
            "model": {"live": Copy(reads, "classification"), "output": "labels"},
            "data": {"train": train, "test": test, "label": "y", "groups": groups},
            "input": {"kind": "tabular", "columns": columns},
        }
    )


def rows(seed: int, **more: Any) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    group, other = generator.integers(0, 2, ROWS), generator.integers(0, 2, ROWS)
    near = np.where(generator.random(ROWS) < 0.95, group, 1 - group)
    found = {"group": group, "near": near, "other": other, "y": generator.integers(0, 2, ROWS)}
    return found | {name: make(generator, found) for name, make in more.items()}


def one(found: Evidence, metric: str, **at: str) -> Estimate:
    (only,) = (e for e in found.estimates if e.metric == metric and all(e.at.get(k) == v for k, v in at.items()))
    return only


def number(found: Evidence, metric: str, **at: str) -> float:
    value = one(found, metric, **at).value
    assert value is not None
    return value


def test_a_model_that_reads_the_attribute_is_driven_by_it() -> None:
    found = measure("fairness/proxies", table(rows(0), rows(1), "group", ["group"], ["group", "near", "other"]))
    assert number(found, "driver_effect") == pytest.approx(0.5, abs=0.08)
    assert found.outcomes["changed"].mean() == number(found, "driver_effect")
    assert number(found, "output_auc") == 1.0
    assert number(found, "proxy_auc") == pytest.approx(0.95, abs=0.03)
    assert number(found, "stand_ins") == 0.0, "what tells the attribute does not move this model"
    assert number(found, "stand_in_auc", input="near") == pytest.approx(0.95, abs=0.03)
    assert number(found, "stand_in_effect", input="near") == 0.0


def test_a_model_without_the_attribute_is_driven_by_its_stand_in() -> None:
    found = measure("fairness/proxies", table(rows(0), rows(1), "near", ["group"], ["near", "other"]))
    driver = one(found, "driver_effect")
    assert (driver.value, driver.method) == (0.0, "census")
    assert number(found, "output_auc") == pytest.approx(0.95, abs=0.03)
    assert number(found, "stand_ins") == 1.0
    assert number(found, "stand_in_effect", input="near") == pytest.approx(0.5, abs=0.08)
    assert not any(e.at.get("input") == "other" for e in found.estimates)
    assert found.outcomes == {}


def test_an_unrelated_attribute_is_neither() -> None:
    found = measure("fairness/proxies", table(rows(0), rows(1), "other", ["group"], ["other"]))
    for metric in ("proxy_auc", "output_auc"):
        auc = one(found, metric)
        assert auc.low is not None
        assert auc.high is not None
        assert auc.low < 0.5 < auc.high
        assert auc.bound == "lower"
    assert number(found, "stand_ins") == 0.0


def test_no_input_but_the_attribute_leaves_the_output_alone() -> None:
    found = measure("fairness/proxies", table(rows(0), rows(1), "group", ["group"], ["group"]))
    assert one(found, "proxy_auc").value is None
    assert number(found, "output_auc") == 1.0


def test_a_matrix_has_no_names_and_its_copy_of_the_attribute_is_found() -> None:
    x, weight = drawn(0, ROWS, 4, 2)
    weight[:, 2] = weight.new_tensor([-5.0, 5.0])
    group = np.where(x[:, 2] > 0, "a", "b")
    data = {"test": {"x": x, "y": np.arange(ROWS) % 2, "g": group}, "groups": ["g"]}
    subject = subject_of(Linear(weight), None, None, data=data, input={"kind": "tabular", "bounds": (-9, 9)})
    found = measure("fairness/proxies", subject)
    assert one(found, "driver_effect").value is None
    assert number(found, "stand_in_auc", input="x2") > 0.99
    assert number(found, "stand_ins") == 1.0
    assert found.rows == ROWS
    assert any(n.code == "fairness.halves_of_test" for n in found.assumptions)


def test_pictures_have_an_output_but_no_columns() -> None:
    x, weight = drawn(0, ROWS, 16, 2)
    group = np.where(x[:, 2] > 0, "a", "b")
    data = {"test": {"x": x.reshape(ROWS, 1, 4, 4), "y": np.arange(ROWS) % 2, "g": group}, "groups": ["g"]}
    found = measure("fairness/proxies", subject_of(Linear(weight), None, None, data=data))
    assert one(found, "proxy_auc").value is None
    assert one(found, "output_auc").value is not None


def test_questions_about_an_attribute() -> None:
    ages = np.arange(100.0)
    (upper,) = targets("age", ages, np.array([10.0, 90.0, np.nan]))
    assert (upper.group, upper.fit.sum(), upper.held.tolist()) == (None, 50, [False, True, False])
    three = np.array(["a", "b", "b", "c", "b"] * 10, dtype=object)
    found = targets("g", three, three)
    assert [t.group for t in found] == ["b", "a", "c"]
    assert [t.fit.sum() for t in found] == [30, 10, 10]
    assert [t.estimable for t in found] == [FEWEST <= 30, False, False]
    assert len(targets("g", np.arange(200).astype(str).astype(object), three)) == MOST_TARGETS
    assert targets("g", np.full(9, "x"), np.full(9, "x")) == []
    assert [t.group for t in targets("g", three, three, private=True)] == ["#2", "#1", "#3"]


def test_rates_are_those_of_the_rows_to_fit() -> None:
    fit, wanted = np.array([1.0, 1.0, np.nan, 5.0]), np.array([True, False, True, True])
    got = by_rates(fit, wanted, np.array([1.0, np.nan, 5.0, 7.0]))
    assert got == pytest.approx([(1 + 1.5) / 4, (1 + 1.5) / 3, (1 + 1.5) / 3, 0.75])
    rare = np.array([0.0] * 98 + [1.0] * 2)
    assert len(set(by_rates(rare, rare > 0, np.array([0.0, 1.0])).tolist())) == 2
    many = np.arange(1000.0)
    assert by_rates(many, many > 500, np.array([-5.0, 2000.0])) == pytest.approx([0.0, 1.0], abs=0.03)


def test_power_grows_with_rows_and_falls_with_inputs() -> None:
    few, many = (power_to_tell(n, n, 10, truth=0.7, limit=0.6) for n in (50, 1000))
    assert few < 0.5 < 0.99 < many
    assert power_to_tell(200, 200, 100, truth=0.7, limit=0.6) < power_to_tell(200, 200, 1, truth=0.7, limit=0.6)


@pytest.mark.parametrize(
    "group",
    [
        np.array(["a"] * ROWS, dtype=object),
        np.array(["a"] * (ROWS - 1) + ["lonely"], dtype=object),
        np.array([None, "b"] * (ROWS // 2), dtype=object),
        np.array([1, "1", 2.5, "👩🏽‍🚀"] * (ROWS // 4), dtype=object),
        np.full(ROWS, np.nan),
        np.arange(ROWS).astype(str).astype(object),
        np.where(np.arange(ROWS) % 2, np.nan, np.arange(ROWS)),
    ],
    ids=["one", "one row", "none", "mixed", "nan", "rows of their own", "half missing"],
)
def test_hostile_attributes_are_told_or_not_estimable(group: np.ndarray) -> None:
    train, test = rows(0), rows(1)
    found = measure(
        "fairness/proxies", table(train | {"g": group}, test | {"g": group}, "other", ["g"], ["near", "other"])
    )
    assert {e.metric for e in found.estimates} >= {"driver_effect", "proxy_auc", "output_auc"}
    for estimate in found.estimates:
        assert estimate.value is not None or estimate.why is not None


def test_constant_predictions_have_no_unit() -> None:
    data = {"train": rows(0), "test": rows(1), "label": "y", "groups": ["group"]}
    model = {"live": lambda frame: np.zeros(len(frame)), "output": "value"}
    subject = Subject.model_validate(
        {
            "task": "regression",
            "model": model,
            "data": data,
            "input": {"columns": ["group", "other"], "kind": "tabular"},
        }
    )
    found = measure("fairness/proxies", subject)
    driver = one(found, "driver_effect")
    assert driver.why is not None
    assert driver.why.code == "fairness.constant_predictions"


def test_where_no_prediction_moved_there_is_a_width() -> None:
    data = {"train": rows(0), "test": rows(1), "label": "y", "groups": ["group"]}
    model = {"live": Copy("other", "regression"), "output": "value"}
    subject = Subject.model_validate(
        {
            "task": "regression",
            "model": model,
            "data": data,
            "input": {"columns": ["group", "other"], "kind": "tabular"},
        }
    )
    driver = one(measure("fairness/proxies", subject), "driver_effect")
    assert (driver.value, driver.low) == (0.0, 0.0)
    assert driver.high == pytest.approx(1.966 / ROWS, rel=0.01)


@pytest.mark.slow
def test_unrelated_attributes_are_rarely_called_predictable() -> None:
    """60 null subjects with ten inputs: an area above a half is shown in at most 5 %, and no stand-in is."""
    shown = flagged = 0
    for seed in range(60):
        noise = {f"n{i}": lambda g, _: g.normal(size=ROWS) for i in range(10)}
        subject = table(rows(seed, **noise), rows(seed + 1000, **noise), "other", ["group"], ["other", *noise])
        found = measure("fairness/proxies", subject, seed=seed)
        low = one(found, "proxy_auc").low
        assert low is not None
        shown += low > 0.5
        flagged += number(found, "stand_ins") > 0
    assert shown <= 0.05 * 60 + 2 * math.sqrt(60 * 0.05 * 0.95)
    assert flagged <= 3


def split(values: np.ndarray, names: list[str], seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    order = np.random.default_rng(seed).permutation(len(values))
    half = len(values) // 2
    parts = (values[order[:half]], values[order[half:]])
    train, test = ({name: part[:, i] for i, name in enumerate(names)} for part in parts)
    return train, test


@pytest.mark.skipif(not (DATA / "boston-housing.csv").is_file(), reason=f"no {DATA}/boston-housing.csv")
@pytest.mark.parametrize("kept", [True, False], ids=["kept among the inputs", "left out of the inputs"])
def test_boston_housing_its_discriminatory_column_is_found(kept: bool) -> None:
    """Column 12, B = 1000 (share of black residents - .63)^2: a driver where it is read, told from the rest where not."""
    from sklearn.ensemble import GradientBoostingRegressor

    names = ["crim", "zn", "indus", "chas", "nox", "rm", "age", "dis", "rad", "tax", "ptratio", "b", "lstat", "price"]
    train, test = split(np.loadtxt(DATA / "boston-housing.csv", delimiter=","), names)
    inputs = [name for name in names[:-1] if kept or name != "b"]
    x = np.column_stack([train[name] for name in inputs])
    model = GradientBoostingRegressor(random_state=0).fit(x, train["price"])
    live = lambda frame: model.predict(frame.to_numpy())  # noqa: E731
    subject = Subject.model_validate(
        {
            "task": "regression",
            "model": {"live": live, "output": "value"},
            "data": {"train": train, "test": test, "label": "price", "groups": ["b"]},
            "input": {"kind": "tabular", "columns": inputs},
        }
    )
    found = measure("fairness/proxies", subject)
    auc = one(found, "proxy_auc")
    assert auc.low is not None
    assert auc.low > 0.5, "the column is predictable from the others"
    driver = one(found, "driver_effect")
    if kept:
        assert driver.low is not None
        assert driver.low > 0.0
        assert number(found, "driver_effect") > 0.01
    else:
        assert (driver.value, driver.method) == (0.0, "census")
    groups = measure("fairness/groups", subject)
    assert {e.metric for e in groups.estimates} >= {"residual_difference", "prediction_difference"}
    assert all(c.holds for c in run_controls_of("fairness/proxies", subject))


@pytest.mark.skipif(not (DATA / "german-credit.csv").is_file(), reason=f"no {DATA}/german-credit.csv")
def test_german_credit_age_and_sex() -> None:
    """Sex stands in column 9 with the marital status (german-credit.names); left out, others still tell it."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pd.read_csv(DATA / "german-credit.csv", header=None)
    frame.columns = [f"a{i + 1}" for i in range(20)] + ["credit"]
    frame = frame.rename(columns={"a9": "status", "a13": "age"})
    frame["sex"] = np.where(frame.status.isin(["A92", "A95"]), "female", "male")
    frame["credit"] = np.where(frame.credit == 1, "good", "bad")
    inputs = [name for name in frame.columns if name not in ("credit", "sex")]
    words = [name for name in inputs if not pd.api.types.is_numeric_dtype(frame[name])]
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), words), remainder=StandardScaler(), sparse_threshold=0
    )
    order = np.random.default_rng(0).permutation(1000)
    train, test = frame.iloc[order[:500]], frame.iloc[order[500:]]
    model = make_pipeline(encode, LogisticRegression(max_iter=2000)).fit(train[inputs], train.credit)
    data = {"train": train, "test": test, "label": "credit", "groups": ["sex", "age"], "favourable": "good"}
    subject = Subject.model_validate({"task": "classification", "model": {"live": model}, "data": data})
    found = measure("fairness/proxies", subject)
    assert number(found, "stand_in_auc", attribute="sex", input="status") == 1.0
    assert number(found, "proxy_auc", attribute="sex") == 1.0
    driven = one(found, "driver_effect", attribute="age")
    assert driven.low is not None
    assert driven.low > 0.0
    groups = measure("fairness/groups", subject)
    told = {e.at["attribute"] for e in groups.estimates}
    assert told == {"sex", "age", "sex × age"}
    assert len([e for e in groups.estimates if e.metric == "selection_rate" and e.at["attribute"] == "age"]) == 4


def run_controls_of(name: str, subject: Subject) -> Any:
    from veriward.checks.registry import registry

    return run_controls(registry()[name], open_subject(subject, device="cpu"), Forgetful())
