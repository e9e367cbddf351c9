"""Honest files of other libraries: arrays, plain pickles, scikit-learn, safetensors, Keras, ONNX and boosted trees."""

import io
import json
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .artefact import Artefact
from .benign_torch import drawn
from .graphs import onnx

X = np.linspace(-1, 1, 80).reshape(20, 4)
Y = (X[:, 0] > 0).astype(int)

ARRAYS: dict[str, Callable[[], np.ndarray]] = {
    **{
        dtype: (lambda dtype=dtype: np.arange(6).astype(dtype))
        for dtype in ("f8", "f4", "f2", ">f4", "i8", "i4", "u1", "?", "c16", "U5", "S3", "M8[D]", "m8[s]")
    },
    "structured": lambda: np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "fortran": lambda: np.asfortranarray(X),
}


def npy(value: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


def npz(packed: bool) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(buffer, a=X, b=Y)
    return buffer.getvalue()


def plain() -> dict[str, Any]:
    return {"a": [1, 2.5, None, True], "b": ("x", b"y", {"z": {1, 2}}), "c": OrderedDict(d=10**40, e=-1), "": "é\n'"}


@cache
def estimators() -> dict[str, Any]:
    from sklearn.cluster import KMeans
    from sklearn.compose import make_column_transformer
    from sklearn.decomposition import PCA
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    found = {
        "logistic": LogisticRegression(),
        "linear": LinearRegression(),
        "ridge": Ridge(),
        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
        "forest": RandomForestClassifier(3, random_state=0),
        "boosting": GradientBoostingClassifier(n_estimators=3, random_state=0),
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
        "columns": make_pipeline(make_column_transformer((StandardScaler(), [0, 1])), LogisticRegression()),
        "bayes": GaussianNB(),
        "neighbours": KNeighborsClassifier(3),
        "machine": SVC(),
        "network": MLPClassifier((4,), max_iter=5, random_state=0),
        "clusters": KMeans(2, n_init=1, random_state=0),
        "components": PCA(2),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations are enough for a file
        return {name: estimator.fit(X, Y) for name, estimator in found.items()}


# Estimators that the allowlist of skops files covers in full.
_CLEAN = ("logistic", "linear", "ridge", "tree", "forest", "boosting", "pipeline", "columns")


def by_skops(name: str) -> bytes:
    import skops.io

    return skops.io.dumps(estimators()[name])


def by_joblib(name: str, compress: int) -> bytes:
    import joblib

    buffer = io.BytesIO()
    joblib.dump(estimators()[name], buffer, compress=compress)
    return buffer.getvalue()


def frame() -> bytes:
    import pandas as pd

    return pickle.dumps(pd.DataFrame(X, columns=list("abcd")))


def safetensors(kind: str) -> bytes:
    from safetensors.torch import save

    contents = {
        "float": {"w": drawn(3, 4), "b": drawn(3)},
        "half": {"w": drawn(3).half(), "b": drawn(2).bfloat16()},
        "whole": {"w": drawn(3).int(), "b": drawn(3) > 0, "c": drawn(2).to(dtype=__import__("torch").uint8)},
        "empty": {},
        "described": {"w": drawn(2)},
    }
    return save(contents[kind], metadata={"format": "pt", "note": "a 'quoted' text"} if kind == "described" else None)


def saved_to(write: Callable[[Path], object], name: str) -> bytes:
    with TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def keras(name: str) -> bytes:
    import keras as library

    layers = [library.layers.Dense(8, activation="relu"), library.layers.Dense(3, activation="softmax")]
    model = library.Sequential([library.Input((4,)), *layers])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older format is frowned upon
        return saved_to(model.save, name)


def xgboost(name: str) -> bytes:
    import xgboost as library

    model = library.XGBClassifier(n_estimators=2, max_depth=2, n_jobs=1).fit(X, Y)
    return saved_to(model.save_model, name)


def lightgbm() -> bytes:
    import lightgbm as library

    data = library.Dataset(X, Y)
    booster = library.train({"verbose": -1, "num_threads": 1, "min_data_in_leaf": 2}, data, 2)
    return saved_to(booster.save_model, "model.txt")


def _skops(name: str) -> Artefact:
    return Artefact(f"skops {name}", "skops", lambda _: by_skops(name), ending=".skops", clean=name in _CLEAN)


def _pickled(name: str) -> Artefact:
    return Artefact(f"pickled {name}", "sklearn", lambda _: pickle.dumps(estimators()[name]))


def _joblib(name: str) -> Artefact:
    return Artefact(f"joblib {name}", "sklearn", lambda _: by_joblib(name, 0), ending=".joblib")


def _plain(protocol: int) -> Artefact:
    return Artefact(f"plain protocol {protocol}", "pickle", lambda _: pickle.dumps(plain(), protocol), clean=True)


BENIGN_OTHERS: tuple[Artefact, ...] = (
    *(_plain(protocol) for protocol in range(6)),
    *(
        Artefact(f"array {name}", "numpy", lambda _, make=make: npy(make()), ending=".npy", clean=True)
        for name, make in ARRAYS.items()
    ),
    *(
        Artefact(
            f"pickled array {name}", "numpy", lambda _, make=make: pickle.dumps(make()), clean=name != "structured"
        )
        for name, make in ARRAYS.items()
    ),
    Artefact("arrays", "numpy", lambda _: npz(False), ending=".npz", clean=True),
    Artefact("packed arrays", "numpy", lambda _: npz(True), ending=".npz", clean=True),
    Artefact("pickled frame", "pandas", lambda _: frame()),
    *(_skops(name) for name in (*_CLEAN, "bayes", "neighbours", "machine", "network")),
    *(_pickled(name) for name in ("logistic", "tree", "forest", "machine", "clusters", "components")),
    *(_joblib(name) for name in ("logistic", "forest", "network", "pipeline")),
    Artefact("joblib packed", "sklearn", lambda _: by_joblib("forest", 3), ending=".joblib"),
    *(
        Artefact(f"safetensors {kind}", "safetensors", lambda _, k=kind: safetensors(k), ".safetensors", clean=True)
        for kind in ("float", "half", "whole", "empty", "described")
    ),
    Artefact("keras", "keras", lambda _: keras("a.keras"), ending=".keras", needs=("keras",), clean=True),
    Artefact("keras hdf5", "keras", lambda _: keras("a.h5"), ending=".h5", needs=("keras", "h5py"), clean=True),
    Artefact("onnx", "onnx", lambda _: onnx(), ending=".onnx", needs=("onnx",), clean=True),
    Artefact("xgboost json", "boosting", lambda _: xgboost("a.json"), ending=".json", needs=("xgboost",), clean=True),
    Artefact("xgboost binary", "boosting", lambda _: xgboost("a.ubj"), ending=".ubj", needs=("xgboost",), clean=True),
    Artefact("lightgbm", "boosting", lambda _: lightgbm(), ending=".txt", needs=("lightgbm",), clean=True),
    Artefact("config", "text", lambda _: json.dumps({"hidden_size": 8}).encode(), ending=".json"),
)
