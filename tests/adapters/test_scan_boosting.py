"""XGBoost and LightGBM: what the libraries write is clean, quickly, whatever the objective."""

import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from veriward.adapters.scan import ScanResult, scan

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(300, 4))
X[DRAW.random(X.shape) < 0.1] = np.nan
BINARY = (np.nan_to_num(X[:, 0]) + 0.3 * DRAW.normal(size=300) > 0).astype(float)
THREE = DRAW.integers(0, 3, 300).astype(float)
NAMES = ["年龄", "收入", "b", "c"]
CATEGORIES = DRAW.integers(0, 40, 300)
MIXED = pd.DataFrame({"city": pd.Categorical([f"城{code}" for code in CATEGORIES]), "x": X[:, 1]})
BY_CITY = (CATEGORIES % 3 == 0) + 0.1 * DRAW.normal(size=300)


def scanned(path: Path, content: bytes) -> ScanResult:
    path.write_bytes(content)
    return scan(path)


XGBOOST: dict[str, tuple[dict[str, Any], Any]] = {
    **{
        name: ({"objective": name}, BINARY)
        for name in (
            "reg:squarederror",
            "reg:squaredlogerror",
            "reg:logistic",
            "reg:pseudohubererror",
            "reg:absoluteerror",
            "reg:tweedie",
            "count:poisson",
            "binary:logistic",
            "binary:logitraw",
            "binary:hinge",
            "survival:cox",
        )
    },
    "reg:gamma": ({"objective": "reg:gamma"}, BINARY + 1),
    "quantiles": ({"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}, BINARY),
    "softmax": ({"objective": "multi:softmax", "num_class": 3}, THREE),
    "softprob": ({"objective": "multi:softprob", "num_class": 3}, THREE),
    "dart": ({"booster": "dart", "rate_drop": 0.5}, BINARY),
    "linear": ({"booster": "gblinear"}, BINARY),
    "linear of classes": ({"booster": "gblinear", "objective": "multi:softprob", "num_class": 3}, THREE),
    "forest": ({"num_parallel_tree": 3, "subsample": 0.5}, BINARY),
    "pruned": ({"tree_method": "exact", "gamma": 8}, BINARY),
    "one leaf": ({"gamma": 1e9}, BINARY),
    "vectors": ({"multi_strategy": "multi_output_tree"}, np.c_[BINARY, THREE]),
    "targets": ({}, np.c_[BINARY, THREE]),
}


@pytest.mark.parametrize("name", XGBOOST)
def test_models_of_xgboost_are_clean(tmp_path: Path, name: str) -> None:
    settings, y = XGBOOST[name]
    names = {} if "linear" in name else {"feature_names": NAMES}
    found = xgb.train(settings, xgb.DMatrix(X, y, **names), 4)
    assert_clean(found, tmp_path)


def assert_clean(model: Any, tmp_path: Path) -> None:
    for ending in ("json", "ubj"):
        model.save_model(tmp_path / f"m.{ending}")
        result = scan(tmp_path / f"m.{ending}")
        assert (result.outcome, result.kind, result.reasons) == ("clean", "xgboost", ())


def test_categories_ranks_survival_and_early_stops_of_xgboost_are_clean(tmp_path: Path) -> None:
    for cats in (1, 100):
        data = xgb.DMatrix(MIXED, BY_CITY, enable_categorical=True)
        assert_clean(xgb.train({"max_cat_to_onehot": cats, "gamma": 0.01}, data, 4), tmp_path)
    numbered = pd.DataFrame({"code": pd.Categorical(CATEGORIES), "x": X[:, 1]})
    assert_clean(xgb.train({}, xgb.DMatrix(numbered, BY_CITY, enable_categorical=True), 3), tmp_path)
    for objective in ("rank:ndcg", "rank:pairwise", "rank:map"):
        data = xgb.DMatrix(X, BINARY, group=[100] * 3)
        assert_clean(xgb.train({"objective": objective, "lambdarank_unbiased": True}, data, 3), tmp_path)
    data = xgb.DMatrix(X, label_lower_bound=BINARY + 1, label_upper_bound=BINARY + 2)
    assert_clean(xgb.train({"objective": "survival:aft"}, data, 3), tmp_path)
    early = xgb.XGBClassifier(n_estimators=20, early_stopping_rounds=2)
    assert_clean(early.fit(X, BINARY, eval_set=[(X, BINARY)], verbose=False), tmp_path)


def test_json_of_xgboost_is_known_in_any_order_and_with_spaces(tmp_path: Path) -> None:
    xgb.train({}, xgb.DMatrix(X, BINARY), 2).save_model(tmp_path / "m.json")
    document = json.loads((tmp_path / "m.json").read_text())
    turned = {key: document[key] for key in ("version", "learner")}
    for text in (json.dumps(turned), json.dumps(document, indent=2), json.dumps(turned, indent=1)):
        assert scanned(tmp_path / "n.json", text.encode()).outcome == "clean"


LIGHTGBM: dict[str, tuple[dict[str, Any], Any]] = {
    **{
        name: ({"objective": name}, BINARY)
        for name in (
            "regression",
            "regression_l1",
            "huber",
            "fair",
            "poisson",
            "quantile",
            "mape",
            "tweedie",
            "binary",
            "cross_entropy",
            "cross_entropy_lambda",
        )
    },
    "gamma": ({"objective": "gamma"}, BINARY + 1),
    "multiclass": ({"objective": "multiclass", "num_class": 3}, THREE),
    "one against all": ({"objective": "multiclassova", "num_class": 3}, THREE),
    "dart": ({"boosting": "dart", "objective": "binary"}, BINARY),
    "forest": ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, BINARY),
    "linear": ({"linear_tree": True}, np.nan_to_num(X[:, 0]) * 2),
    "monotone": ({"monotone_constraints": [1, 0, 0, -1]}, BINARY),
    "constant": ({}, np.ones(300)),
    "root": ({"reg_sqrt": True}, BINARY),
}


@pytest.mark.parametrize("name", LIGHTGBM)
def test_models_of_lightgbm_are_clean(tmp_path: Path, name: str) -> None:
    settings, y = LIGHTGBM[name]
    data = lgb.Dataset(X, y, feature_name=NAMES)
    lgb.train({"verbose": -1, **settings}, data, 4).save_model(tmp_path / "m.txt")
    result = scan(tmp_path / "m.txt")
    assert (result.outcome, result.kind, result.reasons) == ("clean", "lightgbm", ())


def test_categories_ranks_and_early_stops_of_lightgbm_are_clean(tmp_path: Path) -> None:
    quiet = {"verbose": -1, "min_data_per_group": 1, "cat_smooth": 1}
    early = [lgb.early_stopping(2, verbose=False)]
    valid = lgb.Dataset(X, BINARY)
    models = [
        lgb.train(quiet, lgb.Dataset(MIXED, BY_CITY), 4),
        lgb.train(quiet | {"objective": "lambdarank"}, lgb.Dataset(X, THREE, group=[100] * 3), 4),
        lgb.train(quiet | {"objective": "rank_xendcg"}, lgb.Dataset(X, THREE, group=[100] * 3), 4),
        lgb.train(quiet, lgb.Dataset(X, BINARY, free_raw_data=False), 40, valid_sets=[valid], callbacks=early),
        lgb.train(quiet | {"objective": lambda p, d: (p - d.get_label(), np.ones_like(p))}, lgb.Dataset(X, BINARY), 4),
        lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, THREE).booster_,
    ]
    for model in models:
        model.save_model(tmp_path / "m.txt")
        assert scan(tmp_path / "m.txt").reasons == ()


