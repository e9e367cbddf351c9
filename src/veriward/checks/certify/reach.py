"""What may be reached from rows, told in the cells of a forest: what it costs to get into each cell, and to which point.

Costs are shares of the budget, squared under L2, so that they add up under L2 and L1; under L-infinity the largest counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from veriward.adapters.trees.forest import Bools, Floats, Ints
from veriward.checks.certify.boxes import Boxes

Norm = Literal["linf", "l2", "l1"]
_TINY = 1e-300


@dataclass(frozen=True)
class Slack:
    """How far beyond its budget a row may stand and still be allowed: proofs grant it, attacks do not use it."""

    relative: float = 0.0
    absolute: float = 0.0


@dataclass(frozen=True, eq=False)
class Choices:
    """The values that an input of categories can take."""

    values: Floats  # (choices,), as the trees read them
    spent: Floats  # (n, choices), what each costs; inf where it is out of reach


@dataclass(frozen=True, eq=False)
class Around:
    """Balls around n rows in the inputs of a forest, all (n, width) float64; what is missing is NaN and stays so."""

    clean: Floats
    low: Floats
    high: Floats
    radii: Floats
    norm: Norm
    whole: Bools  # (width,), inputs of whole numbers
    jump: Bools  # (width,), inputs of which any change costs the whole budget under L2 and L1
    choices: Mapping[int, Choices] = field(default_factory=dict)

    @property
    def listed(self) -> Bools:
        """Which inputs take listed values, (width,)."""
        listed = np.zeros(self.clean.shape[1], bool)
        listed[list(self.choices)] = True
        return listed

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> "Around":
        """Return some of the rows."""
        clean, low, high, radii = (part[rows] for part in (self.clean, self.low, self.high, self.radii))
        choices = {j: Choices(c.values, c.spent[rows]) for j, c in self.choices.items()}
        return Around(clean, low, high, radii, self.norm, self.whole, self.jump, choices)


@dataclass(frozen=True, eq=False)
class Costs:
    """What cells cost n rows: `spent` (n, cells), inf where a cell is out of reach; `home` (n, width) is where they are."""

    boxes: Boxes
    norm: Norm
    spent: Floats
    point: Floats  # (n, cells), the nearest number in each cell
    home: Ints  # (n, width + 1), the cell of each input; -1 where it is missing
    clean: Floats

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> "Costs":
        """Return some of the rows."""
        spent, point, clean = (part[rows] for part in (self.spent, self.point, self.clean))
        return Costs(self.boxes, self.norm, spent, point, self.home[rows], clean)

    def total(self, shares: Floats, axis: int = -1) -> Floats:
        """Return what cells of several inputs cost together."""
        joined = shares.max(axis, initial=0.0) if self.norm == "linf" else shares.sum(axis)
        return np.asarray(joined, np.float64)

    def distance(self, total: Floats) -> Floats:
        """Return costs as shares of the budget: the distance over the radius."""
        return np.sqrt(total) if self.norm == "l2" else total

    def budget(self, share: Floats | float) -> Floats:
        """Return shares of the budget as costs."""
        return np.square(share) if self.norm == "l2" else np.asarray(share, np.float64)

    def points(self, rows: npt.NDArray[np.int64], cells: Ints) -> Floats:
        """Return the nearest numbers (k, width) to rows (k,) in the cells of their inputs (k, width)."""
        inside = np.maximum(cells, 0) + self.boxes.starts[:-2]
        return np.where(cells == self.home[rows, :-1], self.clean[rows], self.point[rows[:, None], inside])


def costs_of(boxes: Boxes, around: Around, slack: Slack | None = None) -> Costs:
    """Return what each cell costs each row; with `slack`, what it costs at the least.

    >>> from veriward.adapters.trees.forest import stump
    >>> from veriward.checks.certify.boxes import boxes_of
    >>> one, no = np.ones((1, 1)), np.zeros(1, bool)
    >>> around = Around(0 * one, -2 * one, 2 * one, 2 * one, "l1", no, no)
    >>> costs_of(boxes_of(stump(0, 1.0, 1.0, 2.0)), around).spent.round(6).tolist()
    [[0.0, 0.5, 0.0]]
    """
    owner = boxes.owner[:-1]
    slack, width = slack or Slack(), boxes.forest.width
    low, high = _widened(around, slack)
    clean = around.clean[:, owner]
    bottom, top = np.maximum(boxes.lows[:-1], low[:, owner]), np.minimum(boxes.highs[:-1], high[:, owner])
    whole = around.whole[owner]
    bottom, top = np.where(whole, np.ceil(bottom), bottom), np.where(whole, np.floor(top), top)
    point = np.minimum(np.maximum(clean, bottom), top)
    spent = _spent(around, point - clean, owner, slack)
    spent = np.where(bottom <= top, spent, np.inf)
    home = np.concatenate([boxes.cell(around.clean), np.zeros((len(clean), 1), np.int32)], axis=1)
    for j, choices in around.choices.items():
        part = slice(boxes.starts[j], boxes.starts[j + 1])
        spent[:, part], point[:, part] = _chosen(choices, boxes.highs[part])
    # the row itself is always allowed, and a missing number stays what it is
    rows, at = np.nonzero(home[:, :width] >= 0)
    cell = home[rows, at] + boxes.starts[at]
    spent[rows, cell], point[rows, cell] = 0.0, around.clean[rows, at]
    ends = np.zeros((len(clean), 1))
    spent, point = (np.concatenate([part, ends], axis=1) for part in (spent, point))
    if around.norm == "l2":
        spent = np.square(spent)
    return Costs(boxes, around.norm, spent, point, home, around.clean)


def _widened(around: Around, slack: Slack) -> tuple[Floats, Floats]:
    """The ends of what may be reached, farther by the slack where anything may move."""
    size = around.radii * slack.relative + slack.absolute + np.abs(around.clean) * (slack.absolute * 1e-6)
    moves = around.high > around.low
    return np.where(moves, around.low - size, around.low), np.where(moves, around.high + size, around.high)


def _spent(around: Around, moved: Floats, owner: Ints, slack: Slack) -> Floats:
    """Shares of each number's budget; a move by less than the slack is none."""
    free = slack.absolute * (1 + 1e-6 * np.abs(around.clean))
    size = np.abs(moved)
    if slack.absolute:
        size = np.maximum(size - free[:, owner], 0.0)
    radii = around.radii[:, owner] * (1 + slack.relative)
    spent = np.where(size > 0, size / np.maximum(radii, _TINY), 0.0)
    if around.norm == "linf":
        return spent
    return np.where(around.jump[owner] & (moved != 0), 1.0, spent)


def _chosen(choices: Choices, highs: Floats) -> tuple[Floats, Floats]:
    """What the cells of an input of listed values cost, (n, cells), and the cheapest value in each."""
    cell = np.searchsorted(highs, choices.values)
    spent = np.full((len(choices.spent), len(highs)), np.inf)
    point = np.full_like(spent, np.nan)
    for number, value in enumerate(choices.values.tolist()):
        better = choices.spent[:, number] < spent[:, cell[number]]
        spent[better, cell[number]] = choices.spent[better, number]
        point[better, cell[number]] = value
    return spent, point
