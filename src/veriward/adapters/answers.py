"""What a model answers: task, output, classes and how far it may be reached, found out by asking about a few rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.agreement import check_favourable
from veriward.adapters.model import Backend, Classes, answer, checked, named_labels, one_number
from veriward.core.data import Split
from veriward.core.errors import DataError, ModelError, SettingsError, some
from veriward.core.note import Note, note
from veriward.core.subject import Access, Output, Subject, Task
from veriward.core.threat import ACCESSES

MOST_TOLD = 20  # different labels that a message may quote


def granted_access(subject: Subject, backend: Backend, output: Output, probe: Any, notes: list[Note]) -> Access:
    """Return how far the attacker may reach; SettingsError if the subject promises more than the model gives."""
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


def ask(subject: Subject, backend: Backend, probe: Any, test: Split, notes: list[Note]) -> tuple[Task, Output, Classes]:
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
    classes = backend.classes or subject.data.classes or _infer_classes(raw, output, test.y, notes)
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
