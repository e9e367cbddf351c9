"""Everyday trouble in tables: noise, gaps, impossible values, wrong units, stale and swapped cells, unknown categories.

Rows come encoded, (n, columns) float64 (`TableDomain.encode`), and what a number cannot say is written into the decoded
table afterwards. `rows` (n,) number the rows, so that each is hit alike in any company. Nobody attacks: immutable columns
and rules protect against no accident.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.core.data import Table
from veriward.core.streams import Stream
from veriward.core.table_domain import NUMBERS, Column

UNITS = (2.54, 10.0, 100.0, 1000.0, 10_000.0)  # inches, millimetres, centimetres, grams, ten thousands (万)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
STRANGER = "never seen in training"


@dataclass(frozen=True)
class World:
    """What is known of a table beside the rows at hand: its columns, their training spread, and other rows."""

    columns: tuple[Column, ...]
    deviation: Tensor  # (columns,), 0 for what holds no numbers
    others: Tensor  # (n, columns), encoded: for each row another one, to take stale cells from

    @cached_property
    def numbers(self) -> list[int]:
        """Which columns hold numbers."""
        return [i for i, column in enumerate(self.columns) if column.kind in NUMBERS]

    @cached_property
    def categories(self) -> list[int]:
        """Which columns hold categories that are texts."""
        return [i for i, column in enumerate(self.columns) if column.kind == "category" and column.vocabulary]


def spread_of(columns: Sequence[Column], rows: Tensor) -> Tensor:
    """Return the standard deviation of each column that holds numbers, (columns,); gaps left out, 0 for the others.

    >>> spread_of([Column("a", "numeric", 0, 2)], torch.tensor([[0.0], [2.0], [float("nan")]])).item()
    1.0
    """
    found = []
    for i, column in enumerate(columns):
        values = rows[:, i].double()
        present = values[torch.isfinite(values)]
        numeric = column.kind in NUMBERS and len(present) > 0
        found.append(float(present.std(unbiased=False)) if numeric else 0.0)
    return torch.tensor(found, dtype=torch.float64)


def noise(z: Tensor, level: float, world: World, stream: Stream, rows: Tensor) -> Tensor:
    """Add normal noise to every number, `level` of the column's training deviation; inside the training range."""
    moved = z + level * world.deviation * stream.normal(rows, (z.shape[1],)).double()
    low, high = (torch.tensor([getattr(c, end) for c in world.columns], dtype=z.dtype) for end in ("low", "high"))
    return torch.maximum(torch.minimum(moved, torch.maximum(high, z)), torch.minimum(low, z))


def gaps(z: Tensor, level: float, world: World, stream: Stream, rows: Tensor) -> Tensor:
    """Lose a share of the numbers."""
    return torch.where(_hit(z, level, world.numbers, stream, rows), torch.nan, z)


def beyond(z: Tensor, level: float, world: World, stream: Stream, rows: Tensor) -> Tensor:
    """Push one number of each row out of the training range, by `level` of its width, to either side."""
    ends = [(c.low - level * (c.high - c.low), c.high + level * (c.high - c.low)) for c in world.columns]
    low, high = (torch.tensor(side, dtype=z.dtype) for side in zip(*ends, strict=True))
    upwards = stream.child("side").uniform(rows)[:, None] < 0.5
    return torch.where(_one(z, world.numbers, stream, rows), torch.where(upwards, high, low), z)


def units(z: Tensor, level: float, world: World, stream: Stream, rows: Tensor) -> Tensor:
    """Multiply or divide one number of each row by `level`: centimetres for metres, yuan for ten thousand yuan."""
    upwards = stream.child("side").uniform(rows)[:, None] < 0.5
    return torch.where(_one(z, world.numbers, stream, rows), torch.where(upwards, z * level, z / level), z)


def stale(z: Tensor, level: float, world: World, stream: Stream, rows: Tensor) -> Tensor:
    """Take a share of the cells from another row, as a lagging feed or a wrong join does."""
    return torch.where(_hit(z, level, range(z.shape[1]), stream, rows), world.others, z)


def swapped(z: Tensor, level: float, world: World, stream: Stream, rows: Tensor) -> Tensor:
    """Exchange two numbers of each row, `level` times: columns out of order."""
    out, everybody = z.clone(), torch.arange(len(z))
    where = torch.tensor(world.numbers)
    for turn in range(int(level)):
        first = stream.child("first").integers(rows, len(where), step=turn)
        shift = 1 + stream.child("second").integers(rows, len(where) - 1, step=turn)
        a, b = where[first], where[(first + shift) % len(where)]
        out[everybody, a], out[everybody, b] = out[everybody, b].clone(), out[everybody, a].clone()
    return out


