"""A Subject opened: its model as far as the attacker may reach it, its rows, its domain, and what was inferred."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.agreement import check_favourable, check_gaps, check_rules, check_splits
from veriward.adapters.load import Loading, load_backend
from veriward.adapters.model import Backend, Classes, Model, answer, checked, granted, named_labels, one_number
from veriward.adapters.modules import ModuleBackend
from veriward.core.data import Split, Table, load_split
from veriward.core.domain import ArrayDomain, Domain
from veriward.core.errors import DataError, ModelError, SettingsError, some
from veriward.core.note import Note, note
from veriward.core.rules import Rule
from veriward.core.subject import Access, Kind, Output, Subject, Task
from veriward.core.table_domain import TableDomain, fit_columns
from veriward.core.threat import ACCESSES

PROBE_ROWS = 64
MOST_TOLD = 20  # different labels that a message may quote


@dataclass(frozen=True)
class Opened:
    """What checks work on. `train` is None where the subject gives no training rows."""

    subject: Subject
    model: Model
    domain: Domain
    task: Task
    kind: Kind
    access: Access
    output: Output
    format: str
    device: torch.device
    test: Split
    train: Split | None
    classes: Classes
    assumptions: tuple[Note, ...]

    def split(self, which: str) -> Split:
        """Return the "train" or "test" rows; DataError if there are none."""
        found = self.train if which == "train" else self.test
        if found is None:
            raise DataError(f"data.{which}: the subject has no such rows")
        return found

    def encoded(self, which: str, rows: Any = None) -> Tensor:
        """Return rows of a split as numbers, (n, ...), on the model's device."""
        return self.domain.encode(self.split(which).x, rows).to(self.device)

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        """The class numbers (or values) of each split's labels, (n,)."""
        splits = {"test": self.test, "train": self.train}
        return {name: self._numbered(part, name) for name, part in splits.items() if part is not None}

    def _numbered(self, split: Split, which: str) -> Tensor:
        if self.task != "classification":
            return torch.as_tensor(split.y.astype(np.float64))
        return number_labels(split.y, self.classes, f"data.{which}")

    @cached_property
    def width(self) -> str:
        """The shape of a row in words: "9" columns or "1 × 8 × 8"."""
        shape = tuple(self.domain.encode(self.test.x, [0]).shape[1:])
        return " × ".join(str(size) for size in shape)


def open_subject(
    subject: Subject, *, device: str = "auto", batch_size: int | None = None, trust: bool = False, code: bool = True
) -> Opened:
    """Open a subject: scan and load the model, read the rows, infer what is missing and write down every inference.

    Raises SettingsError, DataError, ArtefactError or ModelError, each saying where, what came and what was wanted.
    """
    backend = load_backend(subject, Loading(device, batch_size, trust, code))
    notes: list[Note] = []
    train, test = _splits(subject, notes)
    check_splits(subject, train, test)
    named = not isinstance(backend, ModuleBackend)
    kind = subject.input.kind or _infer_kind(test.x, notes)
    domain, train, test = _domain(subject, backend, kind, named, (train, test), notes)
    check_gaps(backend, domain, {"data.test": test, "data.train": train})
    probe = domain.decode(domain.encode(test.x, list(range(min(PROBE_ROWS, len(test))))))
    task, output, classes = _answers(subject, backend, probe, test, notes)
    access = _access(subject, backend, output, probe, notes)
    model = granted(backend, access, output, classes)
    where = getattr(backend, "device", torch.device("cpu"))
    opened = Opened(
        subject, model, domain, task, kind, access, output, backend.format, where, test, train, classes, tuple(notes)
    )
    _ = opened.targets  # a label out of range is found now, not in the middle of a run
    return opened


def _splits(subject: Subject, notes: list[Note]) -> tuple[Split | None, Split]:
    train, test = load_split(subject, "train"), load_split(subject, "test")
    if test is None:
        assert train is not None
        notes.append(note("data.test_is_train"))
        return None, train
    if test.total > len(test):
        notes.append(note("data.sampled", rows=len(test), total=test.total))
    return train, test


def _infer_kind(x: Any, notes: list[Note]) -> Kind:
    kind: Kind = "tabular" if isinstance(x, Table) or x.ndim == 2 else "image"
    notes.append(note("input.kind_inferred", kind=kind))
    return kind


Splits = tuple[Split | None, Split]


def _domain(
    subject: Subject, backend: Backend, kind: Kind, named: bool, splits: Splits, notes: list[Note]
) -> tuple[Domain, Split | None, Split]:
    if kind not in ("image", "tabular"):
        raise SettingsError(f"input.kind = {kind!r}: this version assesses image and tabular inputs")
    train, test = splits
    if kind == "tabular":
        return _table_domain(subject, backend, named, splits, notes)
    if isinstance(test.x, Table):
        raise DataError(f"input.kind = {kind!r}, but the data are columns; want an array called x")
    domain = ArrayDomain(*_bounds(subject, splits, notes))
    for name, split in (("data.train", train), ("data.test", test)):
        if split is not None:
            domain.check(split.x, name)
    return domain, train, test


