"""Columns under suspicion in a sample of the rows: those that give the label away, those that are other in test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.data.leak import p_leak, predicted, smallest_p
from veriward.checks.data.shift import p_shift

if TYPE_CHECKING:
    from veriward.core.rows import Rows
    from veriward.core.streams import Stream
    from veriward.core.subject import DataSection

Array = np.ndarray[Any, Any]
LONGEST = 200  # characters of a text
CELLS = 20_000_000  # of the sample: fewer rows where there are many columns
FEATURES = 4096  # of an array that are looked at
NEARLY = 0.99
FIT = 0.3  # of the rows: a rule of one column is learnt soon, to be sure of it takes many


def suspect(
    splits: Mapping[str, Rows], data: DataSection, stream: Stream, rows: int, *, classify: bool
) -> dict[str, Any]:
    """Return for each column (or feature) its p-values, and what else the sample tells.

    `leak` and `shift` are p-values that know nothing of each other (`shift` is empty without two splits); `copy` is the
    p-value that a copy of the label would get; `nearly` names columns of which one value fills almost all rows.
    """
    taken = {which: _sampled(split, data, stream.child(which), rows) for which, split in splits.items()}
    first = taken.get("train") or taken["test"]
    columns = dict(features(first, data))
    classes, fit = _classes(first, data, stream, classify=classify)
    found: dict[str, Any] = {"names": list(columns), "broken": {}, "leak": [], "shift": [], "gaps": [], "nearly": []}
    other = dict(features(taken["test"], data)) if len(taken) > 1 else {}
    for name, column in columns.items():
        try:
            leak = 1.0 if classes is None else p_leak(column, classes, fit)
            shift = p_shift(column, other[name]) if name in other else None
        except (ValueError, TypeError, OverflowError) as error:
            found["broken"][name] = type(error).__name__
            continue
        found["leak"].append([name, leak])
        found["shift"] += [[name, shift]] if shift is not None else []
        found["gaps"] += [name] if leak <= 0.05 and classes is not None and _by_gaps(column, classes, fit) else []
        found["nearly"] += [name] if NEARLY <= _commonest(column) < 1 else []
    found["copy"] = 1.0 if classes is None else smallest_p(classes, fit)
    found["rows"] = len(fit)
    return found


def _sampled(rows: Rows, data: DataSection, stream: Stream, most: int) -> dict[str, Array]:
    width = sum(rows.width(name) for name in rows.names)
    most = min(most, max(CELLS // max(width, 1), 1000))
    numbers = np.arange(rows.total)
    if rows.total > most:
        numbers = np.sort(stream.generator().choice(rows.total, most, replace=False, shuffle=False))
    return rows.take(numbers, longest=LONGEST)


def features(columns: Mapping[str, Array], data: DataSection) -> Iterator[tuple[str, Array]]:
    """Yield the columns that could give the label away by name; of an array, its first `FEATURES` features."""
    for name, column in columns.items():
        if name in (data.label or "y", data.id):
            continue
        if column.ndim == 1:
            yield name, column
            continue
        flat = column.reshape(len(column), -1)
        for place in range(min(flat.shape[1], FEATURES)):
            where = np.unravel_index(place, column.shape[1:])
            yield f"{name}[{', '.join(str(int(i)) for i in where)}]", flat[:, place]


def _classes(
    columns: Mapping[str, Array], data: DataSection, stream: Stream, *, classify: bool
) -> tuple[Array | None, Array]:
    """Return the class number of each row (n,), None without labels, and on which of the rows rules are learnt.

    Of a number to predict, the classes are its two halves. One person's rows are on one side.
    """
    y = columns.get(data.label or "y")
    n = len(next(iter(columns.values())))
    persons = columns.get(data.id) if data.id else None
    units = np.arange(n) if persons is None else np.unique(persons.astype(str), return_inverse=True)[1].reshape(-1)
    order = stream.child("halves").generator().permutation(int(units.max()) + 1)
    fit = (order < FIT * len(order))[units]
    if y is None or fit.all() or not fit.any():
        return None, fit
    if classify or y.dtype == object:
        return np.unique(y.astype(str), return_inverse=True)[1].reshape(-1), fit
    return (y.astype(np.float64) > np.median(y[fit].astype(np.float64))).astype(np.int64), fit


def _by_gaps(column: Array, classes: Array, fit: Array) -> bool:
    """Return whether the gaps of a column alone tell as much as the column."""
    missing = _missing(column).astype(np.float64)
    if missing.min() == missing.max():
        return False
    told = predicted(missing, classes, fit)[~fit]
    return bool((told == predicted(column, classes, fit)[~fit]).mean() > NEARLY)


def _missing(column: Array) -> Array:
    if column.dtype == object:
        return np.array([value is None for value in column])
    return np.isnan(column.astype(np.float64))


def _commonest(column: Array) -> float:
    values = np.array([repr(value) for value in column]) if column.dtype == object else column
    _, counts = np.unique(values, return_counts=True)
    return float(counts.max()) / len(column)
