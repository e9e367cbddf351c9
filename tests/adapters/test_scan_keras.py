"""Keras archives and whole models as HDF5: what Keras builds of plain layers is clean, and everything else is told."""

import json
import os
import random
import time
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from veriward.adapters.scan import ScanResult, scan

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")
layers = keras.layers
Node = dict[str, Any]


def mlp() -> Any:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu", kernel_regularizer="l2"), layers.Dense(3)])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.ones((8, 4)), np.zeros(8), verbose=0)  # so that the optimiser has variables to save
    return model


def residual() -> Any:
    inputs = keras.Input((12, 12, 1))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs))
    x = layers.Activation("relu")(layers.MaxPooling2D()(x))
    x = layers.Dropout(0.1)(layers.Add()([x, layers.Conv2D(4, 1)(x)]))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(schedule), loss, metrics=[keras.metrics.SparseCategoricalAccuracy()])
    return model


def recurrent() -> Any:
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True))
    return keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(10, 4), both, layers.GRU(3), layers.Dense(1, "sigmoid")]
    )


def normalised() -> Any:
    first = layers.Normalization()
    first.adapt(np.random.default_rng(0).random((10, 4)).astype("float32"))
    return keras.Sequential([keras.Input((4,)), first, layers.Dense(1)])


def transformer() -> Any:
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8)(inputs)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.Add()([x, layers.Dense(8)(layers.Dense(32, "gelu")(x))])
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def autoencoder() -> Any:
    """A model within a model, and two outputs."""
    slope = layers.LeakyReLU()
    narrow = layers.Conv2D(4, 3, strides=2, padding="same", activation=slope)
    encoder = keras.Sequential([keras.Input((8, 8, 1)), narrow, layers.Flatten(), layers.Dense(5)])
    inputs = keras.Input((8, 8, 1))
    code = encoder(inputs)
    x = layers.Reshape((4, 4, 4))(layers.Dense(64)(code))
    model = keras.Model(inputs, [layers.Conv2DTranspose(1, 3, strides=2, padding="same")(x), code])
    model.compile("adam", ["mse", "mae"])
    return model


def shared() -> Any:
    layer, first, second = layers.Dense(3), keras.Input((4,)), keras.Input((4,))
    return keras.Model([first, second], layers.Subtract()([layer(first), layer(second)]))


def translator() -> Any:
    """States that are passed on."""
    inputs = keras.Input((4,))
    x, first, second = layers.LSTM(4, return_state=True, return_sequences=True)(layers.RepeatVector(3)(inputs))
    x = layers.LSTM(4, return_sequences=True)(x, initial_state=[first, second])
    return keras.Model(inputs, layers.TimeDistributed(layers.Dense(1))(x))


def mixed() -> Any:
    half = [layers.Dense(3, dtype="mixed_float16", kernel_constraint="max_norm"), layers.PReLU()]
    more = [layers.RandomFlip(), layers.Rescaling(0.5), layers.ZeroPadding2D(), layers.DepthwiseConv2D(2)]
    return keras.Sequential([keras.Input((8, 8, 3)), *more, layers.SeparableConv2D(4, 2), layers.Flatten(), *half])


MODELS = (mlp, residual, recurrent, normalised, transformer, autoencoder, shared, translator, mixed)


@cache
def saved(make: Callable[[], Any] = mlp, ending: str = ".keras") -> bytes:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"veriward-{os.getpid()}{ending}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (make().save_weights if "weights" in ending else make().save)(path)
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def scanned(tmp_path: Path, content: bytes) -> ScanResult:
    (tmp_path / "model.keras").write_bytes(content)
    return scan(tmp_path / "model.keras")


@pytest.mark.parametrize("make", MODELS)
def test_archives_that_keras_writes_are_clean_and_load(tmp_path: Path, make: Callable[[], Any]) -> None:
    result = scanned(tmp_path, saved(make))
    assert (result.outcome, result.kind, result.reasons) == ("clean", "keras", ())
    keras.saving.load_model(tmp_path / "model.keras", compile=False)


