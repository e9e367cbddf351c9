"""Which slices of the rows are looked at: every category and quarter of every column, and pairs of them.

Chosen before any answer is seen: by size alone, so that what is found among them can be tested on the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.reliability.asking import told

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened

Array = np.ndarray[Any, Any]
FEWEST_ROWS, FEWEST_SHARE = 30, 0.02
MOST_VALUES = 64  # of a column that is cut into slices; texts have more
MOST_SINGLES = 500
LONGEST = 40  # characters of a value in a slice's name
BLOCK = 1 << 14  # rows of one matrix product


@dataclass(frozen=True)
class Feature:
    """One column: for each row the number of its value, (n,), and the values' names."""

    name: str
    number: Array
    values: Sequence[str]


@dataclass(frozen=True)
class Slices:
    """Slices as one or two of the `singles` (s, n) each, with their sizes; `dropped` more were too many to look at."""

    singles: Array
    names: tuple[str, ...]
    parts: tuple[tuple[int, ...], ...]
    sizes: Array
    dropped: int = 0

    def name(self, slice_: int) -> str:
        """Return e.g. "age 18–25 × region north"."""
        return " × ".join(self.names[i] for i in self.parts[slice_])

    def rows(self, slice_: int) -> Array:
        """Return which rows a slice holds, (n,) of booleans."""
        return np.asarray(np.logical_and.reduce([self.singles[i] for i in self.parts[slice_]]))

    def counts(self, marked: Array) -> Array:
        """Return how many marked rows (n,) each slice holds, (slices,)."""
        both = _products(self.singles, marked)
        return np.array([both[part[0], part[-1]] for part in self.parts], dtype=np.int64)


def fewest(rows: int) -> int:
    """Return how many rows a slice must have: 30, or 2 % where that is more.

    >>> fewest(500), fewest(5000)
    (30, 100)
    """
    return max(FEWEST_ROWS, -int(-FEWEST_SHARE * rows // 1))


def feature(name: str, values: Array, *, private: bool = False) -> Feature | None:
    """Return a column cut into categories or quarters, None if it holds too many different texts."""
    from veriward.core.table_domain import group_values

    texts = group_values(values)[0].astype(str)
    names, number = np.unique(texts, return_inverse=True)
    if len(names) > MOST_VALUES:
        return None
    shown = [value if len(value) <= LONGEST else value[: LONGEST - 1] + "…" for value in names.tolist()]
    distinct = shown if len(set(shown)) == len(shown) else [f"{value} ({i})" for i, value in enumerate(shown)]
    return Feature(name, number.reshape(-1), told(distinct, private=private))


def features(opened: Opened, rows: Array) -> tuple[list[Feature], list[str]]:
    """Return the columns of some test rows, inputs and groups, and the names of those with too many values."""
    private, kept, left = set(opened.subject.data.private), [], []
    for name, values in _columns(opened, rows):
        found = feature(name, values, private=name in private)
        if found is None:
            left.append(name)
        else:
            kept.append(found)
    return kept, left


def _columns(opened: Opened, rows: Array) -> Iterator[tuple[str, Array]]:
    x, domain = opened.test.x, opened.domain
    named = [column.name for column in domain.columns] if hasattr(domain, "columns") else []
    for i, name in enumerate(named):
        yield name, (x.columns[name] if hasattr(x, "columns") else x[:, i])[rows]
    if not named:
        flat = np.asarray(x)[rows].reshape(len(rows), -1).astype(np.float64)
        yield "brightness", flat.mean(axis=1)
        yield "contrast", flat.std(axis=1)
        if opened.task == "classification":
            yield "class", np.array([str(opened.classes[i]) for i in opened.targets["test"][rows]], dtype=object)
    for name, values in opened.test.groups.items():
        if name not in named:
            yield name, values[rows]


def slices(columns: Sequence[Feature], rows: int, most: int) -> Slices:
    """Return at most `most` slices with enough rows inside and outside; the largest where there are more.

    Pairs that hold the same rows as one of their parts are left out.
    """
    smallest = fewest(rows)
    masks, names, owner = [], [], []
    for place, column in enumerate(columns):
        sizes = np.bincount(column.number, minlength=len(column.values))
        for value in np.flatnonzero((sizes >= smallest) & (rows - sizes >= smallest)):
            masks.append(column.number == value)
            names.append(f"{column.name} {column.values[int(value)]}")
            owner.append(place)
    singles = np.array(masks, dtype=bool).reshape(len(masks), rows)
    distinct = _distinct(singles)
    kept = distinct[: min(MOST_SINGLES, most)]
    singles, owners = singles[kept], np.array(owner, dtype=np.int64)[kept]
    both = _products(singles, np.ones(rows, bool))
    pairs, sizes = _pairs(both, owners, smallest)
    room = max(most - len(kept), 0)
    own = np.diag(both)
    parts = (*((i,) for i in range(len(kept))), *((int(i), int(j)) for i, j in pairs[:room]))
    dropped = len(pairs[room:]) + len(distinct) - len(kept)
    return Slices(singles, tuple(names[i] for i in kept), parts, np.concatenate([own, sizes[:room]]), dropped)


def _distinct(singles: Array) -> list[int]:
    """Return which singles differ from those before them, the largest first: twins would be tested twice."""
    if not len(singles):
        return []
    _, first = np.unique(np.packbits(singles, axis=1), axis=0, return_index=True)
    sizes = singles.sum(axis=1)
    return [int(i) for i in sorted(first, key=lambda i: (-int(sizes[i]), int(i)))]


def _products(singles: Array, marked: Array) -> Array:
    """Return how many marked rows each pair of singles shares, (s, s); a single with itself holds its own."""
    total = np.zeros((len(singles), len(singles)))
    for start in range(0, singles.shape[1], BLOCK):
        part = singles[:, start : start + BLOCK].astype(np.float32)  # counts below 2**24 are exact
        total += (part * marked[start : start + BLOCK]) @ part.T
    return total.astype(np.int64)


def _pairs(both: Array, owner: Array, smallest: int) -> tuple[Array, Array]:
    """Return pairs of singles of different columns, (p, 2), and their sizes, the largest first."""
    first, second = np.triu_indices(len(both), 1)
    size, own = both[first, second], np.diag(both)
    rows_left = np.minimum(own[first], own[second])
    kept = (owner[first] != owner[second]) & (size >= smallest) & (size < rows_left)
    order = np.argsort(-size[kept], kind="stable")
    return np.stack([first[kept], second[kept]], axis=1)[order], size[kept][order]
