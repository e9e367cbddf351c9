"""White-box attacks on trees: the nearest leaf of a single tree, climbs and a search over the leaves of many.

Single trees are answered exactly: leaves are tried in the order of their distances, so rules of the domain cost a try and
no success. Sums of trees are climbed one input at a time (`certify.climb`) and then searched by branch and bound. The
library itself decides every candidate.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.trees.forest import Floats, Forest
from veriward.checks.certify.boxes import boxes_of
from veriward.checks.certify.climb import climb
from veriward.checks.certify.clique import Longs, Space
from veriward.checks.certify.columns import View, view_of
from veriward.checks.certify.in_reach import begin
from veriward.checks.certify.reach import Around, Costs, costs_of
from veriward.checks.certify.trees import (
    STEPS,
    Wanted,
    decide_rows,
    exact,
    leaf_costs,
    leaf_points,
    moves,
    other_classes,
    rounding,
)
from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.farthest import Farthest
from veriward.checks.evasion.goals import Goal, Misclassify, Move
from veriward.core.streams import Stream

FARTHEST = 8  # leaves of a single tree that are tried on either side of a prediction
SPREAD = 0.7  # of the factors of gains in further climbs


@dataclass(frozen=True)
class LeafSearch:
    """Look for a leaf, or a tuple of leaves, in which a row falls."""

    name: ClassVar[str] = "leaves"
    reads: ClassVar[Reads] = "structure"

    climbs: int = 4  # from each row, the first one without noise
    nodes: int = 200  # of the search, for each row and class
    tries: int = 64  # leaves of a single tree, for rows whose nearest point breaks a rule

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        view, where = view_of(chase.opened), chase.active
        wanted = wanted_of(view.forest, chase.goal[where]) if view is not None and len(where) else None
        if view is None or wanted is None:
            return
        around = view.around(chase.ball(where))
        costs = costs_of(boxes_of(view.forest, around.whole, around.listed), around)
        proposal = _Proposal(chase, view, around, costs, where)
        noise = _Noise(stream, chase.rows[where], costs.boxes.cells, self.climbs - 1)
        if isinstance(chase.goal, Move):
            self._heights(proposal, wanted, noise)
        if view.forest.trees == 1:
            self._enumerate(proposal, wanted)
        else:
            self._search(proposal, wanted, noise)

    def _enumerate(self, proposal: "_Proposal", wanted: Wanted) -> None:
        """Try the leaves in which rows fall, nearest first."""
        goal = proposal.chase.goal[proposal.where]
        y = goal.y.cpu().numpy() if isinstance(goal, Misclassify) else None
        found = exact(proposal.costs, wanted, y=y)
        left = np.arange(len(proposal.where))
        for turn in range(min(self.tries, found.at.shape[1])):
            left = left[found.at[left, turn] <= 1 + 1e-12]
            if not len(left):
                return
            points = leaf_points(proposal.costs, left, found.leaf[left, turn])
            left = left[~proposal.make(left, points)]

    def _search(self, proposal: "_Proposal", wanted: Wanted, noise: "_Noise") -> None:
        """Climb and search for sums clearly above zero, then for those that rounding may decide."""
        margin = rounding(proposal.view.forest)
        for level in (margin, -margin):
            left = proposal.left()
            if not len(left):
                return
            mine = wanted[np.isin(wanted.row, left)]
            part = Wanted(np.searchsorted(left, mine.row), mine.coef, mine.offset)
            share = np.ones(len(left))
            found = decide_rows(proposal.costs[left], part, share, nodes=self.nodes, level=level, noise=noise[left])
            proposal.make(left[found.met], found.points[found.met])

    def _heights(self, proposal: "_Proposal", wanted: Wanted, noise: "_Noise") -> None:
        """Climb as far as it goes on either side: how far a prediction moves counts, not only whether it moves enough.

        Of a single tree the farthest leaf in reach is known.
        """
        costs, rows = proposal.costs, wanted.row
        values = wanted.worth(costs.boxes.values)
        if proposal.view.forest.trees == 1:
            reached = costs.distance(leaf_costs(costs))[rows] <= 1 + 1e-12
            order = np.argsort(np.where(reached, -values, np.inf), axis=1, kind="stable").astype(np.int32)
            for turn in range(min(FARTHEST, order.shape[1])):
                fits = np.flatnonzero(reached[np.arange(len(rows)), order[:, turn]])
                proposal.make(rows[fits], leaf_points(costs, rows[fits], order[fits, turn]))
            return
        tasks, _ = begin(Space(costs), rows, values, wanted.offset, np.ones(len(rows)))
        for turn in range(self.climbs):
            shaken = noise.draw(rows, rows, turn) if turn else None
            cells, _ = climb(tasks, STEPS, np.inf, shaken)
            proposal.make(rows, costs.points(rows, cells[:, :-1]))


@dataclass(frozen=True, eq=False)
class _Proposal:
    """Rows under attack, and how points in the inputs of trees become candidates."""

    chase: Chase
    view: View
    around: Around
    costs: Costs
    where: Tensor

    def left(self) -> Longs:
        """Return which rows are to be broken still, positions among `where`."""
        done, goal = self.chase.done[self.where], self.chase.goal[self.where]
        if isinstance(goal, Farthest):
            done = done | (self.chase.best[self.where] > goal.tolerance)
        return np.flatnonzero(~done.cpu().numpy())

    def make(self, rows: Longs, points: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Propose points (k, width) for rows (k,) among `where`; return which of them are successes."""
        if not len(rows):
            return np.zeros(0, bool)
        where = self.where[torch.as_tensor(rows, device=self.where.device)]
        z = self.view.encoded(self.costs.boxes, self.chase.clean[where], self.around[rows], points)
        return np.asarray(self.chase.observe(where, z, self.chase.ask(z, where)).cpu().numpy())


@dataclass(frozen=True)
class _Noise:
    """Factors of gains from the stream of each row, whatever its company."""

    stream: Stream
    rows: Tensor
    cells: int
    climbs: int

    def __getitem__(self, keep: Longs) -> "_Noise":
        return _Noise(self.stream, self.rows[torch.as_tensor(keep)], self.cells, self.climbs)

    def draw(self, rows: Longs, tasks: Longs, turn: int) -> Floats:
        """Return factors for the tasks of rows, (tasks, cells)."""
        drawn = self.stream.child("climb").uniform(self.rows[torch.as_tensor(rows)].cpu(), (self.cells,), turn)
        return np.asarray(1 - SPREAD * drawn.double().numpy())


def wanted_of(forest: Forest, goal: Goal) -> Wanted | None:
    """Return what a goal wants of the sums of trees; None where the link between sums and answers is not read."""
    if isinstance(goal, Misclassify):
        if goal.classes != max(2, forest.outputs):
            return None
        return other_classes(forest, goal.y.cpu().numpy())
    if isinstance(goal, Move):
        return moves(forest, goal.start.cpu().numpy(), goal.tolerance.cpu().numpy())
    return None
