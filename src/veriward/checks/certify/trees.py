"""Answers for trees: exact distances for single trees, proofs and witnesses for sums of trees, under three norms.

A proof holds for what the library computes, not only for real numbers: sums must stay below zero by more than their
rounding can be. Rules of a domain are not looked at, so a proof covers more than what the attacker may do.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from veriward.adapters.trees.forest import Bools, Floats, Forest, Ints
from veriward.checks.certify.boxes import Boxes, boxes_of
from veriward.checks.certify.branch import search
from veriward.checks.certify.climb import climb
from veriward.checks.certify.clique import Longs, Space
from veriward.checks.certify.columns import View
from veriward.checks.certify.in_reach import begin
from veriward.checks.certify.reach import Around, Costs, Norm, Slack, costs_of
from veriward.core.ball import Ball

NODES = 400  # of the search for each sum, before a row stays undecided
STEPS = 60  # of a climb
TASKS, ENTRIES = 1024, 1 << 23  # sums that are looked at together, and entries of their leaves
DOUBLE, SINGLE = Slack(4e-9, 2e-9), Slack(4e-7, 2e-9)  # what domains allow beyond a budget in float64 and float32


@dataclass(frozen=True, eq=False)
class Wanted:
    """Sums that an attacker wants at or above zero, one per task: coef (tasks, outputs) · margins + offset (tasks,).

    `outputs` are the margins of a forest; a row (tasks,) falls if any of its sums does.
    """

    row: Longs
    coef: Floats
    offset: Floats

    def __getitem__(self, keep: Any) -> "Wanted":
        return Wanted(self.row[keep], self.coef[keep], self.offset[keep])

    def worth(self, leaves: Floats) -> Floats:
        """Return what leaves add to each sum, (tasks, leaves), from what they add to each margin."""
        return np.asarray(self.coef @ leaves.T)


def other_classes(forest: Forest, y: Ints) -> Wanted:
    """Return that another class than y (n,) scores at least as much; one margin decides by its sign.

    >>> from veriward.adapters.trees.forest import stump
    >>> other_classes(stump(0, 0.5, -1.0, 1.0), np.array([0, 1])).coef.tolist()
    [[1.0], [-1.0]]
    """
    n, outputs = len(y), forest.outputs
    if outputs == 1:
        sign = np.where(y == 1, -1.0, 1.0)
        return Wanted(np.arange(n), sign[:, None], sign * forest.base[0])
    row, other = np.nonzero(np.arange(outputs) != y[:, None])
    coef = np.zeros((len(row), outputs))
    coef[np.arange(len(row)), other] = 1.0
    coef[np.arange(len(row)), y[row]] = -1.0
    return Wanted(row, coef, coef @ forest.base)


def moves(forest: Forest, start: Floats, tolerance: Floats) -> Wanted | None:
    """Return that a prediction leaves start (n,) by more than its tolerance, upwards or downwards; None for unread links."""
    unit = 8 * float(np.finfo(np.float32 if forest.reading.sums_single else np.float64).eps)
    near = tolerance - unit * (np.abs(start) + np.abs(tolerance))  # answers are rounded, too
    ends = _margin(forest, start + near), _margin(forest, start - near)
    if forest.outputs != 1 or ends[0] is None or ends[1] is None:
        return None
    row, sign = np.tile(np.arange(len(start)), 2), np.repeat([1.0, -1.0], len(start))
    offset = sign * (forest.base[0] - np.concatenate([ends[0], ends[1]]))
    return Wanted(row, sign[:, None], offset)


def _margin(forest: Forest, answers: Floats) -> Floats | None:
    """The margins that become answers; infinite where none does."""
    if forest.link == "identity":
        return answers
    with np.errstate(divide="ignore", invalid="ignore"):
        if forest.link == "exp":
            return np.asarray(np.where(answers > 0, np.log(answers), -np.inf))
        if forest.link == "logistic":
            inside = np.log(answers / (1 - answers)) / forest.slope
            return np.asarray(np.where(answers <= 0, -np.inf, np.where(answers >= 1, np.inf, inside)))
    return None


def rounding(forest: Forest) -> float:
    """Return how far the sums that a library computes and compares may be from the real ones.

    n numbers added in any order err by at most n times the unit roundoff times the sum of their sizes (Higham 2002,
    "Accuracy and stability of numerical algorithms", section 4.2); links add a few units of their own.
    """
    unit = float(np.finfo(np.float32 if forest.reading.sums_single else np.float64).eps)
    size = np.zeros(forest.trees)
    leaf = np.flatnonzero(forest.is_leaf)
    owner = _tree_of(forest)[leaf]
    np.maximum.at(size, owner[owner >= 0], np.abs(forest.value[leaf[owner >= 0]]).max(1))
    total = size.sum() + np.abs(forest.base).max(initial=0.0) + 1.0
    return float(unit * (forest.trees + 8) * total / min(forest.slope, 1.0))


def _tree_of(forest: Forest) -> Ints:
    owner = np.full(len(forest.feature), -1, np.int32)
    owner[forest.roots] = np.arange(forest.trees)
    level = forest.roots
    while len(level):
        level = level[~forest.is_leaf[level]]
        for children in (forest.left[level], forest.right[level]):
            owner[children] = owner[level]
        level = np.concatenate([forest.left[level], forest.right[level]])
    return owner


class Noise(Protocol):
    """What makes further climbs end elsewhere."""

    @property
    def climbs(self) -> int:
        """How many further climbs there are."""

    def draw(self, rows: Longs, tasks: Longs, turn: int) -> Floats:
        """Return factors of gains, (tasks, cells)."""


@dataclass(frozen=True, eq=False)
class Decided:
    """What is known of rows: `certified` (n,) if nothing in their balls makes them fall; `met` (n,) where `points`
    (n, width) are expected to. Rows that are neither ran out of search.
    """

    certified: Bools
    met: Bools
    points: Floats


def decide_rows(
    costs: Costs, wanted: Wanted, share: Floats, *, nodes: int = NODES, level: float = 0.0, noise: Noise | None = None
) -> Decided:
    """Decide rows within shares (n,) of their budgets: is there a point at which a wanted sum is at least `level`?

    First a climb from each row, more of them with `noise`; the search has the rest.
    """
    boxes, n = costs.boxes, len(costs.spent)
    out = Decided(np.ones(n, bool), np.zeros(n, bool), costs.clean.copy())
    if not len(boxes.leaf):
        out.certified[wanted.row[~(wanted.offset < level)]] = False
        return out
    space, budget = Space(costs), costs.budget(share) * (1 + 1e-12)
    step = max(1, min(TASKS, ENTRIES // space.feature.size))
    for start in range(0, len(wanted.row), step):
        _decide_part(space, wanted[start : start + step], budget, nodes, level, noise, out)
    return out


def _decide_part(
    space: Space, wanted: Wanted, budget: Floats, nodes: int, level: float, noise: Noise | None, out: Decided
) -> None:
    """Decide some tasks: those of rows that have a point are left out of what comes after."""
    values, costs = wanted.worth(space.costs.boxes.values), space.costs
    tasks, _ = begin(space, wanted.row, values, wanted.offset, budget[wanted.row])
    for turn in range(1 + (noise.climbs if noise else 0)):
        left = np.flatnonzero(~out.met[wanted.row])
        shaken = noise.draw(wanted.row[left], left, turn) if noise and turn else None
        cells, sums = climb(tasks[left], STEPS, level, shaken)
        hit = ~(sums < level)
        _note(out, costs, wanted.row[left[hit]], cells[hit, :-1])
    left = np.flatnonzero(~out.met[wanted.row])
    if not nodes:
        out.certified[wanted.row[left]] = False
        return
    rest, high = wanted[left], np.full(len(left), level)
    found = search(space, rest.row, values[left], rest.offset, budget[rest.row], level=high, nodes=nodes)
    out.certified[rest.row[~found.held]] = False
    _note(out, costs, rest.row[found.met], found.cells[found.met])


def _note(out: Decided, costs: Costs, rows: Longs, cells: Ints) -> None:
    out.certified[rows], out.met[rows] = False, True
    out.points[rows] = costs.points(rows, cells)


def decide(
    forest: Forest,
    clean: Floats,
    low: Floats,
    high: Floats,
    radii: Floats,
    norm: Norm,
    y: Ints,
    *,
    whole: Bools | None = None,
    jump: Bools | None = None,
    nodes: int = NODES,
    slack: Slack = DOUBLE,
) -> Bools:
    """Return which rows keep their class y (n,) in their balls, (n,) of booleans; False is no proof of the contrary.

    Arrays are (n, width) in the inputs of the trees; single trees are answered exactly.

    >>> from veriward.adapters.trees.forest import stump
    >>> x = np.array([[0.0], [0.45]])
    >>> decide(stump(0, 0.5, -1.0, 1.0), x, x - 0.1, x + 0.1, 0 * x + 0.1, "linf", np.array([0, 0])).tolist()
    [True, False]
    """
    none = np.zeros(forest.width, bool)
    around = Around(clean, low, high, radii, norm, none if whole is None else whole, none if jump is None else jump)
    return certified(forest, around, other_classes(forest, y), y=y, nodes=nodes, slack=slack)


def certified(
    forest: Forest, around: Around, wanted: Wanted, *, y: Ints | None = None, nodes: int = NODES, slack: Slack = DOUBLE
) -> Bools:
    """Return which rows are proved to keep away from what is wanted of them, (n,) of booleans."""
    costs = costs_of(boxes_of(forest, around.whole, around.listed), around, slack)
    if forest.trees == 1:
        return np.asarray(exact(costs, wanted, y=y).distance > 1.0)
    return decide_rows(costs, wanted, np.ones(len(around.clean)), nodes=nodes, level=-rounding(forest)).certified


def certified_ball(view: View, ball: Ball, wanted: Wanted, *, y: Ints | None = None, nodes: int = NODES) -> Bools:
    """Return which encoded rows of a subject are proved to keep away from what is wanted of them, (n,) of booleans."""
    slack = SINGLE if ball.radii.dtype == torch.float32 else DOUBLE
    return certified(view.forest, view.around(ball), wanted, y=y, nodes=nodes, slack=slack)


@dataclass(frozen=True, eq=False)
class Nearest:
    """The leaves of a single tree in which rows fall, nearest first: `distance` (n,) of the nearest, inf where none is;
    `leaf` (n, leaves) in order and `at` (n, leaves) their distances, shares of the budget.
    """

    distance: Floats
    leaf: Ints
    at: Floats


def exact(costs: Costs, wanted: Wanted, *, y: Ints | None = None) -> Nearest:
    """Return the distances of rows to all leaves of one tree in which they fall. Chen et al. 2019
    (arXiv:1906.03849) for one tree: boxes are looked at one by one.

    Ties are decided as the model does where leaves hold probabilities, and count as falls otherwise.
    """
    boxes = costs.boxes
    distance = costs.distance(leaf_costs(costs))
    distance[~_falls(boxes, wanted, len(distance), y)] = np.inf
    order = np.argsort(distance, axis=1, kind="stable").astype(np.int32)
    at = np.take_along_axis(distance, order, axis=1)
    return Nearest(at[:, 0], order, at)


def _falls(boxes: Boxes, wanted: Wanted, n: int, y: Ints | None) -> Bools:
    """Which rows fall in which leaves, (n, leaves)."""
    forest = boxes.forest
    if y is not None and forest.outputs > 1 and forest.link == "identity" and not forest.base.any():
        return np.asarray(boxes.values.argmax(1) != y[:, None])
    falls = np.zeros((n, len(boxes.leaf)), bool)
    sums = wanted.worth(boxes.values) + wanted.offset[:, None]
    np.logical_or.at(falls, wanted.row, ~(sums < -rounding(forest)))
    return falls


def leaf_costs(costs: Costs) -> Floats:
    """Return what it costs each row to get into each leaf, (n, leaves); inf where it cannot."""
    space, boxes = Space(costs), costs.boxes
    total = np.zeros((len(costs.spent), len(boxes.leaf)))
    for entry in range(space.feature.shape[1]):
        feature = space.feature[:-2, entry]
        first, last, number = (part[:-2, entry] for part in (space.first, space.last, space.set_number))
        home = costs.home[:, feature]
        cell = boxes.starts[feature] + np.minimum(np.maximum(home, first), last)
        spent = np.where(first <= last, _at(costs, cell), np.inf)
        spent = np.where(home < 0, np.where(space.gap[:-2, entry], 0.0, np.inf), spent)
        if len(space.sets):
            spent = np.where(number >= 0, space.set_spent[:, np.maximum(number, 0)], spent)
        total = np.maximum(total, spent) if costs.norm == "linf" else total + spent
    return total


def _at(costs: Costs, cell: Ints) -> Floats:
    return np.asarray(np.take_along_axis(costs.spent, np.clip(cell, 0, costs.boxes.cells - 1).astype(np.int64), axis=1))


def leaf_points(costs: Costs, rows: Longs, leaf: Ints) -> Floats:
    """Return the nearest points (k, width) to rows (k,) in leaves (k,) that they can reach."""
    space, boxes, width = Space(costs), costs.boxes, costs.boxes.forest.width
    cells, at = costs.home[rows].copy(), np.arange(len(rows))
    for entry in range(space.feature.shape[1]):
        feature, number = space.feature[leaf, entry], space.set_number[leaf, entry]
        home = cells[at, feature]
        moved = np.minimum(np.maximum(home, space.first[leaf, entry]), space.last[leaf, entry])
        cells[at, feature] = np.where(home < 0, home, moved)
        for k in np.flatnonzero(number >= 0).tolist():
            part = costs.spent[rows[k], boxes.starts[feature[k]] : boxes.starts[feature[k] + 1]]
            cells[k, feature[k]] = np.where(space.sets[number[k], : len(part)], part, np.inf).argmin()
    return costs.points(rows, cells[:, :width])
