"""Keras models on torch: `.keras` archives, `.h5` files of old, and `.h5` weights with a factory. No TensorFlow.

Keras 3 runs on a backend that is chosen once, at its first import. On torch a Keras model is a torch module, so its
gradients are torch's. Rows come as the data has them: pictures in the layout that the model was trained on, (N, H, W, C)
unless it says otherwise.
"""

import io
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from veriward.adapters.artefact import Artefact
from veriward.adapters.code import load_function
from veriward.adapters.dlpack import from_jax, from_tensorflow
from veriward.adapters.doors import door
from veriward.adapters.loading import Loading, choose_device
from veriward.adapters.modules import ModuleBackend
from veriward.adapters.weights import built
from veriward.core.errors import ArtefactError, CapabilityError, ModelError, some
from veriward.core.note import note
from veriward.core.subject import Subject


class KerasModule(nn.Module):
    """A Keras model of one input in inference mode, on one device whatever Keras' own default is."""

    def __init__(self, model: Any, device: str) -> None:
        super().__init__()
        self.model, self.device, self.ask = model, device, _asking(model)
        self.scope = keras_on_torch().device

    def forward(self, x: Tensor) -> Any:
        """Return the model's answer to rows (n, ...), as it does in `predict`: no dropout, moving averages fixed."""
        with self.scope(self.device):  # Keras moves what it gets to the device of this scope
            return self.ask(x)


def from_keras(artefact: Artefact, subject: Subject, how: Loading) -> ModuleBackend:
    """Load a `.keras` archive in Keras' safe mode, which runs no code that the archive brings along."""
    keras, device = keras_on_torch(), choose_device(how.device)
    with artefact.copy("model.keras") as copy, _loading(artefact, copy, device):
        model = keras.saving.load_model(copy, compile=False, safe_mode=True)
    return _frozen(artefact, model, subject, device, how)


def from_hdf5(artefact: Artefact, subject: Subject, how: Loading) -> ModuleBackend:
    """Load weights into the Keras model that the subject's factory builds; without a factory, a whole model of old."""
    keras, device, holds = keras_on_torch(), choose_device(how.device), _held(artefact)
    if subject.model.factory is not None:
        return _frozen(artefact, _with_weights(artefact, subject, how, holds), subject, device, how)
    if holds != "model":
        raise ArtefactError(
            f"{artefact.path}: holds {holds} and no Keras model; name model.factory, e.g. 'net:build' "
            "(--factory in veriward init)"
        )
    with artefact.copy("model.h5") as copy, _loading(artefact, copy, device):
        model = keras.saving.load_model(copy, compile=False, safe_mode=True)
    return _frozen(artefact, model, subject, device, how)


def is_keras(model: Any) -> bool:
    """Whether a live object is a Keras model; asking imports nothing."""
    return "keras" in sys.modules and isinstance(model, getattr(sys.modules["keras"], "Model", ()))


def from_live_keras(model: Any, how: Loading) -> ModuleBackend:
    """Wrap a Keras model of the caller's on the backend that it runs on. It is asked where it is; nothing is copied."""
    where, name = f"model {type(model).__name__}", str(sys.modules["keras"].backend.backend())
    if name in ("jax", "tensorflow"):
        wrap = from_jax if name == "jax" else from_tensorflow
        return _backend(where, "keras", model, wrap(_asking(model)), choose_device(how.device), how)
    device = next((str(parameter.device) for parameter in keras_on_torch() and model.parameters()), "cpu")
    return _backend(where, "keras", model, KerasModule(model, device), device, how)


def keras_on_torch() -> Any:
    """Import Keras on its torch backend; the process' environment and the home folder stay as they were.

    Raises CapabilityError where Keras runs on another backend already, and DependencyMissing where it is not installed.
    """
    if "keras" not in sys.modules:
        with _for_import():
            door("keras", "keras", "a Keras model")
    keras = sys.modules["keras"]
    version, backend = str(keras.__version__), str(keras.backend.backend())
    if version.startswith(("0.", "1.", "2.")):
        raise CapabilityError(
            f"a Keras model: Keras {version} is in use here; want Keras 3: pip install 'veriward[keras]'"
        )
    if backend != "torch":
        raise CapabilityError(
            f"a Keras model: Keras runs on {backend} here, and its backend is chosen once; set KERAS_BACKEND=torch "
            "before the first import, or assess in a process of its own"
        )
    return keras


