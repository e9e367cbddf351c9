"""From a subject's model to a backend: live objects as they are, files only after the scanner has passed them."""

from dataclasses import dataclass
from pathlib import Path

import torch

from veriward.adapters.callables import CallableBackend
from veriward.adapters.model import Backend
from veriward.core.errors import ArtefactError, SettingsError
from veriward.core.subject import Subject

FORMATS = ".pt2 (torch.export), .safetensors with a factory, .skops"


@dataclass(frozen=True)
class Loading:
    """How the user wants a model to be opened."""

    device: str = "auto"
    batch_size: int | None = None
    trust: bool = False  # load what the scanner calls unknown
    code: bool = True  # run code that the subject names


def load_backend(subject: Subject, how: Loading) -> Backend:
    """Return the backend of the subject's model; ArtefactError if it is not safe or not readable."""
    if how.trust and not how.code:
        raise SettingsError("--trust and --no-code contradict each other: give one of them")
    if subject.is_live:
        return _live(subject, how)
    assert subject.model.path is not None
    path = subject.place(subject.model.path)
    if "://" in subject.model.path:
        raise SettingsError(
            f"model.path = {subject.model.path!r}: served models are not read by this version; want a file"
        )
    kind = _scanned(path, how)
    return _from_file(subject, path, kind, how)


def _live(subject: Subject, how: Loading) -> Backend:
    from veriward.adapters.estimators import EstimatorBackend
    from veriward.adapters.modules import from_live

    model = subject.model.live
    if isinstance(model, torch.nn.Module):
        device = None if how.device == "auto" else choose_device(how.device)
        return from_live(model, device=device, batch_size=how.batch_size)
    if hasattr(model, "predict"):
        return EstimatorBackend(model, format="estimator")
    if callable(model):
        return CallableBackend(model, batch_size=how.batch_size)
    raise SettingsError(f"model: {type(model).__name__} cannot be asked; want a module, an estimator or a callable")


def choose_device(device: str) -> str:
    """Return the torch device for "auto", "cpu" or "cuda"; SettingsError if it is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.split(":", maxsplit=1)[0] == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: torch finds no CUDA device here; use cpu or auto")
    if device.split(":", maxsplit=1)[0] not in ("cpu", "cuda"):
        raise SettingsError(f"--device {device}: not known; want auto, cpu or cuda")
    return device


def _scanned(path: Path, how: Loading) -> str:
    """Return the kind of a file by its content; refuse what is not clean unless the user trusts the unknown."""
    from veriward.adapters.scan import scan

    result = scan(path)
    if result.outcome == "clean" or (result.outcome == "unknown" and how.trust):
        return result.kind
    found = "; ".join(f"{r.what} ({r.where}): {r.why}" for r in result.reasons if r.outcome == result.outcome)
    hint = "it is not loaded" if result.outcome == "dangerous" else "if you know where it comes from, --trust loads it"
    raise ArtefactError(f"{path}: the scanner says {result.outcome}: {found[:600]}; {hint}")


def _from_file(subject: Subject, path: Path, kind: str, how: Loading) -> Backend:
    if kind == "skops":
        from veriward.adapters.estimators import from_skops
        from veriward.adapters.scan import skops_types

        return from_skops(path, trusted=skops_types(path))
    from veriward.adapters import modules

    device = choose_device(how.device)
    if kind == "torch-export":
        return modules.from_export(path, device=device, batch_size=how.batch_size)
    if kind == "safetensors":
        return modules.from_safetensors(path, subject, device=device, batch_size=how.batch_size, code=how.code)
    raise ArtefactError(f"{path}: holds {kind}, which this version does not load; want {FORMATS}")
