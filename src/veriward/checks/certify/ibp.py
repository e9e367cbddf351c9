"""Interval bounds of every operator (Gowal et al. 2018, arXiv:1810.12715, section 3), widened by what rounding adds.

Where numbers are still affine in the input, L2 and L1 balls are bounded by their dual norms instead: the box around an L2
ball of many numbers is far larger than the ball.
"""

from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from veriward.checks.certify.affine import Affine
from veriward.checks.certify.bends import Lines, MaxPool, Relu
from veriward.checks.certify.graph import Graph, Input
from veriward.checks.certify.region import Region
from veriward.checks.certify.rounding import share

CHUNK = 1 << 21  # numbers of a tensor at a time: 16 MB


@dataclass
class Bounds:
    """Of each operator for n rows: ends (n, ...) and the rounding error that its result may carry, None where none."""

    low: list[Tensor]
    high: list[Tensor]
    slack: list[Tensor | None]
    lines: dict[int, Lines] = field(default_factory=dict)

    def __getitem__(self, rows: Tensor) -> "Bounds":
        """Return some of the rows."""
        slack = [part if part is None else part[rows] for part in self.slack]
        return Bounds([part[rows] for part in self.low], [part[rows] for part in self.high], slack)

    def settle(self, graph: Graph) -> None:
        """Find the lines of every bend that lies between known ends."""
        for i, op in enumerate(graph.ops[: len(self.low)]):
            if i not in self.lines and isinstance(op, Relu | MaxPool):
                self.lines[i] = op.lines(self.low[op.inputs[0]], self.high[op.inputs[0]])


def begin(graph: Graph, region: Region) -> Bounds:
    """Return the bounds of the input alone."""
    largest = torch.maximum(region.low.abs(), region.high.abs())
    slack = region.cast * largest  # the attacker's numbers are rounded before the model sees them
    ours = share(0, prod(graph.ops[0].shape), graph.unit) * (largest + 4 * (region.high - region.low))
    return Bounds([region.low - slack], [region.high + slack], [slack + ours])


def advance(graph: Graph, region: Region, bounds: Bounds) -> None:
    """Bound the next operator from those before it."""
    number = len(bounds.low)
    op = graph.ops[number]
    assert not isinstance(op, Input)
    ends = [(bounds.low[i], bounds.high[i]) for i in op.inputs]
    if isinstance(op, Affine):
        low, high, slack = _affine(graph, op, ends)
    else:
        (below, above) = ends[0]
        low, high = op.value(below), op.value(above)
        largest = torch.maximum(low.abs(), high.abs())
        scaled = 1 if isinstance(op, Relu) and bool((op.slope > 0).any()) else 0
        slack = share(scaled, prod(op.shape), graph.unit) * largest
        low, high = (low - slack, high + slack) if scaled else (low, high)
    bounds.low.append(low)
    bounds.high.append(high)
    bounds.slack.append(slack)
    if region.norm != "linf" and graph.linear[number]:
        _dual(graph, region, bounds, number)


def _affine(graph: Graph, op: Affine, ends: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor | None]:
    if not op.terms:
        low, high = (op.push(*(pair[end] for pair in ends)) for end in (0, 1))
        return low, high, None
    middles, radii = zip(*(((a + b) / 2, (b - a) / 2) for a, b in ends), strict=True)
    sizes = op.size(*(m.abs() + r for m, r in zip(middles, radii, strict=True)))
    slack = share(op.terms, op.fan, graph.unit) * sizes + op.terms * torch.finfo(graph.dtype).tiny
    middle, radius = op.value(*middles), op.spread(*radii) + slack
    return middle - radius, middle + radius, torch.where(sizes < torch.finfo(graph.dtype).max / 4, slack, torch.inf)


def _dual(graph: Graph, region: Region, bounds: Bounds, number: int) -> None:
    """Meet the bounds of a number that is affine in the input with those of its ball, by the dual norm."""
    middle, noise = _exact_parts(graph, region, bounds, number)
    radius = dual_radius(graph, region, number).view_as(middle) + noise
    bounds.low[number] = torch.maximum(bounds.low[number], middle - radius)
    bounds.high[number] = torch.minimum(bounds.high[number], middle + radius)


def _exact_parts(graph: Graph, region: Region, bounds: Bounds, number: int) -> tuple[Tensor, Tensor]:
    """Return an affine operator's values at the clean rows, and what rounding may have added up to it."""
    values: dict[int, Tensor] = {0: region.clean}
    noise: dict[int, Tensor] = {
        0: torch.zeros_like(region.clean) + (bounds.slack[0] if bounds.slack[0] is not None else 0)
    }
    for i in reversed(graph.used([number])):
        op = graph.ops[i]
        if isinstance(op, Affine):
            values[i] = op.value(*(values[j] for j in op.inputs))
            noise[i] = op.spread(*(noise[j] for j in op.inputs))
            own = bounds.slack[i]
            noise[i] = noise[i] if own is None else noise[i] + own
    return values[number], noise[number]


def dual_radius(graph: Graph, region: Region, number: int) -> Tensor:
    """Return how far a ball moves each number of an affine operator, (n, numbers)."""
    width, columns = prod(graph.ops[number].shape), prod(graph.ops[0].shape)
    radii = region.radii.flatten(1)
    same = bool((radii == radii[:1]).all())  # one budget for all rows: the norms are found once
    radii = radii[:1] if same else radii
    step = max(1, CHUNK // (columns * (len(radii) if region.norm == "l1" else 1)))
    parts = []
    for first in range(0, width, step):
        chosen = torch.arange(first, min(first + step, width), device=radii.device)
        weight = responses(graph, number, chosen).abs()
        if region.norm == "l2":
            parts.append((radii.square() @ weight.square().T).sqrt() * (1 + 1e-12))
        else:
            parts.append((weight[None] * radii[:, None]).amax(2))
    return torch.cat(parts, 1).expand(len(region), -1)


def responses(graph: Graph, number: int, chosen: Tensor) -> Tensor:
    """Return how the chosen numbers of an affine operator answer to each number of the input, (chosen, inputs)."""
    shape = graph.ops[number].shape
    first = torch.zeros(len(chosen), prod(shape), dtype=torch.float64, device=chosen.device)
    first[torch.arange(len(chosen), device=chosen.device), chosen] = 1
    held = {number: first.view(-1, *shape)}
    for i in graph.used([number]):
        op = graph.ops[i]
        if isinstance(op, Affine):
            for j, part in zip(op.inputs, op.pull(held.pop(i)), strict=True):
                held[j] = held[j] + part if j in held else part
    return held[0].flatten(1)


def interval(graph: Graph, region: Region) -> Bounds:
    """Return interval bounds of every operator."""
    bounds = begin(graph, region)
    while len(bounds.low) < len(graph.ops):
        advance(graph, region, bounds)
    return bounds
