"""Keras models on torch: parity with torch twins, weights with a factory, refusals, and nothing left behind."""

import os
import random
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import veriward as vw
from veriward.adapters.artefact import Artefact
from veriward.adapters.keras import from_keras, keras_on_torch
from veriward.adapters.load import load_backend
from veriward.adapters.loading import Loading
from veriward.adapters.modules import ModuleBackend
from veriward.adapters.scan import scan
from veriward.core.errors import ArtefactError, CapabilityError, ModelError
from veriward.core.fingerprint import fingerprints

if find_spec("keras") is None:  # importorskip would import it, on whatever backend
    pytest.skip("Keras is not installed", allow_module_level=True)
keras = keras_on_torch()
L = keras.layers
ON_CPU = Loading(device="cpu")


def rows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mlp(**more: Any) -> Any:
    return keras.Sequential(
        [
            keras.Input((4,), **more),
            L.Dense(8, activation="tanh", **more),
            L.BatchNormalization(**more),
            L.Dropout(0.5, **more),
            L.Dense(3, **more),
        ]
    )


def stirred(model: Any) -> Any:
    """Give every weight, moving averages included, a number of its own."""
    with torch.no_grad():
        for i, weight in enumerate(model.weights):
            weight.assign(rows(*weight.shape, seed=i).numpy() + 0.1)
    return model


def numbers(model: Any) -> list[Tensor]:
    return [weight.value.detach() for weight in model.weights]


def saved(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # .h5 is old, and Keras reads its tensors the old way
        model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)
    return path


def opened(path: Path, how: Loading = ON_CPU, **model: Any) -> ModuleBackend:
    subject = vw.Subject(
        model={"path": path.name, **model}, data={"test": ([[0.0]], [0])}, folder=path.parent.resolve()
    )
    backend = load_backend(subject, how)
    assert isinstance(backend, ModuleBackend)
    return backend


def twin(model: Any) -> nn.Module:
    """The same network in torch, filled from the Keras weights."""
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.BatchNorm1d(8, eps=1e-3), nn.Dropout(), nn.Linear(8, 3))
    w1, b1, gamma, beta, mean, variance, w2, b2 = numbers(model)
    for part, values in zip(
        [net[0].weight, net[0].bias, net[2].weight, net[2].bias, net[2].running_mean, net[2].running_var],
        [w1.T, b1, gamma, beta, mean, variance],
        strict=True,
    ):
        part.data.copy_(values)  # type: ignore[union-attr, operator]  # layers of our own, all tensors
    net[4].load_state_dict({"weight": w2.T, "bias": b2})
    return net.eval()


def gradient(model: Any, x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad((model(x) * torch.tensor([1.0, 2.0, 3.0])).sum(), x)
    return found


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_scores_and_gradients_are_those_of_the_torch_twin(name: str, tmp_path: Path) -> None:
    model, x = stirred(mlp()), rows(200, 4)
    backend, torch_twin = opened(saved(model, tmp_path / name)), twin(model)
    assert (backend.raw(x) - torch_twin(x)).abs().max() <= 1e-5
    assert (gradient(backend.forward, x) - gradient(torch_twin, x)).abs().max() <= 1e-5
    assert (backend.width, backend.access, backend.format) == (
        4,
        "gradients",
        name.partition(".")[2].replace("h5", "hdf5"),
    )
    assert not any(parameter.requires_grad for parameter in backend.module.parameters())


def test_gradients_are_finite_differences(tmp_path: Path) -> None:
    backend, x, step = opened(saved(stirred(mlp()), tmp_path / "model.keras")), rows(3, 4), 1e-2
    found = gradient(backend.forward, x)  # Keras multiplies in float32 even where a model says float64
    for i in range(4):
        moved = torch.zeros(4).index_fill(0, torch.tensor([i]), step)
        slope = (backend.raw(x + moved) - backend.raw(x - moved)) / (2 * step)
        assert (slope @ torch.tensor([1.0, 2.0, 3.0]) - found[:, i]).abs().max() <= 2e-3


def test_a_row_is_answered_the_same_in_any_company(tmp_path: Path) -> None:
    backend, x = opened(saved(stirred(mlp()), tmp_path / "model.keras")), rows(200, 4)
    whole = backend.raw(x)
    for n in (1, 2, 63, 64, 65, 128, 199):
        assert torch.equal(backend.raw(x[:n]), whole[:n])
        assert torch.equal(backend.raw(x[-n:]), whole[-n:])
        assert torch.equal(backend.forward(x[:n]), whole[:n])


def test_pictures_keep_the_layout_of_the_data(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((8, 8, 2)), L.Conv2D(4, 3, activation="relu"), L.MaxPooling2D(), L.Flatten(), L.Dense(3)]
    )
    backend, x = opened(saved(stirred(model), tmp_path / "model.keras")), rows(70, 8, 8, 2)
    kernel, bias, weight, offset = numbers(model)
    maps = torch.relu(torch.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), bias))
    wanted = torch.max_pool2d(maps, 2).permute(0, 2, 3, 1).flatten(1) @ weight + offset
    assert backend.width is None
    assert (backend.raw(x) - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_half_precision_is_cast_by_the_layers(policy: str, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), L.Dense(8, activation="tanh", dtype=policy), L.Dense(3, dtype=policy)])
    backend, x = opened(saved(stirred(model), tmp_path / "model.keras")), rows(70, 4)
    assert backend.dtype == torch.float32
    w1, b1, w2, b2 = (values.float() for values in numbers(model))
    wanted = torch.tanh(x @ w1 + b1) @ w2 + b2
    assert (backend.raw(x).float() - wanted).abs().max() <= 0.05
    assert torch.isfinite(gradient(backend.forward, x)).all()


