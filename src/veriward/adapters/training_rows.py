"""A subject's rows as a training loop takes them: numbers in, class numbers or values out. The model is not opened."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters import losses
from veriward.adapters.agreement import check_splits
from veriward.adapters.answers import number_labels
from veriward.adapters.recipe import Rows
from veriward.core.data import Split, Table, load_split
from veriward.core.errors import DataError, SettingsError
from veriward.core.note import Note, note
from veriward.core.subject import Subject, Task


@dataclass(frozen=True)
class TrainingRows:
    """Rows to train on and, where the subject has them, rows to try the model on; `classes` is empty for regression.

    `test` is None also where it is the training rows once more: what is measured on those is a use of them.
    `cut`: above it a single score names the second class.
    """

    train: Rows
    test: Rows | None
    task: Task
    classes: tuple[Any, ...]
    most_of_one: int  # rows of the person with most of them; 1 without data.id
    notes: tuple[Note, ...]
    cut: float = 0.0


def training_rows(subject: Subject) -> TrainingRows:
    """Return the rows of a subject as tensors: floats in float32, whole numbers as they are where they are indices.

    Raises DataError where there are no training rows, columns hold texts, or labels are unknown; SettingsError for tasks
    without a training loop.
    """
    notes: list[Note] = []
    train, test = load_split(subject, "train"), load_split(subject, "test")
    if train is None:
        raise DataError("data.train: the subject has no such rows; training needs them")
    if test is not None:
        check_splits(subject, train, test)
    task = subject.task or _task(subject, train, notes)
    if task not in ("classification", "regression"):
        raise SettingsError(f"task = {task!r}: this version trains classification and regression")
    classes = _classes(subject, train, test, notes) if task == "classification" else ()
    made = [_rows(subject, part, task, classes, name) for name, part in (("train", train), ("test", test)) if part]
    own = made[1] if test else None
    if own is not None and _same(made[0], own):
        notes.append(note("data.test_trained_on"))
        own = None
    most = max(Counter(train.ids.tolist()).values()) if train.ids is not None else 1
    return TrainingRows(made[0], own, task, classes, most, tuple(notes), _cut(subject))


def _same(one: Rows, other: Rows) -> bool:
    return torch.equal(one.x, other.x) and torch.equal(one.y, other.y)


def _cut(subject: Subject) -> float:
    """Return 0.5 for a recipe that trains probabilities, else 0, for logits."""
    said = subject.recipe.loss if subject.recipe else None
    chances = subject.model.output == "probabilities" if said is None else losses.named(said) is losses.negative_log
    return 0.5 if chances else 0.0


def _rows(subject: Subject, split: Split, task: Task, classes: tuple[Any, ...], which: str) -> Rows:
    return Rows(_numbers(subject, split.x), _targets(split, task, classes, f"data.{which}"))


def _numbers(subject: Subject, x: Any) -> Tensor:
    if isinstance(x, Table):
        x = x.select(subject.input.columns or x.names).matrix()
    elif subject.input.columns is not None:
        raise SettingsError("input.columns names columns, but the data are an array x; leave it out")
    if x.dtype == object:
        raise DataError("x holds texts; the recipe's module takes numbers: encode them")
    return torch.as_tensor(np.ascontiguousarray(x)).to(torch.float32 if x.dtype.kind in "fbu" else torch.int64)


def _targets(split: Split, task: Task, classes: tuple[Any, ...], where: str) -> Tensor:
    if task == "regression":
        if split.y.dtype.kind not in "fiub":
            raise DataError(
                f"{where}: labels are texts; a regression needs numbers: name a loss of classes, or another label"
            )
        return torch.as_tensor(split.y.astype(np.float32))
    return number_labels(split.y, classes, where)


def _task(subject: Subject, train: Split, notes: list[Note]) -> Task:
    """Return the task that the recipe's loss or the model's output tells, else the one that the labels look like."""
    loss = losses.named(subject.recipe.loss) if subject.recipe and subject.recipe.loss else None
    if loss in (losses.squared, losses.absolute, losses.huber) or subject.model.output == "value":
        return "regression"
    if loss is not None:
        return "classification"
    fractions = train.y.dtype.kind == "f" and bool((train.y != np.round(train.y)).any())
    task: Task = "regression" if fractions else "classification"
    notes.append(note("task.inferred", task=task))
    return task


def _classes(subject: Subject, train: Split, test: Split | None, notes: list[Note]) -> tuple[Any, ...]:
    """Return the classes in the order of the scores: as declared, else 0 … k - 1, else all names in alphabetical order."""
    if subject.data.classes is not None:
        return subject.data.classes
    found = {*train.y.tolist(), *(test.y.tolist() if test else ())}
    if all(isinstance(v, int | float | bool) and float(v).is_integer() and v >= 0 for v in found):
        return tuple(range(int(max(found)) + 1))
    distinct = tuple(sorted(found, key=lambda v: (str(type(v)), v)))
    notes.append(note("data.classes_inferred", classes=", ".join(map(str, distinct))))
    return distinct
