"""Sums of trees: successes are the library's own, no proof is contradicted, small sums are answered exactly."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import ensemble
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.tree import DecisionTreeRegressor

from veriward.adapters.opened import Opened, open_subject
from veriward.adapters.trees.forest import Forest
from veriward.adapters.trees.sklearn_forest import forest_of
from veriward.checks.balls import ball_threat
from veriward.checks.certify.boxes import boxes_of
from veriward.checks.certify.clique import Space
from veriward.checks.certify.columns import view_of
from veriward.checks.certify.nearest import brackets
from veriward.checks.certify.reach import Around, costs_of
from veriward.checks.certify.trees import certified_ball, decide, moves, other_classes
from veriward.checks.evasion.attack import run_plan
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.farthest import MoveRows
from veriward.checks.evasion.leaves import LeafSearch, wanted_of
from veriward.checks.evasion.plans import EFFORTS, plan
from veriward.checks.evasion.rows import begin
from veriward.checks.evasion.square import Square
from veriward.core.streams import Stream
from veriward.core.subject import Subject

from .measure import subject_of

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")

NORMS = ("linf", "l2", "l1")
EPS = {"linf": 0.03, "l2": 0.08, "l1": 0.15}
ROWS = 25


def scaled(load: Any, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Columns in [0, 1], seen rows and other ones."""
    x, y = load(return_X_y=True)
    x = (x - x.min(0)) / np.maximum(x.max(0) - x.min(0), 1e-9)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order[rows:]], y[order[rows:]], x[order[:rows]], y[order[:rows]]


