"""From a subject's model to a backend: live objects and addresses as they are, files once the scanner has passed them."""

from dataclasses import dataclass
from importlib import import_module

import torch

from veriward.adapters.artefact import HINTS, Artefact
from veriward.adapters.callables import CallableBackend
from veriward.adapters.loading import Loading, choose_device
from veriward.adapters.model import Backend
from veriward.adapters.scan import ScanResult
from veriward.core.errors import ArtefactError, SettingsError
from veriward.core.subject import Subject

FORMATS = (
    ".pt2, .safetensors or .pt weights with a factory, .onnx, .keras, .h5, .skops, .ubj or .json of XGBoost, "
    ".txt of LightGBM, TorchScript, or the address of a served model"
)


# Which function of which module opens a kind: (artefact, subject, how) -> backend. Imported only when it is asked for.
OPENERS: dict[str, tuple[str, str]] = {
    "hdf5": ("keras", "from_hdf5"),
    "keras": ("keras", "from_keras"),
    "lightgbm": ("lightgbm", "from_lightgbm"),
    "onnx": ("onnx", "from_onnx"),
    "safetensors": ("weights", "from_safetensors"),
    "skops": ("estimators", "from_skops"),
    "torch-export": ("modules", "from_export"),
    "torch-legacy": ("weights", "from_checkpoint"),
    "torch-zip": ("weights", "from_checkpoint"),
    "torchscript": ("torchscript", "from_torchscript"),
    "xgboost": ("xgboost", "from_xgboost"),
}


@dataclass(frozen=True)
class Loaded:
    """A backend, and what the scan said of the file that it came from."""

    backend: Backend
    scanned: ScanResult | None = None


def load_backend(subject: Subject, how: Loading) -> Backend:
    """Return the backend of the subject's model; ArtefactError if it is not safe or not readable."""
    return load(subject, how).backend


def load(subject: Subject, how: Loading) -> Loaded:
    """Return the backend with the scan of its file, which live and served models have not."""
    if how.trust and not how.code:
        raise SettingsError("--trust and --no-code contradict each other: give one of them")
    if subject.is_live:
        return Loaded(_live(subject, how))
    assert subject.model.path is not None
    if subject.model.is_served:
        from veriward.adapters.served import from_address

        return Loaded(from_address(subject, how))
    path = subject.place(subject.model.path)
    artefact = Artefact.passed(path, trust=how.trust)
    return Loaded(_from_file(artefact, subject, how), artefact.scanned)


def _live(subject: Subject, how: Loading) -> Backend:
    from veriward.adapters.estimators import EstimatorBackend
    from veriward.adapters.keras import from_live_keras, is_keras
    from veriward.adapters.modules import from_live

    model = subject.model.live
    if is_keras(model):
        return from_live_keras(model, how)
    if isinstance(model, torch.nn.Module):
        device = None if how.device == "auto" else choose_device(how.device)
        return from_live(model, device=device, batch_size=how.batch_size)
    if type(model).__name__ == "Booster" and package(model) in ("lightgbm", "xgboost"):
        booster: Backend = import_module(f"veriward.adapters.{package(model)}").from_booster(model)
        return booster
    if hasattr(model, "predict"):
        return EstimatorBackend(model, format="estimator")
    if callable(model):
        return CallableBackend(model, batch_size=how.batch_size)
    raise SettingsError(f"model: {type(model).__name__} cannot be asked; want a module, an estimator or a callable")


def package(live: object) -> str:
    """Return the package that a live object's class comes from: asked without importing any.

    >>> package(torch.zeros(1))
    'torch'
    """
    return type(live).__module__.partition(".")[0]


def _from_file(artefact: Artefact, subject: Subject, how: Loading) -> Backend:
    if artefact.kind not in OPENERS:
        hint = HINTS.get(artefact.kind, f"want {FORMATS}")
        raise ArtefactError(f"{artefact.path}: holds {artefact.kind}, which this version does not load; {hint}")
    module, function = OPENERS[artefact.kind]
    opener = getattr(import_module(f"veriward.adapters.{module}"), function)
    return opener(artefact, subject, how)  # type: ignore[no-any-return]  # the table names openers alone