def test_whole_numbers_reach_an_embedding(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((5,), dtype="int32"), L.Embedding(10, 3), L.Flatten(), L.Dense(3)])
    backend, x = opened(saved(stirred(model), tmp_path / "model.keras")), torch.arange(50).reshape(10, 5) % 10
    table, weight, bias = numbers(model)
    assert (backend.raw(x.float()) - (table[x].flatten(1) @ weight + bias)).abs().max() <= 1e-5


def test_a_batch_of_fixed_size_becomes_the_size_of_the_tiles(tmp_path: Path) -> None:
    model = stirred(keras.Sequential([keras.Input(batch_shape=(7, 4)), L.Dense(3)]))
    backend, x = opened(saved(model, tmp_path / "model.keras")), rows(10, 4)
    weight, bias = numbers(model)
    assert backend.tile == 7
    assert (backend.raw(x) - (x @ weight + bias)).abs().max() <= 1e-5


def test_the_wanted_device_wins_over_the_default_of_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = stirred(mlp()), rows(70, 4)
    path, wanted = saved(model, tmp_path / "model.keras"), twin(model)(x)
    monkeypatch.setattr("keras.src.backend.torch.core.DEFAULT_DEVICE", "meta")  # as "cuda" is where there is one
    backend = opened(path)
    assert {weight.device.type for weight in backend.module.parameters()} == {"cpu"}
    assert (backend.raw(x) - wanted).abs().max() <= 1e-5


def test_the_callers_random_numbers_are_kept(tmp_path: Path) -> None:
    path = saved(mlp(), tmp_path / "model.keras")
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    wanted = random.random(), np.random.rand(), torch.rand(()).item()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    opened(path).raw(rows(70, 4))
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == wanted


CLEAN_IMPORT = """
import os, sys
from pathlib import Path
before = dict(os.environ)
from veriward.adapters.keras import keras_on_torch
import sklearn, torch
environment = dict(os.environ)
keras = keras_on_torch()
assert keras.backend.backend() == "torch" and keras_on_torch() is keras
assert dict(os.environ) == environment
assert list(Path.home().iterdir()) == [], list(Path.home().iterdir())
from keras.src.backend.config import keras_home
assert keras_home() == str(Path.home() / ".keras"), keras_home()
"""


