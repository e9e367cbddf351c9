"""A Subject opened: its model as far as the attacker may reach it, its rows, its domain, and what was inferred."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.agreement import check_gaps, check_splits
from veriward.adapters.answers import ask, granted_access, number_labels
from veriward.adapters.backward import with_backward
from veriward.adapters.inputs import build_domain, infer_kind
from veriward.adapters.load import load
from veriward.adapters.loading import Loading
from veriward.adapters.model import Backend, Classes, Model, granted
from veriward.adapters.modules import ModuleBackend
from veriward.adapters.scan import ScanResult
from veriward.adapters.trees.forest import Forest
from veriward.core.data import Split, load_split
from veriward.core.domain import Domain
from veriward.core.errors import DataError
from veriward.core.note import Note, note
from veriward.core.subject import Access, Kind, Output, Subject, Task

PROBE_ROWS = 64


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
    scanned: ScanResult | None = None  # of the very bytes that were loaded

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

    @property
    def network(self) -> torch.nn.Module | None:
        """The torch module, for whoever assesses the file whatever the attacker may reach; None where there is none."""
        module = getattr(self.model.backend, "module", None)
        return module if isinstance(module, torch.nn.Module) else None

    @property
    def forest(self) -> Forest | None:
        """The decision trees of the file, for whoever assesses it; None where there is nothing to read."""
        return read_forest(self.model.backend)

    @cached_property
    def width(self) -> str:
        """The shape of a row in words: "9" columns or "1 × 8 × 8"."""
        shape = tuple(self.domain.encode(self.test.x, [0]).shape[1:])
        return " × ".join(str(size) for size in shape)


def read_forest(backend: Backend) -> Forest | None:
    """Return the trees of a model; None where there is nothing to read."""
    read = getattr(backend, "forest", None)
    return read() if read is not None else None


def open_subject(
    subject: Subject, *, device: str = "auto", batch_size: int | None = None, trust: bool = False, code: bool = True
) -> Opened:
    """Open a subject: scan and load the model, read the rows, infer what is missing and write down every inference.

    Raises SettingsError, DataError, ArtefactError or ModelError, each saying where, what came and what was wanted.
    """
    how = Loading(device, batch_size, trust, code)
    loaded = load(subject, how)
    backend = loaded.backend
    notes: list[Note] = list(getattr(backend, "notes", ()))
    train, test = _splits(subject, notes)
    check_splits(subject, train, test)
    named = not isinstance(backend, ModuleBackend)
    kind = subject.input.kind or infer_kind(test.x, notes)
    domain, train, test = build_domain(subject, backend, kind, named, (train, test), notes)
    check_gaps(backend, domain, {"data.test": test, "data.train": train})
    probe = domain.decode(domain.encode(test.x, list(range(min(PROBE_ROWS, len(test))))))
    task, output, classes = ask(subject, backend, probe, test, notes)
    backend = with_backward(backend, subject, domain, domain.encode(test.x, [0]), how, notes)
    access = granted_access(subject, backend, output, probe, notes)
    # who restricts the access to scores or labels keeps the trees to themselves, too
    structure = subject.model.access is None and read_forest(backend) is not None
    model = granted(backend, access, output, classes, structure=structure)
    where = getattr(backend, "device", torch.device("cpu"))
    opened = Opened(
        subject,
        model,
        domain,
        task,
        kind,
        access,
        output,
        backend.format,
        where,
        test,
        train,
        classes,
        tuple(notes),
        loaded.scanned,
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
