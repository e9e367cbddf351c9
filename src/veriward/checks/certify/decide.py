"""Which rows keep their decision: the cheapest bound first, and a row leaves as soon as it is proved or turned."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from veriward.checks.certify.alpha import improved
from veriward.checks.certify.crown import Held, chunks, lower, tightened
from veriward.checks.certify.exact_linear import is_linear
from veriward.checks.certify.graph import Graph
from veriward.checks.certify.ibp import CHUNK, Bounds, interval
from veriward.checks.certify.region import Region

NONE, INTERVAL, CROWN, ALPHA, EXACT = 0, 1, 2, 3, 4
LAYERS = 32  # tensors that are kept for each number of a row
TRIES = 3  # corners along gradients, before any work is put into a row

Turned = Callable[[Tensor, Tensor], Tensor]  # (rows, candidates) -> whether each candidate turns its row's decision


@dataclass(frozen=True)
class Effort:
    """What may be spent on a row: steps of alpha-CROWN, and numbers of an operator that are bounded again.

    `hope` is how many times tighter each layer that is bounded again is hoped to make the last bound. On small networks
    it was three times and a half; rows that even this would leave open are not tried.
    """

    steps: int = 20
    most: int = 2048
    hope: float = 3.5


@dataclass(frozen=True)
class Decided:
    """Per row: a lower bound of the margin (n,) float64, what proved it (n,), and whether an attack turned it (n,)."""

    margin: Tensor
    method: Tensor
    turned: Tensor


def decide(graph: Graph, region: Region, y: Tensor, effort: Effort, turned: Turned | None = None) -> Decided:
    """Return what is proved of rows that are classified correctly as y (n,), each apart from the others.

    The margin is that of the scores as the deployed arithmetic gives them: above zero, no change in the region turns the
    decision. `turned` asks the model itself, so that no bound is sought for rows that are broken.
    """
    parts = [_Rows(graph, region[r], y[r], effort, _apart(turned, r)).run() for r in _groups(graph, len(y), y.device)]
    if not parts:
        empty = torch.zeros(0, dtype=torch.float64, device=y.device)
        return Decided(empty, empty.to(torch.int8), empty.bool())
    margins, methods, broken = zip(*((part.margin, part.method, part.turned) for part in parts), strict=True)
    return Decided(torch.cat(margins), torch.cat(methods), torch.cat(broken))


def _groups(graph: Graph, n: int, device: torch.device) -> Iterator[Tensor]:
    """Yield row numbers, so many at a time as fit the memory."""
    size = sum(prod(op.shape) for op in graph.ops)
    step = max(1, LAYERS * CHUNK // (8 * size))
    for first in range(0, n, step):
        yield torch.arange(first, min(first + step, n), device=device)


def _apart(turned: Turned | None, rows: Tensor) -> Turned | None:
    return None if turned is None else lambda some, z: turned(rows[some], z)


def functions(graph: Graph, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the margins to be proved as pairs: rows (pairs,), wrong classes (pairs,), coefficients (pairs, outputs).

    A single score decides between two classes by its sign.
    """
    outputs = graph.ops[-1].shape[0]
    if outputs == 1:
        rows = torch.arange(len(y), device=y.device)
        return rows, 1 - y, (2.0 * y.double() - 1)[:, None]
    rows, wrong = (torch.arange(outputs, device=y.device) != y[:, None]).nonzero(as_tuple=True)
    one = torch.eye(outputs, dtype=torch.float64, device=y.device)
    return rows, wrong, one[y[rows]] - one[wrong]


