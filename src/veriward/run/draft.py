"""A first subject.toml from a model's file and its data. Every inferred line carries the reason."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veriward.adapters.opened import open_subject
from veriward.core.data import Table
from veriward.core.domain import ArrayDomain
from veriward.core.endpoint import parse_address
from veriward.core.errors import SettingsError
from veriward.core.sources import read_columns
from veriward.core.subject import Subject
from veriward.core.table_domain import Column, TableDomain
from veriward.core.toml import inline, key

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened

LABELS = ("label", "target", "y", "class")
SPLITS = ("train", "test")


def draft(
    model: Path | str, data: Path | None, *, label: str | None, factory: str | None, folder: Path, trust: bool = False
) -> str:
    """Return the text of a subject.toml in `folder` for a model (a file, or the address of a served one) and its data.

    Raises SettingsError where the target column cannot be told, and whatever opening the subject raises.
    """
    if not folder.is_dir():
        raise SettingsError(f"{folder}: no such folder to write into; make it, or give another --out")
    values = _served(model) if isinstance(model, str) else _filed(model, folder)
    if factory:
        values["model"]["factory"] = factory
    if data is None:
        return _without_data(values)
    files = _splits(data)
    chosen, why = _label(files, label)
    values["data"] = {name: _relative(path, folder) for name, path in files.items()} | {"label": chosen}
    subject = Subject.model_validate({**values, "folder": folder.resolve()})
    return _text(open_subject(subject, device="cpu", trust=trust), why)


def _filed(model: Path, folder: Path) -> dict[str, Any]:
    if not model.is_file():
        raise SettingsError(f"{model}: no such file; want the model's file")
    return {"name": _name(model), "model": {"path": _relative(model, folder)}}


def _served(address: str) -> dict[str, Any]:
    try:
        host = parse_address(address).hostname or ""
    except ValueError as error:
        raise SettingsError(f"MODEL: {error}") from None
    return {"name": host.replace(":", "-").strip("-."), "model": {"path": address}}


def _name(model: Path) -> str:
    """Return the file's name without its ending, or the folder's where every model is called "model"."""
    return model.resolve().parent.name if model.stem in ("model", "net", "weights") else model.stem


def check_free(path: Path, *, force: bool) -> None:
    """Raise SettingsError where a file would be overwritten, before anything is opened or asked for it."""
    if path.exists() and not force:
        raise SettingsError(f"{path}: exists already; --force overwrites it, --out writes elsewhere")


def write_draft(path: Path, text: str, *, force: bool) -> None:
    """Write the text; SettingsError rather than overwrite a file, unless forced."""
    check_free(path, force=force)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror}); give another --out") from None


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path.resolve(), folder.resolve())


def _splits(data: Path) -> dict[str, Path]:
    if data.is_file():
        return {"test": data}
    found = {name: sorted(data.glob(f"{name}.*")) for name in SPLITS}
    files = {name: paths[0] for name, paths in found.items() if paths}
    if not files:
        raise SettingsError(f"{data}: no train.* or test.* in it; want a file, or a folder that holds them")
    return files


def _label(files: dict[str, Path], given: str | None) -> tuple[str, str | None]:
    """Return the target column, and why it was taken for one."""
    columns, _ = read_columns(next(iter(files.values())))
    if given is not None:
        if given not in columns:
            raise SettingsError(f"--label {given}: no such column; there are: {', '.join(columns)}")
        return given, None
    for name in LABELS:
        if name in columns:
            return name, f"a column of the name {name!r}"
    raise SettingsError(f"--label: which column is the target? There are: {', '.join(columns)}")


def _without_data(values: dict[str, Any]) -> str:
    lines = [f"name = {inline(values['name'])}  # inferred: the model's file, folder or host", "", "[model]"]
    lines += [f"{key} = {inline(value)}" for key, value in values["model"].items()]
    return "\n".join([*lines, "", "[data]  # no data was given: name the files and the target column", ""])


def _text(opened: "Opened", label_why: str | None) -> str:
    subject, data = opened.subject, opened.subject.data
    parts = [
        f"name = {inline(subject.name)}  # inferred: the model's file, folder or host",
        f"task = {inline(opened.task)}  # inferred: what the model answers and the labels are",
        "",
        "[model]",
        f"path = {inline(subject.model.path)}",
        *([f"factory = {inline(subject.model.factory)}"] if subject.model.factory else []),
        f"access = {inline(opened.access)}  # inferred: the most that {opened.format} gives; lower it if callers get less",
        f"output = {inline(opened.output)}  # inferred: the answers to the first rows",
        "",
        *_input(opened),
        "[data]",
        *(f"{name} = {inline(getattr(data, name))}" for name in SPLITS if getattr(data, name)),
        f"label = {inline(data.label)}" + (f"  # inferred: {label_why}" if label_why else ""),
        *_favourable(opened),
        "",
        *_features(opened),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _input(opened: "Opened") -> list[str]:
    lines = ["[input]", f"kind = {inline(opened.kind)}  # inferred: the shape of the data"]
    if isinstance(opened.domain, ArrayDomain):
        bounds = [opened.domain.low, opened.domain.high]
        lines.append(f"bounds = {inline(bounds)}  # inferred: the smallest usual range that holds the data")
    if isinstance(opened.test.x, Table) and opened.model.backend.columns is None:
        lines.append(f"columns = {inline(list(opened.test.x.names))}  # inferred: as many as the model takes")
    return [*lines, ""]


def _favourable(opened: "Opened") -> list[str]:
    if opened.task != "classification" or len(opened.classes) != 2:
        return []
    return [f"favourable = {inline(opened.classes[1])}  # inferred: the second of two classes; fairness is about it"]


def _features(opened: "Opened") -> list[str]:
    if not isinstance(opened.domain, TableDomain) or not isinstance(opened.test.x, Table):
        return []
    source = "the training data" if opened.subject.data.train else "the test data"
    lines = [_feature(column, source) for column in opened.domain.columns if column.kind != "text"]
    return ['[features]  # what may an attacker move? mutable = false, change = "10%", change = "any"', *lines]


def _feature(column: Column, source: str) -> str:
    limits = "" if column.vocabulary else f", range = {inline([column.low, column.high])}"
    return f"{key(column.name)} = {{ kind = {inline(column.kind)}{limits} }}  # inferred: {source}"