@pytest.mark.slow
def test_the_first_import_leaves_no_file_and_no_variable(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KERAS")}
    environment |= {"HOME": str(tmp_path), "KERAS_BACKEND": "tensorflow"}  # the user's wish for programs of their own
    run = subprocess.run(
        [sys.executable, "-c", CLEAN_IMPORT], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""


@pytest.mark.parametrize("name", ["tensorflow", "jax"])
def test_another_backend_is_named_with_the_way_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: name)
    with pytest.raises(CapabilityError, match=f"runs on {name} here.*KERAS_BACKEND=torch"):
        keras_on_torch()


def test_keras_2_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    with pytest.raises(CapabilityError, match=r"Keras 2\.15\.0 is in use here; want Keras 3"):
        keras_on_torch()


NET = """
import keras
def build():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="tanh"),
        keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), keras.layers.Dense(3)])
def other():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="tanh")])
def wider():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(9)])
def unbuilt():
    return keras.Sequential([keras.layers.Dense(9)])
def module():
    import torch
    return torch.nn.Linear(4, 3)
"""


@pytest.mark.parametrize("name", ["model.weights.h5", "model.h5", "legacy.h5"])
def test_weights_fill_what_the_factory_builds(name: str, tmp_path: Path) -> None:
    model, x = stirred(mlp()), rows(70, 4)
    path = saved(model, tmp_path / name)
    if name == "legacy.h5":
        weights_alone(path)
    (tmp_path / "net.py").write_text(NET)
    state = random.getstate()
    backend = opened(path, factory="net:build")
    assert random.getstate() == state
    assert (backend.raw(x) - twin(model)(x)).abs().max() <= 1e-5
    with pytest.raises(ArtefactError, match="--no-code"):
        opened(path, Loading(device="cpu", code=False), factory="net:build")


def weights_alone(path: Path) -> None:
    """Turn a whole model of old into what Keras 2 wrote for weights: the layers at the top."""
    import h5py

    with h5py.File(path, "r+") as file:
        for name in list(file["model_weights"]):
            file.move(f"model_weights/{name}", name)
        names = file["model_weights"].attrs["layer_names"]
        del file["model_weights"], file.attrs["model_config"]
        file.attrs["layer_names"] = names


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("other", "8 arrays for 2 weights"),
        ("wider", "cannot be loaded by Keras"),
        ("unbuilt", "cannot be loaded by Keras.*not yet been built"),
        ("module", "returned a Linear; want a Keras model"),
    ],
)
def test_weights_that_do_not_fit_are_refused(factory: str, said: str, tmp_path: Path) -> None:
    path = saved(mlp(), tmp_path / "model.weights.h5")
    (tmp_path / "net.py").write_text(NET)
    with pytest.raises(ArtefactError, match=said) as refusal:
        opened(path, factory=f"net:{factory}")
    assert "veriward-" not in str(refusal.value)  # our copy is nothing to the user


def test_weights_want_a_factory_and_strange_files_are_named(tmp_path: Path) -> None:
    import h5py

    with pytest.raises(ArtefactError, match=r"holds weights and no Keras model; name model\.factory"):
        opened(saved(mlp(), tmp_path / "model.weights.h5"))
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(ArtefactError, match="holds no weights of Keras and no Keras model"):
        opened(tmp_path / "data.h5", Loading(device="cpu", trust=True))


def joined(names: str, outputs: int = 1) -> Any:
    inputs = [keras.Input((4,), name=name) for name in names]
    whole = L.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    return keras.Model(inputs, [L.Dense(3)(whole) for _ in range(outputs)])


def test_several_inputs_or_answers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"takes 2 inputs \(a, b\); want one"):
        opened(saved(joined("ab"), tmp_path / "inputs.keras"))
    with pytest.raises(ArtefactError, match="gives 2 answers; want one"):
        opened(saved(joined("a", outputs=2), tmp_path / "answers.keras"))


def test_named_inputs_and_answers(tmp_path: Path) -> None:
    def named(**answers: int) -> Any:
        x = keras.Input((4,), name="x")
        return stirred(keras.Model({"x": x}, {name: L.Dense(k, name=name)(x) for name, k in answers.items()}))

    x = rows(70, 4)
    for answers, columns in (({"only": 2}, 2), ({"features": 5, "logits": 3}, 3)):
        assert opened(saved(named(**answers), tmp_path / "model.keras")).raw(x).shape == (70, columns)
    with pytest.raises(ModelError, match=r"answers features, scores; want .* under 'logits'"):
        opened(saved(named(features=5, scores=3), tmp_path / "model.keras")).raw(x)


def test_texts_are_refused(tmp_path: Path) -> None:
    x = keras.Input((1,), dtype="string")
    path = saved(keras.Model(x, L.Identity()(x)), tmp_path / "model.keras")
    with pytest.raises(ArtefactError, match="takes texts; want a model of numbers"):
        opened(path, Loading(device="cpu", trust=True))


