"""Trees node by node: closed forms, arrays that are no trees, and the very answers of scikit-learn."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from sklearn import ensemble, tree
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import veriward as vw
from veriward.adapters.estimators import EstimatorBackend
from veriward.adapters.load import load_backend
from veriward.adapters.loading import Loading
from veriward.adapters.trees.forest import GAP_IS_ZERO, ZERO_IS_GAP, Forest, Reading, packed, stump
from veriward.adapters.trees.sklearn_forest import forest_of
from veriward.core.errors import ArtefactError, CapabilityError

NAN = float("nan")
STUMP = stump(0, 0.5, 10.0, 20.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small models on many threads wait for each other more than they work."""
    with threadpoolctl.threadpool_limits(1):
        yield


def ways(forest: Forest, *values: float) -> list[float]:
    return [float(v) for v in forest.margins([[value] for value in values])[:, 0]]


def changed(**fields: Any) -> Forest:
    return replace(STUMP, **fields)


def test_a_threshold_goes_left_or_right_as_the_reading_says() -> None:
    strict = changed(reading=Reading(strict=True, single=False))
    assert ways(STUMP, 0.5, np.nextafter(0.5, 1)) == [10, 20]
    assert ways(strict, 0.5, np.nextafter(0.5, 0)) == [20, 10]


def test_single_precision_rounds_inputs_before_they_are_compared() -> None:
    single = changed(reading=Reading(strict=False, single=True))
    assert ways(single, 0.5 + 1e-9) == [10]
    assert ways(STUMP, 0.5 + 1e-9) == [20]
    assert ways(single, 1e300, -1e300) == [20, 10]


def test_gaps_go_where_the_node_sends_them() -> None:
    left = np.array([True, False, False])
    assert ways(STUMP, NAN) == [20]
    assert ways(changed(missing_left=left), NAN) == [10]
    as_zero = changed(missing=np.full(3, GAP_IS_ZERO, np.int8))
    assert ways(as_zero, NAN, 0.0) == [10, 10]


def test_zeros_can_be_gaps_up_to_the_librarys_smallest_number() -> None:
    reading = Reading(strict=False, single=False, tiny=1e-35)
    forest = changed(reading=reading, missing=np.full(3, ZERO_IS_GAP, np.int8))
    assert ways(forest, 0.0, NAN, 1e-36, -1e-36, 1e-34) == [20, 20, 20, 20, 10]


def test_sets_hold_codes_beyond_one_word_and_nothing_else() -> None:
    forest = stump(0, {0, 31, 32, 64}, 1.0, 0.0)
    assert ways(forest, 0, 31, 32, 64, 64.9) == [1] * 5
    assert ways(forest, 1, 33, 63, 65, 96, 1e9, 1e300, -1, -0.5, NAN) == [0] * 10
    truncating = replace(forest, reading=Reading(strict=False, single=False, truncates=True))
    assert ways(truncating, -0.5, -1.0) == [1, 0]


def test_an_empty_batch_and_a_forest_without_trees_have_answers() -> None:
    assert STUMP.margins(np.empty((0, 1))).shape == (0, 1)
    assert STUMP.leaves(np.empty((0, 1))).shape == (0, 1)
    bare = replace(STUMP.first(0), base=np.array([3.0]))
    assert bare.margins(np.zeros((2, 1))).tolist() == [[3.0], [3.0]]


def test_leaves_are_numbers_of_nodes() -> None:
    assert STUMP.leaves([[0.0], [1.0]]).tolist() == [[1], [2]]


def test_links_are_applied_and_unknown_ones_refused() -> None:
    assert changed(link="exp").answers([[0.0]])[0, 0] == pytest.approx(np.exp(10))
    assert stump(0, 0, 0.0, 1.0).answers([[0.0]])[0, 0] == 0.0
    assert replace(stump(0, 0, 1.0, 1.0), link="logistic", slope=2.0).answers([[0.0]])[0, 0] == pytest.approx(
        1 / (1 + np.exp(-2))
    )
    with pytest.raises(CapabilityError, match="margins"):
        changed(link="other").answers([[0.0]])
    with pytest.raises(CapabilityError, match=r"\(n, 1\)"):
        STUMP.margins(np.zeros((2, 3)))


@pytest.mark.parametrize(
    "fields",
    [
        {"left": np.array([9, 1, 2], np.int32)},
        {"right": np.array([-1, 1, 2], np.int32)},
        {"left": np.array([0, 1, 2], np.int32)},  # a circle
        {"left": np.array([2, 1, 2], np.int32)},  # both branches lead to one leaf
        {"feature": np.array([7, -1, -1], np.int32)},
        {"roots": np.array([0, 0], np.int32), "output": np.zeros(2, np.int32)},
        {"output": np.array([1], np.int32)},
        {"category": np.array([4, -1, -1], np.int32)},
    ],
)
def test_arrays_that_are_no_trees_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ArtefactError, match="tree"):
        changed(**fields)