@pytest.mark.parametrize("make", MODELS)
def test_models_and_weights_as_hdf5_are_clean(tmp_path: Path, make: Callable[[], Any]) -> None:
    for ending in (".h5", ".weights.h5"):
        result = scanned(tmp_path, saved(make, ending))
        assert (result.outcome, result.kind, result.reasons) == ("clean", "hdf5", ())


def test_a_model_of_keras_2_is_clean(tmp_path: Path) -> None:
    """The form of tf.keras 2: classes without modules, calls as lists, fixed texts."""

    def old(kind: str, name: str, *calls: str, **config: object) -> Node:
        nodes = [[[call, 0, 0, {}] for call in calls]] if calls else []
        return {"class_name": kind, "config": {"name": name, **config}, "name": name, "inbound_nodes": nodes}

    ones = {"class_name": "Ones", "config": {}}
    dense = old("Dense", "b", "a", units=3, activation="relu", use_bias=True, kernel_initializer=ones, trainable=True)
    inputs = old("InputLayer", "a", batch_input_shape=[None, 4], dtype="float32", sparse=False, ragged=False)
    graph = {"name": "m", "layers": [inputs, dense, old("Add", "c", "b", "b", trainable=True, dtype="float32")]}
    config = {
        "class_name": "Functional",
        "config": graph | {"input_layers": [["a", 0, 0]], "output_layers": [["c", 0, 0]]},
    }
    adam = {"class_name": "Adam", "config": {"learning_rate": 0.001, "decay": 0.0, "beta_1": 0.9, "amsgrad": False}}
    training = {"loss": "mse", "metrics": ["mae"], "loss_weights": None, "optimizer_config": adam}
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = np.bytes_(json.dumps(config))
        file.attrs["training_config"] = json.dumps(training)
        file.create_group("model_weights").attrs["layer_names"] = np.array([b"a", b"b"])
        file["model_weights/b/b/kernel:0"] = np.ones((4, 3), "f4")
    assert scan(path).reasons == ()