def _table_domain(
    subject: Subject, backend: Backend, named: bool, splits: Splits, notes: list[Note]
) -> tuple[Domain, Split | None, Split]:
    train, test = splits
    if isinstance(test.x, Table):
        unknown = sorted(set(subject.features) - set(test.x.names))
        if unknown:
            raise DataError(f"features.{unknown[0]}: no such column; there are: {some(test.x.names)}")
        names = _columns(subject, backend, _shared(train, test), notes)
        test = _with_rows(test, _selected(test.x, names, "data.test", numeric=not named))
        train = train and _with_rows(train, _selected(train.x, names, "data.train", numeric=not named))
    elif test.x.ndim != 2:
        raise DataError(f"input.kind = 'tabular', but x has shape {test.x.shape}; want (rows, columns)")
    elif backend.width not in (None, test.x.shape[1]):
        raise DataError(
            f"data.test: x has {test.x.shape[1]} columns, and the model takes {backend.width}; want as many"
        )
    else:
        named = False
    features = {k: v for k, v in subject.features.items() if not isinstance(test.x, Table) or k in test.x.names}
    columns, more = fit_columns(subject.model_copy(update={"features": features}), train.x if train else None, test.x)
    domain = TableDomain(columns, tuple(Rule.parse(name, text) for name, text in subject.rules.items()), named)
    check_rules(domain, {"data.train": train, "data.test": test})
    notes += more
    return domain, train, test


def _shared(train: Split | None, test: Split) -> Table:
    """Return the columns that both splits have, in the order of the training rows, which the model has seen."""
    if train is None:
        return Table(test.x.columns)
    return Table({name: test.x.columns[name] for name in train.x.names if name in test.x.columns})


def _selected(table: Table, names: Sequence[str], where: str, *, numeric: bool) -> Table:
    """Return the model's inputs; texts must not reach a model of numbers as codes of ours, which mean nothing to it."""
    try:
        chosen = table.select(names)
        if numeric:
            chosen.matrix()
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return chosen


def _with_rows(split: Split, x: Any) -> Split:
    return Split(x, split.y, split.groups, split.ids, split.index, split.total)


def _columns(subject: Subject, backend: Backend, table: Table, notes: list[Note]) -> tuple[str, ...]:
    """Return the columns that the model reads: as the subject or the file says, else by their number."""
    if subject.input.columns is not None:
        return subject.input.columns
    if backend.columns is not None:
        return backend.columns
    width, groups = backend.width, set(subject.data.groups)
    numeric = tuple(name for name in table.names if table.columns[name].dtype != object)
    without = tuple(name for name in numeric if name not in groups)
    for names in (table.names, numeric, without):
        if width in (None, len(names)):
            notes.append(note("input.columns_inferred", columns=", ".join(names)))
            return names
    raise SettingsError(
        f"input.columns: the model takes {width} inputs, the data has {len(table.names)} columns "
        f"({some(table.names)}); name the inputs in their order"
    )


def _bounds(subject: Subject, splits: Splits, notes: list[Note]) -> tuple[float, float]:
    if subject.input.bounds is not None:
        return subject.input.bounds
    arrays = [split.x for split in splits if split is not None]
    for split, name in zip(splits, ("data.train", "data.test"), strict=True):
        if split is not None:
            ArrayDomain(-np.inf, np.inf).check(split.x, name)
    low, high = min(float(x.min()) for x in arrays), max(float(x.max()) for x in arrays)
    for usual in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        if usual[0] <= low and high <= usual[1]:
            low, high = usual
            break
    notes.append(note("input.bounds_inferred", low=low, high=high))
    return low, high


def _access(subject: Subject, backend: Backend, output: Output, probe: Any, notes: list[Note]) -> Access:
    wanted = subject.model.access
    most: Access = "labels" if output == "labels" else backend.access
    if most == "gradients" and wanted in (None, "gradients") and not _differentiable(backend, probe):
        most = "scores"
    if wanted is None:
        notes.append(note("model.access_inferred", access=most))
        return most
    if ACCESSES.index(wanted) > ACCESSES.index(most):
        raise SettingsError(
            f"model.access = {wanted!r}, but this {backend.format} model gives at most {most}; say that"
        )
    return wanted


def _differentiable(backend: Backend, probe: Any) -> bool:
    """Return whether answers carry gradients back to the rows: models may detach, or compute outside torch."""
    forward = getattr(backend, "forward", None)
    if forward is None:
        return False
    with torch.enable_grad():
        try:
            return bool(answer(forward, probe[:1].detach().requires_grad_()).requires_grad)
        except ModelError:
            return False


