"""The leaves that a row's ball can reach at all: most trees are decided by them and need no search."""

import numpy as np
import numpy.typing as npt

from veriward.adapters.trees.forest import Bools, Floats, Ints
from veriward.checks.certify.boxes import Boxes
from veriward.checks.certify.clique import Longs, Nodes, Space, Tasks


def begin(space: Space, row: Longs, values: Floats, offset: Floats, budget: Floats) -> tuple[Tasks, Nodes]:
    """Return tasks with the leaves in reach alone, and the boxes that their budgets reach.

    `values` (tasks, leaves) is what leaves add to each sum. Trees whose leaves in reach are worth the same move into the
    offset.
    """
    count, boxes = len(row), space.costs.boxes
    roots = space.roots(row, budget, np.arange(count))
    every = np.arange(len(boxes.leaf), dtype=np.int32)[None, None]  # shared by all tasks
    reach = Tasks(space, row, offset, every, values[:, None], budget).reach(roots)[:, 0]
    top = np.maximum.reduceat(np.where(reach, values, -np.inf), boxes.tree_starts, axis=1)
    bottom = np.minimum.reduceat(np.where(reach, values, np.inf), boxes.tree_starts, axis=1)
    spread = np.where(np.isfinite(top), top - np.where(np.isfinite(bottom), bottom, 0.0), -1.0)
    decided = np.where(spread > 0, 0.0, top).sum(1)
    leaf, value = _tables(space, reach, values, spread)
    return Tasks(space, row, offset + decided, leaf, value, budget), roots


def _tables(space: Space, reach: Bools, values: Floats, spread: Floats) -> tuple[Ints, Floats]:
    """Leaves of undecided trees, the trees that matter most first, padded to an even number of trees."""
    boxes, undecided = space.costs.boxes, spread > 0
    trees = int(undecided.sum(1).max(initial=0))
    trees += trees % 2
    order = np.argsort(np.where(undecided, -spread, np.inf), axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    kept = reach & undecided[:, boxes.tree]
    task, leaf = np.nonzero(kept)
    tree = boxes.tree[leaf]
    slot = _within(boxes, kept)[task, leaf]
    table = np.full((len(reach), trees, int(slot.max(initial=0)) + 1), space.nowhere, np.int32)
    table[:, :, 0] = space.anywhere
    value = np.zeros(table.shape)
    table[task, place[task, tree], slot] = leaf
    value[task, place[task, tree], slot] = values[task, leaf]
    return table, value


def _within(boxes: Boxes, kept: Bools) -> npt.NDArray[np.int32]:
    """The place of each kept leaf among those of its tree, (tasks, leaves)."""
    before = np.cumsum(kept, axis=1, dtype=np.int32) - kept
    return np.asarray(before - before[:, boxes.tree_starts][:, boxes.tree], np.int32)
