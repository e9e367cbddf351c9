"""How far rows are from falling: brackets of the smallest distance, from climbs above and the search below."""

from dataclasses import dataclass, field

import numpy as np

from veriward.adapters.trees.forest import Bools, Floats
from veriward.checks.certify.clique import Longs
from veriward.checks.certify.reach import Costs
from veriward.checks.certify.trees import NODES, Wanted, decide_rows, rounding

DOUBLINGS = 6  # the first ball has 1/64 of the budget
HALVINGS = 10
CLOSE = 1e-9  # below a point that was found


@dataclass(frozen=True, eq=False)
class Brackets:
    """Shares of the budget: nothing at `lower` (n,) or below makes a row fall, and `points` (n, width) at `upper` (n,) do.

    upper is inf where no point was found.
    """

    lower: Floats
    upper: Floats
    points: Floats


def brackets(costs: Costs, wanted: Wanted, *, nodes: int = NODES, halvings: int = HALVINGS) -> Brackets:
    """Return brackets of the smallest distance of rows to a fall, up to the whole budget.

    Climbs come first, in balls that grow until they succeed and are halved then; the search is asked just below the
    nearest point that was found, and at smaller distances where it runs out of nodes. Under L-infinity a distance is that
    of one cell of one input, so a proof just below a point makes it exact.
    """
    n = len(costs.clean)
    out = Brackets(np.zeros(n), np.full(n, np.inf), costs.clean.copy())
    state = _Halving(costs, wanted, nodes, np.sort(costs.spent, axis=1), out)
    for turn in range(DOUBLINGS, -1, -1):  # small balls are cheap, and most rows need no large one
        state.ask(np.flatnonzero(np.isinf(out.upper)), np.full(n, 0.5**turn), climbs_alone=True)
    for _ in range(halvings):
        share, more = state.between(state.missed)
        state.ask(np.flatnonzero(more & np.isfinite(out.upper)), share, climbs_alone=True)
    state.failed = np.minimum(out.upper, 1.0)
    for turn in range(halvings + 1):
        share, more = state.between(out.lower)
        below = np.where(np.isfinite(out.upper), out.upper * (1 - CLOSE), 1.0)
        share = share if turn else below
        state.ask(np.flatnonzero(out.lower < below if not turn else more), share, climbs_alone=False)
    if costs.norm == "linf":
        # no cell comes into reach between two ranks, so a proof holds up to the next one
        following = np.minimum((state.ranks <= out.lower[:, None]).sum(1), state.ranks.shape[1] - 1)
        following = state.ranks[np.arange(n), following] * (1 - CLOSE)
        out.lower[:] = np.where(out.lower > 0, np.maximum(out.lower, np.minimum(following, 1.0)), 0.0)
    return out


@dataclass
class _Halving:
    """What was asked so far: `missed` (n,) is the largest share at which a climb failed, `failed` the smallest at which
    the search did.
    """

    costs: Costs
    wanted: Wanted
    nodes: int
    ranks: Floats  # (n, cells), the costs of cells in order
    out: Brackets
    missed: Floats = field(init=False)
    failed: Floats | None = None

    def __post_init__(self) -> None:
        self.missed = np.zeros(len(self.ranks))

    def between(self, lower: Floats) -> tuple[Floats, Bools]:
        """Return the shares between the ends that are left, and which rows have one worth asking about."""
        upper = self.out.upper if self.failed is None else np.minimum(self.failed, self.out.upper)
        upper = np.where(np.isfinite(upper), upper, 1.0)
        if self.costs.norm != "linf":
            return (lower + upper) / 2, upper - lower > 1e-3 * upper
        first, last = (self.ranks <= lower[:, None]).sum(1), (self.ranks < upper[:, None]).sum(1)
        middle = self.ranks[np.arange(len(lower)), np.minimum((first + last) // 2, self.ranks.shape[1] - 1)]
        return np.asarray(middle), first < last

    def ask(self, left: Longs, share: Floats, *, climbs_alone: bool) -> None:
        """Decide rows at their shares and note what came of it."""
        if not len(left):
            return
        place = np.full(len(self.costs.clean), -1)
        place[left] = np.arange(len(left))
        mine = self.wanted[place[self.wanted.row] >= 0]
        part = Wanted(place[mine.row], mine.coef, mine.offset)
        level = rounding(self.costs.boxes.forest) * (1 if climbs_alone else -1)
        found = decide_rows(self.costs[left], part, share[left], nodes=0 if climbs_alone else self.nodes, level=level)
        self._nearer(left[found.met], found.points[found.met])
        lost = left[~found.met]
        self.missed[lost] = np.maximum(self.missed[lost], share[lost])
        held = left[found.certified]
        self.out.lower[held] = np.maximum(self.out.lower[held], share[held])
        if self.failed is not None:
            unknown = left[~found.certified]
            self.failed[unknown] = np.minimum(self.failed[unknown], share[unknown])

    def _nearer(self, rows: Longs, points: Floats) -> None:
        distance = distances(self.costs, rows, points)
        nearer = distance < self.out.upper[rows]
        self.out.upper[rows[nearer]], self.out.points[rows[nearer]] = distance[nearer], points[nearer]


def distances(costs: Costs, rows: Longs, points: Floats) -> Floats:
    """Return the distances of points (k, width) from rows (k,), shares of their budgets."""
    boxes = costs.boxes
    cell = boxes.cell(points)
    spent = np.where(cell < 0, 0.0, costs.spent[rows[:, None], boxes.starts[:-2] + np.maximum(cell, 0)])
    return costs.distance(costs.total(spent))