@pytest.mark.slow
def test_a_thousand_trees_take_seconds(tmp_path: Path) -> None:
    x = DRAW.normal(size=(1500, 8))
    y = (x[:, 0] * x[:, 1] + DRAW.normal(size=1500) > 0).astype(float)
    grow = {
        "grow_policy": "lossguide",
        "max_leaves": 63,
        "max_depth": 0,
        "min_child_weight": 0,
        "eta": 0.02,
        "nthread": 1,
    }
    model = xgb.train({"objective": "binary:logistic", **grow}, xgb.DMatrix(x, y), 1000)
    for name in ("m.ubj", "m.json"):
        model.save_model(tmp_path / name)
    data = lgb.Dataset(x, y)
    quiet = {"objective": "binary", "num_leaves": 63, "learning_rate": 0.01, "min_data_in_leaf": 5, "verbose": -1}
    quiet["num_threads"] = 1
    lgb.train(quiet, data, 1000).save_model(tmp_path / "m.txt")
    for name in ("m.ubj", "m.json", "m.txt"):
        begin = time.process_time()
        assert scan(tmp_path / name).outcome == "clean"
        taken = time.process_time() - begin
        print(name, f"{(tmp_path / name).stat().st_size / 1e6:.1f} MB", f"{taken:.2f} s")  # noqa: T201 -- a figure
        assert taken < 6


def mutated(content: bytes, draw: random.Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(spoilt))
        match draw.randrange(4):
            case 0:
                spoilt[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del spoilt[at : at + draw.randint(1, 16)]
            case 2:
                spoilt[at:at] = draw.choice([b"0", b"9", b"-", b" ", b"\n", b"\xff"])
            case 3:
                spoilt[at:at] = spoilt[max(0, at - 40) : at]
    return bytes(spoilt)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["json", "ubj", "txt"])
def test_the_scan_of_a_spoilt_model_ends(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"m.{ending}"
    if ending == "txt":
        lgb.train({"verbose": -1, "num_leaves": 5}, lgb.Dataset(MIXED, BY_CITY), 2).save_model(path)
    else:
        xgb.train({"max_depth": 2}, xgb.DMatrix(MIXED, BY_CITY, enable_categorical=True), 2).save_model(path)
    content, draw = path.read_bytes(), random.Random(3)
    for _ in range(700):
        result = scanned(path, mutated(content, draw))
        assert result.outcome == "clean" or result.reasons
    for size in range(0, len(content) - 1, 7):
        assert scanned(path, content[:size]).outcome != "clean" or b"end of trees" in content[:size]