def _answers(
    subject: Subject, backend: Backend, probe: Any, test: Split, notes: list[Note]
) -> tuple[Task, Output, Classes]:
    """Ask the model about a few rows: what kind of answers they are, and how many classes."""
    raw = answer(backend.raw, probe)
    fixed = _fixed_output(subject, backend)
    task = subject.task or _infer_task(fixed, test.y, notes)
    if task not in ("classification", "regression"):
        raise SettingsError(f"task = {task!r}: this version assesses classification and regression")
    if fixed is not None and (task == "regression") != (fixed == "value"):
        raise SettingsError(f"task = {task!r}, but the model's output is {fixed!r}; correct task or model.output")
    if task == "regression":
        one_number(raw, len(probe))
        return task, "value", ()
    output = fixed or _infer_output(raw, notes)
    classes = backend.classes or _infer_classes(raw, output, test.y, notes)
    if len(classes) < 2:
        raise DataError(f"the model knows {len(classes)} class; a classifier needs at least two")
    if output == "labels":
        named_labels(raw, len(probe), len(classes))
    else:
        scores = checked(raw, len(probe), len(classes), output)
        if output == "probabilities":
            _check_probabilities(scores)
    check_favourable(subject, classes)
    return task, output, classes


def _fixed_output(subject: Subject, backend: Backend) -> Output | None:
    """Return the kind of answers, where the subject or the format says it; they must not contradict each other."""
    said, given = subject.model.output, getattr(backend, "output", None)
    if said is not None and given is not None and said != given:
        raise SettingsError(
            f"model.output = {said!r}, but this {backend.format} model gives {given}; leave the line out"
        )
    return said or given


def _infer_task(output: Output | None, y: Any, notes: list[Note]) -> Task:
    fractions = y.dtype.kind == "f" and bool((y != np.round(y)).any())
    task: Task = "regression" if output == "value" or fractions else "classification"
    notes.append(note("task.inferred", task=task))
    return task


def _infer_output(raw: Tensor, notes: list[Note]) -> Output:
    output: Output = "probabilities" if looks_like_probabilities(raw) else "logits"
    if raw.ndim == 1 and not (raw.is_floating_point() or raw.is_complex()):
        output = "labels"
    notes.append(note("model.output_inferred", output=output))
    return output


def looks_like_probabilities(raw: Tensor) -> bool:
    """Return whether scores (n, k) lie in [0, 1] and, with several columns, sum to one."""
    if raw.is_complex():
        return False
    scores = raw.detach().double().reshape(len(raw), -1)
    inside = bool(((scores >= 0) & (scores <= 1)).all())
    return inside and (scores.shape[1] == 1 or bool(((scores.sum(1) - 1).abs() < 1e-3).all()))


def _check_probabilities(scores: Tensor) -> None:
    if not looks_like_probabilities(scores):
        raise SettingsError(
            f"model.output = 'probabilities', but the first row answers {[round(v, 3) for v in scores[0].tolist()][:6]}, "
            "which are none; say 'logits'"
        )


def _infer_classes(raw: Tensor, output: Output, y: Any, notes: list[Note]) -> Classes:
    distinct = sorted(set(y.tolist()), key=lambda v: (str(type(v)), v))
    if output == "labels":
        return tuple(distinct)
    count = max(2, raw.shape[1] if raw.ndim > 1 else 1)
    if all(isinstance(v, int | float | bool) and float(v).is_integer() for v in distinct):
        return tuple(range(count))
    if len(distinct) != count:
        named = f" ({some(distinct)})" if len(distinct) <= MOST_TOLD else ""
        raise DataError(f"data.label: {len(distinct)} classes{named}, but the model scores {count}; name the right one")
    notes.append(note("data.classes_inferred", classes=", ".join(map(str, distinct))))
    return tuple(distinct)


def number_labels(y: Any, classes: Sequence[Any], where: str) -> Tensor:
    """Return the position of each label among the classes, (n,) int64.

    Raises DataError for a label that the model does not know, and for a split with a single class.
    """
    values = y.tolist()
    number = {name: i for i, name in enumerate(classes)}
    if not all(value in number for value in values):
        number |= {str(name): i for i, name in enumerate(classes)}
        values = [value if value in number else str(value) for value in values]
    strange = next(((row, value) for row, value in enumerate(values) if value not in number), None)
    if strange is not None:
        row = strange[0]
        # many different values may be names or numbers of persons
        told = f" {y[row : row + 1].tolist()[0]!r}" if len(set(values)) <= MOST_TOLD else ""
        raise DataError(f"{where}: label{told} in row {row} is not a class of the model; it knows {some(classes)}")
    numbers = torch.tensor([number[value] for value in values])
    if len(numbers.unique()) < 2:
        raise DataError(f"{where}: every row has the label {values[0]!r}; at least two classes are needed")
    return numbers
