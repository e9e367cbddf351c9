"""Samples of both splits, and how close test rows come to training rows: by distance, and texts by resemblance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

if TYPE_CHECKING:
    from veriward.core.rows import Rows
    from veriward.core.subject import DataSection

Array = np.ndarray[Any, Any]
LONGEST = 4096  # characters of a text that are compared
TYPICAL = 30  # mean length in characters from which a column holds texts rather than categories
DISTINCT = 0.5  # and share of values that are different


class Looked(TypedDict):
    """What was found in the points of the rows, or in one column of texts.

    `values` (n,) are distances, or resemblances where `column` names texts; `limit` is where near begins.
    """

    column: str | None
    rows: Array  # numbers of the test rows
    values: Array
    partners: list[int]  # numbers of the training rows
    limit: float | None
    level: float  # chance of a false alarm per row
    median: float  # of the training rows' own distances
    base: float  # share of the training rows looked at that are near another one


def look(splits: Mapping[str, Rows], data: DataSection, key: int, tests: int, pool: int) -> list[Looked]:
    """Return how close at most `tests` test rows come to at most `pool` training rows."""
    from veriward.checks.data.keys import input_names
    from veriward.core.streams import Stream

    stream = Stream(key)
    names = input_names(splits, (data.label or "y", data.id))
    numbers = {
        which: _draw(stream.child(which).generator(), rows.total, most)
        for (which, rows), most in zip(splits.items(), (pool, tests), strict=True)
    }
    taken = {which: rows.take(numbers[which], names, longest=LONGEST) for which, rows in splits.items()}
    texts = [name for name in names if all(_is_text(taken[which][name]) for which in taken)]
    others = [n for n in names if n not in texts and _alike(taken, n)]
    reference = _draw(stream.child("reference").generator(), len(numbers["train"]), tests)
    if texts:  # what stands beside them is seldom enough to tell rows apart
        return [_texts(taken, name, numbers, reference, stream) for name in texts]
    return [_points(taken, others, numbers, reference, stream)] if others else [_nothing(numbers["test"])]


def _draw(generator: np.random.Generator, total: int, most: int) -> Array:
    return np.arange(total) if total <= most else np.sort(generator.choice(total, most, replace=False, shuffle=False))


def _is_text(column: Array) -> bool:
    if column.dtype != object:
        return False
    present = [str(value) for value in column if value is not None]
    if not present or sum(map(len, present)) < TYPICAL * len(present):
        return False
    return len(set(present)) > DISTINCT * len(present)


def _alike(taken: Mapping[str, Mapping[str, Array]], name: str) -> bool:
    """Return whether a column is of one kind in both splits: texts are no points among numbers."""
    a, b = taken["train"][name], taken["test"][name]
    return bool((a.dtype == object) == (b.dtype == object) and a.shape[1:] == b.shape[1:])


def _points(
    taken: Mapping[str, Mapping[str, Array]],
    names: Sequence[str],
    numbers: Mapping[str, Array],
    own: Array,
    stream: Any,
) -> Looked:
    from veriward.checks.data.neighbours import LEVEL, learn, nearest, threshold

    held = {which: {name: columns[name] for name in names} for which, columns in taken.items()}
    space = learn(held["train"], stream.child("space").generator())
    pool, points = space.points(held["train"]), space.points(held["test"])
    if not pool.size:
        return _nothing(numbers["test"])
    reference, _ = nearest(pool[own], pool, own)
    distance, place = nearest(points, pool)
    limit = threshold(reference[np.isfinite(reference)])
    return Looked(
        column=None,
        rows=numbers["test"],
        values=distance,
        partners=numbers["train"][place].tolist(),
        limit=limit,
        level=LEVEL,
        median=float(np.median(reference)),
        base=LEVEL,
    )


def _nothing(rows: Array) -> Looked:
    empty = np.full(len(rows), np.inf)
    return Looked(
        column=None, rows=rows, values=empty, partners=[-1] * len(rows), limit=None, level=0.0, median=1.0, base=0.0
    )


def _texts(
    taken: Mapping[str, Mapping[str, Array]], name: str, numbers: Mapping[str, Array], own: Array, stream: Any
) -> Looked:
    from veriward.checks.data.minhash import RESEMBLANCE, SHORTEST, closest

    def texts(which: str) -> list[str]:
        cells = (str(value) if value is not None else "" for value in taken[which][name])
        return [cell if len(cell) >= SHORTEST else "" for cell in cells]

    pool = texts("train")
    best, place = closest(texts("test"), pool, stream.child("bands").generator())
    half = [pool[n] for n in own]  # how often training rows resemble another: the first half against the second
    base, _ = closest(half[::2], half[1::2], stream.child("bands").generator())
    return Looked(
        column=name,
        rows=numbers["test"],
        values=best,
        partners=np.where(place >= 0, numbers["train"][place], -1).tolist(),
        limit=RESEMBLANCE,
        level=0.0,
        median=0.0,
        base=float((base >= RESEMBLANCE).mean()) if len(base) else 0.0,
    )
