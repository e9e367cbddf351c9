"""Tables: every column keeps its type, its range and its budget, whatever the attack proposes."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from veriward.core.data import Table
from veriward.core.errors import DataError
from veriward.core.rules import Rule
from veriward.core.subject import Subject
from veriward.core.table_domain import Column, TableDomain, fit_columns, group_values
from veriward.core.threat import Threat

PLAIN = Threat("misclassify", "scores", {"norm": "linf"})
TRAIN = Table(
    {
        "amount": np.array([0.0, 50.0, 100.0, 20.0]),
        "age": np.array([18, 40, 80, 33], np.int32),
        "paid": np.array([True, False, True, True]),
        "city": np.array(["b", "a", "a", "b"], dtype=object),
        "flag": np.array([0, 1, 1, 0]),
    }
)


def ends(domain: TableDomain, clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ball = domain.ball(clean, PLAIN)
    return ball.low, ball.high


def linf(eps: float) -> Threat:
    return Threat("misclassify", "scores", {"norm": "linf", "eps": eps})


def fitted(
    features: dict[str, Any] | None = None, train: Table = TRAIN, test: Table | None = None, **more: Any
) -> TableDomain:
    subject = Subject.model_validate(
        {"model": len, "data": {"test": ([[0.0]], [0]), **more}, "features": features or {}}
    )
    return TableDomain(fit_columns(subject, train, test or train)[0])


@st.composite
def columns(draw: st.DrawFn) -> Column:
    low = draw(st.floats(-1e6, 1e6))
    high = low + draw(st.floats(0, 1e6))
    kind = draw(st.sampled_from(["numeric", "integer", "category", "boolean", "text"]))
    if kind != "numeric":
        low, high = float(math.floor(low)), float(math.ceil(high))
    change = draw(st.sampled_from([None, "any", "10%", "0.1%", "0.5", "3", "250"]))
    eps = draw(st.none() | st.floats(1e-9, 1e4))
    return Column("c", kind, low, high, high - low, draw(st.booleans() | st.just(True)), change, eps)


@settings(max_examples=300, deadline=None)
@given(st.lists(columns(), min_size=1, max_size=4), st.none() | st.floats(0, 100), st.integers(0, 2**32 - 1))
def test_projected_rows_are_allowed(drawn: list[Column], eps: float | None, seed: int) -> None:
    parts = tuple(Column(**{**column.__dict__, "name": f"c{i}"}) for i, column in enumerate(drawn))
    domain, generator = TableDomain(parts), np.random.default_rng(seed)
    threat = PLAIN if eps is None else linf(eps)
    width = np.array([max(c.span, 1.0) for c in parts])
    # some clean values lie beyond the range, as test rows do
    clean = torch.as_tensor(np.array([c.low for c in parts]) + width * generator.uniform(-0.3, 1.3, (8, len(parts))))
    clean = torch.where(domain.whole, torch.round(clean), clean)
    clean[0] = math.nan
    wild = clean + torch.as_tensor(width * generator.normal(0, 1, clean.shape))
    found = domain.project(wild, clean, threat)
    assert domain.allowed(found, clean, threat).all()
    assert domain.allowed(clean, clean, threat).all()
    assert torch.isnan(found[0]).all()
    numbers, before = found[1:], clean[1:]
    assert torch.equal(numbers[:, domain.whole], torch.round(numbers[:, domain.whole]))
    assert torch.equal(numbers[:, ~domain.movable], before[:, ~domain.movable])
    low = torch.minimum(before, torch.tensor([c.low for c in parts], dtype=torch.float64))
    high = torch.maximum(before, torch.tensor([c.high for c in parts], dtype=torch.float64))
    assert ((numbers >= low) & (numbers <= high)).all()
    assert torch.allclose(domain.project(found, clean, threat), found, equal_nan=True, rtol=1e-12)


def test_budgets_by_change_then_eps_then_five_percent() -> None:
    clean = torch.tensor([-200.0, 0.0, 50.0], dtype=torch.float64)
    base = {"name": "c", "kind": "numeric", "low": -1e3, "high": 1e3, "span": 400.0}
    for more, eps, wanted in (
        ({"change": "10%"}, 7.0, [20.0, 0.0, 5.0]),  # of the row's own value
        ({"change": "0.5"}, 7.0, [0.5] * 3),
        ({"change": "any"}, 7.0, [2000.0] * 3),
        ({"eps": 3.0}, 7.0, [3.0] * 3),
        ({}, 7.0, [7.0] * 3),
        ({}, None, [20.0] * 3),
        ({"mutable": False, "change": "any"}, 7.0, [0.0] * 3),
    ):
        assert Column(**base, **more).radius(clean, eps).tolist() == pytest.approx(wanted)


def test_ten_percent_of_fifty_is_five_for_whole_numbers_too() -> None:
    domain = TableDomain((Column("n", "integer", 0, 1000, 1000, change="10%"),))
    clean = torch.tensor([[50.0], [9.0], [100.0]], dtype=torch.float64)
    low, high = ends(domain, clean)
    assert torch.cat([low, high], dim=1).tolist() == [[45, 55], [9, 9], [90, 110]]


def test_what_breaks_a_budget_a_type_a_range_or_a_rule_is_not_allowed() -> None:
    parts = (Column("a", "numeric", 0, 10, 10, change="2"), Column("n", "integer", 0, 10, 10, change="2"))
    domain = TableDomain(parts, (Rule.parse("r", "a + n <= 15"),))
    clean = torch.tensor([[5.0, 5.0]], dtype=torch.float64)
    for row, wanted in (
        ([7.0, 7.0], True),
        ([7.1, 5.0], False),
        ([5.0, 8.0], False),
        ([5.0, 5.5], False),
        ([math.nan, 5.0], False),
    ):
        assert domain.allowed(torch.tensor([row], dtype=torch.float64), clean, PLAIN).tolist() == [wanted]
    edge = torch.tensor([[9.5, 5.0]], dtype=torch.float64)
    for row, wanted in (([10.0, 5.0], True), ([10.5, 4.0], False), ([10.0, 6.0], False)):
        assert domain.allowed(torch.tensor([row], dtype=torch.float64), edge, PLAIN).tolist() == [wanted]


def test_categories_move_only_where_that_is_said() -> None:
    clean = fitted().encode(TRAIN)
    for features, moved in (({}, False), ({"city": {"change": "any"}}, True)):
        domain = fitted(features)
        low, high = ends(domain, clean)
        assert bool((low[:, 3] < high[:, 3]).all()) is moved
        assert bool((low[:, 2] == high[:, 2]).all())


def test_rows_become_numbers_and_come_back_with_their_types() -> None:
    domain = fitted()
    assert [c.kind for c in domain.columns] == ["numeric", "integer", "boolean", "category", "boolean"]
    back = domain.decode(domain.encode(TRAIN))
    for name, column in TRAIN.columns.items():
        assert back.columns[name].dtype == column.dtype, name
        assert back.columns[name].tolist() == column.tolist()
    assert domain.encode(TRAIN, [2, 0]).shape == (2, 5)


def test_missing_and_broken_numbers_survive_the_way_through_an_integer_column() -> None:
    """The training rows are whole; the test rows are not: nothing is cut off, and NaN stays NaN."""
    test = Table({**TRAIN.columns, "age": np.array([18.5, math.nan, 30.0, 31.0])})
    domain = fitted(test=test)
    z = domain.encode(test)
    assert np.array_equal(domain.decode(z).columns["age"], test.columns["age"], equal_nan=True)
    found = domain.project(z + 3, z, PLAIN)
    assert torch.isnan(found[1, 1])


def test_a_numeric_column_of_integers_is_asked_about_with_its_fractions() -> None:
    domain = fitted({"age": {"kind": "numeric", "change": "0.5"}})
    z = domain.encode(TRAIN)
    z[:, 1] += 0.25
    assert domain.decode(z).columns["age"].tolist() == [18.25, 40.25, 80.25, 33.25]


def test_words_seen_only_in_the_test_rows_have_a_code() -> None:
    test = Table({**TRAIN.columns, "city": np.array(["new", "a", None, "a"], dtype=object)})
    domain = fitted(test=test)
    assert domain.decode(domain.encode(test)).columns["city"].tolist() == ["new", "a", None, "a"]


def test_matrices_stay_matrices() -> None:
    x = np.array([[0.5, 1.0], [2.5, 3.0]])
    subject = Subject.model_validate({"model": len, "data": {"test": (x, [0, 1])}})
    domain = TableDomain(fit_columns(subject, None, x)[0], named=False)
    assert [c.name for c in domain.columns] == ["x0", "x1"]
    assert torch.equal(domain.decode(domain.encode(x, [1])), torch.tensor([[2.5, 3.0]], dtype=torch.float64))


def test_features_of_unknown_columns_and_numbers_that_are_words_are_refused() -> None:
    with pytest.raises(DataError, match="no such column"):
        fitted({"nobody": {}})
    with pytest.raises(DataError, match="holds texts"):
        fitted({"city": {"kind": "numeric"}})
    with pytest.raises(DataError, match=r"infinite.* row 2|row 2 .*infinite"):
        fitted(train=Table({"a": np.array([0.5, 1.5, math.inf])}))


def test_changes_are_told_in_words_and_private_values_are_not() -> None:
    domain = fitted({"city": {"change": "any"}}, private=["age"])
    clean = domain.encode(TRAIN)[1]
    z = clean.clone()
    z[0], z[1], z[3] = 52.0, 41.0, 1 - z[3]
    told = domain.describe(z, clean)
    assert "amount +4 %" in told
    assert "age" in told
    assert "41" not in told
    assert "city a → b" in told


def test_distance_is_the_largest_share_of_a_budget() -> None:
    parts = (Column("a", "numeric", 0, 10, 10, change="2"), Column("b", "numeric", 0, 10, 10, change="4"))
    clean = torch.tensor([[5.0, 5.0]], dtype=torch.float64)
    z = torch.tensor([[6.0, 8.0]], dtype=torch.float64)
    assert TableDomain(parts).distance(z, clean, PLAIN).tolist() == [0.75]


def test_groups_of_numbers_become_quarters_and_nobody_is_lost() -> None:
    values = np.append(np.arange(100.0), math.nan)
    bands, told = group_values(values)
    names, counts = np.unique(bands[:-1].astype(str), return_counts=True)
    assert (len(names), counts.tolist()) == (4, [25] * 4)
    assert told is not None
    assert bands[-1] == "?"  # a missing number is not a large one
    assert group_values(np.array([1, 2, 1]))[0].tolist() == ["1", "2", "1"]
    assert group_values(np.array(["x", None], dtype=object))[0].tolist() == ["x", "?"]
    assert group_values(np.array([1.0, math.nan]))[0].tolist() == ["1.0", "?"]


def test_rows_on_another_device_stay_there() -> None:
    """The meta device stands for a GPU: tensors of two devices cannot be mixed on it either."""
    domain = fitted({"city": {"change": "any"}}, private=["age"])
    clean = domain.encode(TRAIN).to("meta")
    for part in ends(domain, clean):
        assert part.device.type == "meta"
    assert domain.project(clean + 1, clean, PLAIN).device.type == "meta"
    assert domain.allowed(clean, clean, PLAIN).device.type == "meta"
    assert domain.distance(clean, clean, PLAIN).device.type == "meta"


JOBS = ("job=a", "job=b", "job=c")


def one_hot(choice: list[int], dtype: Any = np.float64) -> dict[str, Any]:
    return {name: np.array([int(c == i) for c in choice], dtype) for i, name in enumerate(JOBS)}


def test_blocks_are_read_from_names_and_rows_or_stated() -> None:
    train = Table({**one_hot([0, 1, 2, 0]), "job_level": np.array([0, 1, 1, 0]), "x": np.array([0.5, 1.5, 2.5, 3.5])})
    domain = fitted(train=train)
    assert domain.blocks == {"job": (0, 1, 2)}
    assert not domain.movable[:3].any()
    assert fitted({"job": {"change": "any"}}, train=train).units == ((4,), (0, 1, 2))
    two = Table({**one_hot([0, 1, 2, 0]), "job=b": np.array([0, 1, 1, 0])})  # one row has two ones
    assert fitted(train=two).blocks == {}
    plain = Table({f"x{i}": column for i, column in enumerate(one_hot([0, 1, 2, 1]).values())})
    assert fitted({f"x{i}": {"block": "job"} for i in range(3)}, train=plain).blocks == {"job": (0, 1, 2)}


def test_a_stated_block_that_rows_contradict_is_refused_with_their_number() -> None:
    rows = Table({"x0": np.array([1, 0, 1]), "x1": np.array([0, 0, 1])})
    with pytest.raises(DataError, match=r"2 rows do not have exactly one 1 .*block 'b', the first is row 1"):
        fitted({"x0": {"block": "b"}, "x1": {"block": "b"}}, train=rows)
    with pytest.raises(DataError, match="this one column"):
        fitted({"x0": {"block": "b"}}, train=rows)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["linf", "l2", "l1"]), st.integers(0, 2**32 - 1))
def test_a_projected_row_has_exactly_one_1_per_block(norm: str, seed: int) -> None:
    generator, n = np.random.default_rng(seed), 16
    table = Table({**one_hot([0, 1, 2, 0] * 4), "x": generator.normal(size=n), "k": np.arange(n)})
    city = np.array(["p", "q"] * 8, dtype=object)
    domain = fitted({"job": {"change": "any"}, "city": {"change": "any"}}, train=Table({**table.columns, "city": city}))
    threat = Threat("misclassify", "scores", {"norm": norm})
    clean = domain.encode(Table({**table.columns, "city": city}))
    wild = clean + torch.as_tensor(generator.normal(0, 2, clean.shape))
    found = domain.project(wild, clean, threat)
    assert (found[:, :3].sum(1) == 1).all()
    assert ((found[:, :3] == 0) | (found[:, :3] == 1)).all()
    assert domain.allowed(found, clean, threat).all()
    assert torch.allclose(domain.project(found, clean, threat), found, rtol=1e-12)
    moved = (found[:, :3] != clean[:, :3]).any(1)
    if norm != "linf":  # a category spends the whole budget
        assert (found[moved][:, 3:] == clean[moved][:, 3:]).all()
        assert domain.distance(found, clean, threat)[moved].tolist() == pytest.approx([1.0] * int(moved.sum()))


def test_half_a_category_two_and_none_are_not_allowed() -> None:
    domain = fitted({"job": {"change": "any"}}, train=Table(one_hot([0, 1, 2])))
    clean = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    for row, wanted in (([0, 1, 0], True), ([1, 1, 0], False), ([0, 0, 0], False), ([0.5, 0.5, 0], False)):
        assert domain.allowed(torch.tensor([row], dtype=torch.float64), clean, PLAIN).tolist() == [wanted]
    unknown = torch.zeros(1, 3, dtype=torch.float64)  # a word that training had not seen: it may stay so
    assert domain.allowed(unknown, unknown, PLAIN).all()
    assert domain.project(unknown + 1, unknown, PLAIN).tolist() == [[0.0, 0.0, 0.0]]


def test_a_block_that_is_partly_immutable_moves_among_the_rest() -> None:
    features = {"job": {"change": "any"}, "job=c": {"mutable": False}}
    domain = fitted(features, train=Table(one_hot([0, 1, 2])))
    clean = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    wish = torch.tensor([[0.0, 0.4, 0.9], [0.9, 0.0, 0.0]], dtype=torch.float64)
    assert domain.project(wish, clean, PLAIN).tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def test_a_category_that_moves_in_a_block_is_told_as_one() -> None:
    train = Table(one_hot([0, 1, 2]))
    clean, z = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    assert fitted(train=train).describe(z, clean) == "job job=a → job=c"
    assert fitted(train=train, private=["job=a"]).describe(z, clean) == "job"


def test_rules_of_words_hold_on_codes() -> None:
    domain = replace(fitted(), rules=(Rule.parse("r", "not (city == 'a') or amount >= 50"),))
    z = domain.encode(TRAIN)
    assert domain.keeps_rules(z).tolist() == [True] * 4
    z[2, 0] = 20.0
    assert domain.keeps_rules(z).tolist() == [True, True, False, True]
    assert (domain.violations(z) > 0).tolist() == [False, False, True, False]
    z[2, 0] = math.nan
    assert domain.violations(z).tolist() == [0.0] * 4
