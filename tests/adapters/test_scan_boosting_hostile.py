"""XGBoost and LightGBM files that harm: native code follows their indices, so each is followed here first."""

import copy
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriward.adapters.scan import ScanResult, scan

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")
Change = Callable[[Any], object]

DRAW = np.random.default_rng(0)
X = np.c_[DRAW.integers(0, 9, 200), DRAW.normal(size=(200, 4))].astype(float)
Y = 9.0 * (X[:, 0] % 3 == 0) + X[:, 1]


@pytest.fixture(scope="module")
def document() -> Any:
    data = xgb.DMatrix(X, Y, feature_types=["c", *["float"] * 4], enable_categorical=True)
    settings = {"max_depth": 2, "max_cat_to_onehot": 1, "nthread": 1}
    return json.loads(xgb.train(settings, data, 2).save_raw("json"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("lightgbm") / "m.txt"
    settings = {"verbose": -1, "num_leaves": 4, "min_data_per_group": 1, "cat_smooth": 1, "num_threads": 1}
    lgb.train(settings, lgb.Dataset(X, Y, categorical_feature=[0]), 2).save_model(path)
    return path.read_text()


def scanned(path: Path, content: str | bytes) -> ScanResult:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return scan(path)


def tree(document: Any) -> Any:
    return forest(document)["trees"][0]


def forest(document: Any) -> Any:
    return document["learner"]["gradient_booster"]["model"]


def put(name: str, index: int, value: object) -> Change:
    def change(document: Any) -> None:
        tree(document)[name][index] = value

    return change


def drop(name: str) -> Change:
    return lambda document: tree(document)[name].pop()


def parameter(name: str, value: str) -> Change:
    return lambda document: document["learner"]["learner_model_param"].update({name: value})


def linear(document: Any) -> None:
    document["learner"]["gradient_booster"] = {"name": "gblinear", "model": {"boosted_rounds": 1, "weights": [0.1]}}


def dart(document: Any) -> None:
    inner = document["learner"]["gradient_booster"]
    document["learner"]["gradient_booster"] = {"name": "dart", "gbtree": inner, "weight_drop": [1.0]}


XGBOOST_ATTACKS: dict[str, Change] = {
    "child outside": put("left_children", 0, 100_000_000),
    "child below zero": put("right_children", 0, -7),
    "loop": put("left_children", 0, 0),
    "two parents": put("left_children", 0, 2),
    "feature outside": put("split_indices", 0, 500_000_000),
    "feature below zero": put("split_indices", 0, -1),
    "thresholds short": drop("split_conditions"),
    "defaults short": drop("default_left"),
    "parents short": drop("parents"),
    "weights short": drop("base_weights"),
    "segment outside": put("categories_segments", 0, 1_000_000_000),
    "sizes outside": put("categories_sizes", 0, 1_000_000_000),
    "node of categories outside": put("categories_nodes", 0, 99_999),
    "huge category": put("categories", 0, 2_000_000_000),
    "negative category": put("categories", 0, -5),
    "sets short": drop("categories_sizes"),
    "group outside": lambda document: forest(document)["tree_info"].__setitem__(0, 50_000_000),
    "groups short": lambda document: forest(document)["tree_info"].pop(),
    "rounds outside": lambda document: forest(document)["iteration_indptr"].__setitem__(-1, 9_999_999),
    "rounds backwards": lambda document: forest(document)["iteration_indptr"].__setitem__(1, 9),
    "another number of trees": lambda document: forest(document)["gbtree_model_param"].update(num_trees="9"),
    "two trees in one place": lambda document: tree(document).update(id=1),
    "a tree nowhere": lambda document: tree(document).update(id=-1),
    "features of trees": lambda document: tree(document)["tree_param"].update(num_feature="1"),
    "few weights": linear,
    "few drops": dart,
    "base scores": parameter("base_score", "[0.5,0.5,0.5]"),
    "encoder outside": lambda document: forest(document).update(
        cats={"enc": [{"offsets": [0, 999], "values": [97]}] * 5, "feature_segments": [0] * 6, "sorted_idx": []}
    ),
}

XGBOOST_UNJUDGED: dict[str, Change] = {
    "many classes": parameter("num_class", "1000000000"),
    "many features": parameter("num_feature", "9999999999"),
    "no number": parameter("num_target", "one"),
    "objective": lambda document: document["learner"]["objective"].update(name="my:own"),
    "booster": lambda document: document["learner"]["gradient_booster"].update(name="mine"),
    "unknown key": lambda document: document["learner"].update(hook="x"),
    "unknown key of a tree": lambda document: tree(document).update(hook=[1]),
    "no version": lambda document: document.pop("version"),
    "later version": lambda document: document.update(version=[9, 0, 0]),
    "parent": put("parents", 1, 2),
    "fractional child": put("left_children", 0, 1.5),
    "no leaf value": put("base_weights", 0, float("nan")),
    "text for a number": put("split_conditions", 0, "1"),
    "type of split": put("split_type", 0, 7),
    "no trees": lambda document: forest(document).update(trees={}),
    "deleted nodes": lambda document: tree(document)["tree_param"].update(num_deleted="2"),
    "huge integer": put("categories", 0, 10**400),
    "attributes": lambda document: document["learner"].update(attributes={"a": {"b": 1}}),
}


def changed(document: Any, change: Change) -> str:
    spoilt = copy.deepcopy(document)
    change(spoilt)
    return json.dumps(spoilt, separators=(",", ":"))


def test_the_models_themselves_are_clean(tmp_path: Path, document: Any, text: str) -> None:
    assert scanned(tmp_path / "m.json", json.dumps(document)).outcome == "clean"
    assert scanned(tmp_path / "m.ubj", ubjson(document)).outcome == "clean"
    assert scanned(tmp_path / "m.txt", text).outcome == "clean"
    assert tree(document)["categories_nodes"] and "num_cat=1" in text


@pytest.mark.parametrize("name", XGBOOST_ATTACKS)
def test_attacks_by_xgboost_are_dangerous(tmp_path: Path, document: Any, name: str) -> None:
    content = changed(document, XGBOOST_ATTACKS[name])
    for path, form in ((tmp_path / "m.json", content), (tmp_path / "m.ubj", ubjson(json.loads(content)))):
        result = scanned(path, form)
        assert (result.outcome, result.kind) == ("dangerous", "xgboost"), result.reasons


@pytest.mark.parametrize("name", XGBOOST_UNJUDGED)
def test_what_xgboost_would_not_write_is_unknown(tmp_path: Path, document: Any, name: str) -> None:
    result = scanned(tmp_path / "m.json", changed(document, XGBOOST_UNJUDGED[name]))
    assert (result.outcome, result.kind) == ("unknown", "xgboost"), result.reasons


def ubjson(value: object) -> bytes:
    """The form in which XGBoost writes UBJSON, without typed arrays."""
    match value:
        case dict():
            return b"{" + b"".join(sized(key) + ubjson(entry) for key, entry in value.items()) + b"}"
        case list():
            return b"[#L" + struct.pack(">q", len(value)) + b"".join(map(ubjson, value))
        case str():
            return b"S" + sized(value)
        case float():
            return b"D" + struct.pack(">d", value)
        case int():
            return b"L" + struct.pack(">q", value)
    raise TypeError(value)


def sized(text: str) -> bytes:
    return b"L" + struct.pack(">q", len(text.encode())) + text.encode()


def numbers(count: int) -> bytes:
    return b"[$l#L" + struct.pack(">q", count)


UBJSON = {
    "cut": (ubjson({"learner": {}})[:-1], "unknown"),
    "trailing": (ubjson({"learner": {}}) + b"N.", "unknown"),
    "key twice": (b"{" + 2 * (sized("learner") + b"{}") + b"}", "dangerous"),
    "count beyond": (b"{" + sized("learner") + numbers(1 << 62) + b"}", "unknown"),
    "negative count": (b"{" + sized("learner") + numbers(-1) + b"}", "unknown"),
    "short length": (b"{" + sized("learner") + b"SU\x01a}", "unknown"),
    "no count": (b"{" + sized("learner") + b"[L" + bytes(8) + b"]}", "unknown"),
    "no such type": (b"{" + sized("learner") + b"[$Z#L" + bytes(8) + b"}", "unknown"),
    "no such mark": (b"{" + sized("learner") + b"H}", "unknown"),
    "deep": (b"{" + sized("learner") + (b"[#L" + struct.pack(">q", 1)) * 5000, "unknown"),
    "no text": (b"{" + sized("learner") + b"SL" + struct.pack(">q", 1) + b"\xff}", "unknown"),
}


@pytest.mark.parametrize("name", UBJSON)
def test_broken_ubjson_is_refused(tmp_path: Path, name: str) -> None:
    content, outcome = UBJSON[name]
    result = scanned(tmp_path / "m.ubj", content)
    assert (result.outcome, result.kind) == (outcome, "xgboost"), result.reasons


def test_a_key_twice_in_json_is_dangerous(tmp_path: Path, document: Any) -> None:
    content = json.dumps(document).replace('"left_children":', '"left_children": [], "left_children":', 1)
    assert scanned(tmp_path / "m.json", content).outcome == "dangerous"
    assert scanned(tmp_path / "m.json", b"binf" + bytes(200)).outcome == "unknown"


def resized(text: str) -> str:
    """The text with the sizes of its trees put right, as an attacker would."""
    head, rest = text.split("\n\nTree=0", 1)
    body, tail = ("Tree=0" + rest).split("end of trees", 1)
    sizes = [len(part.encode()) for part in re.split(r"(?=Tree=\d+\n)", body) if part]
    return re.sub("tree_sizes=.*", f"tree_sizes={' '.join(map(str, sizes))}", head) + f"\n\n{body}end of trees{tail}"


def first(name: str, value: str) -> Change:
    """Change the first number of the first field of this name."""
    return lambda text: re.sub(rf"^{name}=[^ \n]+", f"{name}={value}", text, count=1, flags=re.MULTILINE)


def swap(old: str, new: str) -> Change:
    return lambda text: text.replace(old, new, 1)


LIGHTGBM_ATTACKS: dict[str, Change] = {
    "child outside": first("left_child", "100000000"),
    "leaf outside": first("right_child", "-2000000000"),
    "loop": first("left_child", "0"),
    "two parents": lambda text: re.sub(r"^(left_child=.*)\nright_child=.*$", lambda m: f"{m[1]}\nright{m[1][4:]}", text,
                                       count=1, flags=re.MULTILINE),
    "feature outside": first("split_feature", "500000000"),
    "feature below zero": first("split_feature", "-1"),
    "set of categories outside": first("threshold", "1000000000"),
    "set of categories below zero": first("threshold", "-1"),
    "bounds of categories": first("cat_boundaries", "7"),
    "more leaves": first("num_leaves", "2000000000"),
    "fewer values": lambda text: re.sub(r"^leaf_value=[^ ]+ ", "leaf_value=", text, count=1, flags=re.MULTILINE),
    "outputs": first("num_tree_per_iteration", "1000000000"),
    "classes": lambda text: text.replace("num_class=1", "num_class=3").replace("iteration=1", "iteration=3"),
    "field twice": swap("num_cat=", "num_cat=0\nnum_cat="),
    "header twice": swap("label_index=0", "label_index=0\nlabel_index=0"),
    "carriage return": swap("feature_names=Column_0", "feature_names=Column_0\rtree_sizes=9"),
    "features": first("max_feature_idx", "900000"),
    "thresholds short": lambda text: re.sub(r"^threshold=[^ ]+ ", "threshold=", text, count=1, flags=re.MULTILINE),
    "linear outside": swap("is_linear=0", "is_linear=1\nleaf_const=0 0 0 0\nnum_features=1 0 0 0\nleaf_features=77\n"
                           "leaf_coeff=1"),
}  # fmt: skip
LIGHTGBM_UNJUDGED: dict[str, Change] = {
    "version": swap("version=v4", "version=v9"),
    "objective": swap("objective=regression", "objective=mine"),
    "unknown header": swap("label_index=0", "label_index=0\nhook=1"),
    "unknown field": swap("is_linear=0", "is_linear=0\nhook=1"),
    "decision": first("decision_type", "255"),
    "no number": first("leaf_value", "nan"),
    "underscore": first("leaf_count", "1_0"),
    "file": swap("[forcedsplits_filename: ]", "[forcedsplits_filename: /etc/passwd]"),
    "unknown line": swap("end of parameters", "end of parameters\nhello"),
    "no settings' end": lambda text: text[: text.index("end of parameters")],
    "categories": lambda text: text.replace("pandas_categorical:null", "pandas_categorical:{}"),
    "broken categories": lambda text: text.replace("pandas_categorical:null", "pandas_categorical:[["),
    "no trees": lambda text: re.sub("tree_sizes=.*", "tree_sizes=", text),
}


@pytest.mark.parametrize("name", LIGHTGBM_ATTACKS)
def test_attacks_by_lightgbm_are_dangerous(tmp_path: Path, text: str, name: str) -> None:
    spoilt = str(LIGHTGBM_ATTACKS[name](text))
    assert spoilt != text
    result = scanned(tmp_path / "m.txt", spoilt if "\r" in spoilt else resized(spoilt))
    assert (result.outcome, result.kind) == ("dangerous", "lightgbm"), result.reasons


@pytest.mark.parametrize("name", LIGHTGBM_UNJUDGED)
def test_what_lightgbm_would_not_write_is_unknown(tmp_path: Path, text: str, name: str) -> None:
    spoilt = str(LIGHTGBM_UNJUDGED[name](text))
    if name not in ("no trees", "no settings' end"):
        spoilt = resized(spoilt)
    assert spoilt != text
    result = scanned(tmp_path / "m.txt", spoilt)
    assert (result.outcome, result.kind) == ("unknown", "lightgbm"), result.reasons


def test_sizes_that_hide_a_tree_are_refused(tmp_path: Path, text: str) -> None:
    sizes = re.search(r"tree_sizes=(\d+) (\d+)", text)
    assert sizes is not None
    hidden = text.replace(sizes[0], f"tree_sizes={int(sizes[1]) + int(sizes[2])}")
    assert scanned(tmp_path / "m.txt", hidden).outcome == "unknown"
    assert scanned(tmp_path / "m.txt", text.replace(sizes[0], f"tree_sizes={sizes[1]} 99999999")).outcome == "unknown"


RUN = """
import sys, numpy as np
if sys.argv[1].endswith("json"):
    import xgboost
    model = xgboost.Booster(model_file=sys.argv[1])
    model.predict(xgboost.DMatrix(np.ones((3, 5)), feature_types=["c"] + ["float"] * 4, enable_categorical=True))
else:
    import lightgbm
    lightgbm.Booster(model_file=sys.argv[1]).predict(np.ones((3, 5)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["child outside", "feature outside", "segment outside", "group outside"])
def test_xgboost_itself_dies_of_them(tmp_path: Path, document: Any, name: str) -> None:
    (tmp_path / "m.json").write_text(changed(document, XGBOOST_ATTACKS[name]))
    assert subprocess.run([sys.executable, "-c", RUN, tmp_path / "m.json"], check=False).returncode < 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["feature outside", "set of categories outside", "outputs"])
def test_lightgbm_itself_dies_of_them(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "m.txt").write_text(resized(str(LIGHTGBM_ATTACKS[name](text))))
    assert subprocess.run([sys.executable, "-c", RUN, tmp_path / "m.txt"], check=False).returncode < 0
