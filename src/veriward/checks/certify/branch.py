"""Branch and bound over the leaves of trees: is there a point of the ball at which a sum of leaves is not negative?

The box of a node is split into the leaves of one undecided tree, the one that matters most; nodes whose bound stays
negative are dropped. Where all trees are decided the sum is exact, so given enough nodes the answer is complete under
every norm. Akin to the search of Devos, Meert & Davis 2021 ("Versatile verification of tree ensembles",
arXiv:2010.13880) with the bounds of `clique`. Tasks never share nodes, so a task's answer does not depend on its company.
"""

from dataclasses import dataclass

import numpy as np

from veriward.adapters.trees.forest import Bools, Floats, Ints
from veriward.checks.certify.clique import Longs, Nodes, Space, Tasks
from veriward.checks.certify.in_reach import begin

AT_ONCE = 16  # nodes of a task that are looked at together
MOST = 1 << 21  # entries of leaves that are compared at once


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What came of tasks: `held` (tasks,) where no point reaches the level; `met` where the search stopped at one, which
    lies in the cells `cells` (tasks, width); neither where the nodes ran out.
    """

    held: Bools
    met: Bools
    cells: Ints
    nodes: Longs  # looked at


def search(
    space: Space, row: Longs, values: Floats, offset: Floats, budget: Floats, *, level: Floats, nodes: int
) -> Verdicts:
    """Decide for each task whether offset + the values of leaves (tasks, leaves) can be at or above `level` (tasks,)."""
    count, width = len(row), space.costs.boxes.forest.width
    out = Verdicts(
        np.ones(count, bool), np.zeros(count, bool), np.zeros((count, width), np.int32), np.zeros(count, np.int64)
    )
    step = max(1, MOST // max(1, AT_ONCE * len(space.feature)))
    for start in range(0, count, step):
        part = np.arange(start, min(count, start + step))
        _Run(space, part, row[part], values[part], offset[part], budget[part], level[part], nodes, out).go()
    return out


@dataclass
class _Run:
    space: Space
    number: Longs  # of each task among all
    row: Longs
    values: Floats
    offset: Floats
    budget: Floats
    level: Floats
    most: int
    out: Verdicts

    def go(self) -> None:
        """Search until every task is decided or out of nodes."""
        tasks, stack = begin(self.space, self.row, self.values, self.offset, self.budget)
        while len(stack):
            turn = _latest(stack.task, AT_ONCE)
            looked, stack = stack[turn], stack[~turn]
            np.add.at(self.out.nodes, self.number[looked.task], 1)
            reach = tasks.reach(looked)
            bound, best = tasks.alone(looked, reach)
            alive = ~(bound < self.level[looked.task])  # what is no number proves nothing
            looked, reach, best = looked[alive], reach[alive], best[alive]
            if len(looked):
                bound = tasks.bound(looked, reach)
                alive = ~(bound < self.level[looked.task])  # what is no number proves nothing
                looked, reach, best = looked[alive], reach[alive], best[alive]
            if len(looked):
                stack = stack.and_(self._split(tasks, looked, reach))
                stack = stack[np.argsort(stack.task, kind="stable")]
            stack = self._unfinished(stack)
        self.out.held[self.number] &= ~self.out.met[self.number]

    def _unfinished(self, stack: Nodes) -> Nodes:
        """Return the nodes of tasks that go on; a task that has looked at enough of them proves nothing."""
        number = self.number[stack.task]
        spent = self.out.nodes[number] >= self.most
        self.out.held[number[spent]] = False
        return stack[~(spent | self.out.met[number])]

    def _split(self, tasks: Tasks, looked: Nodes, reach: Bools) -> Nodes:
        """Return the children of nodes, worst first; a node in which no tree is undecided ends its task."""
        value = tasks.value[looked.task]
        top, bottom = (f(np.where(reach, value, fill), axis=2) for f, fill in ((np.max, -np.inf), (np.min, np.inf)))
        spread = np.where(reach.sum(2) > 1, top - bottom, -1.0)
        tree = spread.argmax(1) if spread.shape[1] else np.zeros(len(looked), np.int64)
        decided = spread.max(1, initial=-1.0) <= 0
        self._meet(looked[decided])
        parent, leaf = (
            np.nonzero(reach[np.arange(len(looked)), tree] & ~decided[:, None]) if spread.shape[1] else (tree[:0],) * 2
        )
        worth = value[parent, tree[parent], leaf] - top[parent, tree[parent]]
        order = np.lexsort((worth, parent))
        parent, leaf = parent[order], leaf[order]
        return self._children(looked[parent], tasks.leaf[looked.task[parent], tree[parent], leaf])

    def _children(self, nodes: Nodes, leaf: Ints) -> Nodes:
        """Return nodes cut to leaves."""
        space, rows = self.space, np.arange(len(nodes))
        first, last, sets = nodes.first.copy(), nodes.last.copy(), nodes.sets.copy()
        for entry in range(space.feature.shape[1]):
            feature = space.feature[leaf, entry]
            gone = first[rows, feature] < 0
            first[rows, feature] = np.where(gone, -1, np.maximum(first[rows, feature], space.first[leaf, entry]))
            last[rows, feature] = np.where(gone, -1, np.minimum(last[rows, feature], space.last[leaf, entry]))
            number = space.set_number[leaf, entry]
            cut = np.flatnonzero(number >= 0)
            if len(cut):
                sets[cut, space.slot[number[cut]]] &= space.sets[number[cut]]
        return Nodes(nodes.task, first, last, sets)

    def _meet(self, nodes: Nodes) -> None:
        """Note the tasks whose level is reached in these nodes, and the nearest cells."""
        if not len(nodes):
            return
        space, task = self.space, self.number[nodes.task]
        home = space.costs.home[self.row[nodes.task]]
        cells = np.minimum(np.maximum(home, nodes.first), nodes.last)
        for slot, j in enumerate(space.set_inputs.tolist()):
            part = space.costs.spent[
                self.row[nodes.task], space.costs.boxes.starts[j] : space.costs.boxes.starts[j + 1]
            ]
            inside = nodes.sets[:, slot, : part.shape[1]]
            cells[:, j] = np.where(nodes.first[:, j] < 0, -1, np.where(inside, part, np.inf).argmin(1))
        self.out.met[task] = True
        self.out.cells[task] = cells[:, :-1]


def _latest(task: Longs, most: int) -> Bools:
    """Return which nodes are among the last of their task; tasks stand in order."""
    ends = np.searchsorted(task, task, side="right")
    return np.asarray(np.arange(len(task)) >= ends - most)
