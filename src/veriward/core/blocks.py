"""One-hot blocks: columns of 0 and 1 of which exactly one is 1. One category in several columns, moved as one."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from veriward.core.ball import Ball
from veriward.core.data import Table
from veriward.core.errors import DataError
from veriward.core.sources import Array
from veriward.core.subject import Feature

SEPARATORS = "=_[.:- "  # between the name of a category column and its value: get_dummies, OneHotEncoder, R, Spark
Blocks = Mapping[str, Sequence[int]]


def stated_blocks(features: Mapping[str, Feature], tables: Mapping[str, Table]) -> dict[str, str]:
    """Return the block of each column that the subject states; DataError for rows that no block allows."""
    stated = {name: feature.block for name, feature in features.items() if feature.block is not None}
    for block in sorted(set(stated.values())):
        names = [name for name in stated if stated[name] == block]
        if len(names) < 2:
            raise DataError(f"features.{names[0]}: block = {block!r} has this one column; want all of its columns")
        for where, table in tables.items():
            wrong = ~_exactly_one([table.columns[name] for name in names])
            if wrong.any():
                raise DataError(
                    f"{where}: {int(wrong.sum())} rows do not have exactly one 1 in the columns of block {block!r}, the "
                    f"first is row {int(wrong.argmax())}; correct the block or the data"
                )
    return stated


def inferred_blocks(table: Table, but: Mapping[str, str]) -> dict[str, str]:
    """Return the block of each column where columns of one prefix have exactly one 1 in every row.

    >>> rows = Table({"job=a": np.array([0, 1]), "job=b": np.array([1, 0]), "paid": np.array([1, 1])})
    >>> inferred_blocks(rows, {})
    {'job=a': 'job', 'job=b': 'job'}
    """
    flags = {name: column for name, column in table.columns.items() if name not in but and _is_flags(column)}
    groups: dict[str, list[str]] = {}
    for name in flags:
        for prefix in _prefixes(name):
            groups.setdefault(prefix, []).append(name)
    found: dict[str, str] = {}
    for prefix, names in sorted(groups.items(), key=lambda item: (-len(item[1]), -len(item[0]), item[0])):
        free = not any(name in found for name in names)
        if len(names) > 1 and free and bool(_exactly_one([flags[name] for name in names]).all()):
            found |= dict.fromkeys(names, prefix[:-1])
    return found


def _prefixes(name: str) -> set[str]:
    return {name[: place + 1] for place, sign in enumerate(name) if sign in SEPARATORS and place}


def _is_flags(column: Array) -> bool:
    return column.dtype != object and bool(np.isin(column, (0, 1)).all())


def _exactly_one(columns: Sequence[Array]) -> Array:
    """Return whether each row is one-hot, (n,)."""
    fit = np.logical_and.reduce([np.isin(c, (0, 1)) if c.dtype != object else np.zeros(len(c), bool) for c in columns])
    ones = np.sum([(c == 1) for c in columns], axis=0)
    return np.asarray(fit & (ones == 1))


def is_one_hot(flags: Tensor) -> Tensor:
    """Return whether each row of a block's columns has exactly one 1 and else 0, (n,)."""
    return ((flags == 0) | (flags == 1)).all(1) & ((flags == 1).sum(1) == 1)


def chosen(near: Tensor, z: Tensor, ball: Ball, blocks: Blocks) -> Tensor:
    """Return `near` with exactly one 1 in each block: the column where z is largest among those that may move.

    A block stays where nothing in it may move, where its 1 may not, and where the clean row was not one-hot itself. Under
    L2 and L1 a block that moves has spent the whole budget, and everything else is as it was.
    """
    wished, out = torch.minimum(torch.maximum(z, ball.low), ball.high), near.clone()
    spent = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    for names in blocks.values():
        place = torch.as_tensor(names, device=z.device)
        clean, value = ball.clean[:, place], wished[:, place]
        free = (ball.low < ball.high)[:, place]
        home = clean.argmax(1, keepdim=True)
        value = torch.where(free, value, -torch.inf)
        best = value.amax(1, keepdim=True)
        stays = ~is_one_hot(clean)[:, None] | ~free.gather(1, home) | (value.gather(1, home) >= best)
        stays = stays | spent[:, None]
        one = torch.zeros_like(clean).scatter_(1, value.argmax(1, keepdim=True), 1.0)
        if ball.norm != "linf":
            out = torch.where(stays, out, ball.clean)
            spent = spent | ~stays.squeeze(1)
        out[:, place] = torch.where(stays, clean, one)
    return out
