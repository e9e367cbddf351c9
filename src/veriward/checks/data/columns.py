"""What stands in each column of a split, counted in one pass over all rows: gaps, constants, types, ranges. No values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from veriward.core.errors import DataError

if TYPE_CHECKING:
    from veriward.core.rows import Rows
    from veriward.core.subject import Feature

Array = np.ndarray[Any, Any]
# what people write where a value is missing; "none" and "unknown" are answers
GAPS = ("", "?", "-", "--", "na", "n/a", "#n/a", "nan", "null", "missing", "缺失")
PART = 200  # columns a query


class Counted(TypedDict):
    """One column. Counts are of rows; of an array, of rows with such a value anywhere."""

    name: str
    kind: str
    rows: int
    missing: int
    infinite: int
    distinct: int  # about; of an array, its features
    constant: int  # 1 for a column that never varies; of an array, how many of its features do not
    numbers: int  # texts that are numbers
    gaps: int  # texts that say "no value"
    outside: int  # numbers outside the range of [features], or broken ones where whole ones are declared


def count_columns(rows: Rows, features: Mapping[str, Feature]) -> tuple[list[Counted], dict[str, str]]:
    """Return what each column holds, and why some could not be counted: one broken column does not end the others."""
    found: list[Counted] = []
    broken: dict[str, str] = {}
    flat = [name for name in rows.names if rows.kinds[name] != "array"]
    for start in range(0, len(flat), PART):
        part = flat[start : start + PART]
        try:
            found += _counted(rows, part, features)
        except DataError:
            for name in part:
                try:
                    found += _counted(rows, [name], features)
                except DataError as error:
                    broken[name] = str(error)
    found += [_array(rows, name) for name in rows.names if rows.kinds[name] == "array"]
    order = {name: place for place, name in enumerate(rows.names)}
    return sorted(found, key=lambda column: order[column["name"]]), broken


def _counted(rows: Rows, names: Sequence[str], features: Mapping[str, Feature]) -> list[Counted]:
    parts = [part for name in names for part in _questions(name, rows.kinds[name], features.get(name))]
    with rows.query(f"SELECT {', '.join(parts)} FROM rows") as result:  # noqa: S608 -- names are quoted
        answers = [int(value or 0) for value in result.fetchone()]
    return list(_read(rows, names, answers))


QUESTIONS = 7


def _questions(name: str, kind: str, feature: Feature | None) -> list[str]:
    """Return SQL for: missing, infinite, distinct, constant, numbers, gaps, outside."""
    from veriward.core.rows import quoted

    cell = quoted(name)
    if kind in ("integer", "number"):
        value = f"CAST({cell} AS DOUBLE)"
        present = f"FILTER (WHERE NOT isnan({value}))"
        return [
            f"count_if({cell} IS NULL OR isnan({value}))",
            f"count_if(isinf({value}))",
            f"approx_count_distinct({cell})",
            f"coalesce(min({cell}) {present} = max({cell}) {present}, true)",
            "0",
            "0",
            f"count_if({_outside(value, feature)})",
        ]
    text = f"CAST({cell} AS VARCHAR)"
    gap = f"lower(trim({text})) IN ({', '.join(repr(word) for word in GAPS)})"
    return [
        f"count_if({cell} IS NULL)",
        "0",
        f"approx_count_distinct({text})",
        f"coalesce(min({text}) = max({text}), true)",
        f"count_if(TRY_CAST({text} AS DOUBLE) IS NOT NULL AND NOT {gap})" if kind == "text" else "0",
        f"count_if({gap})" if kind == "text" else "0",
        "0",
    ]


def _outside(value: str, feature: Feature | None) -> str:
    if feature is None:
        return "false"
    parts = []
    if feature.range is not None:
        parts.append(f"{value} < {feature.range[0]!r} OR {value} > {feature.range[1]!r}")
    if feature.kind == "integer":
        parts.append(f"{value} <> floor({value})")
    return f"NOT isnan({value}) AND ({' OR '.join(parts)})" if parts else "false"


def _read(rows: Rows, names: Sequence[str], answers: Sequence[int]) -> Iterator[Counted]:
    for place, name in enumerate(names):
        missing, infinite, distinct, same, numbers, gaps, outside = answers[place * QUESTIONS : (place + 1) * QUESTIONS]
        yield Counted(
            name=name,
            kind=rows.kinds[name],
            rows=rows.total,
            missing=missing,
            infinite=infinite,
            distinct=distinct,
            constant=int(bool(same) and missing in (0, rows.total)),
            numbers=numbers,
            gaps=gaps,
            outside=outside,
        )


def _array(rows: Rows, name: str) -> Counted:
    whole = rows.columns[name].reshape(rows.total, -1)
    low = high = whole[0].astype(np.float64)
    missing = infinite = 0
    for start in range(0, rows.total, 1024):
        part = whole[start : start + 1024].astype(np.float64)
        missing += int(np.isnan(part).any(1).sum())
        infinite += int(np.isinf(part).any(1).sum())
        low, high = np.minimum(low, part.min(0)), np.maximum(high, part.max(0))
    return Counted(
        name=name,
        kind="array",
        rows=rows.total,
        missing=missing,
        infinite=infinite,
        distinct=whole.shape[1],
        constant=int((low == high).sum()),
        numbers=0,
        gaps=0,
        outside=0,
    )