def test_sets_come_back_from_their_bits() -> None:
    starts, words = packed([[], [3, 70], [0]])
    forest = replace(stump(0, {0}, 0.0, 1.0), set_starts=starts, set_words=words)
    assert [forest.members(i) for i in range(3)] == [frozenset(), frozenset({3, 70}), frozenset({0})]


DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(300, 4))
TWO, FOUR, REAL = (X[:, 0] + X[:, 1] > 0).astype(int), DRAW.integers(0, 4, 300), X[:, 1] + DRAW.normal(size=300)
COUNTS = DRAW.poisson(3, 300) + 1.0
MODELS = [
    (tree.DecisionTreeClassifier(max_depth=6, random_state=0), FOUR),
    (tree.DecisionTreeRegressor(random_state=0), REAL),
    (tree.ExtraTreeClassifier(random_state=0), TWO),
    (ensemble.RandomForestClassifier(10, random_state=0), FOUR),
    (ensemble.RandomForestRegressor(10, random_state=0), REAL),
    (ensemble.ExtraTreesClassifier(10, random_state=0), TWO),
    (ensemble.ExtraTreesRegressor(10, random_state=0), REAL),
    (ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0), TWO),
    (ensemble.GradientBoostingClassifier(n_estimators=10, loss="exponential", random_state=0), TWO),
    (ensemble.GradientBoostingClassifier(n_estimators=10, init="zero", random_state=0), FOUR),
    (ensemble.GradientBoostingRegressor(n_estimators=10, loss="huber", random_state=0), REAL),
    (ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0), TWO),
    (ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0), FOUR),
    (ensemble.HistGradientBoostingRegressor(max_iter=10, random_state=0), REAL),
    (ensemble.HistGradientBoostingRegressor(max_iter=10, loss="poisson", random_state=0), COUNTS),
    (Pipeline([("as they are", "passthrough"), ("trees", tree.DecisionTreeRegressor(random_state=0))]), REAL),
]


def near(forest: Forest, n: int = 700) -> Any:
    """Rows that lie at thresholds, a hair beside them, and far out."""
    draw = np.random.default_rng(1)
    tests = np.flatnonzero((forest.feature >= 0) & np.isfinite(forest.threshold))
    rows = draw.normal(size=(n, forest.width)) * 2
    for i, node in enumerate(draw.choice(tests, n)):
        at = forest.threshold[node]
        rows[i, forest.feature[node]] = (
            at,
            np.nextafter(at, np.inf),
            np.nextafter(at, -np.inf),
            np.nextafter(np.float32(at), np.float32(np.inf)),
            np.float32(at),
            1e30,
            -1e30,
        )[i % 7]
    return rows


def answers(model: Any, rows: Any) -> Any:
    if not hasattr(model, "predict_proba"):
        return model.predict(rows)[:, None]
    told = model.predict_proba(rows)
    return told[:, 1:] if told.shape[1] == 2 and forest_of(model).outputs == 1 else told


@pytest.mark.parametrize("model, y", MODELS, ids=lambda m: type(m).__name__ if hasattr(m, "fit") else "")
@pytest.mark.parametrize("gaps", [False, True])
def test_scikit_learns_answers_are_reproduced(model: Any, y: Any, gaps: bool) -> None:
    if gaps and type(model).__name__.startswith("Gradient"):
        pytest.skip("takes no gaps")
    x = X.copy()
    if gaps:
        x[np.random.default_rng(2).random(x.shape) < 0.1] = np.nan
    forest = forest_of(model.fit(x, y))
    assert forest is not None
    rows = near(forest)
    if gaps:
        rows[np.random.default_rng(3).random(rows.shape) < 0.1] = np.nan
    np.testing.assert_allclose(forest.answers(rows), answers(model, rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        Pipeline([("scaled", StandardScaler()), ("trees", tree.DecisionTreeRegressor())]).fit(X, REAL),
        tree.DecisionTreeRegressor().fit(X, X[:, :2]),
        ensemble.GradientBoostingRegressor(n_estimators=2, init=tree.DecisionTreeRegressor()).fit(X, REAL),
        ensemble.HistGradientBoostingRegressor(max_iter=2, categorical_features=[0]).fit(np.abs(X).round(), REAL),
        ensemble.AdaBoostRegressor(n_estimators=2).fit(X, REAL),
        object(),
    ],
    ids=["scaled", "two targets", "custom start", "categories", "other kind", "no model"],
)
def test_what_is_not_a_sum_of_trees_over_the_inputs_has_no_forest(model: Any) -> None:
    assert forest_of(model) is None


def test_a_live_estimator_shows_its_trees() -> None:
    model = ensemble.RandomForestClassifier(5, random_state=0).fit(X, TWO)
    subject = vw.Subject.model_validate({"name": "live", "model": {"live": model}, "data": {"test": (X, TWO)}})
    backend = load_backend(subject, Loading())
    assert isinstance(backend, EstimatorBackend)
    forest = backend.forest()
    assert forest is not None
    np.testing.assert_allclose(forest.answers(backend.matrix(X)), backend.raw(X).numpy(), atol=1e-12)