def test_keras_itself_refuses_code_that_a_scanner_might_miss(tmp_path: Path) -> None:
    path = saved(keras.Sequential([keras.Input((4,)), L.Lambda(lambda x: x * 2)]), tmp_path / "model.keras")
    subject = vw.Subject(model=path, data={"test": ([[0.0]], [0])})
    with pytest.raises(ArtefactError, match=r"cannot be loaded by Keras.*Lambda"):
        from_keras(Artefact(path, scan(path)), subject, ON_CPU)


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    path = saved(mlp(), tmp_path / "model.keras")
    path.write_bytes(path.read_bytes()[:2000])
    subject = vw.Subject(model=path, data={"test": ([[0.0]], [0])})
    with pytest.raises(ArtefactError, match=r"model\.keras: cannot be loaded by Keras"):
        from_keras(Artefact(path, scan(path)), subject, ON_CPU)


def test_a_live_model_is_asked_as_it_is() -> None:
    model, x = stirred(mlp()), rows(70, 4)
    before = [values.clone() for values in numbers(model)]
    backend = load_backend(vw.Subject(model=model, data={"test": ([[0.0]], [0])}), ON_CPU)
    assert isinstance(backend, ModuleBackend)
    assert (backend.raw(x) - twin(model)(x)).abs().max() <= 1e-5
    assert (gradient(backend.forward, x) - gradient(twin(model), x)).abs().max() <= 1e-5
    assert all(weight.trainable for weight in model.trainable_weights)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, numbers(model), strict=True))


def test_live_models_of_equal_numbers_are_told_apart() -> None:
    def built(activation: str) -> vw.Subject:
        model = keras.Sequential([keras.Input((4,), name="x"), L.Dense(3, activation, name="y")], name="same")
        return vw.Subject(model=stirred(model), data={"test": ([[0.0]], [0])})

    first, second = built("relu"), built("tanh")
    assert fingerprints(first)["model"] == fingerprints(first)["model"] != fingerprints(second)["model"]
    stirred_on = fingerprints(first)["model"]
    first.model.live.weights[0].assign(np.zeros((4, 3)))
    assert fingerprints(first)["model"] != stirred_on


class Own(keras.Model):
    """A subclass, which says nothing about its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = L.Dense(3)

    def call(self, x: Any, training: Any = None) -> Any:
        assert training is False
        return self.dense(x)


def test_a_subclass_is_asked_without_knowing_its_width() -> None:
    model = Own()
    model(np.zeros((1, 4), np.float32), training=False)
    backend = load_backend(vw.Subject(model=model, data={"test": ([[0.0]], [0])}), ON_CPU)
    x = rows(70, 4)
    assert backend.width is None
    kernel, bias = numbers(model)
    assert (backend.raw(x) - (x @ kernel + bias)).abs().max() <= 1e-5


@pytest.mark.parametrize(("units", "activation"), [(3, "softmax"), (1, "sigmoid")])
def test_models_that_end_in_probabilities_are_asked_for_logits(tmp_path: Path, units: int, activation: str) -> None:
    """Far from the boundary a float32 probability is 1 exactly, and no gradient leads back."""
    keras = keras_on_torch()
    with torch.random.fork_rng():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, activation)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras' own
        model.save(tmp_path / "m.keras")
    x = 100 * torch.ones(5, 4) * torch.arange(1, 6)[:, None]
    asked = load_backend(vw.Subject(model=tmp_path / "m.keras", data={"test": ([[0.0]], [0])}), ON_CPU)
    weights, bias = (w.value.detach() for w in model.weights)
    assert torch.allclose(asked.raw(x), x @ weights + bias, rtol=1e-5)
    assert asked.output == "logits"
    assert [note.code for note in asked.notes] == ["model.activation_off"]
    rows = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(asked.forward(rows)[:, 0].sum(), rows)
    assert (gradient.abs() > 0).any(1).all()
    section = {"path": str(tmp_path / "m.keras"), "output": "probabilities"}
    kept = load_backend(vw.Subject(model=section, data={"test": ([[0.0]], [0])}), ON_CPU)
    logits = x @ weights + bias
    assert torch.allclose(kept.raw(x), logits.softmax(1) if units > 1 else logits.sigmoid(), atol=1e-6)
