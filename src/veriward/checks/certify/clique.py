"""Upper bounds of what sums of trees can reach inside a box of cells: one tree at a time, or in pairs.

Each tree alone can reach its best leaf that meets the box; two trees together only two leaves that meet each other too.
Boxes that meet pair by pair share a point, so cliques of leaves are what inputs can reach. Chen, Zhang, Si, Li, Boning &
Hsieh 2019 (arXiv:1906.03849), with cliques of one and two trees; splitting the box further
(`branch`) takes the place of their higher levels.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from veriward.adapters.trees.forest import Bools, Floats, Ints
from veriward.checks.certify.reach import Costs

Longs = npt.NDArray[np.int64]
NEVER = 1 << 30  # a cell that no input has


@dataclass(frozen=True, eq=False)
class Nodes:
    """Boxes of cells, each inside the ball of a task: `first` and `last` (nodes, width + 1) are the cells of each input,
    -1 where it is missing; `sets` (nodes, set inputs, most cells) those of inputs without an order.
    """

    task: Longs
    first: Ints
    last: Ints
    sets: Bools

    def __len__(self) -> int:
        return len(self.task)

    def __getitem__(self, keep: Any) -> "Nodes":
        return Nodes(self.task[keep], self.first[keep], self.last[keep], self.sets[keep])

    def and_(self, other: "Nodes") -> "Nodes":
        """Return these nodes and others behind them."""
        first, last = np.concatenate([self.first, other.first]), np.concatenate([self.last, other.last])
        return Nodes(np.concatenate([self.task, other.task]), first, last, np.concatenate([self.sets, other.sets]))


@dataclass(frozen=True, eq=False)
class Tasks:
    """Sums to be bounded, one per task: `offset` (tasks,) and for each tree that can still decide its leaves in reach.

    `leaf` (tasks, trees, leaves) holds numbers of leaves, `value` what they add; unused places hold the leaf `nowhere`,
    which is never met, or in trees that fill a row the leaf `anywhere`, which always is and adds nothing.
    """

    space: "Space"
    row: Longs  # (tasks,), of costs
    offset: Floats
    leaf: Ints
    value: Floats
    budget: Floats  # (tasks,)

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, keep: Any) -> "Tasks":
        kept = Tasks(self.space, *(part[keep] for part in (self.row, self.offset, self.leaf, self.value, self.budget)))
        kept.__dict__["entries"] = tuple(part[keep] for part in self.entries)
        return kept

    @cached_property
    def entries(self) -> tuple[Longs, Ints, Ints]:
        """The leaves' entries, (tasks, trees, leaves, entries): input, first cell, last cell."""
        space, leaf = self.space, self.leaf
        return space.feature[leaf].astype(np.int64), space.first[leaf], space.last[leaf]

    def of(self, part: npt.NDArray[Any], task: Longs | None = None) -> npt.NDArray[Any]:
        """Return what `part` (leaves, entries) says of the leaves of some tasks."""
        leaf = self.leaf if task is None else self.leaf[task if len(self.leaf) > 1 else np.zeros_like(task)]
        return np.asarray(part[leaf])

    @cached_property
    def meets(self) -> Bools:
        """Which leaves of the trees of a pair meet, (tasks, pairs, leaves, leaves)."""
        even, odd = self.leaf[:, 0::2], self.leaf[:, 1::2]
        return self.space.meet(even, odd)

    def bound(self, nodes: Nodes, reach: Bools) -> Floats:
        """Return the most that each node's sum can be by pairs of trees, (nodes,)."""
        best = np.where(reach, self.value[nodes.task], -np.inf)
        both = best[:, 0::2, :, None] + best[:, 1::2, None, :]
        both = np.where(self.meets[nodes.task], both, -np.inf)
        return np.asarray(self.offset[nodes.task] + both.max((2, 3), initial=-np.inf).sum(1))

    def alone(self, nodes: Nodes, reach: Bools) -> tuple[Floats, Floats]:
        """Return the most that each node's sum can be by its trees one by one, (nodes,), and each tree's, (nodes, trees)."""
        best = np.where(reach, self.value[nodes.task], -np.inf).max(2, initial=-np.inf)
        return self.offset[nodes.task] + best.sum(1), best

    def reach(self, nodes: Nodes) -> Bools:
        """Return which leaves meet each node within the budget, (nodes, trees, leaves)."""
        shared = len(self.leaf) == 1 < len(self.row)
        feature, first, last = self.entries
        if not shared:
            feature, first, last = feature[nodes.task], first[nodes.task], last[nodes.task]
        width = nodes.first.shape[1]
        at = feature + (np.arange(len(nodes)) * width)[:, None, None, None]
        low, high = nodes.first.take(at), nodes.last.take(at)
        meets = (low <= last) & (first <= high)
        if (nodes.first < 0).any():
            meets = np.where(low < 0, self.of(self.space.gap, nodes.task), meets)
        if len(self.space.sets):
            number = self.of(self.space.set_number, nodes.task)
            in_set = self.space.met(nodes)[np.arange(len(nodes))[:, None, None, None], np.maximum(number, 0)]
            meets = np.where(number < 0, meets, in_set)
        reached = meets.all(3)
        if self.space.costs.norm != "linf":
            reached &= self._affordable(nodes, feature, np.maximum(low, first), np.minimum(high, last))
        return np.asarray(reached)

    def _affordable(self, nodes: Nodes, feature: Longs, low: Ints, high: Ints) -> Bools:
        """Under L2 and L1 the costs of all inputs add up: which leaves the budget still pays for."""
        space, row, costs = self.space, self.row[nodes.task], self.space.costs
        base, starts = space.base(nodes, row), costs.boxes.starts.astype(np.int64)
        rows, at = row[:, None, None, None], np.arange(len(nodes))[:, None, None, None]
        cell = np.maximum(np.minimum(np.maximum(costs.home[rows, feature], low), high), 0)
        spent = costs.spent.ravel()[rows * costs.spent.shape[1] + starts[feature] + cell]
        if len(space.sets):
            number = self.of(self.space.set_number, nodes.task)
            spent = np.where(number >= 0, space.set_spent[rows, np.maximum(number, 0)], spent)
        more = np.maximum(np.where(nodes.first[at, feature] < 0, 0.0, spent) - base[at, feature], 0.0)
        left = self.budget[nodes.task] - base.sum(1)
        return np.asarray(more.sum(3) <= left[:, None, None] + 1e-12)


