"""JAX and TensorFlow functions as torch modules: the same scores and gradients as a torch twin."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import veriward as vw
from veriward.adapters import dlpack
from veriward.core.errors import DependencyMissing, ModelError
from veriward.core.fingerprint import fingerprints

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SIZES = (6, 9, 3)


def weights(seed: int = 0) -> list[Any]:
    generator = np.random.default_rng(seed)
    shapes = [(SIZES[0], SIZES[1]), (SIZES[1],), (SIZES[1], SIZES[2]), (SIZES[2],)]
    return [generator.normal(size=shape).astype(np.float32) for shape in shapes]


def twin() -> nn.Module:
    net = nn.Sequential(nn.Linear(SIZES[0], SIZES[1]), nn.Tanh(), nn.Linear(SIZES[1], SIZES[2]))
    w1, b1, w2, b2 = (torch.from_numpy(array) for array in weights())
    net.load_state_dict({"0.weight": w1.T, "0.bias": b1, "2.weight": w2.T, "2.bias": b2})
    return net


class OnJax:
    """What the tests need of JAX."""

    def __init__(self) -> None:
        pytest.importorskip("jax")
        import jax.numpy as jnp

        self.numpy, self.wrap, self.constant = jnp, vw.from_jax, jnp.asarray
        self.matmul, self.tanh, self.argmax = jnp.matmul, jnp.tanh, lambda x: jnp.argmax(x, 1)


class OnTensorFlow:
    """What the tests need of TensorFlow."""

    def __init__(self) -> None:
        tf = pytest.importorskip("tensorflow")
        self.wrap, self.constant = vw.from_tensorflow, tf.constant
        self.matmul, self.tanh, self.argmax = tf.linalg.matmul, tf.tanh, lambda x: tf.argmax(x, 1)


@pytest.fixture(params=[OnJax, OnTensorFlow], ids=["jax", "tensorflow"])
def on(request: pytest.FixtureRequest) -> Any:
    return request.param()


def network(on: Any) -> Callable[[Any], Any]:
    w1, b1, w2, b2 = (on.constant(array) for array in weights())
    return lambda x: on.matmul(on.tanh(on.matmul(x, w1) + b1), w2) + b2


def gradient(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    out = model(x)
    (found,) = torch.autograd.grad((out * torch.arange(1.0, SIZES[2] + 1)).sum(), x)
    return found


@pytest.mark.parametrize("compiled", [True, False])
def test_scores_and_gradients_are_those_of_the_torch_twin(on: Any, compiled: bool) -> None:
    model, x = (
        on.wrap(network(on), compiled=compiled),
        torch.randn(64, SIZES[0], generator=torch.Generator().manual_seed(0)),
    )
    before = x.clone()
    assert (model(x) - twin()(x)).abs().max() <= 1e-5
    assert (gradient(model, x) - gradient(twin(), x)).abs().max() <= 1e-5
    assert torch.equal(x, before)


def test_the_gradient_can_be_asked_for_twice(on: Any) -> None:
    x = torch.ones(64, SIZES[0]).requires_grad_()
    out = on.wrap(network(on))(x).sum()
    first, second = (torch.autograd.grad(out, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_rows_that_start_anywhere_in_memory_are_read_right(on: Any) -> None:
    model, rows = on.wrap(network(on)), torch.randn(65, SIZES[0], generator=torch.Generator().manual_seed(0))
    shifted, turned = rows[1:], torch.randn(SIZES[0], 64, generator=torch.Generator().manual_seed(1)).T
    assert shifted.data_ptr() % dlpack.ALIGNMENT
    for x in (shifted, turned):
        assert (model(x) - twin()(x)).abs().max() <= 1e-5
        assert (gradient(model, x) - gradient(twin(), x)).abs().max() <= 1e-5


def test_a_write_into_the_answer_does_not_reach_the_function(on: Any) -> None:
    constant = on.constant(np.ones((4, 2), np.float32))
    for function in (lambda x: constant, lambda x: x):
        model, x = on.wrap(function, compiled=False), torch.ones(4, 2)
        model(x).zero_()
        assert torch.equal(model(x), torch.ones(4, 2))
        assert torch.equal(x, torch.ones(4, 2))


def test_rows_that_were_overwritten_give_an_error_and_no_wrong_gradient(on: Any) -> None:
    x = torch.ones(64, SIZES[0]).requires_grad_()
    out = on.wrap(network(on))(x).sum()
    with torch.no_grad():
        x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_come_back_as_they_went(on: Any, dtype: torch.dtype) -> None:
    model, x = on.wrap(lambda x: x * 3), torch.arange(8, dtype=dtype).reshape(4, 2)
    assert torch.equal(model(x).to(dtype), x * 3)
    x.requires_grad_()
    model(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full((4, 2), 3, dtype=dtype))


def test_a_function_that_leaves_tensorflow_has_no_gradients() -> None:
    on = OnTensorFlow()
    import tensorflow as tf

    model = on.wrap(lambda x: tf.numpy_function(lambda rows: rows * 2, [x], tf.float32))
    out = model(torch.ones(4, 2, requires_grad=True))
    assert torch.equal(out, torch.full((4, 2), 2.0))
    assert not out.requires_grad


def test_class_numbers_carry_no_gradient(on: Any) -> None:
    f = network(on)
    model, x = on.wrap(lambda x: on.argmax(f(x))), torch.randn(64, SIZES[0], generator=torch.Generator().manual_seed(0))
    out = model(x.requires_grad_())
    assert not out.requires_grad
    assert torch.equal(out.long(), twin()(x).argmax(1))


def test_a_copy_shares_the_function(on: Any) -> None:
    model = on.wrap(network(on))
    x = torch.ones(64, SIZES[0])
    assert torch.equal(copy.deepcopy(model)(x), model(x))


def test_functions_are_told_apart(on: Any) -> None:
    f, g = network(on), network(on)
    first, second = (vw.Subject(model=on.wrap(function), data={"test": ([[0.0]], [0])}) for function in (f, g))
    assert fingerprints(first)["model"] != fingerprints(second)["model"]
    assert fingerprints(first) == fingerprints(first)


def test_an_answer_that_is_no_array_is_named(on: Any) -> None:
    with pytest.raises(ModelError, match="answered tuple; want one"):
        on.wrap(lambda x: (x, x))(torch.ones(2, 2))


@pytest.mark.parametrize("wrap", [vw.from_jax, vw.from_tensorflow])
def test_a_missing_framework_is_named_with_the_command(wrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("veriward.adapters.doors.import_module", absent)
    with pytest.raises(DependencyMissing, match="pip install 'veriward"):
        wrap(lambda x: x)


def test_jax_compiles_once_for_all_sizes_of_a_batch() -> None:
    from veriward.adapters.modules import from_live

    on, shapes = OnJax(), []

    def function(x: Any) -> Any:
        shapes.append(x.shape)  # runs when JAX traces
        return f(x)

    f, x = network(on), torch.randn(200, SIZES[0], generator=torch.Generator().manual_seed(0))
    backend = from_live(vw.from_jax(function), device="cpu", batch_size=None)
    whole = backend.raw(x)
    for n in (1, 63, 64, 65, 130):
        assert torch.equal(backend.raw(x[:n]), whole[:n])
        assert torch.equal(backend.forward(x[:n].clone().requires_grad_())[:1], backend.forward(x)[:1])
    assert shapes == [(64, SIZES[0])] * 2  # once for answers, once with the gradient


def test_an_assessment_agrees_with_the_twins(on: Any, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.uniform(0, 1, (200, SIZES[0])).astype(np.float32)
    y = twin()(torch.from_numpy(x)).argmax(1).numpy()
    found = {}
    for name, model in (("foreign", on.wrap(network(on))), ("torch", twin())):
        subject = vw.Subject(
            name=name, model=model, data={"test": (x, y)}, input={"bounds": (0, 1)}, threat={"evasion": {"eps": 0.02}}
        )
        found[name] = vw.assess(subject, checks=["evasion/linf"], out=tmp_path / f"{name}.ward", budget="quick", seed=0)
    ours, theirs = (found[name]["evasion/linf"].estimate("robust_accuracy") for name in ("foreign", "torch"))
    assert 0 < ours.value < 1
    assert abs(ours.value - theirs.value) <= 0.01


LIVE_KERAS = """
import keras, numpy as np, torch, veriward as vw
from veriward.adapters.load import load_backend
from veriward.adapters.loading import Loading
layers = keras.layers
model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dropout(0.5), layers.Dense(3)])
backend = load_backend(vw.Subject(model=model, data={"test": ([[0.0]], [0])}), Loading(device="cpu"))
w1, b1, w2, b2 = (torch.from_numpy(np.array(weight)) for weight in model.get_weights())
twin = lambda x: torch.tanh(x @ w1 + b1) @ w2 + b2
x = torch.rand(70, 4, requires_grad=True)
assert backend.width == 4 and (backend.raw(x) - twin(x)).abs().max() <= 1e-5
ours, theirs = (torch.autograd.grad((f(x) ** 2).sum(), x)[0] for f in (backend.forward, twin))
assert (ours - theirs).abs().max() <= 1e-5
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jax", "tensorflow"])
def test_live_keras_models_have_gradients_on_other_backends(name: str) -> None:
    if any(find_spec(package) is None for package in ("keras", name)):
        pytest.skip(f"Keras or {name} is not installed")
    environment = os.environ | {"KERAS_BACKEND": name}
    run = subprocess.run(
        [sys.executable, "-c", LIVE_KERAS], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
