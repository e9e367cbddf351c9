"""Single trees: the nearest leaf against every number that could matter, asked of the library itself."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.tree import DecisionTreeClassifier

from veriward.adapters import lightgbm as light
from veriward.adapters import xgboost as boost
from veriward.adapters.opened import open_subject
from veriward.adapters.trees.forest import GAP_IS_ZERO, ZERO_IS_GAP, Forest, Reading, stump
from veriward.adapters.trees.sklearn_forest import forest_of
from veriward.checks.balls import ball_threat
from veriward.checks.certify.boxes import boxes_of, last_left
from veriward.checks.certify.columns import view_of
from veriward.checks.certify.reach import Around, costs_of
from veriward.checks.certify.trees import certified, exact, leaf_points, other_classes
from veriward.checks.evasion.attack import run_plan
from veriward.checks.evasion.leaves import LeafSearch
from veriward.checks.evasion.rows import begin
from veriward.core.streams import Stream

from .measure import subject_of

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")

NORMS = ("linf", "l2", "l1")
NAN = float("nan")


def ball(x: np.ndarray, eps: float, norm: Any, whole: Any = None) -> Around:
    none = np.zeros(x.shape[1], bool)
    return Around(x, x - eps, x + eps, np.full(x.shape, eps), norm, none if whole is None else whole, none)


def size(moved: np.ndarray, norm: str) -> np.ndarray:
    moved = np.abs(np.nan_to_num(moved))
    return moved.max(-1) if norm == "linf" else moved.sum(-1) if norm == "l1" else np.sqrt((moved**2).sum(-1))


def beside(threshold: float) -> list[float]:
    """The numbers around a threshold at which any of the libraries' readings could change."""
    single = np.float32(threshold)
    near = [np.nextafter(single, np.float32(s * np.inf)) for s in (-1, 1)]
    middles = [(float(single) + float(other)) / 2 for other in near]
    exact_ones = [threshold, float(single), *map(float, near), *middles]
    return sorted({float(np.nextafter(v, s * np.inf)) for v in exact_ones for s in (-1, 1)} | set(exact_ones))


def exhaustive(forest: Forest, ask: Any, row: np.ndarray, y: int, norm: str, whole: Any = None) -> float:
    """The smallest distance at which the library answers another class, over all numbers that could be nearest."""
    options = []
    for j in range(forest.width):
        mine = np.unique(forest.threshold[(forest.feature == j) & (forest.category < 0)])
        tried = [row[j], *(v for t in mine.tolist() for v in beside(t))]
        if whole is not None and whole[j]:
            tried = [
                row[j],
                *(v + s for t in mine.tolist() for v in (np.floor(t), np.ceil(t)) for s in (-1.0, 0.0, 1.0)),
            ]
        options.append([row[j]] if np.isnan(row[j]) else sorted(set(tried)))
    points = np.array(list(product(*options)))
    fallen = points[ask(points) != y]
    return float(size(fallen - row, norm).min()) if len(fallen) else np.inf


def drawn(classes: int, seed: int = 0, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(300, columns)).astype(np.float32).astype(np.float64)
    return x, np.digitize(
        x @ draw.normal(size=columns), np.quantile(x @ np.ones(columns), np.linspace(0, 1, classes + 1)[1:-1])
    )


