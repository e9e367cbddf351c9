"""What the rows are to the model and to an attacker: columns, bounds, kinds; what the subject leaves open is inferred."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from veriward.adapters.agreement import check_rules
from veriward.adapters.mask import read_mask
from veriward.adapters.model import Backend
from veriward.adapters.private_columns import withhold
from veriward.core.data import Split, Table
from veriward.core.domain import ArrayDomain, Domain
from veriward.core.errors import DataError, SettingsError, some
from veriward.core.note import Note, note
from veriward.core.rules import Rule
from veriward.core.subject import Kind, Subject
from veriward.core.table_domain import TableDomain, fit_columns


def infer_kind(x: Any, notes: list[Note]) -> Kind:
    """Return what the rows are by their shape: columns and matrices are tables, everything else is pictures."""
    kind: Kind = "tabular" if isinstance(x, Table) or x.ndim == 2 else "image"
    notes.append(note("input.kind_inferred", kind=kind))
    return kind


Splits = tuple[Split | None, Split]


def build_domain(
    subject: Subject, backend: Backend, kind: Kind, named: bool, splits: Splits, notes: list[Note]
) -> tuple[Domain, Split | None, Split]:
    """Return the domain, and the splits with the columns that the model reads, in its order."""
    if kind not in ("image", "tabular"):
        raise SettingsError(f"input.kind = {kind!r}: this version assesses image and tabular inputs")
    train, test = splits
    if kind == "tabular":
        if subject.threat.evasion.mask is not None:
            raise SettingsError(
                "threat.evasion.mask is for arrays; want mutable = false or eps under [features] instead"
            )
        return _table_domain(subject, backend, named, splits, notes)
    if isinstance(test.x, Table):
        raise DataError(f"input.kind = {kind!r}, but the data are columns; want an array called x")
    mask, mask_hash = read_mask(subject, tuple(test.x.shape[1:]))
    domain = ArrayDomain(*_bounds(subject, splits, notes), mask=mask, mask_hash=mask_hash)
    for name, split in (("data.train", train), ("data.test", test)):
        if split is not None:
            domain.check(split.x, name)
    _check_eps(subject, domain, math.prod(test.x.shape[1:]))
    return domain, train, test


def _check_eps(subject: Subject, domain: ArrayDomain, numbers: int) -> None:
    """Raise SettingsError for a budget that turns any row into any other; most often eps is in another unit."""
    evasion, width = subject.threat.evasion, domain.high - domain.low
    most = {"linf": width, "l2": width * math.sqrt(numbers), "l1": width * numbers}
    for norm in evasion.norm:
        for eps in evasion.eps or ():
            if eps > most[norm]:
                raise SettingsError(
                    f"threat.evasion.eps = {eps:g}: turns any row into any other, since the bounds are {width:g} apart; "
                    f"want eps in raw input units, at most {most[norm]:g} under {norm} (8 of 255 is {8 / 255 * width:.3g})"
                )


def _table_domain(
    subject: Subject, backend: Backend, named: bool, splits: Splits, notes: list[Note]
) -> tuple[Domain, Split | None, Split]:
    train, test = splits
    there = set(test.x.names) if isinstance(test.x, Table) else set()
    if isinstance(test.x, Table):
        unknown = sorted(k for k in subject.features if not any(n.startswith(k) for n in test.x.names))
        if unknown:
            raise DataError(f"features.{unknown[0]}: no such column; there are: {some(test.x.names)}")
        shared = withhold(subject, backend, _shared(train, test), notes)
        names = _columns(subject, backend, shared, notes)
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
    # what is said of columns that the model does not read is of no account
    features = {k: v for k, v in subject.features.items() if k not in there or k in test.x.names}
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
            notes.append(note("input.columns_inferred", columns=some(names)))
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