@pytest.mark.slow
def test_published_architectures_are_clean(tmp_path: Path) -> None:
    for make in (keras.applications.MobileNetV2, keras.applications.EfficientNetB0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its way to call numpy
            make(weights=None, input_shape=(64, 64, 3), classes=3).save(tmp_path / "model.keras")
        assert scan(tmp_path / "model.keras").reasons == ()


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, value in parts.items():
            archive.writestr(name, value)
    return buffer.getvalue()


def changed(change: Callable[[Node], object], make: Callable[[], Any] = mlp, **more: bytes) -> bytes:
    parts = members(saved(make))
    config = json.loads(parts["config.json"])
    change(config)
    return zipped(parts | more | {"config.json": json.dumps(config).encode()})


def layer(config: Node, index: int = 1) -> Node:
    return config["config"]["layers"][index]


def node(path: str, config: object = None, **more: object) -> Node:
    module, _, name = path.rpartition(".")
    return {"module": module, "class_name": name, "config": config or {}, "registered_name": None, **more}


def function(path: str, **more: object) -> Node:
    module, _, name = path.rpartition(".")
    return {"module": module, "class_name": "function", "config": name, "registered_name": name, **more}


def new_layer(path: str, config: object = None, **more: object) -> Callable[[Node], object]:
    return lambda c: c["config"]["layers"].append(node(path, config, **more))


def in_dense(**more: object) -> Callable[[Node], object]:
    return lambda c: layer(c)["config"].update(more)


def in_compile(**more: object) -> Callable[[Node], object]:
    return lambda c: c["compile_config"].update(more)


BOMB = node("keras.layers.Dense", {"name": "d", "units": 1 << 20}, build_config={"input_shape": [None, 1 << 20]})
DANGEROUS: dict[str, Callable[[Node], object]] = {
    "a lambda": new_layer(
        "keras.layers.Lambda", {"function": {"class_name": "__lambda__", "config": {"value": "4wA="}}}
    ),
    "a lambda by the old form": lambda c: c["config"]["layers"].append({"class_name": "Lambda", "config": {}}),
    "a lambda in another module": new_layer("their.layers.Lambda"),
    "code as a loss": in_compile(loss={"class_name": "__lambda__", "config": {"value": "4wA="}}),
    "code among the arguments of a call": lambda c: layer(c).update(
        inbound_nodes=[{"args": [{"class_name": "__lambda__", "config": {"value": ""}}], "kwargs": {}}]
    ),
    "a pickled module": new_layer("keras.layers.TorchModuleWrapper", {"module": "gASV"}),
    "a SavedModel": new_layer("keras.layers.TFSMLayer", {"filepath": "/tmp/model"}),
    "a function of jax": new_layer("keras.layers.JaxLayer", {"call_fn": function("os.system")}),
    "a module of flax": new_layer("keras.layers.FlaxLayer"),
    "a command": in_dense(activation=function("os.system")),
    "a builtin": in_dense(activation=function("builtins.eval")),
    "a class that runs commands": new_layer("subprocess.Popen", {"args": "id"}),
    "a module that is imported": in_dense(kernel_initializer=node("importlib.import_module", {"name": "this"})),
    "a download": in_dense(activation=function("keras.utils.get_file")),
    "the switch of safe mode": in_dense(activation=function("keras.config.enable_unsafe_deserialization")),
    "another model": in_dense(activation=function("keras.models.load_model")),
    "another name behind a known one": in_dense(activation=function("builtins.relu", registered_name="os.system")),
    "a function deep in a metric": in_compile(
        metrics=[node("keras.metrics.MeanMetricWrapper", {"fn": function("builtins.exec")})]
    ),
    "a vocabulary from a file": new_layer("keras.layers.StringLookup", {"vocabulary": "/etc/passwd"}),
    "a vocabulary from the net": new_layer("keras.layers.TextVectorization", {"vocabulary": "https://x.y/z"}),
    "weights of a vocabulary from a file": new_layer("keras.layers.IntegerLookup", {"idf_weights": "/etc/passwd"}),
    "a type of a module": in_dense(activation={"class_name": "__typespec__", "module": "os", "spec_name": "system"}),
    "a layer of terabytes": in_dense(units=10**12),
    "a layer that is built for more": lambda c: layer(c)["build_config"].update(input_shape=[None, 1 << 30]),
    "an input for more": lambda c: (
        layer(c).pop("build_config"),
        layer(c, 0)["config"].update(batch_shape=[None, 1 << 27]),
    ),
    "a table of no use": new_layer("keras.layers.Embedding", {"input_dim": 1 << 20, "output_dim": 1 << 20}),
    "a metric of terabytes": in_compile(metrics=[node("keras.metrics.MeanIoU", {"num_classes": 1 << 20})]),
    "thresholds without end": in_compile(metrics=[node("keras.metrics.AUC", {"num_thresholds": 1 << 30})]),
}
UNKNOWN: dict[str, Callable[[Node], object]] = {
    "a class of somebody": new_layer("their.layers.Layer", registered_name="their>Layer"),
    "a class of somebody under a known name": lambda c: layer(c).update(registered_name="their>Dense"),
    "a function of somebody": in_compile(loss=function("their.losses.best")),
    "a key of somebody": in_dense(theirs=1),
    "a key beside the config": lambda c: layer(c).update(theirs=1),
    "a layer where none belongs": in_compile(loss={"a": BOMB}),
    "a layer as an activation": in_dense(activation=BOMB),
    "a known class from another module": lambda c: layer(c).update(module="keras.src.utils.torch_utils"),
    "a name that is a list": lambda c: layer(c).update(class_name=["Dense"]),
    "a config that is a list": lambda c: layer(c).update(config=[1]),
    "an array of objects": in_dense(
        bias_initializer={"class_name": "__numpy__", "config": {"value": [], "dtype": "O"}}
    ),
    "an array of long texts": in_dense(
        bias_initializer={"class_name": "__numpy__", "config": {"value": [""], "dtype": "S999999999"}}
    ),
    "a codec": new_layer("keras.layers.TextVectorization", {"encoding": "zlib_codec"}),
    "loops to unroll": new_layer("keras.layers.LSTM", {"units": 1, "unroll": True}),
    "nothing to build": lambda c: c["config"].pop("layers"),
    "an input by another key": lambda c: layer(c, 0)["config"].update(shape=[1 << 27]),
    "a layer that asks for another input": in_dense(input_shape=[1 << 27]),
    "a shape within a shape": lambda c: layer(c)["build_config"].update(input_shape=[[None, 1], 1 << 27]),
    "no model": lambda c: (c.clear(), c.update(a=[1])),
    "depth": lambda c: c.update(name=json.loads("[" * 400 + "]" * 400)),
}


@pytest.mark.parametrize("name", DANGEROUS)
def test_attacks_are_dangerous(tmp_path: Path, name: str) -> None:
    result = scanned(tmp_path, changed(DANGEROUS[name]))
    assert (result.outcome, result.kind) == ("dangerous", "keras")


@pytest.mark.parametrize("name", UNKNOWN)
def test_oddities_are_unknown(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, changed(UNKNOWN[name])).outcome == "unknown"


def test_vocabularies_are_clean(tmp_path: Path) -> None:
    """As a Keras with TensorFlow writes them: in the config, or as a text beside it."""
    words = {"vocabulary": ["one", "two"], "standardize": "lower", "split": "whitespace", "encoding": "utf-8"}
    asset = {"assets/layers/text_vectorization/vocabulary.txt": "one\nzwei\nдва".encode()}
    for config, more in ((words, {}), (words | {"vocabulary": None}, asset)):
        content = changed(new_layer("keras.layers.TextVectorization", config | {"max_tokens": 9}), **more)
        assert scanned(tmp_path, content).reasons == ()


# -- the attacks are real ---------------------------------------------------------------------------------------------


def lambda_model(folder: Path) -> Any:
    harm = eval(f"lambda x: (__import__('os').makedirs({str(folder)!r}, exist_ok=True), x)[1]")
    return keras.Sequential([keras.Input((2,)), layers.Lambda(harm)])


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_code_in_a_lambda_runs_when_loaded_but_not_when_scanned(tmp_path: Path, ending: str) -> None:
    folder, path = tmp_path / "harm", tmp_path / f"model{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lambda_model(folder).save(path)
    folder.rmdir()
    assert scan(path).outcome == "dangerous"
    assert not folder.exists()
    keras.saving.load_model(path, safe_mode=False)
    assert folder.exists()


class Harm(torch.nn.Module):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_pickled_module_runs_when_loaded_but_not_when_scanned(tmp_path: Path) -> None:
    folder, path = tmp_path / "harm", tmp_path / "model.keras"
    wrapped = layers.TorchModuleWrapper(Harm(folder), output_shape=(2,))
    keras.Sequential([keras.Input((2,)), wrapped]).save(path)
    assert scan(path).outcome == "dangerous"
    assert not folder.exists()
    with pytest.raises((AttributeError, TypeError, ValueError)):
        keras.saving.load_model(path, safe_mode=False)  # what the pickle made is no module, but it was made
    assert folder.exists()


def test_a_layer_is_built_for_the_shape_it_claims(tmp_path: Path) -> None:
    """So a small file may ask for a large matrix: 40 MB here, any number of them in earnest."""
    content = changed(lambda c: layer(c)["build_config"].update(input_shape=[None, 10**7 // 8]))
    assert scanned(tmp_path, content).outcome == "dangerous"
    config = json.loads(members(content)["config.json"])["config"]["layers"][1]
    assert keras.saving.deserialize_keras_object(config).kernel.shape == (10**7 // 8, 8)


# -- the archive around it --------------------------------------------------------------------------------------------

EVIL = b"cos\nsystem\n(Vid\ntR."


def external(_: bytes = b"") -> bytes:
    buffer = BytesIO()
    with h5py.File(buffer, "w") as file:
        file["vars"] = h5py.ExternalLink("/etc/other.h5", "/")
    return buffer.getvalue()


def without(name: str) -> bytes:
    return zipped({key: value for key, value in members(saved()).items() if key != name})


def test_every_member_is_read(tmp_path: Path) -> None:
    vocabulary = "assets/layers/string_lookup/vocabulary.txt"
    for name, content, outcome in (
        ("model.weights.h5", external(), "dangerous"),
        ("model.weights.h5", EVIL, "unknown"),
        ("model.weights.h5", b"", "unknown"),
        ("stray.pkl", EVIL, "dangerous"),
        ("stray.txt", b"hello", "unknown"),
        ("config.json", b'{"class_name": "a", "class_name": "b"}', "dangerous"),
        ("config.json", b"[]", "unknown"),
        ("config.json", '{"class_name": "Lambda"}'.encode("utf-16"), "unknown"),
        ("metadata.json", b'{"keras_version": [1]}', "unknown"),
        (vocabulary, EVIL, "unknown"),
        (vocabulary, b"\x80\x04" + EVIL, "dangerous"),
        (vocabulary.replace("txt", "py"), b"import os", "unknown"),
        ("assets/../../evil", b"a", "dangerous"),
        ("model.weights.npz", b"PK", "unknown"),
    ):
        result = scanned(tmp_path, zipped(members(saved()) | {name: content}))
        if name == vocabulary and content == EVIL:
            assert result.outcome == "clean"  # words are words: no loader takes this member for anything else
            continue
        assert result.outcome == outcome, (name, content)


def test_no_other_layout_hides_an_archive_of_keras(tmp_path: Path) -> None:
    buffer = BytesIO()
    torch.save({"a": torch.ones(3)}, buffer)
    attack = members(changed(DANGEROUS["a lambda"]))
    for name in ("archive/archive_format", "schema.json", "archive/models/model.json"):
        assert scanned(tmp_path, zipped({name: b"pt2"} | attack)).outcome != "clean"
    assert scanned(tmp_path, zipped(members(buffer.getvalue()) | attack)).outcome != "clean"


def test_a_graph_that_loops_or_names_a_layer_twice_is_unknown(tmp_path: Path) -> None:
    def call(name: str) -> list[Node]:
        tensor = {
            "class_name": "__keras_tensor__",
            "config": {"shape": [], "dtype": "float32", "keras_history": [name, 0, 0]},
        }
        return [{"args": [tensor], "kwargs": {}}]

    for change in (
        lambda c: layer(c, 3).update(inbound_nodes=call(layer(c, 4)["name"])),
        lambda c: layer(c, 4).update(name=layer(c, 3)["name"]),
    ):
        assert scanned(tmp_path, changed(change, residual)).outcome == "unknown"


def test_an_archive_needs_its_weights(tmp_path: Path) -> None:
    assert scanned(tmp_path, without("model.weights.h5")).outcome == "unknown"
    arrays = BytesIO()
    np.savez(arrays, a=np.ones(99))
    assert (
        scanned(
            tmp_path, zipped(members(without("model.weights.h5")) | {"model.weights.npz": arrays.getvalue()})
        ).outcome
        == "clean"
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_scan_of_any_config_ends(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    parts = members(saved(residual))
    values = [None, -1, 1 << 40, "Lambda", "function", [], {}, {"class_name": "Lambda", "config": {}}, [None, 1], True]

    def spoil(value: Any) -> Any:
        if draw.random() < 0.004:
            return draw.choice(values)
        if isinstance(value, dict):
            return {
                (draw.choice(["class_name", "config", "layers"]) if draw.random() < 0.002 else k): spoil(v)
                for k, v in value.items()
            }
        return [spoil(item) for item in value] if isinstance(value, list) else value

    for _ in range(60):
        content = json.dumps(spoil(json.loads(parts["config.json"]))).encode()
        begun = time.process_time()
        result = scanned(tmp_path, zipped(parts | {"config.json": content}))
        assert time.process_time() - begun < 1
        assert result.outcome == "clean" or result.reasons
        assert b'"class_name": "Lambda"' not in content or result.outcome == "dangerous", result.reasons


def test_the_scan_of_any_bytes_ends(tmp_path: Path) -> None:
    draw = random.Random(0)
    for content in (saved(), saved(mlp, ".h5")):
        for _ in range(100):
            spoilt = bytearray(content)
            for _ in range(draw.randint(1, 4)):
                spoilt[draw.randrange(len(spoilt))] = draw.randrange(256)
            result = scanned(tmp_path, bytes(spoilt[: draw.choice([len(spoilt), draw.randrange(len(spoilt))])]))
            assert result.outcome == "clean" or result.reasons
