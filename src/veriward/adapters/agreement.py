"""Whether what a subject says, its rows and its model agree: contradictions are found now, not in the middle of a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from veriward.adapters.model import Backend, Classes, answer
from veriward.core.data import Split, Table
from veriward.core.domain import Domain
from veriward.core.errors import DataError, ModelError, SettingsError, some
from veriward.core.rules import Rule
from veriward.core.subject import Subject
from veriward.core.table_domain import Column, TableDomain


def check_splits(subject: Subject, train: Split | None, test: Split) -> None:
    """Raise DataError for splits of different forms, and for declared columns that no split has: typing errors leak."""
    if train is not None and _form(train.x) != _form(test.x):
        raise DataError(f"data.test holds {_form(test.x)}, data.train {_form(train.x)}; want the same form in both")
    if not (test.x.names if isinstance(test.x, Table) else test.x.size):
        raise DataError("data.test: has no column beside the label; want at least one input")
    data = subject.data
    known = {data.label, data.id, *data.groups, *_inputs(test.x), *(_inputs(train.x) if train else ())}
    for role, names in (("private", data.private), ("quasi_identifiers", data.quasi_identifiers)):
        if not set(names) <= known:
            raise DataError(f"data.{role}: no column {min(set(names) - known)!r}; there are: {some(_inputs(test.x))}")


def _form(x: Any) -> str:
    return "named columns" if isinstance(x, Table) else f"an array x with rows of shape {x.shape[1:]}"


def _inputs(x: Any) -> tuple[str, ...]:
    """Return the names of a table's columns; those of a matrix are called by their number, pixels have none."""
    if isinstance(x, Table):
        return x.names
    return tuple(f"x{i}" for i in range(x.shape[1])) if x.ndim == 2 else ()


def check_rules(domain: TableDomain, splits: Mapping[str, Split | None]) -> None:
    """Raise an error for unknown columns, texts, and rules that real rows break: no attack on those could keep them."""
    columns = {column.name: column for column in domain.columns}
    for rule in domain.rules:
        unknown = [name for name in rule.columns if name not in columns]
        if unknown:
            raise SettingsError(f"rules.{rule.name}: no column {unknown[0]!r}; there are: {some(columns)}")
        texts = [name for name in rule.numbers if any(isinstance(v, str) for v in columns[name].vocabulary)]
        if texts:
            raise SettingsError(
                f"rules.{rule.name}: column {texts[0]!r} holds texts; compare it with a quoted value by == != or in"
            )
        _check_words(rule, columns)
    _check_kept(domain, splits)


def _check_words(rule: Rule, columns: Mapping[str, Column]) -> None:
    """Raise SettingsError for quoted values that their columns do not hold."""
    for name, words in rule.words.items():
        known = columns[name].vocabulary
        if not any(isinstance(value, str) for value in known):
            raise SettingsError(f"rules.{rule.name}: column {name!r} holds no texts; compare it with numbers")
        strange = [word for word in words if word not in known]
        if strange:
            told = "its values are private" if columns[name].private else f"it holds: {some(map(str, known))}"
            raise SettingsError(f"rules.{rule.name}: no row has {strange[0]!r} in column {name!r}; {told}")


def _check_kept(domain: TableDomain, splits: Mapping[str, Split | None]) -> None:
    for where, split in splits.items():
        if split is None:
            continue
        z = domain.encode(split.x)
        broken = {rule.name: ~domain.keeps(rule, z) for rule in domain.relations}
        counts = {name: int(rows.sum()) for name, rows in broken.items() if bool(rows.any())}
        if not counts:
            continue
        worst = max(counts, key=lambda name: counts[name])
        first = int(broken[worst].int().argmax())
        more = [f"{name} ({count})" for name, count in counts.items() if name != worst]
        if more:
            raise DataError(
                f"rules.{worst}: {counts[worst]} rows of {where} break it, the first is row {first}; other rules are "
                f"broken, too: {some(more)}; a rule is what every real row keeps: correct the rules or the data"
            )
        raise DataError(
            f"rules.{worst}: {counts[worst]} rows of {where} break it, the first is row {first}; a rule is what every real "
            "row keeps: correct the rule or the data"
        )


def check_gaps(backend: Backend, domain: Domain, splits: Mapping[str, Split | None]) -> None:
    """Raise DataError if rows with missing numbers make the model raise or answer NaN: found now, not in a check."""
    for where, split in splits.items():
        row, column = _gap(split.x) if split is not None else (-1, "")
        if split is None or row < 0:
            continue
        text = f"{where}: column {column!r} has no value in row {row}"
        try:
            raw = answer(backend.raw, domain.decode(domain.encode(split.x, [row])))
        except ModelError as error:
            raise DataError(f"{text}; {error}") from error
        if bool(torch.isnan(raw).any()):
            raise DataError(f"{text}, and the model answers NaN for such rows; fill the gaps or drop the rows")


def _gap(x: Any) -> tuple[int, str]:
    """Return the first row with a missing number, and its column; -1 if there is none."""
    for name in _inputs(x):
        column = x.columns[name] if isinstance(x, Table) else x[:, int(name[1:])]
        if column.dtype.kind == "f" and np.isnan(column).any():
            return int(np.isnan(column).argmax()), name
    return -1, ""


def check_favourable(subject: Subject, classes: Classes) -> None:
    """Raise SettingsError for a favourable outcome that the model does not know."""
    wanted = subject.data.favourable
    if wanted is not None and str(wanted) not in map(str, classes):
        raise SettingsError(f"data.favourable = {wanted!r}: no class of the model; it knows {some(classes)}")