def _hit(z: Tensor, level: float, places: Sequence[int], stream: Stream, rows: Tensor) -> Tensor:
    chosen = torch.zeros(z.shape[1], dtype=torch.bool)
    chosen[list(places)] = True
    return (stream.uniform(rows, (z.shape[1],)) < level) & chosen


def _one(z: Tensor, places: Sequence[int], stream: Stream, rows: Tensor) -> Tensor:
    """Return where each row's one column is, (n, columns)."""
    column = torch.tensor(list(places))[stream.integers(rows, len(places))]
    return torch.nn.functional.one_hot(column, z.shape[1]).bool()


def written(z: Tensor, clean: Tensor, columns: Sequence[Column]) -> Tensor:
    """Return cells as their columns can hold them: whole numbers rounded, inside what the type counts to."""
    out = z.clone()
    for i, column in enumerate(columns):
        if np.dtype(column.dtype).kind not in "iub" and column.kind == "numeric":
            continue
        out[:, i] = torch.round(out[:, i])
        if np.dtype(column.dtype).kind in "iu":
            info = np.iinfo(column.dtype)
            reach = 2.0**53  # beyond, float64 skips whole numbers and the type could wrap around
            out[:, i] = out[:, i].clamp(max(float(info.min), -reach), min(float(info.max), reach))
    return torch.where((out == clean) | (z == clean), clean, out)


def strangers(table: Table, level: float, world: World, stream: Stream, rows: Tensor) -> Table:
    """Turn a share of the categories into one that training never saw."""
    return _rewritten(table, level, world, stream, rows, STRANGER)


def losses(table: Table, level: float, world: World, stream: Stream, rows: Tensor) -> Table:
    """Lose a share of the categories."""
    return _rewritten(table, level, world, stream, rows, None)


def _rewritten(table: Table, level: float, world: World, stream: Stream, rows: Tensor, value: str | None) -> Table:
    hit = (stream.uniform(rows, (len(world.columns),)) < level).numpy()
    columns = dict(table.columns)
    for i in world.categories:
        name = world.columns[i].name
        columns[name] = columns[name].astype(object)
        columns[name][hit[:, i]] = value
    return Table(columns)


@dataclass(frozen=True)
class Trouble:
    """A kind of trouble; `levels` holds its strength at severities 1 to 5. One of `cells` and `words` is given."""

    levels: tuple[float, float, float, float, float]
    cells: Callable[[Tensor, float, World, Stream, Tensor], Tensor] | None = None
    words: Callable[[Table, float, World, Stream, Tensor], Table] | None = None
    numbers: int = 0  # columns of numbers that it needs
    may_refuse: bool = False  # a model that raises on it has answered the question


TROUBLES: Mapping[str, Trouble] = {
    "gaussian_noise": Trouble((0.02, 0.05, 0.1, 0.2, 0.4), noise, numbers=1),
    "missing_numbers": Trouble(SHARES, gaps, numbers=1, may_refuse=True),
    "missing_categories": Trouble(SHARES, words=losses, may_refuse=True),
    "unseen_categories": Trouble(SHARES, words=strangers, may_refuse=True),
    "out_of_range": Trouble((0.1, 0.2, 0.5, 1.0, 2.0), beyond, numbers=1, may_refuse=True),
    "unit_error": Trouble(UNITS, units, numbers=1, may_refuse=True),
    "stale_cells": Trouble(SHARES, stale),
    "swapped_columns": Trouble((1, 2, 3, 4, 5), swapped, numbers=2, may_refuse=True),
}


def suitable(world: World, *, named: bool) -> tuple[str, ...]:
    """Return the troubles that a table can have; words need named columns that hold texts."""
    return tuple(
        name
        for name, kind in TROUBLES.items()
        if (named and world.categories if kind.words else len(world.numbers) >= kind.numbers)
    )


def disturb(name: str, severity: int, z: Tensor, world: World, stream: Stream, rows: Tensor) -> Tensor:
    """Return encoded rows with a trouble of cells at a severity of 1 to 5, as their columns can hold them."""
    kind, own = TROUBLES[name], stream.child(f"{name} {severity}")
    if kind.cells is None:
        return z
    return written(kind.cells(z, kind.levels[severity - 1], world, own, rows), z, world.columns)


def reword(name: str, severity: int, x: Any, world: World, stream: Stream, rows: Tensor) -> Any:
    """Return decoded rows with a trouble of words at a severity of 1 to 5."""
    kind, own = TROUBLES[name], stream.child(f"{name} {severity}")
    return kind.words(x, kind.levels[severity - 1], world, own, rows) if kind.words else x