def trained(library: str, classes: int, gaps: bool = False) -> tuple[Any, Any]:
    x, y = drawn(classes)
    if gaps:
        x[np.random.default_rng(9).random(x.shape) < 0.3] = np.nan
    if library == "tree":
        model = DecisionTreeClassifier(max_leaf_nodes=classes + 6, random_state=0).fit(x, y)
        return forest_of(model), model.predict
    if library == "histogram":
        model = HistGradientBoostingClassifier(max_iter=1, max_leaf_nodes=7).fit(x, y)
        return forest_of(model), model.predict
    if library == "xgboost":
        model = xgb.XGBClassifier(n_estimators=1, max_depth=3, n_jobs=1).fit(x, y)
        return boost.from_booster(model.get_booster()).forest(), model.predict
    model = lgb.LGBMClassifier(n_estimators=1, num_leaves=7, n_jobs=1, verbose=-1).fit(x, y)
    found = light.from_booster(model.booster_)
    return found.forest(), lambda rows: (model.booster_.predict(rows) > 0.5).astype(int)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("library", "classes", "gaps"),
    [
        ("tree", 2, False),
        ("tree", 3, False),
        ("tree", 10, False),
        ("tree", 3, True),
        ("histogram", 2, False),
        ("histogram", 2, True),
        ("xgboost", 2, False),
        ("xgboost", 2, True),
        ("lightgbm", 2, True),
    ],
)
def test_the_nearest_leaf_is_the_smallest_distance_there_is(library: str, classes: int, gaps: bool, norm: str) -> None:
    forest, ask = trained(library, classes, gaps)
    x, _ = drawn(classes, seed=1)
    x = x[: 3 if classes == 10 else 12]
    if gaps:
        x[::2, 0] = NAN
    y = ask(x)
    costs = costs_of(boxes_of(forest), ball(x, 10.0, norm))
    wanted = other_classes(forest, y)
    found = exact(costs, wanted, y=y)
    truth = np.array([exhaustive(forest, ask, row, int(label), norm) for row, label in zip(x, y, strict=True)])
    assert np.isfinite(truth).any()
    np.testing.assert_allclose(found.distance * 10.0, truth, rtol=1e-9, atol=1e-12)
    reached = np.flatnonzero(np.isfinite(truth))
    points = leaf_points(costs, reached, found.leaf[reached, 0])
    assert (ask(points) != y[reached]).all()
    np.testing.assert_allclose(size(points - x[reached], norm), truth[reached], rtol=1e-9, atol=1e-12)
    for factor, holds in ((0.999, True), (1.001, False)):
        for i in reached.tolist():
            kept = certified(
                forest, ball(x[i : i + 1], truth[i] * factor, norm), other_classes(forest, y[i : i + 1]), y=y[i : i + 1]
            )
            assert bool(kept[0]) == holds


@pytest.mark.parametrize("norm", NORMS)
def test_whole_numbers_move_by_whole_steps(norm: str) -> None:
    draw = np.random.default_rng(3)
    x = draw.integers(-5, 6, size=(300, 3)).astype(np.float64)
    x[:, 2] += draw.normal(size=300)
    y = (x @ np.array([1.0, -2.0, 1.5]) > 0).astype(int)
    model = DecisionTreeClassifier(max_leaf_nodes=8, random_state=0).fit(x, y)
    forest, whole = forest_of(model), np.array([True, True, False])
    assert forest is not None
    rows, labels = x[:15], model.predict(x[:15])
    costs = costs_of(boxes_of(forest, whole), ball(rows, 20.0, norm, whole))
    found = exact(costs, other_classes(forest, labels), y=labels)
    truth = [exhaustive(forest, model.predict, r, int(k), norm, whole) for r, k in zip(rows, labels, strict=True)]
    np.testing.assert_allclose(found.distance * 20.0, truth, rtol=1e-9)
    points = leaf_points(costs, np.arange(15), found.leaf[:, 0])
    assert np.array_equal(points[:, :2], np.round(points[:, :2]))


@pytest.mark.parametrize("threshold", [0.5, 0.1, -0.1, 0.0, 1e-40, 1e30, 3.4028235e38, -3.5e38])
@pytest.mark.parametrize(
    "reading", [Reading(strict=s, single=f, tiny=t) for s in (0, 1) for f in (0, 1) for t in (0, 1e-35)]
)
def test_the_last_number_that_goes_left_is_the_last_one(reading: Reading, threshold: float) -> None:
    def left(value: float) -> bool:
        read = reading.numbers(value)
        return bool(read < threshold if reading.strict else read <= threshold)

    end = float(last_left(reading, np.array([threshold]), np.array([reading.strict]))[0])
    if np.isfinite(end):
        assert left(end) and not left(float(np.nextafter(end, np.inf)))
    else:
        assert left(1.7e308) == (end > 0) and left(-1.7e308) == (end > 0)


def test_a_threshold_that_float32_cannot_tell_is_crossed_where_the_library_crosses_it() -> None:
    at = float(np.float32(0.5)) + 1e-9  # reads as 0.5 in float32
    single = stump(0, 0.5, -1.0, 1.0)
    for reading, cell in ((Reading(strict=False, single=True), 0), (Reading(strict=False, single=False), 1)):
        forest = replace(single, reading=reading)
        assert boxes_of(forest).cell(np.array([[at]]))[0, 0] == cell