class _Rows:
    """The pairs of a group of rows on their way through the methods."""

    def __init__(self, graph: Graph, region: Region, y: Tensor, effort: Effort, turned: Turned | None) -> None:
        self.graph, self.region, self.y, self.effort, self.ask = graph, region, y, effort, turned
        self.rows, self.wrong, self.pairs = functions(graph, y)
        self.value = torch.full((len(self.rows),), -torch.inf, dtype=torch.float64, device=y.device)
        self.method = torch.zeros(len(y), dtype=torch.int8, device=y.device)
        self.broken = torch.zeros(len(y), dtype=torch.bool, device=y.device)

    def run(self) -> Decided:
        """Go from the cheapest method to the dearest."""
        bounds = interval(self.graph, self.region)
        everyone = torch.arange(len(self.y), device=self.y.device)
        pairs, steep = self._bound(bounds, everyone, intervals=True)
        if is_linear(self.graph):  # no bend was in the way, so this was exact
            self._note(EXACT)
            self._try(pairs, steep)
            return self._decided()
        self._note(INTERVAL)
        self._try_gradients()
        if not bool(self.left.any()):
            return self._decided()
        bounds.settle(self.graph)
        pairs, steep = self._bound(bounds, torch.where(self.left, everyone, -1))
        self._note(CROWN)
        self._try(pairs, steep)
        if bool((hopeful := self.left & self._hopeful()).any()):
            self._crown(hopeful)
        return self._decided()

    def _hopeful(self) -> Tensor:
        """Whether bounding the layers again could close the gap: each layer is hoped to shrink it so many times, (n,)."""
        scores = self.graph.values(self.region.clean)[self.rows]
        clean = torch.full_like(self.margin, torch.inf)
        clean = clean.scatter_reduce(0, self.rows, (self.pairs * scores).sum(1), "amin")
        return clean > (clean - self.margin) / self.effort.hope ** len(self.graph.refined(self.region.norm))

    @property
    def margin(self) -> Tensor:
        """The least bound of each row's pairs, less what the end of the network may hide, (n,)."""
        least = torch.full((len(self.y),), torch.inf, dtype=torch.float64, device=self.y.device)
        return least.scatter_reduce(0, self.rows, self.value, "amin") - self.graph.tail

    @property
    def left(self) -> Tensor:
        """Which rows are neither proved nor turned, (n,)."""
        return (self.margin <= 0) & ~self.broken

    def _decided(self) -> Decided:
        return Decided(self.margin, self.method, self.broken)

    def _note(self, method: int) -> None:
        self.method[(self.margin > 0) & (self.method == NONE)] = method

    def _held(self, pairs: Tensor) -> tuple[Held, Tensor]:
        return {len(self.graph.ops) - 1: self.pairs[pairs]}, torch.zeros(len(pairs), dtype=torch.float64).to(
            pairs.device
        )

    def _bound(self, bounds: Bounds, place: Tensor, *, intervals: bool = False) -> tuple[Tensor, Tensor]:
        """Bound the open pairs of rows that have a place (n,) in `bounds`; return them, and where their bounds point."""
        pairs = self._open(place)
        steep = torch.zeros(len(pairs), *self.region.clean.shape[1:], dtype=torch.float64, device=self.y.device)
        region = self.region if len(bounds.low[0]) == len(self.y) else self.region[(place >= 0).nonzero().squeeze(1)]
        for part in chunks(self.graph, len(pairs)):
            some = pairs[part]
            held, value = self._held(some)
            found = lower(self.graph, region, bounds, place[self.rows[some]], held, value, intervals=intervals)
            self.value[some] = torch.maximum(self.value[some], found.value)
            if found.steep is not None:
                steep[part] = found.steep
        return pairs, steep

    def _open(self, place: Tensor) -> Tensor:
        """Return the pairs that are not proved, of rows that have a place (n,)."""
        return ((self.value <= self.graph.tail) & (place[self.rows] >= 0)).nonzero().squeeze(1)

    def _crown(self, chosen: Tensor) -> None:
        """Bound the layers of the chosen rows (n,) again, and search for better slopes where that is not enough."""
        group = chosen.nonzero().squeeze(1)
        place = torch.full((len(self.y),), -1, device=self.y.device)
        place[group] = torch.arange(len(group), device=self.y.device)
        region = self.region[group]
        bounds = tightened(self.graph, region, self.effort.most)
        self._bound(bounds, place, intervals=True)
        pairs, steep = self._bound(bounds, place)
        self._note(CROWN)
        self._try(pairs, steep)
        if self.effort.steps:
            self._alpha(region, bounds, torch.where(self.left, place, -1))

    def _alpha(self, region: Region, bounds: Bounds, place: Tensor) -> None:
        """Search better slopes for each row's worst pair, and for the others of rows whose worst is proved."""
        worst = self._worst(self._open(place))
        self._climb(region, bounds, place, worst)
        proved = torch.zeros_like(self.broken)
        proved[self.rows[worst]] = self.value[worst] > self.graph.tail
        self._climb(region, bounds, place, self._open(torch.where(proved, place, -1)))
        self._note(ALPHA)

    def _worst(self, pairs: Tensor) -> Tensor:
        """Return the pair with the least bound of each row, the first of equals."""
        least = torch.full((len(self.y),), torch.inf, dtype=torch.float64, device=self.y.device)
        least = least.scatter_reduce(0, self.rows[pairs], self.value[pairs], "amin")
        at = pairs[self.value[pairs] == least[self.rows[pairs]]]
        first = torch.ones(len(at), dtype=torch.bool, device=at.device)
        first[1:] = self.rows[at][1:] != self.rows[at][:-1]
        return at[first]

    def _climb(self, region: Region, bounds: Bounds, place: Tensor, pairs: Tensor) -> None:
        rows, tail = place[self.rows[pairs]], self.graph.tail
        found = improved(
            self.graph,
            region,
            bounds,
            rows,
            lambda part: self._held(pairs[part]),
            self.value[pairs] - tail,
            self.effort.steps,
        )
        self.value[pairs] = found + tail

    def _try(self, pairs: Tensor, steep: Tensor) -> None:
        """Ask the model about the corner to which the bound of each row's worst pair points."""
        worst = self._worst(pairs)
        here = torch.searchsorted(pairs, worst)
        self._asked(self.rows[worst], self.region[self.rows[worst]].corner(steep[here]))

    def _asked(self, rows: Tensor, z: Tensor) -> None:
        if self.ask is not None and len(rows):
            self.broken[rows] = self.broken[rows] | (self.ask(rows, z) & (self.margin[rows] <= 0))

    def _try_gradients(self) -> None:
        """Go to the corner where the margin falls steepest, and again from there."""
        z = self.region.clean
        for _ in range(TRIES if self.ask is not None else 0):
            rows = self.left.nonzero().squeeze(1)
            if not len(rows):
                return
            z = z.clone()
            z[rows] = self.region[rows].corner(self._slope(z[rows], rows))
            self._asked(rows, z[rows])

    def _slope(self, z: Tensor, rows: Tensor) -> Tensor:
        """Return the gradient of the least margin, (rows, ...)."""
        with torch.enable_grad():
            x = z.detach().requires_grad_()
            scores, y = self.graph.values(x), self.y[rows]
            if scores.shape[1] == 1:
                margin = scores[:, 0] * (2 * y - 1)
            else:
                margin = scores.gather(1, y[:, None])[:, 0] - scores.scatter(1, y[:, None], -torch.inf).amax(1)
            (gradient,) = torch.autograd.grad(margin.sum(), x)
        return gradient
