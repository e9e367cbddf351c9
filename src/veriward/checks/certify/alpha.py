"""alpha-CROWN: the slopes below the bends are free, so the best are searched for (Xu et al. 2021, arXiv:2011.13824).

Every slope in its range gives a valid bound; Adam raises the bound from CROWN's slopes on, and the best one counts. The
ends before the bends stay those of CROWN. No random numbers are used.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from veriward.checks.certify.bends import Relu
from veriward.checks.certify.crown import Held, chunks, lower
from veriward.checks.certify.graph import Graph
from veriward.checks.certify.ibp import Bounds
from veriward.checks.certify.region import Region

RATE, DECAY = 0.25, 0.95  # of the slopes' range, in the first step and from step to step
MOMENTS = (0.9, 0.999)
KEPT = 12  # tensors that the way back keeps for each on the way
LOOK, HOPE = 5, 3.0  # steps between looks at the progress; how much more of it is hoped for in what is left

Start = Callable[[slice], tuple[Held, Tensor]]


def improved(
    graph: Graph,
    region: Region,
    bounds: Bounds,
    rows: Tensor,
    start: Start,
    values: Tensor,
    steps: int,
    *,
    stop: bool = True,
) -> Tensor:
    """Return better lower bounds than `values` (pairs,) of the functions that `start` gives for slices of the pairs.

    With `stop`, pairs that are proved (above zero) or hopeless take no further part.
    """
    best = values.clone()
    for part in chunks(graph, len(rows), KEPT):
        search = _Search(graph, region, bounds, rows[part], *start(part))
        best[part] = search.run(values[part], steps, stop)
    return best


class _Search:
    """Slopes of one slice of pairs on their way up."""

    def __init__(self, graph: Graph, region: Region, bounds: Bounds, rows: Tensor, held: Held, value: Tensor) -> None:
        self.graph, self.region, self.bounds, self.rows, self.held, self.value = (
            graph,
            region,
            bounds,
            rows,
            held,
            value,
        )
        self.slopes: dict[int, Tensor] = {}
        self.free: dict[int, Tensor] = {}
        self.least: dict[int, Tensor] = {}
        for i in graph.used(list(held)):
            op, lines = graph.ops[i], bounds.lines.get(i)
            if isinstance(op, Relu) and lines is not None and lines.free is not None:
                self.slopes[i], self.free[i], self.least[i] = lines.alpha[rows], lines.free[rows], op.slope
        self.moments = {i: (torch.zeros_like(s), torch.zeros_like(s)) for i, s in self.slopes.items()}

    def run(self, values: Tensor, steps: int, stop: bool) -> Tensor:
        """Return the best bound of each pair."""
        best, seen = values.clone(), values.clone()
        going = torch.arange(len(values), device=values.device)
        for step in range(steps + 1):
            found, gradients = self._bound(climb=step < steps)
            best[going] = torch.maximum(best[going], found)
            if stop and step and step % LOOK == 0 and step < steps:
                going = self._thinned(going, best, seen, (steps - step) / LOOK, gradients)
                seen[going] = best[going]
            if not len(going):
                break
            self._climb(gradients, step)
        return best

    def _bound(self, *, climb: bool) -> tuple[Tensor, dict[int, Tensor]]:
        with torch.set_grad_enabled(climb):
            leaves = {i: slope.detach().requires_grad_(climb) for i, slope in self.slopes.items()}
            held = dict(self.held)
            found = lower(self.graph, self.region, self.bounds, self.rows, held, self.value, alphas=leaves).value
            if not climb or not leaves or not found.requires_grad:
                return found.detach(), {}
            got = torch.autograd.grad(found.sum(), list(leaves.values()), allow_unused=True)
        gradients = {i: g for i, g in zip(leaves, got, strict=True) if g is not None}
        return found.detach(), {i: torch.where(self.free[i], g.nan_to_num(0.0), 0.0) for i, g in gradients.items()}

    def _thinned(self, going: Tensor, best: Tensor, seen: Tensor, turns: float, gradients: dict[int, Tensor]) -> Tensor:
        """Let go of pairs that are proved, or will not be at the pace of the last steps."""
        now = best[going]
        stay = (now <= 0) & (now + HOPE * turns * (now - seen[going]) > 0)
        self.rows, self.value = self.rows[stay], self.value[stay]
        self.held = {i: a[stay] for i, a in self.held.items()}
        for parts in (self.slopes, self.free, gradients):
            parts.update({i: part[stay] for i, part in parts.items()})
        self.moments = {i: (m[stay], v[stay]) for i, (m, v) in self.moments.items()}
        return going[stay]

    def _climb(self, gradients: dict[int, Tensor], step: int) -> None:
        """One step of Adam up, with each pair's gradients in units of their largest."""
        first, second = MOMENTS
        for i, gradient in gradients.items():
            most = gradient.abs().flatten(1).amax(1).clamp(min=1e-300).view(-1, *[1] * (gradient.ndim - 1))
            scaled, (m, v) = gradient / most, self.moments[i]
            m, v = first * m + (1 - first) * scaled, second * v + (1 - second) * scaled.square()
            self.moments[i] = m, v
            move = (m / (1 - first ** (step + 1))) / ((v / (1 - second ** (step + 1))).sqrt() + 1e-3)
            slope = self.slopes[i] + RATE * DECAY**step * move
            self.slopes[i] = torch.minimum(torch.maximum(slope, self.least[i]), torch.ones_like(slope))