def test_zeros_that_count_as_missing_are_a_cell_of_their_own() -> None:
    forest = stump(0, 0.5, -1.0, 1.0)
    forest.missing[:] = ZERO_IS_GAP
    x, y = np.array([[0.3]]), np.array([0])
    for norm in NORMS:
        costs = costs_of(boxes_of(forest), ball(x, 1.0, norm))
        assert exact(costs, other_classes(forest, y)).distance[0] == pytest.approx(0.2)
    below = np.array([[0.1]])  # zero is nearer than the threshold, and goes right as what is missing does
    costs = costs_of(boxes_of(forest), ball(below, 1.0, "linf"))
    found = exact(costs, other_classes(forest, y))
    assert found.distance[0] == pytest.approx(0.1)
    assert leaf_points(costs, np.array([0]), found.leaf[:, 0]).item() == 0.0
    forest.missing[:] = GAP_IS_ZERO
    gone = np.array([[NAN]])
    assert np.isinf(exact(costs_of(boxes_of(forest), ball(gone, 1.0, "linf")), other_classes(forest, y)).distance[0])


@pytest.mark.parametrize("norm", NORMS)
def test_category_sets_are_entered_at_their_nearest_code(norm: str) -> None:
    forest, x = stump(0, {1, 2, 40}, 1.0, -1.0), np.array([[4.0], [38.0], [2.2]])
    y = (forest.margins(x)[:, 0] > 0).astype(int)
    costs = costs_of(boxes_of(forest), ball(x, 50.0, norm))
    found = exact(costs, other_classes(forest, y))
    points = leaf_points(costs, np.arange(3), found.leaf[:, 0])
    assert ((forest.margins(points)[:, 0] > 0) != (y == 1)).all()
    # fractions are cut off: just below 3 is still in the set, and 40 is entered at 40 itself; 3 leaves the set
    np.testing.assert_allclose(points[:, 0], [3.0, 40.0, 3.0], atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("norm", NORMS)
def test_on_single_trees_attack_and_certificate_part_the_rows_between_them(classes: int, norm: Any) -> None:
    x, y = drawn(classes)
    model = DecisionTreeClassifier(max_depth=6, random_state=0).fit(x[:150], y[:150])
    opened = open_subject(
        subject_of(model, x[150:], y[150:], output="probabilities", input={"bounds": (-10, 10), "kind": "tabular"})
    )
    view = view_of(opened)
    assert view is not None and hasattr(opened.model, "trees")
    for eps in (0.05, 0.2):
        chase, right, _ = begin(opened, ball_threat(norm, "scores", eps), range(150))
        labels: Any = chase.goal
        proved = certified(
            view.forest, view.around(chase.whole_ball), other_classes(view.forest, labels.y.numpy()), y=labels.y.numpy()
        )
        run_plan((LeafSearch(),), chase, Stream.of(0, "test"))
        assert np.array_equal(chase.done.numpy(), ~proved) and 0 < proved.sum() < len(right)
        assert chase.rejected == 0
        found = torch.as_tensor(model.predict(chase.found.numpy()))
        assert bool((found[chase.done] != labels.y[chase.done]).all())


def test_rules_make_the_nearest_point_infeasible_and_the_next_leaf_is_tried() -> None:
    x = np.random.default_rng(0).random((400, 2))
    y = (x.max(1) > 0.6).astype(int)
    model = DecisionTreeClassifier(random_state=0).fit(x, y)
    rows = np.array([[0.25, 0.2], [0.9, 0.9]])
    free = subject_of(
        model, rows, np.array([0, 1]), output="probabilities", input={"bounds": (-1, 2), "kind": "tabular"}
    )
    ruled = free.model_copy(update={"rules": {"order": "x0 <= x1 + 0.1"}})
    broken = {}
    for name, subject in (("free", free), ("ruled", ruled)):
        opened = open_subject(subject)
        chase, _, _ = begin(opened, ball_threat("linf", "scores", 0.5), range(2))
        run_plan((LeafSearch(),), chase, Stream.of(0, "test"))
        broken[name] = chase.done.numpy()[0], chase.found.numpy()[0]
    assert broken["free"][0] and broken["free"][1][0] > broken["free"][1][1] + 0.1  # the nearest way raises x0
    assert broken["ruled"][0] and broken["ruled"][1][0] <= broken["ruled"][1][1] + 0.1
