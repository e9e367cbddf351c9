"""Weights with a factory: safetensors, and state dicts of torch.save, put into the module that the subject's code builds."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from veriward.adapters.artefact import Artefact
from veriward.adapters.code import load_function
from veriward.adapters.loading import Loading, choose_device
from veriward.adapters.modules import ModuleBackend
from veriward.core.errors import ArtefactError
from veriward.core.subject import Subject


def from_safetensors(artefact: Artefact, subject: Subject, how: Loading) -> ModuleBackend:
    """Load a `.safetensors` file into the module that the subject's factory builds."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    _needs_factory(artefact, subject)
    try:
        tensors = load(artefact.content())
    except SafetensorError as error:
        raise ArtefactError(f"{artefact.path}: cannot be loaded as safetensors ({error}); save it again") from error
    return _filled(artefact, subject, how, tensors, "safetensors")


def from_checkpoint(artefact: Artefact, subject: Subject, how: Loading) -> ModuleBackend:
    """Load a state dict of torch.save, or a training checkpoint that holds one, that the scanner found clean.

    torch reads it with `weights_only=True`: what the scanner calls unknown, --trust or not, it refuses too.
    """
    from veriward.adapters.convert.flatten import chosen

    _needs_factory(artefact, subject)
    try:
        tree = torch.load(io.BytesIO(artefact.content()), map_location="cpu", weights_only=True)
    except ArtefactError:
        raise
    except Exception as error:
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ArtefactError(
            f"{artefact.path}: torch does not read it as weights alone ({text}); veriward convert makes safetensors of it"
        ) from error
    tensors, _ = chosen(tree, None)
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ArtefactError(
            f"{artefact.path}: holds no state dict; veriward convert --key takes a part of a checkpoint"
        )
    return _filled(artefact, subject, how, dict(tensors), "checkpoint")


def built(name: str, factory: Callable[[], Any]) -> nn.Module:
    """Call the user's factory; ArtefactError if it raises, leaves, or returns something else than a module."""
    with torch.random.fork_rng(devices=[]):  # building layers draws from the global generator: the caller's is kept
        return module_of(f"model.factory = {name!r}", factory)


def module_of(where: str, factory: Callable[[], Any]) -> nn.Module:
    """Call code of the user's that makes a module; ArtefactError, saying where, as `built` does."""
    try:
        module = factory()
    except (Exception, SystemExit) as error:
        raise ArtefactError(f"{where}: raised {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise ArtefactError(f"{where}: returned a {type(module).__name__}; want a torch.nn.Module")
    return module


def _needs_factory(artefact: Artefact, subject: Subject) -> None:
    if subject.model.factory is None:
        raise ArtefactError(
            f"{artefact.path}: holds weights alone; name model.factory, e.g. 'net:build' (--factory in veriward init)"
        )


def _filled(
    artefact: Artefact, subject: Subject, how: Loading, tensors: dict[str, Tensor], format: str
) -> ModuleBackend:
    """Build the module and give it the tensors; ArtefactError unless all of them fit, none missing and none left over."""
    name, path, device = subject.model.factory, artefact.path, choose_device(how.device)
    assert name is not None
    module = built(name, load_function(subject, name, "model.factory", code=how.code))
    try:
        missing, surplus = module.load_state_dict(tensors, strict=False)
    except (RuntimeError, OSError) as error:
        raise ArtefactError(f"{path}: does not fit what {name} builds: {' '.join(str(error).split())[:300]}") from error
    if missing or surplus:
        names = ", ".join([*(f"missing {name}" for name in missing), *(f"surplus {name}" for name in surplus)][:8])
        raise ArtefactError(f"{path}: does not fit what {name} builds: {names}{_prefixed(missing, surplus)}")
    module.eval().requires_grad_(False)
    return ModuleBackend(module.to(device), format=format, device=device, batch_size=how.batch_size)


def _prefixed(missing: Sequence[str], surplus: Sequence[str]) -> str:
    """Return a hint where all names differ by one prefix, as wrappers leave it (Lightning, DataParallel, torch.compile).

    >>> _prefixed(["fc.weight", "fc.bias"], ["model.fc.weight", "model.fc.bias"])
    "; all names differ by 'model.' alone: let the factory return a module that holds this one as its attribute model"
    """
    longest = max(surplus, key=len, default="")
    prefix = next((longest[: -len(name)] for name in missing if longest.endswith("." + name)), "")
    if not prefix or sorted(prefix + name for name in missing) != sorted(surplus):
        return ""
    holder = f"let the factory return a module that holds this one as its attribute {prefix.rstrip('.')}"
    return f"; all names differ by {prefix!r} alone: {holder}"