@contextmanager
def _for_import() -> Iterator[None]:
    """Choose torch for one import. Keras writes a keras.json where there is none, so it gets a home that goes away."""
    before = dict(os.environ)
    home = Path(before.get("KERAS_HOME", "~/.keras")).expanduser()
    with tempfile.TemporaryDirectory(prefix="veriward-") as folder:
        os.environ["KERAS_BACKEND"] = "torch"
        if not (home / "keras.json").exists():
            os.environ["KERAS_HOME"] = folder
        try:
            yield
        finally:
            for name in set(os.environ) - set(before):  # Keras, and what it imports, set some themselves
                del os.environ[name]
            os.environ.update(before)
    config = sys.modules.get("keras.src.backend.config")
    if config is not None:
        config.__dict__["_KERAS_DIR"] = str(home)  # where the caller's own downloads belong


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Keep the caller's random numbers: layers draw their first weights, and their seeds, from the global generators."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _loading(artefact: Artefact, copy: Path, device: str) -> Iterator[None]:
    """Build on the device; what Keras raises becomes an ArtefactError about the user's file, not about our copy."""
    try:
        with _own_randomness(), warnings.catch_warnings(), keras_on_torch().device(device):
            warnings.simplefilter("ignore")  # about optimisers and input names, which nobody asks for here
            yield
    except Exception as error:
        lines = " ".join(str(error).replace(str(copy), str(artefact.path)).split())
        text = lines[:300] or type(error).__name__
        raise ArtefactError(
            f"{artefact.path}: cannot be loaded by Keras ({text}); save it again with Keras 3"
        ) from error


def _held(artefact: Artefact) -> str:
    """Return what an HDF5 file holds: a whole model, weights as Keras 3 writes them, or weights as Keras 2 did."""
    with _opened(artefact) as file:
        if "model_config" in file.attrs:
            return "model"
        if "layer_names" in file.attrs:
            return "legacy weights"
        return "weights" if {"layers", "vars"} & set(file) else "no weights of Keras"


@contextmanager
def _opened(artefact: Artefact) -> Iterator[Any]:
    h5py = door("h5py", "keras", str(artefact.path))
    try:
        with h5py.File(io.BytesIO(artefact.content()), "r") as file:
            yield file
    except OSError as error:
        raise ArtefactError(f"{artefact.path}: cannot be read as HDF5 ({error}); save it again") from error


def _with_weights(artefact: Artefact, subject: Subject, how: Loading, holds: str) -> Any:
    """Build the model with the subject's code and fill it with the file's weights, all of them."""
    name, device = str(subject.model.factory), choose_device(how.device)
    with _own_randomness(), keras_on_torch().device(device):
        model = _keras_model(name, load_function(subject, name, "model.factory", code=how.code))
    with artefact.copy("of.weights.h5" if holds == "weights" else "old.h5") as copy, _loading(artefact, copy, device):
        model.load_weights(copy)
    if holds == "weights" and (stored := _stored(artefact)) > len(model.weights):
        raise ArtefactError(  # Keras itself passes over layers that the model does not have
            f"{artefact.path}: does not fit what {name} builds: {stored} arrays for {len(model.weights)} weights"
        )
    return model


def _stored(artefact: Artefact) -> int:
    """Return the number of arrays of a weights file that are weights: not an optimiser's, not a generator's state."""
    names: list[str] = []
    with _opened(artefact) as file:
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    return sum("seed_generator" not in name and not name.startswith("optimizer/") for name in names)


