"""Ascent over the cells of trees: what one move of one input would bring, for all moves at once, and the best one taken.

A move of one input to another cell changes only the trees that have a leaf which differs from where the row stands in that
input alone; their leaves, laid over the cells, add up to what every move brings. The neighbours of a leaf tuple in Zhang,
Zhang & Hsieh 2020 (arXiv:2010.11598), seen from the inputs; there the distance is lowered among them, here
the sum is raised inside the ball.
"""

from dataclasses import dataclass

import numpy as np

from veriward.adapters.trees.forest import Bools, Floats, Ints
from veriward.checks.certify.clique import Longs, Tasks


@dataclass(frozen=True, eq=False)
class Gains:
    """The sums (tasks,) where rows stand, and what moving one input to any cell adds to them, (tasks, cells)."""

    sums: Floats
    moves: Floats


def gains(tasks: Tasks, cells: Ints) -> Gains:
    """Return the sums and the gains for tasks whose rows stand in `cells` (tasks, width + 1)."""
    feature, first, last = tasks.entries
    inside = _inside(tasks, cells)
    outside = inside.shape[3] - inside.sum(3, dtype=np.int8)
    here = outside == 0
    near = np.nonzero(outside <= 1)  # all inputs fit, or all but one
    counted = inside[near] ^ (outside[near] == 1)[:, None]  # the inputs that may move without leaving the leaf's others
    which, entry = np.nonzero(counted & (feature[near] < tasks.space.costs.boxes.forest.width))
    t, tree, leaf = (part[which].astype(np.int64) for part in near)
    at = (t, tree, leaf, entry)
    worth = tasks.value[t, tree, leaf]
    number = tasks.space.set_number[tasks.leaf[t, tree, leaf], entry]
    moves = _laid(tasks, t, feature[at], first[at], last[at], worth, number)
    stays = inside[at]  # what is there now is lost by moving away, and laid over its own cells it is gained back
    lost = np.zeros(cells.shape)
    np.add.at(lost, (t[stays], feature[at][stays]), worth[stays])
    sums = tasks.offset + np.where(here, tasks.value, 0.0).sum((1, 2))
    return Gains(sums, moves - lost[:, tasks.space.costs.boxes.owner])


def _inside(tasks: Tasks, cells: Ints) -> Bools:
    """Which inputs of which leaves fit, (tasks, trees, leaves, entries)."""
    feature, first, last = tasks.entries
    cell = cells.take(feature + (np.arange(len(tasks)) * cells.shape[1])[:, None, None, None])
    inside = (first <= cell) & (cell <= last)
    if (cells < 0).any():
        inside |= (cell < 0) & tasks.of(tasks.space.gap)
    sets = tasks.space.sets
    if len(sets):
        number = tasks.of(tasks.space.set_number)
        member = sets[np.maximum(number, 0), np.clip(cell, 0, sets.shape[1] - 1)]
        inside = np.where(number >= 0, member, inside)
    return np.asarray(inside)


def _laid(tasks: Tasks, t: Longs, feature: Longs, first: Ints, last: Ints, worth: Floats, number: Ints) -> Floats:
    """Lay the worth of leaves over the cells that lead to them and add up, (tasks, cells)."""
    boxes, sets = tasks.space.costs.boxes, tasks.space.sets
    ordered = np.flatnonzero((number < 0) & (first <= last))
    width = boxes.cells + len(boxes.starts)  # one place behind each input takes back what was added
    at = t[ordered].astype(np.int64) * width + boxes.starts[feature[ordered]] + feature[ordered]
    places = np.concatenate([at + first[ordered], at + last[ordered] + 1])
    weights = np.concatenate([worth[ordered], -worth[ordered]])
    laid = np.bincount(places, weights, minlength=len(tasks) * width).reshape(len(tasks), width).cumsum(1)
    moves = laid[:, np.arange(boxes.cells) + boxes.owner]
    for i in np.flatnonzero(number >= 0).tolist():
        start, stop = boxes.starts[feature[i]], boxes.starts[feature[i] + 1]
        moves[t[i], start:stop] += worth[i] * sets[number[i], : stop - start]
    return np.asarray(moves)


def climb(tasks: Tasks, steps: int, level: float = 0.0, noise: Floats | None = None) -> tuple[Ints, Floats]:
    """Take the best affordable move until none helps, or a sum is above `level`. Return cells (tasks, width + 1) and sums.

    `noise` (tasks, cells) multiplies gains, so that climbs end elsewhere.
    """
    climbing, where = _Climb(tasks, tasks.space.costs.home[tasks.row].copy(), noise), np.arange(len(tasks))
    cells, sums = climbing.cells.copy(), np.full(len(tasks), -np.inf)
    for _ in range(steps):
        reached, going = climbing.step(level)
        cells[where], sums[where] = climbing.cells, reached
        if not going.any():
            break
        climbing, where = climbing[going], where[going]
        climbing.move()
    return cells, sums


class _Climb:
    """Tasks that still climb, and where they stand."""

    def __init__(self, tasks: Tasks, cells: Ints, noise: Floats | None) -> None:
        self.tasks, self.cells, self.noise = tasks, cells, noise
        self.spent, self.paid = tasks.space.costs.spent[tasks.row], np.zeros(cells.shape)
        self.best = np.zeros(len(tasks), np.int64)

    def __getitem__(self, keep: Bools) -> "_Climb":
        kept = _Climb(self.tasks[keep], self.cells[keep], None if self.noise is None else self.noise[keep])
        kept.paid, kept.best = self.paid[keep], self.best[keep]
        return kept

    def step(self, level: float) -> tuple[Floats, Bools]:
        """Return the sums, and which tasks have a move that helps; their best one is remembered."""
        costs, owner = self.tasks.space.costs, self.tasks.space.costs.boxes.owner
        found = gains(self.tasks, self.cells)
        others = self.paid.sum(1, keepdims=True) - self.paid[:, owner] if costs.norm != "linf" else 0.0
        fits = others + self.spent <= self.tasks.budget[:, None] * (1 + 1e-12)
        worth = np.where(fits, found.moves if self.noise is None else found.moves * self.noise, -np.inf)
        self.best = worth.argmax(1)
        helps = worth[np.arange(len(worth)), self.best] > 1e-12
        return found.sums, helps & (found.sums <= level)

    def move(self) -> None:
        """Take the best moves."""
        boxes, rows = self.tasks.space.costs.boxes, np.arange(len(self.cells))
        owner = boxes.owner[self.best]
        self.cells[rows, owner] = self.best - boxes.starts[owner]
        self.paid[rows, owner] = self.spent[rows, self.best]
