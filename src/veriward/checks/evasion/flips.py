"""Every other category of every column, tried one by one: exact per column, greedy over columns.

Gradients say nothing of categories that are codes, and little of those that are one-hot.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.repair import Repair
from veriward.core.ball import Ball
from veriward.core.table_domain import NUMBERS, TableDomain

MOST = 64  # values of a column that are tried
ROUNDS = 3  # categories moved by one search


@dataclass(frozen=True)
class Flip:
    """One column, or block, takes one value in all rows: `places` become `values`."""

    places: tuple[int, ...]
    values: tuple[float, ...]

    def apply(self, z: Tensor, ball: Ball) -> tuple[Tensor, Tensor]:
        """Return the moved rows, and where the move is within the ball and a move at all, (n,)."""
        out, where = z.clone(), list(self.places)
        value = z.new_tensor(self.values).expand(len(z), -1)
        out[:, where] = value
        inside = ((value >= ball.low[:, where]) & (value <= ball.high[:, where])).all(1)
        return out, inside & (value != z[:, where]).any(1)


def flips(domain: TableDomain) -> tuple[Flip, ...]:
    """Return every value of every movable category, boolean and block.

    >>> from veriward.core.table_domain import Column
    >>> [flip.values for flip in flips(TableDomain((Column("c", "category", 0, 2, change="any"),)))]
    [(0.0,), (1.0,), (2.0,)]
    """
    return tuple(flip for unit in domain.units for flip in _of(unit, domain))


def _of(unit: tuple[int, ...], domain: TableDomain) -> Iterator[Flip]:
    column = domain.columns[unit[0]]
    if column.block is not None:
        for chosen in unit:
            yield Flip(unit, tuple(float(place == chosen) for place in unit))
    elif column.kind not in NUMBERS and column.high - column.low < MOST:
        for value in range(int(column.low), int(column.high) + 1):
            yield Flip(unit, (float(value),))


def draw_units(z: Tensor, ball: Ball, domain: TableDomain, noise: Tensor) -> Tensor:
    """Return rows with every category, boolean and block drawn anew, from uniforms (n, columns); numbers stay."""
    out = z.clone()
    for unit in domain.units:
        places, column = list(unit), domain.columns[unit[0]]
        if column.block is not None:
            free = ball.low[:, places] < ball.high[:, places]
            out[:, places] = torch.where(free, noise[:, places], 0.0)  # the largest becomes the 1 in `settle`
        elif column.kind not in NUMBERS:
            low, high = ball.low[:, places], ball.high[:, places]
            out[:, places] = torch.floor(low + noise[:, places] * (high - low + 1)).clamp(max=high)
    return out


def flip(chase: Chase, repair: Repair, where: Tensor, z: Tensor, rounds: int = ROUNDS) -> bool:
    """Move rows z (n, columns), in place, to their best category, some rounds long; return whether any row moved.

    Under L2 and L1 a category costs the whole budget: one round from the clean rows is all there is.
    """
    domain, ball = repair.domain, chase.ball(where)
    known = flips(domain)
    if not known or not len(where):
        return False
    alone = ball.norm != "linf"
    start, took = (ball.clean.clone() if alone else z.clone()), False
    best = chase.ask(z, where).margin
    for _ in range(1 if alone else rounds):
        gain = best.clone()
        for one in known:
            _try(chase, repair, where, ball, one, start, z, gain)
        if not bool((gain > best).any()):
            break
        best, took, start = gain, True, z.clone()
    return took


def _try(
    chase: Chase, repair: Repair, where: Tensor, ball: Ball, one: Flip, start: Tensor, z: Tensor, gain: Tensor
) -> None:
    """Ask about one flip of all rows; keep it in `z` and `gain` where it is the best so far."""
    moved, fits = one.apply(start, ball)
    rows = (fits & ~chase.done[where]).nonzero().squeeze(1)
    if not len(rows):
        return
    trial = repair(moved[rows], ball[rows])
    fair = repair.domain.allowed(trial, ball.clean[rows], chase.threat)
    rows, trial = rows[fair], trial[fair]
    if not len(rows):
        return
    answer = chase.ask(trial, where[rows])
    chase.observe(where[rows], trial, answer)
    better = answer.margin > gain[rows]
    gain[rows[better]], z[rows[better]] = answer.margin[better], trial[better]
