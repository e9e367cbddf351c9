"""What the parts of a split say together, and how surely the scan would have seen more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.data.pii_rows import Array, Source, Wanted, cells, is_readable, open_splits, read
from veriward.core.data import Table

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened

# Of a column of numbers. Among numbers of eleven digits one in sixteen looks like a mobile, among those of sixteen one in 27
# like a card: such a kind must hold for half of the column. Of numbers of eighteen digits one in 400 000 has a region, a
# date of birth and the right check digit.
LEAST_SHARE, LEAST_SURE = 0.5, 0.01
PLANTED = 1000  # of the user's rows
FEWEST = 60  # texts that make a control
LONGEST = 2000  # code points of a text that is planted in
LEVEL = 0.05


@dataclass(frozen=True)
class Found:
    """One split. Rows by their numbers in the file; cells by (column, kind)."""

    split: str
    total: int
    scanned: int
    seen: Any  # numbers of the rows that were scanned; a slice if all were
    rows: Array
    declared_only: int
    declared: tuple[str, ...]
    cells: Mapping[tuple[str, str], int]
    present: Mapping[str, int]
    told: tuple[str, ...]  # columns of numbers that hold identifiers
    doubtful: tuple[str, ...]  # columns of numbers of which too few look like identifiers
    examples: Sequence[Sequence[Any]]
    broken: Mapping[str, str]
    failed: Mapping[str, str]
    unread: tuple[str, ...]

    @property
    def sampled(self) -> bool:
        """Whether some rows were not looked at."""
        return self.scanned < self.total


def gather(opened: Opened, split: str, total: int, parts: Sequence[Mapping[str, Any]]) -> Found:
    """Put the parts of a split together; columns of numbers are decided by their share in all parts."""
    declared = _declared(opened)
    present = _summed((column, n) for part in parts for column, n in part["present"])
    counts = _summed(((column, kind), n) for part in parts for column, kind, n in part["texts"])
    numeric, sure = _numeric(parts)
    kept = {place: rows for place, rows in numeric.items() if _holds(len(rows), present[place[0]], place in sure)}
    counts |= {place: len(rows) for place, rows in kept.items()}
    hidden = [part["declared_rows"] for part in parts]
    plain = [part["undeclared_rows"] for part in parts]
    for (column, _), rows in kept.items():
        (hidden if column in declared else plain).append(rows)
    rows, undeclared = _union([*hidden, *plain]), _union(plain)
    seen = [part["seen"] for part in parts if part["seen"] is not None]
    return Found(
        split,
        total,
        sum(part["scanned"] for part in parts),
        _union(seen) if seen else slice(None),
        rows,
        len(rows) - len(undeclared),
        tuple(sorted(name for name in declared if any(column == name for column, _ in counts))),
        counts,
        present,
        tuple(sorted({column for column, _ in kept})),
        tuple(sorted({column for column, _ in numeric} - {column for column, _ in kept})),
        _in_turn([example for part in parts for example in part["examples"]], counts),
        dict(pair for part in parts for pair in part["broken"]),
        dict(pair for part in parts for pair in part["failed"]),
        tuple(sorted({name for part in parts for name in part["unread"]})),
    )


def _declared(opened: Opened) -> frozenset[str]:
    data = opened.subject.data
    return frozenset([*data.private, *([data.id] if data.id else [])])


def _summed(pairs: Any) -> dict[Any, int]:
    sums: dict[Any, int] = {}
    for key, count in pairs:
        sums[key] = sums.get(key, 0) + count
    return sums


def _numeric(parts: Sequence[Mapping[str, Any]]) -> tuple[dict[tuple[str, str], Array], set[tuple[str, str]]]:
    found: dict[tuple[str, str], list[Array]] = {}
    sure = set()
    for part in parts:
        for column, kind, rows, checked in part["numbers"]:
            found.setdefault((column, kind), []).append(rows)
            if checked:
                sure.add((column, kind))
    return {place: _union(rows) for place, rows in found.items()}, sure


def _holds(count: int, present: int, sure: bool) -> bool:
    return count >= (LEAST_SURE if sure else LEAST_SHARE) * max(present, 1)


def _union(rows: Sequence[Array]) -> Array:
    return np.unique(np.concatenate(rows)) if rows else np.empty(0, np.int64)


def _in_turn(examples: Sequence[Sequence[Any]], cells: Mapping[tuple[str, str], int]) -> list[list[Any]]:
    """Number the examples of each column and kind: the first of every place come before the second of any."""
    turns: dict[tuple[str, str], int] = {}
    found = []
    for row, column, kind, confidence, digest in examples:
        if (column, kind) in cells:
            turn = turns[column, kind] = turns.get((column, kind), -1) + 1
            found.append([turn, row, column, kind, confidence, digest])
    return found


def readable_columns(opened: Opened) -> bool:
    """Return whether anything but the labels can hold identifiers: a table's columns, or arrays that are no pictures."""
    if isinstance(opened.test.x, Table):
        return True
    label = opened.subject.data.label or "y"
    for source in open_splits(opened.subject).values():
        if any(is_readable(c) and (name != label or c.dtype == object) for name, c in source.rows.columns.items()):
            return True
    return False


def clean_texts(splits: Mapping[str, Source]) -> list[str]:
    """Return the texts of at most 1000 of the user's rows in which no identifier stands, or made-up ones if few have any."""
    from veriward.privacy.identifiers import Patterns

    source = next(iter(splits.values()))
    joined: list[list[str]] = [[] for _ in range(min(source.rows.total, PLANTED))]
    for numbers, columns in read(source, Wanted(0, len(joined))):
        for name, raw in columns.items():
            _join(joined, name, raw, numbers)
    texts = [" ".join(parts)[:LONGEST] for parts in joined if parts]
    dirty = {number for number, _ in Patterns().find(texts)}
    clean = [text for number, text in enumerate(texts) if number not in dirty]
    return (
        clean
        if len(clean) >= FEWEST
        else [*clean, *(["好评，下次再来。", "Arrived on day 3, all 12 of them."] * FEWEST)]
    )


def _join(joined: list[list[str]], name: str, raw: Any, numbers: Array) -> None:
    try:
        for _, texts, places in cells(name, raw):
            for text, place in zip(texts or (), places, strict=False):
                joined[int(numbers[place])].append(text)
    except Exception:  # noqa: S110 -- a broken column is named where it is scanned
        pass


def measure_power(splits: Mapping[str, Source]) -> float:
    """Return the chance that an identifier of a kind that we know is seen in these rows: a 95 % lower limit.

    Identifiers are put into the user's rows and counted (Clopper and Pearson 1934, one-sided).
    """
    from veriward.checks.data.pii_planted import plant
    from veriward.core.intervals import clopper_pearson
    from veriward.privacy.identifiers import Patterns

    texts = plant(clean_texts(splits), np.random.default_rng(1))
    caught = len({number for number, _ in Patterns().find(texts)})
    return clopper_pearson(caught, len(texts), 1 - 2 * LEVEL)[0]
