"""A new model as a subject of its own: its folder with model, subject.toml and the code that it names."""

import ast
import io
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from veriward.adapters.code import locate
from veriward.core.errors import ArtefactError
from veriward.core.subject import Subject
from veriward.core.toml import document

PATHS = ("train", "test")


def write_model(
    module: nn.Module, example: Tensor, subject: Subject, folder: Path, *, fixed: bool = False
) -> dict[str, Any]:
    """Write the trained module into a folder and return the [model] section that opens it.

    Weights alone where the subject's model is weights with a factory, else a program of torch.export, which needs no code.
    `example` (2 or more rows) shows what the module takes; `fixed`: it has other layers than the factory builds. Raises
    ArtefactError where torch can do neither.
    """
    kept = module.to("cpu").eval()
    if subject.model.factory and str(subject.model.path).endswith(".safetensors") and not fixed:
        from safetensors.torch import save

        tensors = {name: value.detach().contiguous() for name, value in kept.state_dict().items()}
        (folder / "model.safetensors").write_bytes(save(tensors))
        return {"path": "model.safetensors", "factory": subject.model.factory}
    (folder / "model.pt2").write_bytes(exported(kept, example))
    return {"path": "model.pt2"}


def exported(module: nn.Module, example: Tensor) -> bytes:
    """Return a module as the bytes of a `.pt2` file that takes any number of rows; ArtefactError if torch cannot."""
    rows = torch.export.Dim("rows", min=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations while it writes
            program = torch.export.export(module, (example,), dynamic_shapes=({0: rows},))
            file = io.BytesIO()
            torch.export.save(program, file)
    except Exception as error:
        told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ArtefactError(
            f"the trained module cannot be exported to .pt2 ({told}); name model.path = 'model.safetensors' and "
            f"model.factory = recipe.build in subject.toml, then its weights are written"
        ) from error
    return file.getvalue()


def write_subject(subject: Subject, folder: Path, changes: dict[str, Any]) -> Path:
    """Write subject.toml: the old subject's, its paths told from the new folder, with `changes` put over its sections."""
    values = subject.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"model"})
    for name in PATHS:
        if name in values.get("data", {}):
            values["data"][name] = _from(folder, subject.place(values["data"][name]))
    mask = values.get("threat", {}).get("evasion", {}).get("mask")
    if isinstance(mask, str):
        values["threat"]["evasion"]["mask"] = _from(folder, subject.place(mask))
    merged = _merged({"name": subject.name, **values}, changes)
    order = ("name", "task", "model", "input", "data", "features", "rules", "recipe", "threat", "claims")
    path = folder / "subject.toml"
    path.write_text(document({key: merged[key] for key in order if key in merged}), encoding="utf-8")
    return path


def copy_code(subject: Subject, folder: Path) -> list[Path]:
    """Copy the files that recipe and factory name, with what they import from beside them; return the copies."""
    recipe, model = subject.recipe, subject.model
    named = (
        {"recipe.build": recipe.build, "recipe.loss": recipe.loss, "recipe.optimiser": recipe.optimiser}
        if recipe
        else {}
    )
    named |= {"model.factory": model.factory, "threat.evasion.backward": subject.threat.evasion.backward}
    files = [locate(subject, name, key)[0] for key, name in named.items() if name is not None and ":" in name]
    copies = []
    for file in _with_imports(files, subject.folder):
        target = folder / file.relative_to(subject.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        copies.append(target)
    return copies


def _with_imports(files: list[Path], folder: Path) -> list[Path]:
    """Return files, and those of the folder that they import, once each."""
    found = dict.fromkeys(files)
    for file in (queue := list(found)):
        for name in _imported(file):
            for beside in _beside(file, name, folder):
                if beside not in found:
                    found[beside] = None
                    queue.append(beside)
    return list(found)


def _beside(file: Path, name: str, folder: Path) -> list[Path]:
    """Return the files of the folder that importing a name runs: packages on the way to it, and the module itself."""
    start = file.parent if name.startswith(".") else folder
    parts = name.strip(".").split(".")
    steps = [start.joinpath(*parts[: end + 1]) for end in range(len(parts))]
    files = [each / "__init__.py" for each in steps] + [steps[-1].with_suffix(".py")]
    return [each for each in files if each.is_file() and each.resolve().is_relative_to(folder.resolve())]


def _imported(file: Path) -> list[str]:
    """Return what a file imports, as it is written; whatever `from` takes out of a module may be a module itself."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level < 2:  # deeper ones leave the package
            start = "." * node.level + (node.module or "")
            names += [start] if node.module else []
            names += [f"{start}{'.' if node.module else ''}{alias.name}" for alias in node.names if alias.name != "*"]
    return names


def _from(folder: Path, path: Path) -> str:
    return os.path.relpath(path.resolve(), folder.resolve())


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested values with changes put over them; None takes a key out."""
    found = dict(values)
    for key, change in changes.items():
        found[key] = _merged(found.get(key) or {}, change) if isinstance(change, dict) else change
    return found