class Space:
    """The leaves of a forest and the balls around rows, as the arrays that bounds are computed on."""

    def __init__(self, costs: Costs) -> None:
        boxes = costs.boxes
        self.costs = costs
        self.nowhere, self.anywhere = len(boxes.leaf), len(boxes.leaf) + 1
        width = boxes.forest.width
        most = max(1, boxes.feature.shape[1])
        self.feature = self._extended(boxes.feature, most, width, (width, width))
        self.first = self._extended(boxes.first, most, 0, (1, 0))
        self.last = self._extended(boxes.last, most, 0, (0, 0))
        self.first[self.first > self.last] = NEVER  # a leaf that no number leads to
        self.gap = self._extended(boxes.gap, most, True, (False, True)).astype(bool)
        self.set_number = self._extended(boxes.set_number, most, -1, (-1, -1))
        self.sets = boxes.sets
        self.set_inputs = np.flatnonzero(boxes.by_set)

    @staticmethod
    def _extended(part: npt.NDArray[Any], most: int, empty: int, last: tuple[int, int]) -> npt.NDArray[Any]:
        """Entries of the leaves, and of the two that are none."""
        out = np.full((len(part) + 2, most), empty, np.int32)
        out[: len(part), : part.shape[1]] = part
        out[-2:, 0] = last
        return out

    @cached_property
    def slot(self) -> Ints:
        """Which place among the inputs without an order each set restricts, (sets,)."""
        place = np.zeros(len(self.sets), np.int32)
        tested = self.set_number >= 0
        place[self.set_number[tested]] = np.searchsorted(self.set_inputs, self.feature[tested])
        return place

    @cached_property
    def set_spent(self) -> Floats:
        """What it costs each row at the least to get into each set, (n, sets)."""
        boxes, rows = self.costs.boxes, len(self.costs.spent)
        found = np.zeros((rows, len(self.sets)))
        for number, slot in enumerate(self.slot.tolist()):
            j = self.set_inputs[slot]
            part = self.costs.spent[:, boxes.starts[j] : boxes.starts[j + 1]]
            inside = self.sets[number, : part.shape[1]]
            found[:, number] = np.where(inside, part, np.inf).min(1, initial=np.inf)
        return found

    def roots(self, rows: Longs, budget: Floats, task: Longs) -> Nodes:
        """Return for each task the cells that its budget reaches one by one."""
        boxes = self.costs.boxes
        within = self.costs.spent[rows] <= budget[:, None]
        number = np.arange(boxes.cells) - boxes.starts[boxes.owner]
        starts = boxes.starts[:-1]
        first = np.minimum.reduceat(np.where(within, number, boxes.cells), starts, axis=1)
        last = np.maximum.reduceat(np.where(within, number, -1), starts, axis=1)
        gone = self.costs.home[rows] < 0
        first, last = np.where(gone, -1, first).astype(np.int32), np.where(gone, -1, last).astype(np.int32)
        sets = np.zeros((len(rows), len(self.set_inputs), self.sets.shape[1]), bool)
        for slot, j in enumerate(self.set_inputs.tolist()):
            part = within[:, boxes.starts[j] : boxes.starts[j + 1]]
            sets[:, slot, : part.shape[1]] = part & ~gone[:, j, None]
        return Nodes(task, first, last, sets)

    def met(self, nodes: Nodes) -> Bools:
        """Return which sets each node meets, (nodes, sets)."""
        found = np.zeros((len(nodes), len(self.sets)), bool)
        for slot in range(len(self.set_inputs)):
            mine = np.flatnonzero(self.slot == slot)
            shared = nodes.sets[:, slot].astype(np.float32) @ self.sets[mine].T.astype(np.float32)
            found[:, mine] = shared > 0
        return found

    def base(self, nodes: Nodes, rows: Longs) -> Floats:
        """Return what each input of each node costs at the least, (nodes, width + 1)."""
        costs, boxes = self.costs, self.costs.boxes
        cell = np.minimum(np.maximum(costs.home[rows], nodes.first), nodes.last)
        spent = costs.spent[rows[:, None], boxes.starts[:-1] + np.maximum(cell, 0)]
        for slot, j in enumerate(self.set_inputs.tolist()):
            part = costs.spent[rows, boxes.starts[j] : boxes.starts[j + 1]]
            inside = nodes.sets[:, slot, : part.shape[1]]
            spent[:, j] = np.where(inside, part, np.inf).min(1, initial=np.inf)
        return np.where(nodes.first < 0, 0.0, spent)

    def meet(self, one: Ints, other: Ints) -> Bools:
        """Return whether leaves of two trees meet, (..., a) and (..., b) -> (..., a, b)."""
        shape = (*one.shape, other.shape[-1])
        meets = np.ones(shape, bool)
        for i in range(self.feature.shape[1]):
            for j in range(self.feature.shape[1]):
                same = self.feature[one, i][..., :, None] == self.feature[other, j][..., None, :]
                ordered = (self.set_number[one, i] < 0)[..., :, None]
                low = np.maximum(self.first[one, i][..., :, None], self.first[other, j][..., None, :])
                high = np.minimum(self.last[one, i][..., :, None], self.last[other, j][..., None, :])
                meets &= ~(same & ordered & (low > high))
        return meets
