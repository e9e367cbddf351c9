"""What a subject is, part by part: evidence is found again by the parts it was read from, never by paths."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from veriward.core.canonical import digest
from veriward.core.endpoint import Endpoint
from veriward.core.errors import ArtefactError
from veriward.core.sources import as_columns
from veriward.core.subject import Subject

PARTS = ("model", "train", "test", "input", "groups", "recipe", "claims")


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content; raises ArtefactError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror}); check the path in subject.toml") from None


def fingerprints(subject: Subject, *, model_file: str | None = None, parts: Sequence[str] = PARTS) -> dict[str, str]:
    """Return one SHA-256 per part of the subject; `model_file` is the hash of what was loaded, where that is known."""
    makers: dict[str, Callable[[Subject], str]] = {
        "model": lambda s: _with_slopes(s, _model(s, model_file)),
        "train": lambda s: _rows(s, s.data.train),
        "test": lambda s: _rows(s, s.data.test),
        "input": lambda s: digest(s.task, *(_dump(part) for part in (s.input, s.features, s.rules))),
        "groups": lambda s: digest(list(s.data.groups), s.data.favourable),
        "recipe": lambda s: digest(_dump(s.recipe), *(code_hash(s, name) for name in _code(s.recipe))),
        "claims": lambda s: digest(_dump(s.claims)),
    }
    return {part: makers[part](subject) for part in parts}


def code_hash(subject: Subject, name: str) -> str:
    """Return the hash of the file that "module:function" names, or of the name if it is no file of the subject's."""
    file = subject.folder / (name.split(":", maxsplit=1)[0].replace(".", "/") + ".py")
    return file_hash(file) if file.is_file() else digest(name)


def _code(recipe: Any) -> list[str]:
    names = (recipe.fit, recipe.build, recipe.loss, recipe.optimiser) if recipe else ()
    return [name for name in names if name and ":" in name]


def _dump(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {key: _dump(value) for key, value in part.items()}
    return part.model_dump(mode="json") if hasattr(part, "model_dump") else part


def _model(subject: Subject, model_file: str | None) -> str:
    model = subject.model
    if model.path is None:
        return digest(_live(model.live), model.model_dump(mode="json", exclude={"endpoint"}))
    if model.is_served:
        form = (model.endpoint or Endpoint()).form()
        return digest("served", model.path, form, model.access, model.output)
    code = code_hash(subject, model.factory) if model.factory else None
    return digest(model_file or file_hash(subject.place(model.path)), code, model.factory, model.access, model.output)


def _with_slopes(subject: Subject, model: str) -> str:
    """Return the model's hash, and with it that of the code which attackers differentiate in its place."""
    name = subject.threat.evasion.backward
    return model if name is None else digest(model, name, code_hash(subject, name))


def _live(model: Any) -> str:
    """Hash a module by its code and numbers; what else is callable is only itself within this process."""
    if not hasattr(model, "state_dict") or not hasattr(model, "modules"):
        return digest("live", os.getpid(), id(model))
    import torch

    total = hashlib.sha256(repr(model).encode())
    if hasattr(model, "get_config"):  # Keras: neither its name nor its numbers tell a relu from a tanh
        total.update(f"{os.getpid()} {id(model)}".encode())
    for module in model.modules():
        code = getattr(type(module).forward, "__code__", None)
        total.update(code.co_code + repr(code.co_names).encode() if code else b"")
    for name, tensor in model.state_dict().items():
        if not hasattr(tensor, "detach"):  # a module's extra state is whatever it likes
            total.update(f"{name} {tensor!r}".encode())
            continue
        array = tensor.detach().cpu().contiguous()
        total.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        total.update(array.flatten().view(torch.uint8).numpy().tobytes() if array.numel() else b"")
    return total.hexdigest()


def _rows(subject: Subject, source: Any) -> str:
    data = subject.data
    settings = (data.label, data.id)
    if source is None:
        return digest("absent")
    if isinstance(source, str | Path):
        return digest(file_hash(subject.place(str(source))), *settings)
    total = hashlib.sha256()
    for name, array in as_columns(source).items():
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
    return digest(total.hexdigest(), *settings)
