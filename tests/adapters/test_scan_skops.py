"""skops files: models of scikit-learn are clean and load with exactly the types that were accepted; the rest is not."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    LabelEncoder,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from veriward.adapters.scan import ScanResult, scan, skops_types
from veriward.core.errors import ArtefactError

X, Y = make_classification(80, 5, random_state=0)
X = np.abs(X)
Node = dict[str, Any]

MODELS: dict[str, BaseEstimator] = {
    "logistic": LogisticRegression(),
    "linear": LinearRegression(),
    "sgd": SGDClassifier(random_state=0),
    "tree": DecisionTreeClassifier(max_depth=3),
    "regression tree": DecisionTreeRegressor(max_leaf_nodes=6),
    "forest": RandomForestClassifier(3),
    "regression forest": RandomForestRegressor(3, random_state=np.random.RandomState(0)),
    "isolation forest": IsolationForest(n_estimators=3),
    "boosting": GradientBoostingClassifier(n_estimators=3),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=3),
    "histogram boosting of categories": HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]),
    "bayes": GaussianNB(),
    "svm": SVC(),
    "neighbours": KNeighborsClassifier(),
    "neighbours by balls": KNeighborsClassifier(algorithm="ball_tree", metric="manhattan"),
    "network": MLPClassifier((4,), max_iter=800, tol=1),
    "dummy": DummyClassifier(),
    "calibrated": CalibratedClassifierCV(LinearSVC()),
    "pipeline": make_pipeline(SimpleImputer(), StandardScaler(), PolynomialFeatures(), PCA(2), LogisticRegression()),
    "union": make_pipeline(FeatureUnion([("a", MinMaxScaler()), ("b", TruncatedSVD(2))]), LogisticRegression()),
    "columns": make_pipeline(
        ColumnTransformer(
            [("a", StandardScaler(), [0]), ("b", KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), [1])],
            remainder="passthrough",
        ),
        LogisticRegression(),
    ),
    "categories": make_pipeline(OrdinalEncoder(), OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
    "a function": make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()),
    "target": TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1),
}


@cache
def dumped(name: str) -> bytes:
    return skops.io.dumps(MODELS[name].fit(X, Y))


def scanned(tmp_path: Path, content: bytes) -> ScanResult:
    path = tmp_path / "model.skops"
    path.write_bytes(content)
    return scan(path)


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, value in parts.items():
            archive.writestr(name, value)
    return buffer.getvalue()


def changed(change: Callable[[Node], object], name: str = "logistic", **more: bytes) -> bytes:
    parts = members(dumped(name))
    schema = json.loads(parts["schema.json"])
    change(schema)
    return zipped(parts | more | {"schema.json": json.dumps(schema).encode()})


@pytest.mark.parametrize("name", MODELS)
def test_models_are_clean_and_load_with_the_accepted_types(tmp_path: Path, name: str) -> None:
    result = scanned(tmp_path, dumped(name))
    assert (result.outcome, result.kind, result.reasons) == ("clean", "skops", ())
    path = tmp_path / "model.skops"
    model = skops.io.load(path, trusted=list(skops_types(path.read_bytes())))
    if hasattr(model, "predict"):
        np.testing.assert_array_equal(model.predict(X[:3]), MODELS[name].predict(X[:3]))


@pytest.mark.parametrize("step", [TfidfVectorizer(), HashingVectorizer(n_features=8)])
def test_vectorisers_are_clean(tmp_path: Path, step: BaseEstimator) -> None:
    assert scanned(tmp_path, skops.io.dumps(step.fit(["some words", "more words"]))).outcome == "clean"


def test_labels_and_packed_files_are_clean(tmp_path: Path) -> None:
    assert scanned(tmp_path, skops.io.dumps(LabelEncoder().fit(["a", "b"]))).outcome == "clean"
    packed = skops.io.dumps(MODELS["forest"].fit(X, Y), compression=zipfile.ZIP_DEFLATED)
    assert scanned(tmp_path, packed).outcome == "clean"


def theirs(x: np.ndarray) -> np.ndarray:
    return x


def test_a_function_of_somebody_is_unknown(tmp_path: Path) -> None:
    result = scanned(tmp_path, skops.io.dumps(FunctionTransformer(theirs)))
    assert result.outcome == "unknown"
    assert any(reason.what.endswith("theirs") for reason in result.reasons)


def test_a_type_of_somebody_is_unknown(tmp_path: Path) -> None:
    content = changed(lambda schema: schema.update(__module__="their.module", __class__="Model"))
    assert scanned(tmp_path, content).outcome == "unknown"
    assert "their.module.Model" in skops_types((tmp_path / "model.skops").read_bytes())


def attributes(schema: Node) -> Node:
    return schema["content"]["content"]


def node(loader: str, path: str, **more: object) -> Node:
    module, _, name = path.rpartition(".")
    return {"__loader__": loader, "__module__": module, "__class__": name, **more}


def constant(text: str) -> Node:
    return node("JsonNode", "builtins.str", content=text, is_json=True)


EMPTY = node("TupleNode", "builtins.tuple", content=[])
DANGEROUS: dict[str, Callable[[Node], object]] = {
    "a type": lambda s: attributes(s).update(C=node("TypeNode", "builtins.eval")),
    "a function": lambda s: attributes(s).update(C=node("FunctionNode", "os.system")),
    "a constructor": lambda s: attributes(s).update(
        C=node("ConstructorFromReduceNode", "subprocess.Popen", content=EMPTY)
    ),
    "an object": lambda s: attributes(s).update(C=node("ObjectNode", "shutil.rmtree")),
    "a list type": lambda s: attributes(s).update(C=node("ListNode", "subprocess.Popen", content=[])),
    "a key type": lambda s: s["content"].update(
        key_types=node("ListNode", "builtins.list", content=[node("TypeNode", "os.system")])
    ),
    "a default factory": lambda s: attributes(s).update(
        C=node(
            "DefaultDictNode",
            "collections.defaultdict",
            content={
                "main": node(
                    "DictNode", "builtins.dict", content={}, key_types=node("ListNode", "builtins.list", content=[])
                ),
                "default_factory": node("FunctionNode", "os.getcwd"),
            },
        )
    ),
    "a caller": lambda s: attributes(s).update(C=node("OperatorFuncNode", "operator.methodcaller", attrs=EMPTY)),
    "a method": lambda s: attributes(s).update(
        C=node(
            "MethodNode",
            "sklearn.dummy.DummyClassifier",
            content={"func": "__reduce_ex__", "obj": node("ObjectNode", "sklearn.dummy.DummyClassifier")},
        )
    ),
    "a partial": lambda s: attributes(s).update(
        C=node(
            "PartialNode",
            "functools.partial",
            content={"func": node("FunctionNode", "os.system"), "args": EMPTY, "kwds": EMPTY, "namespace": EMPTY},
        )
    ),
    "an array that opens a file": lambda s: attributes(s)["coef_"].update(__class__="memmap"),
    "an id that stands for two nodes": lambda s: attributes(s).update(
        a=node("TypeNode", "builtins.int", __id__=5), b=node("TypeNode", "builtins.str", __id__=5)
    ),
    "a loss": lambda s: attributes(s).update(
        C={**node("LossNode", "os.system", content=EMPTY), "__reduce__": {"args": EMPTY}}
    ),
}

UNKNOWN: dict[str, Callable[[Node], object]] = {
    "a loader of the future": lambda s: attributes(s).update(C=node("NewNode", "builtins.str")),
    "a protocol of the past": lambda s: s.update(protocol=0),
    "a protocol of the future": lambda s: s.update(protocol=3),
    "a protocol that is none": lambda s: s.update(protocol=True),
    "a class of a module": lambda s: attributes(s).update(C=node("TypeNode", "sklearn.svm.SVC")),
    "a function as a type": lambda s: attributes(s).update(C=node("TypeNode", "numpy.log1p")),
    "a getter": lambda s: attributes(s).update(C=node("OperatorFuncNode", "operator.itemgetter", attrs=EMPTY)),
    "a method": lambda s: attributes(s).update(
        C=node(
            "MethodNode",
            "sklearn.dummy.DummyClassifier",
            content={"func": "predict", "obj": node("ObjectNode", "sklearn.dummy.DummyClassifier")},
        )
    ),
    "a node that was never there": lambda s: attributes(s).update(C=node("CachedNode", "a.b", __id__=5)),
    "an id that is a float": lambda s: attributes(s).update(C=node("TypeNode", "builtins.int", __id__=5.0)),
    "a file that is not there": lambda s: attributes(s)["coef_"].update(file="missing.npy"),
    "a file that is no array": lambda s: attributes(s)["coef_"].update(file="schema.json"),
    "a slice of objects": lambda s: attributes(s).update(
        C=node("SliceNode", "builtins.slice", content={"start": EMPTY, "stop": None, "step": None})
    ),
    "text that is no JSON": lambda s: attributes(s).update(C=constant("{")),
    "another generator": lambda s: attributes(s).update(
        C=node(
            "RandomGeneratorNode",
            "numpy.random._generator.Generator",
            content={"bit_generator": {"content": {"bit_generator": constant('"seed"')}}},
        )
    ),
    "a cache on the disk": lambda s: attributes(s).update(memory=constant('"cache"')),
    "an input that names files": lambda s: attributes(s).update(input=constant('"filename"')),
    "a number instead of a node": lambda s: attributes(s).update(C=5),
    "a name with content": lambda s: attributes(s).update(C=node("TypeNode", "builtins.int", content=EMPTY)),
}


@pytest.mark.parametrize("name", DANGEROUS)
def test_attacks_are_dangerous(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, changed(DANGEROUS[name])).outcome == "dangerous"


@pytest.mark.parametrize("name", UNKNOWN)
def test_oddities_are_unknown(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, changed(UNKNOWN[name])).outcome == "unknown"


def test_members_are_read(tmp_path: Path) -> None:
    evil = b"cos\nsystem\n(Vid\ntR."
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
    objects = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header
    array = next(name for name in members(dumped("logistic")) if name.endswith(".npy"))
    nothing: Callable[[Node], object] = lambda schema: None  # noqa: E731
    for name, content, outcome in (
        ("stray.txt", b"hello", "unknown"),
        ("stray.pkl", evil, "dangerous"),
        (array, evil, "dangerous"),
        (array, objects + evil, "dangerous"),
        (array, objects + b"N.", "unknown"),
        (array, b"hello", "unknown"),
    ):
        assert scanned(tmp_path, changed(nothing, **{name: content})).outcome == outcome, (name, content)


def test_a_schema_that_cannot_be_read_is_not_clean(tmp_path: Path) -> None:
    for schema in (b"", b"[]", b"{", b'{"a": 1, "a": 2}', b"[" * 100_000, b'{"content":' * 50_000):
        assert scanned(tmp_path, zipped({"schema.json": schema})).outcome != "clean"


def tree_with(**fields: int) -> bytes:
    """A tree whose root points elsewhere."""
    parts = members(dumped("tree"))
    names = ["left_child", "right_child", "feature"]
    name = next(name for name, content in parts.items() if b"left_child" in content)
    at = parts[name].index(b"\n") + 1
    root = list(struct.unpack_from("<3q", parts[name], at))
    for field, value in fields.items():
        root[names.index(field)] = value
    parts[name] = parts[name][:at] + struct.pack("<3q", *root) + parts[name][at + 24 :]
    return zipped(parts)


def test_trees_that_lead_out_of_their_arrays_are_unknown(tmp_path: Path) -> None:
    assert scanned(tmp_path, tree_with()).outcome == "clean"
    for fields in ({"left_child": 10**6}, {"right_child": 0}, {"feature": 99}, {"feature": -3}, {"left_child": -5}):
        assert scanned(tmp_path, tree_with(**fields)).outcome == "unknown", fields


def test_a_forest_may_not_take_fewer_columns_than_its_trees(tmp_path: Path) -> None:
    content = changed(lambda schema: attributes(schema).update(n_features_in_=constant("1")), "forest")
    assert scanned(tmp_path, content).outcome == "unknown"


def test_a_tree_may_not_claim_more_nodes_than_it_has(tmp_path: Path) -> None:
    def grow(schema: Node) -> None:
        attributes(schema)["tree_"]["content"]["content"]["node_count"] = constant("1000")

    assert scanned(tmp_path, changed(grow, "tree")).outcome == "unknown"


def test_types_of_what_is_no_skops_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"hello", zipped({"a": b"b"})):
        path.write_bytes(content)
        with pytest.raises(ArtefactError, match=r"schema\.json"):
            skops_types(path.read_bytes())
