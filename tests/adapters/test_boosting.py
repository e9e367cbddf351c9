"""XGBoost and LightGBM: the native answers reproduced node by node, categories by name, hostile files refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import veriward as vw
from veriward.adapters import lightgbm as light
from veriward.adapters import xgboost as boost
from veriward.adapters.load import load_backend
from veriward.adapters.loading import Loading
from veriward.adapters.trees.forest import Forest
from veriward.core.data import Table
from veriward.core.errors import ArtefactError, ModelError
from veriward.examples import shop

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")

DRAW = np.random.default_rng(0)
N = 500
CODES = [0, 1, 5, 31, 32, 33, 63, 64, 69, 70, 1000, -1, -0.5, 0.5, 7.9, 1e7, 2e7, np.nan]
X = DRAW.normal(size=(N, 5))
X[:, 3] = np.where(DRAW.random(N) < 0.4, 0, X[:, 3])
X[:, 4] = DRAW.integers(0, 70, N)
GAPS = np.where(DRAW.random(X.shape) < 0.1, np.nan, X)
TWO = (X[:, 0] + X[:, 1] * (X[:, 4] % 3) > 0).astype(int)
THREE, SHARE, COUNTS = DRAW.integers(0, 3, N), DRAW.random(N), DRAW.poisson(2, N) + 1.0


def near(forest: Forest, far: float, n: int = 1000) -> Any:
    """Rows with gaps and zeros, at thresholds, a hair beside them, and far out; odd codes in the last column."""
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(n, 5)) * 3
    rows[draw.random(rows.shape) < 0.15] = np.nan
    rows[draw.random(rows.shape) < 0.1] = 0
    tests = np.flatnonzero((forest.feature >= 0) & (forest.category < 0))
    for i, node in enumerate(draw.choice(tests, n)):
        at, single = forest.threshold[node], np.float32(forest.threshold[node])
        beside = (np.nextafter(at, np.inf), np.nextafter(at, -np.inf), np.nextafter(single, np.float32(-np.inf)))
        tiny = (1e-35, -1e-35, float(np.float32(1e-35)), -float(np.float32(1e-35)), 5e-36, 1.1e-35)
        rows[i, forest.feature[node]] = (at, *beside, single, far, -far, *tiny)[i % 13]
    if (forest.category >= 0).any():
        rows[:, 4] = draw.choice(CODES, n)
    return rows


XGB = [
    ("binary:logistic", TWO, {}),
    ("binary:logistic", TWO, {"scale_pos_weight": 3, "base_score": 0.3}),
    ("binary:logistic", TWO, {"booster": "dart", "rate_drop": 0.3}),
    ("binary:logistic", TWO, {"num_parallel_tree": 4, "subsample": 0.5, "eta": 1}),
    ("binary:logistic", TWO, {"grow_policy": "lossguide", "max_leaves": 40, "max_depth": 0}),
    ("binary:logitraw", TWO, {}),
    ("binary:hinge", TWO, {}),
    ("multi:softprob", THREE, {"num_class": 3}),
    ("multi:softmax", THREE, {"num_class": 3, "booster": "dart", "rate_drop": 0.3, "one_drop": 1}),
    ("reg:squarederror", X[:, 1] * 1e4, {}),
    ("reg:absoluteerror", X[:, 1], {}),
    ("reg:logistic", SHARE, {}),
    ("count:poisson", COUNTS, {}),
    ("reg:gamma", COUNTS, {}),
    ("reg:tweedie", COUNTS, {}),
    ("survival:cox", COUNTS, {}),
    ("rank:ndcg", THREE, {}),
    ("reg:squarederror", X[:, :2], {}),
    ("reg:quantileerror", X[:, 1], {"quantile_alpha": [0.1, 0.9]}),
]


def grown(objective: str, y: Any, more: dict[str, Any], x: Any = GAPS, rounds: int = 15, **data: Any) -> Any:
    rows = xgb.DMatrix(x, y, nthread=1, **data)
    if objective.startswith("rank"):
        rows.set_group([len(x)])
    return xgb.train({"objective": objective, "nthread": 1, **more}, rows, rounds)


@pytest.mark.parametrize("types", [None, ["q"] * 4 + ["c"]], ids=["numbers", "categories"])
@pytest.mark.parametrize("objective, y, more", XGB, ids=[f"{o}{len(m)}" for o, _, m in XGB])
def test_xgboosts_margins_and_leaves_are_reproduced(
    objective: str, y: Any, more: dict[str, Any], types: list[str] | None
) -> None:
    options = {**more, "max_cat_to_onehot": 2} if types else more
    booster = grown(objective, y, options, feature_types=types)
    forest = boost.from_booster(booster).forest()
    assert forest is not None
    rows = near(forest, 3e38)
    data = xgb.DMatrix(rows, feature_types=types, nthread=1)
    native = booster.predict(data, output_margin=True).reshape(len(rows), -1)
    # float32 sums in the same order; a base that is a logarithm can differ in its own last bit
    np.testing.assert_allclose(forest.margins(rows), native, rtol=1e-6, atol=1e-6)
    if objective.startswith(("reg:s", "reg:a", "reg:q", "multi", "rank", "binary:h", "binary:logitraw")):
        np.testing.assert_array_equal(forest.margins(rows).astype(np.float32), native)
    leaves = booster.predict(data, pred_leaf=True).reshape(len(rows), -1)
    np.testing.assert_array_equal(forest.leaves(rows) - forest.roots, leaves)


def test_vector_leaves_of_xgboost_speak_for_all_outputs() -> None:
    booster = grown("reg:squarederror", X[:, :2], {"multi_strategy": "multi_output_tree"})
    forest = boost.from_booster(booster).forest()
    assert forest is not None and forest.value.shape[1] == 2
    rows = near(forest, 3e38)
    native = booster.predict(xgb.DMatrix(rows, nthread=1), output_margin=True)
    np.testing.assert_array_equal(forest.margins(rows).astype(np.float32), native)


LGB = [
    ("binary", TWO, {}),
    ("binary", TWO, {"sigmoid": 2.0, "is_unbalance": True}),
    ("binary", TWO, {"boosting": "dart"}),
    ("binary", TWO, {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}),
    ("binary", TWO, {"boost_from_average": False, "num_leaves": 200, "min_data_in_leaf": 1}),
    ("multiclass", THREE, {"num_class": 3}),
    ("multiclass", THREE, {"num_class": 3, "boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}),
    ("multiclassova", THREE, {"num_class": 3}),
    ("regression", X[:, 1], {}),
    ("quantile", X[:, 1], {}),
    ("mape", COUNTS, {}),
    ("poisson", COUNTS, {}),
    ("gamma", COUNTS, {}),
    ("tweedie", COUNTS, {}),
    ("cross_entropy", SHARE, {}),
    ("lambdarank", THREE, {}),
]
GAP_RULES: list[tuple[Any, dict[str, Any]]] = [
    (X, {}),
    (GAPS, {}),
    (GAPS, {"zero_as_missing": True}),
    (GAPS, {"use_missing": False}),
    (GAPS, {"categorical_feature": [4], "max_cat_to_onehot": 2, "min_data_per_group": 2, "cat_smooth": 1}),
]


def lit(objective: str, y: Any, more: dict[str, Any], x: Any = GAPS, rounds: int = 10, **data: Any) -> Any:
    options = {"objective": objective, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, **more}
    rows = lgb.Dataset(x, y, params={"verbosity": -1}, **data)
    if objective == "lambdarank":
        rows.set_group([len(x)])
    return lgb.train(options, rows, rounds)


@pytest.mark.parametrize("x, rules", GAP_RULES, ids=["full", "gaps", "zero is a gap", "no gaps known", "categories"])
@pytest.mark.parametrize("objective, y, more", LGB, ids=[f"{o}{len(m)}" for o, _, m in LGB])
def test_lightgbms_margins_answers_and_leaves_are_reproduced(
    objective: str, y: Any, more: dict[str, Any], x: Any, rules: dict[str, Any]
) -> None:
    options = dict(rules)
    named = options.pop("categorical_feature", "auto")
    booster = lit(objective, y, {**more, **options}, x, categorical_feature=named)
    forest = light.from_booster(booster).forest()
    assert forest is not None
    rows = near(forest, 1e300)
    native = booster.predict(rows, raw_score=True).reshape(len(rows), -1)
    if more.get("boosting") == "rf":  # raw scores are sums there, but answers are made from the mean
        np.testing.assert_allclose(forest.margins(rows), native / 10, rtol=1e-12)
    else:
        np.testing.assert_array_equal(forest.margins(rows), native)
    np.testing.assert_allclose(forest.answers(rows), booster.predict(rows).reshape(len(rows), -1), rtol=1e-12)
    leaves = booster.predict(rows, pred_leaf=True).reshape(len(rows), -1)
    inner = np.array([np.count_nonzero(~part) for part in np.split(forest.is_leaf, forest.roots[1:])])
    np.testing.assert_array_equal(forest.leaves(rows) - forest.roots - inner, leaves)


def test_linear_leaves_and_linear_boosters_answer_without_a_forest() -> None:
    linear = light.from_booster(lit("regression", X[:, 1] + 3 * X[:, 0], {"linear_tree": True}, X))
    assert linear.forest() is None and linear.raw(X).shape == (N,)
    flat = boost.from_booster(grown("binary:logistic", TWO, {"booster": "gblinear"}, X))
    assert flat.forest() is None and flat.raw(X).shape == (N,)


def test_what_answers_are_follows_from_the_objective() -> None:
    told = {o: boost.from_booster(grown(o, y, m, rounds=1)).output for o, y, m in XGB}
    assert told["binary:logistic"] == told["multi:softmax"] == told["multi:softprob"] == "probabilities"
    assert told["binary:logitraw"] == told["binary:hinge"] == "logits"
    assert told["count:poisson"] == told["rank:ndcg"] == told["reg:logistic"] == "value"
    assert light.from_booster(lit("multiclassova", THREE, {"num_class": 3})).output == "logits"
    assert light.from_booster(lit("regression", SHARE, {})).output == "value"


def test_softmax_labels_are_told_as_probabilities() -> None:
    booster = grown("multi:softmax", THREE, {"num_class": 3})
    raw = boost.from_booster(booster).raw(GAPS)
    assert raw.sum(1).numpy() == pytest.approx(1)
    assert (raw.argmax(1).numpy() == booster.predict(xgb.DMatrix(GAPS))).all()


def test_a_model_that_scikit_learns_wrapper_saved_stops_at_its_best_round(tmp_path: Path) -> None:
    half = slice(None, N // 2), slice(N // 2, None)
    model = xgb.XGBClassifier(n_estimators=60, learning_rate=0.9, early_stopping_rounds=30, n_jobs=1)
    model.fit(X[half[0]], TWO[half[0]], eval_set=[(X[half[1]], TWO[half[1]])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    for name in ("m.ubj", "m.json"):
        model.save_model(tmp_path / name)
        backend = boost.XGBoostBackend((tmp_path / name).read_bytes())
        np.testing.assert_array_equal(backend.raw(X).numpy(), model.predict_proba(X)[:, 1])
        forest = backend.forest()
        assert forest is not None and forest.trees == model.best_iteration + 1
        assert forest.answers(X)[:, 0] == pytest.approx(backend.raw(X).numpy(), abs=1e-6)
    whole = boost.from_booster(model.get_booster())  # a Booster by itself predicts with all rounds
    np.testing.assert_array_equal(whole.raw(X).numpy(), model.get_booster().predict(xgb.DMatrix(X)))


def test_an_early_stopped_lightgbm_booster_is_taken_up_to_its_best_round() -> None:
    half = lgb.Dataset(X[:250], TWO[:250], params={"verbosity": -1})
    other = lgb.Dataset(X[250:], TWO[250:], reference=half)
    stop = lgb.early_stopping(5, verbose=False)
    options = {"objective": "binary", "verbosity": -1, "num_threads": 1, "learning_rate": 0.5}
    booster = lgb.train(options, half, 80, valid_sets=[other], callbacks=[stop], keep_training_booster=True)
    backend = light.from_booster(booster)
    np.testing.assert_array_equal(backend.raw(X).numpy(), booster.predict(X))
    forest = backend.forest()
    assert forest is not None and forest.trees == booster.best_iteration < booster.current_iteration()


# --- categories by name ---------------------------------------------------------------------------------------------

WORDS = DRAW.choice(np.array(["low", "mid", "high", None], dtype=object), N)
SIZES = DRAW.choice([3, 7, 9], N)
FRAME = pd.DataFrame({"a": GAPS[:, 0], "word": pd.Categorical(WORDS), "size": pd.Categorical(SIZES), "b": GAPS[:, 1]})
BOUGHT = ((np.nan_to_num(FRAME.a) > 0) ^ (WORDS == "low") ^ (SIZES == 7)).astype(int)


def table(words: Any = WORDS) -> Table:
    # in another order than in training, and with a column too many
    return Table({"b": GAPS[:, 1], "size": SIZES, "word": words, "other": GAPS[:, 2], "a": GAPS[:, 0]})


def test_xgboosts_stored_categories_become_its_codes() -> None:
    booster = grown("binary:logistic", BOUGHT, {"max_cat_to_onehot": 1}, FRAME, enable_categorical=True)
    backend = boost.from_booster(booster)
    assert backend.columns == ("a", "word", "size", "b")
    native = booster.predict(xgb.DMatrix(FRAME, enable_categorical=True, nthread=1))
    np.testing.assert_array_equal(backend.raw(table()).numpy(), native)
    forest = backend.forest()
    assert forest is not None and (forest.category >= 0).any()
    assert forest.answers(backend.matrix(table()))[:, 0] == pytest.approx(native, abs=1e-6)
    with pytest.raises(ModelError, match="'word': 500 rows hold categories"):
        backend.raw(table(np.array(["tall"] * N, dtype=object)))


def test_lightgbms_pandas_categories_become_its_codes_and_unseen_ones_gaps() -> None:
    booster = lit("binary", BOUGHT, {"min_data_per_group": 2, "cat_smooth": 1}, FRAME)
    backend = light.from_booster(booster)
    assert backend.columns == ("a", "word", "size", "b")
    np.testing.assert_array_equal(backend.raw(table()).numpy(), booster.predict(FRAME))
    strange = np.array(["tall", None] * (N // 2), dtype=object)
    natively = FRAME.assign(word=pd.Categorical(strange, categories=["tall"]))
    np.testing.assert_array_equal(backend.raw(table(strange)).numpy(), booster.predict(natively))


def test_texts_without_known_codes_are_refused_by_column() -> None:
    codes = FRAME.assign(word=FRAME.word.cat.codes.clip(0), size=FRAME["size"].cat.codes)
    types = ["float", "c", "c", "float"]
    told = boost.from_booster(grown("binary:logistic", BOUGHT, {}, codes, feature_types=types))
    with pytest.raises(ModelError, match=r"'word': holds texts.*which code"):
        told.raw(table())
    plain = light.from_booster(lit("binary", BOUGHT, {}, codes))
    with pytest.raises(ModelError, match=r"'word': holds texts.*input\.columns"):
        plain.raw(table())


def test_category_texts_that_xgboost_garbles_are_not_guessed() -> None:
    region = pd.DataFrame({"region": pd.Categorical(["东北", "华东", "华中", "华南"] * (N // 4)), "a": X[:, 0]})
    backend = boost.from_booster(grown("binary:logistic", TWO, {}, region, enable_categorical=True))
    with pytest.raises(ModelError, match=r"'region': holds texts.*ASCII"):
        backend.raw(Table({"region": region.region.astype(object).to_numpy(), "a": X[:, 0]}))
    forest = light.from_booster(lit("binary", TWO, {}, region))
    assert forest.raw(Table({"region": region.region.astype(object).to_numpy(), "a": X[:, 0]})).shape == (N,)


# --- files that lie -------------------------------------------------------------------------------------------------


def spoiled(change: Callable[[dict[str, Any], dict[str, Any]], Any], booster: Any = None) -> bytes:
    document = json.loads((booster or grown("binary:logistic", TWO, {}, rounds=2)).save_raw("json"))
    learner = document["learner"]
    change(learner, learner["gradient_booster"]["model"])
    return json.dumps(document).encode()


LIES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "child": lambda _, m: m["trees"][0]["left_children"].__setitem__(0, 10**6),
    "negative child": lambda _, m: m["trees"][0]["right_children"].__setitem__(0, -7),
    "circle": lambda _, m: m["trees"][0]["left_children"].__setitem__(1, 0),
    "place": lambda _, m: m["trees"][0].__setitem__("id", 1),
    "parent": lambda _, m: m["trees"][0]["parents"].__setitem__(1, 2),
    "feature": lambda _, m: m["trees"][0]["split_indices"].__setitem__(0, 10**7),
    "output": lambda _, m: m["tree_info"].__setitem__(0, 10**7),
    "rounds": lambda _, m: m.__setitem__("iteration_indptr", [0, 1, 200]),
    "short": lambda _, m: m["trees"][0].__setitem__("split_conditions", [1.0]),
    "sets": lambda _, m: m["trees"][0].update(
        categories=[5], categories_nodes=[0], categories_segments=[0], categories_sizes=[10**9]
    ),
    "width": lambda learner, _: learner["learner_model_param"].__setitem__("num_feature", "1"),
    "base": lambda learner, _: learner["learner_model_param"].__setitem__("base_score", "[1,2,3]"),
    "no base": lambda learner, _: learner["learner_model_param"].pop("base_score"),
    "words": lambda learner, _: learner["gradient_booster"].__setitem__("model", "none"),
    "booster": lambda learner, _: learner["gradient_booster"].__setitem__("name", "gbforest"),
}


@pytest.mark.parametrize("lie", LIES)
def test_xgboost_documents_that_lead_prediction_astray_are_refused(lie: str) -> None:
    with pytest.raises(ArtefactError):
        boost.XGBoostBackend(spoiled(LIES[lie]))


@pytest.mark.parametrize("content", [b"", b"{", b"{L", b"[1]", b'{"learner": {}}', b'{"learner": 1, "learner": 2}'])
def test_what_is_no_xgboost_document_is_refused(content: bytes) -> None:
    with pytest.raises(ArtefactError):
        boost.XGBoostBackend(content)


def test_a_cut_ubjson_document_is_refused_wherever_it_is_cut() -> None:
    whole = bytes(grown("binary:logistic", TWO, {}, rounds=2).save_raw("ubj"))
    for size in np.linspace(2, len(whole) - 1, 200).astype(int):
        with pytest.raises(ArtefactError):
            boost.Document.parse(whole[:size])


def text(**more: Any) -> str:
    booster = lit("binary", TWO, {"cat_smooth": 1, "min_data_per_group": 2, **more}, rounds=2, categorical_feature=[4])
    return str(booster.model_to_string())


@pytest.mark.parametrize(
    "old, new",
    [
        ("\nleft_child=", "\nleft_child=999 "),
        ("\nsplit_feature=", "\nsplit_feature=9 "),
        ("\nnum_leaves=", "\nnum_leaves=9"),
        ("\nmax_feature_idx=4", "\nmax_feature_idx=1"),
        ("\nnum_class=1", "\nnum_class=7"),
        ("\nnum_tree_per_iteration=1", "\nnum_tree_per_iteration=9"),
        ("\ntree_sizes=", "\ntree_sizes=9"),
        ("\ncat_boundaries=0", "\ncat_boundaries=5"),
        ("\nTree=1", "\nTree=7"),
        ("\nend of trees", "\nend of leaves"),
        ("\nlabel_index=0", ""),
        ("sigmoid:1", "sigmoid:0"),
        ("\nshrinkage=", "\nshrinkage=n"),
    ],
)
def test_lightgbm_texts_that_lead_prediction_astray_are_refused(old: str, new: str) -> None:
    whole = text()
    assert old in whole
    with pytest.raises(ArtefactError):
        light.LightGBMBackend(whole.replace(old, new, 1).encode())


def test_a_cut_lightgbm_text_is_refused_before_the_library_aborts() -> None:
    whole = text().encode()
    trees = whole.index(b"end of trees")
    for size in np.linspace(0, trees, 60).astype(int):
        with pytest.raises(ArtefactError):
            light.LightGBMBackend(whole[:size])


def test_a_circle_in_a_lightgbm_tree_is_refused() -> None:
    lines = text().split("\n")
    at = next(i for i, line in enumerate(lines) if line.startswith("left_child="))
    children = lines[at].removeprefix("left_child=").split()
    swapped = ["0" if child.startswith("-") else child for child in children]
    lines[at] = "left_child=" + " ".join(swapped)
    with pytest.raises(ArtefactError):
        light.LightGBMBackend("\n".join(lines).encode())


# --- live and assessed ----------------------------------------------------------------------------------------------


def test_live_boosters_are_asked_as_they_would_be_saved_and_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    for booster in (grown("binary:logistic", TWO, {}), lit("binary", TWO, {})):
        subject = vw.Subject.model_validate({"name": "live", "model": {"live": booster}, "data": {"test": (GAPS, TWO)}})
        backend = load_backend(subject, Loading())
        assert backend.format == type(booster).__module__.partition(".")[0]
        assert backend.width == 5 and backend.columns is None
        rows = xgb.DMatrix(GAPS) if backend.format == "xgboost" else GAPS
        np.testing.assert_array_equal(backend.raw(GAPS).numpy(), booster.predict(rows))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_shop_is_judged_alike_whatever_the_boosted_models_file(tmp_path: Path) -> None:
    shop.write(tmp_path)
    codes = {region: f"R{i}" for i, region in enumerate(shop.REGIONS)}
    for name in ("train.csv", "test.csv"):
        rows = pd.read_csv(tmp_path / name)
        rows.assign(region=rows.region.map(codes)).to_csv(tmp_path / name, index=False)
    rows = pd.read_csv(tmp_path / "train.csv")
    x = rows[list(shop.FEATURES)].astype({"region": "category"})
    y = (rows.bought == "yes").astype(int)
    model = xgb.XGBClassifier(n_estimators=60, max_depth=4, enable_categorical=True, n_jobs=1).fit(x, y)
    model.save_model(tmp_path / "m.ubj")
    model.save_model(tmp_path / "m.json")
    lit("binary", y, {}, x, rounds=60).save_model(tmp_path / "m.txt")
    verdicts = {}
    for name in ("m.ubj", "m.json", "m.txt"):
        path = tmp_path / "subject.toml"
        path.write_text(shop.SUBJECT.replace("model.skops", name), encoding="utf-8")
        dossier = vw.assess(path, out=tmp_path / f"{name}.ward", budget="quick", checks=["evasion/*", "fairness/*"])
        verdicts[name] = {check: finding.verdict for check, finding in dossier.findings.items()}
        dossier.close()
    assert verdicts["m.ubj"] == verdicts["m.json"]
    assert verdicts["m.txt"].keys() == verdicts["m.ubj"].keys()
    assert "error" not in {*verdicts["m.ubj"].values(), *verdicts["m.txt"].values()}