def trained(kind: str, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
    """Return a live model, and who predicts classes with it."""
    rounds = 12 if y.max() == 1 else 4
    if kind == "xgboost":
        model = xgb.XGBClassifier(n_estimators=rounds, max_depth=3, n_jobs=1).fit(x, y)
        return model.get_booster(), model.predict
    if kind == "lightgbm":
        model = lgb.LGBMClassifier(n_estimators=rounds, max_depth=3, n_jobs=1, verbose=-1).fit(x, y)
        return model.booster_, lambda rows: np.asarray(
            model.predict_proba(pd.DataFrame(rows, columns=model.feature_name_))
        ).argmax(1)
    made = {
        "boosted": ensemble.GradientBoostingClassifier(n_estimators=rounds, random_state=0),
        "histogram": ensemble.HistGradientBoostingClassifier(max_iter=rounds // 2, max_leaf_nodes=8),
        "forest": ensemble.RandomForestClassifier(10, max_depth=3, random_state=0, n_jobs=1),
    }[kind].fit(x, y)
    return made, made.predict


def attacked(opened: Opened, norm: Any, eps: float | None, rows: int = ROWS) -> tuple[Chase, np.ndarray]:
    """Return rows after the attack, and which of them are certified."""
    chase, _, _ = begin(opened, ball_threat(norm, "scores", eps), range(rows))
    view = view_of(opened)
    assert view is not None
    wanted = wanted_of(view.forest, chase.goal)
    assert wanted is not None
    proved = certified_ball(view, chase.whole_ball, wanted)
    run_plan((LeafSearch(),), chase, Stream.of(0, "test"))
    return chase, proved


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("load", [load_breast_cancer, pytest.param(load_digits, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["boosted", "histogram", "forest", "xgboost", "lightgbm"])
def test_successes_are_the_librarys_own_and_no_proof_is_contradicted(kind: str, load: Any, norm: str) -> None:
    rows = ROWS if load is load_breast_cancer else 12
    x, y, test, labels = scaled(load, rows)
    model, predict = trained(kind, x[:600], y[:600])
    settings = {"bounds": (0.0, 1.0), "kind": "tabular"}
    opened = open_subject(subject_of(model, test, labels, output="probabilities", input=settings))
    chase, proved = attacked(opened, norm, EPS[norm], rows)
    done = chase.done.numpy()
    truth: Any = chase.goal
    assert (predict(chase.found.numpy()[done]) != truth.y.numpy()[done]).all() if done.any() else True
    assert chase.rejected == 0 and not (done & proved).any()
    assert proved.any()
    assert (proved | done).mean() >= 0.9  # most rows are decided
    run_plan((Square(60),), chase, Stream.of(1, "guard"))
    assert not (chase.done.numpy() & proved).any()


def test_small_sums_are_decided_like_every_combination_of_cells() -> None:
    draw = np.random.default_rng(1)
    x = draw.random((200, 2))
    y = (np.sin(7 * x[:, 0]) + x[:, 1] > 0.9).astype(int)
    model = ensemble.GradientBoostingClassifier(n_estimators=12, max_depth=2, random_state=0).fit(x, y)
    forest = forest_of(model)
    assert forest is not None
    rows = draw.random((10, 2))
    labels = model.predict(rows)
    grid = [np.unique(forest.threshold[forest.feature == j]) for j in range(2)]
    for norm in NORMS:
        truth = np.array([_smallest(model, grid, row, label, norm) for row, label in zip(rows, labels, strict=True)])
        for factor, holds in ((0.999, True), (1.001, False)):
            for i, eps in enumerate(truth * factor):
                ball = (rows[i : i + 1], rows[i : i + 1] - eps, rows[i : i + 1] + eps, np.full((1, 2), eps))
                assert bool(decide(forest, *ball, norm, labels[i : i + 1])[0]) == holds  # type: ignore[arg-type]


def _smallest(model: Any, grid: list[np.ndarray], row: np.ndarray, label: int, norm: str) -> float:
    """The smallest distance at which the library answers another class, float32 steps around thresholds tried."""
    steps = [np.unique(np.concatenate([[row[j]], g, g + 1e-6, g - 1e-6])) for j, g in enumerate(grid)]
    points = np.stack(np.meshgrid(*steps), -1).reshape(-1, 2)
    moved = np.abs(points[model.predict(points) != label] - row)
    sizes = {"linf": moved.max(1), "l1": moved.sum(1), "l2": np.sqrt((moved**2).sum(1))}
    return float(sizes[norm].min())


@pytest.mark.parametrize("norm", NORMS)
def test_brackets_hold_the_smallest_distance_and_mostly_close(norm: Any) -> None:
    x, y, test, labels = scaled(load_breast_cancer, 30)
    model = ensemble.GradientBoostingClassifier(n_estimators=15, random_state=0).fit(x, y)
    forest = forest_of(model)
    assert forest is not None
    test = test[model.predict(test) == labels]
    labels = model.predict(test)
    none = np.zeros(test.shape[1], bool)
    around = Around(test, 0 * test, 0 * test + 1, 0 * test + 1, norm, none, none)
    found = brackets(costs_of(boxes_of(forest), around), other_classes(forest, labels), nodes=200)
    reached = np.isfinite(found.upper)
    assert reached.any() and (found.lower <= found.upper).all()
    assert (model.predict(found.points[reached]) != labels[reached]).all()
    moved = np.abs(found.points - test)
    sizes = {"linf": moved.max(1), "l1": moved.sum(1), "l2": np.sqrt((moved**2).sum(1))}[norm]
    np.testing.assert_allclose(sizes[reached], found.upper[reached], rtol=1e-9)
    assert np.median(found.upper[reached] / np.maximum(found.lower[reached], 1e-9)) < 1.01


def test_missing_numbers_stay_missing_and_go_where_the_library_sends_them() -> None:
    x, y, test, labels = scaled(load_breast_cancer, 40)
    for part, seed in ((x, 1), (test, 2)):
        part[np.random.default_rng(seed).random(part.shape) < 0.3] = np.nan
    for kind in ("xgboost", "lightgbm", "histogram"):
        model, _ = trained(kind, x, y)
        settings = {"bounds": (0.0, 1.0), "kind": "tabular"}
        opened = open_subject(subject_of(model, test, labels, output="probabilities", input=settings))
        chase, proved = attacked(opened, "linf", 0.1, 40)
        done = chase.done.numpy()
        assert done.any() and proved.any() and not (done & proved).any() and (done | proved).mean() > 0.9
        assert torch.equal(torch.isnan(chase.found), torch.isnan(chase.clean))


def categories(library: str) -> tuple[Any, Any, np.ndarray]:
    """A booster on two columns of words and one of numbers, with rows it knows."""
    draw = np.random.default_rng(5)
    words = np.array(["ash", "birch", "cedar", "dogwood", "elm", "fir"])
    frame = pd.DataFrame(
        {"tree": draw.choice(words, 300), "size": draw.random(300), "soil": draw.choice(["clay", "sand"], 300)}
    )
    y = (
        ((frame["tree"].isin(["birch", "elm", "fir"]) ^ (frame["size"] > 0.6)) & (frame["soil"] == "clay"))
        .to_numpy()
        .astype(int)
    )
    coded = frame.astype({"tree": "category", "soil": "category"})
    if library == "lightgbm":
        model = lgb.LGBMClassifier(
            n_estimators=10, num_leaves=6, min_data_per_group=5, min_child_samples=5, n_jobs=1, verbose=-1
        )
        return model.fit(coded, y).booster_, frame, y
    model = xgb.XGBClassifier(n_estimators=10, max_depth=3, enable_categorical=True, max_cat_to_onehot=2, n_jobs=1)
    return model.fit(coded, y).get_booster(), frame, y


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_words_are_changed_where_the_attacker_may_change_them(library: str, norm: Any) -> None:
    model, frame, y = categories(library)
    table = frame.assign(y=y)
    free = Subject.model_validate(
        {
            "name": "words",
            "task": "classification",
            "model": {"live": model},
            "data": {"test": table, "label": "y"},
            "features": {"tree": {"change": "any"}, "size": {"eps": 0.05}},
        }
    )
    opened = open_subject(free)
    assert view_of(opened) is not None
    chase, proved = attacked(opened, norm, None, 80)
    done = chase.done.numpy()
    assert done.any() and proved.any() and np.array_equal(done, ~proved)
    assert bool((chase.found[:, 2] == chase.clean[:, 2]).all())  # the soil stays
    assert bool((chase.found[:, 0] != chase.clean[:, 0]).any())
    if norm != "linf":  # a word costs the whole budget, so nothing else moves with it
        both = (chase.found[:, 0] != chase.clean[:, 0]) & (chase.found[:, 1] != chase.clean[:, 1])
        assert not bool(both.any())


@pytest.mark.parametrize("kind", ["one tree", "boosted", "forest", "xgboost"])
def test_predictions_are_moved_and_proved_to_stay(kind: str) -> None:
    x, y, test, labels = scaled(load_diabetes, 40)
    model: Any = {
        "one tree": DecisionTreeRegressor(max_depth=5, random_state=0),
        "boosted": ensemble.GradientBoostingRegressor(n_estimators=20, random_state=0),
        "forest": ensemble.RandomForestRegressor(10, max_depth=4, random_state=0),
        "xgboost": xgb.XGBRegressor(n_estimators=15, max_depth=3, n_jobs=1),
    }[kind].fit(x, y)
    live = model.get_booster() if kind == "xgboost" else model
    subject = Subject.model_validate(
        {
            "name": "numbers",
            "task": "regression",
            "model": {"live": live},
            "data": {"test": (test, labels)},
            "input": {"bounds": (0.0, 1.0), "kind": "tabular"},
        }
    )
    opened, threat = open_subject(subject), ball_threat("linf", "scores", 0.02, goal="move")
    view, clean = view_of(opened), torch.as_tensor(test)
    assert view is not None
    found = MoveRows(threat, Stream.of(0, "test"), (LeafSearch(),))(opened, (range(40), 0))
    guard = MoveRows(threat, Stream.of(0, "test"), (Square(200),))(opened, (range(40), 0))
    start = model.predict(test).astype(np.float64)
    wanted = moves(view.forest, start, 0.1 * np.abs(start))
    assert wanted is not None
    proved = certified_ball(view, opened.domain.ball(clean, threat), wanted)
    done = found["by"] >= 0
    assert done.any() and proved.any() and not ((done | (guard["by"] >= 0)) & proved).any()
    assert (done | proved).all()
    assert (found["up"] >= guard["up"] - 1e-4).mean() > 0.9 and (found["down"] <= guard["down"] + 1e-4).mean() > 0.9


def test_a_row_is_answered_alike_alone_and_in_company() -> None:
    x, y, test, labels = scaled(load_digits, 12)
    model, _ = trained("forest", x[:400], y[:400])
    settings = {"bounds": (0.0, 1.0), "kind": "tabular"}
    opened = open_subject(subject_of(model, test, labels, output="probabilities", input=settings))
    together, proved = attacked(opened, "l1", 0.2, 12)
    place = {int(row): i for i, row in enumerate(together.rows)}
    for row in range(12):
        view = view_of(opened)
        chase, _, _ = begin(opened, ball_threat("l1", "scores", 0.2), [row])
        if not len(chase.rows) or view is None:
            continue
        wanted = wanted_of(view.forest, chase.goal)
        assert wanted is not None
        i = place[int(chase.rows[0])]
        assert bool(certified_ball(view, chase.whole_ball, wanted)[0]) == bool(proved[i])
        run_plan((LeafSearch(),), chase, Stream.of(0, "test"))
        assert bool(chase.done[0]) == bool(together.done[i]) and torch.equal(chase.found[0], together.found[i])


def test_trees_lie_open_unless_the_access_is_restricted() -> None:
    x, y, test, labels = scaled(load_breast_cancer, 20)
    model, _ = trained("boosted", x, y)
    settings = {"bounds": (0.0, 1.0), "kind": "tabular"}
    opened = open_subject(subject_of(model, test, labels, output="probabilities", input=settings))
    assert isinstance(opened.model.trees(), Forest)  # type: ignore[union-attr]
    assert [attack.reads for attack in plan(opened, "linf", EFFORTS["quick"])] == ["structure", "scores"]
    closed = {"model": {"live": model, "access": "scores"}, "data": {"test": (test, labels)}, "input": settings}
    shut = open_subject(Subject.model_validate({"name": "shut", "task": "classification", **closed}))
    assert not hasattr(shut.model, "trees") and shut.forest is not None
    assert [attack.reads for attack in plan(shut, "linf", EFFORTS["quick"])] == ["scores"]


def test_pairs_of_trees_bound_no_less_than_is_reached_and_no_more_than_one_by_one() -> None:
    x, y, test, labels = scaled(load_breast_cancer, 20)
    model = ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0).fit(x, y)
    forest = forest_of(model)
    assert forest is not None
    none = np.zeros(test.shape[1], bool)
    eps = 0.05
    around = Around(test, test - eps, test + eps, 0 * test + eps, "linf", none, none)
    boxes = boxes_of(forest)
    space, wanted = Space(costs_of(boxes, around)), other_classes(forest, labels)
    from veriward.checks.certify.in_reach import begin as in_reach

    tasks, roots = in_reach(space, wanted.row, wanted.worth(boxes.values), wanted.offset, np.ones(20))
    reach = tasks.reach(roots)
    pairs, (alone, _) = tasks.bound(roots, reach), tasks.alone(roots, reach)
    assert (pairs <= alone + 1e-9).all() and (pairs < alone - 1e-6).any()
    noise = np.random.default_rng(0).uniform(-eps, eps, (200, *test.shape))
    sign = np.where(labels == 1, -1.0, 1.0)
    reached = sign * np.array([forest.margins(test + n)[:, 0] for n in noise])
    assert (reached <= pairs + 1e-9).all()