def _keras_model(name: str, factory: Callable[[], Any]) -> Any:
    model = built(name, factory)
    if not isinstance(model, keras_on_torch().Model):
        raise ArtefactError(f"model.factory = {name!r}: returned a {type(model).__name__}; want a Keras model for .h5")
    return model


def _frozen(artefact: Artefact, model: Any, subject: Subject, device: str, how: Loading) -> ModuleBackend:
    taken_off = _to_logits(model) if subject.model.output is None and subject.task in (None, "classification") else None
    module = KerasModule(model, device).eval().requires_grad_(False)
    backend = _backend(str(artefact.path), artefact.kind, model, module, device, how)
    if taken_off is not None:
        backend.output, backend.notes = "logits", (note("model.activation_off", activation=taken_off),)
    return backend


def _to_logits(model: Any) -> str | None:
    """Take the softmax, or the sigmoid of a single score, off the end of a model that we loaded; returns its name.

    Probabilities of float32 are 1 exactly from a logit of 17 on: no gradient leads out of there, and every attack on
    such rows would seem to fail. Classes and probabilities follow from the logits.
    """
    outputs: list[Any] = list(getattr(model, "outputs", None) or ())
    history = getattr(outputs[0], "_keras_history", None) if len(outputs) == 1 else None
    layer = getattr(history, "operation", None)
    name = getattr(getattr(layer, "activation", None), "__name__", None)
    wanted = "sigmoid" if outputs and outputs[0].shape[-1] == 1 else "softmax"
    if (
        layer is None or name != wanted or len(layer._inbound_nodes) != 1
    ):  # used twice, its answer may be needed as it is
        return None
    layer.activation = keras_on_torch().activations.linear
    return wanted


def _backend(where: str, format: str, model: Any, module: nn.Module, device: str, how: Loading) -> ModuleBackend:
    shape, dtype = _rows(where, model)
    static = shape[0] if shape else None
    backend = ModuleBackend(module, format=format, device=device, batch_size=how.batch_size, static=static)
    # what numpy rows become in Keras: the layers' own policy casts them afterwards
    backend.dtype = dtype if dtype.is_floating_point else torch.float32
    backend.width = shape[1] if len(shape) == 2 else None
    return backend


def _rows(where: str, model: Any) -> tuple[tuple[int | None, ...], torch.dtype]:
    """Return the shape of a batch, as far as the model says it, and the type of its numbers.

    Raises ArtefactError unless the model takes one batch of numbers and gives one answer.
    """
    inputs, outputs = (getattr(model, name, None) or () for name in ("inputs", "outputs"))
    if not inputs:
        return (), torch.float32  # a subclass, which says nothing about its rows
    if len(inputs) != 1:
        names = some(getattr(tensor, "name", "?") for tensor in inputs)
        raise ArtefactError(f"{where}: takes {len(inputs)} inputs ({names}); want one batch of rows")
    if inputs[0].dtype == "string":
        raise ArtefactError(f"{where}: takes texts; want a model of numbers, with its vectorisation before it")
    if len(outputs) > 1 and not isinstance(getattr(model, "output", None), Mapping):
        raise ArtefactError(f"{where}: gives {len(outputs)} answers; want one, or a dictionary with 'logits'")
    return tuple(inputs[0].shape), getattr(torch, inputs[0].dtype)


def _asking(model: Any) -> Callable[[Any], Any]:
    """Return how rows are handed over: a model of one input may want them in a list or under a name."""
    structure = getattr(model, "input", None)

    def ask(x: Any) -> Any:
        shaped = dict.fromkeys(structure, x) if isinstance(structure, Mapping) else x
        shaped = [x] if isinstance(structure, list | tuple) else shaped
        return _one_output(model(shaped, training=False))

    return ask


def _one_output(answer: Any) -> Any:
    if not isinstance(answer, Mapping):
        return answer
    if "logits" not in answer and len(answer) > 1:
        raise ModelError(f"model: answers {some(answer)}; want one answer, or the one that counts under 'logits'")
    return answer.get("logits", next(iter(answer.values())))
