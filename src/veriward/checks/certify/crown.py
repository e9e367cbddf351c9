"""CROWN: linear bounds carried backward through the network (Zhang et al. 2018, arXiv:1811.00866, section 3).

The work is a list of pairs: a row, and the linear function of some operator's numbers that is to be bounded for it. So
only numbers whose sign is open are bounded again on the way, and only the wrong classes that are still in question.
Every bound is met with the interval's, so it is never looser.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from veriward.checks.certify.affine import Affine
from veriward.checks.certify.bends import Lines, MaxPool, PoolLines, Relu
from veriward.checks.certify.graph import Graph, Input
from veriward.checks.certify.ibp import CHUNK, Bounds, advance, begin
from veriward.checks.certify.region import Region

Held = dict[int, Tensor]  # coefficients (pairs, ...) by operator


@dataclass(frozen=True)
class Lower:
    """Lower bounds (pairs,), and the coefficients by the input that they came from, (pairs, ...)."""

    value: Tensor
    steep: Tensor | None = None


def lower(
    graph: Graph,
    region: Region,
    bounds: Bounds,
    rows: Tensor,
    held: Held,
    value: Tensor,
    *,
    alphas: Mapping[int, Tensor] | None = None,
    intervals: bool = False,
) -> Lower:
    """Return lower bounds of `value` + the functions `held`, for the rows (pairs,); `held` is used up.

    `alphas` are slopes below the bends, in place of CROWN's own. With `intervals` the way ends at the first bends, whose
    ends are known: that is interval arithmetic with the last affine operators taken together.
    """
    steep = None
    for number in graph.used(list(held)):
        if number not in held:
            continue
        op, a = graph.ops[number], held.pop(number)
        slack = bounds.slack[number]
        if isinstance(op, Input):
            value = value + region[rows].minimum(a) - _total(a.abs() * _some(slack, rows))
            steep = a
            continue
        if isinstance(op, Affine):
            value, parts = value + _constant(op, a, slack, rows), op.pull(a)
        elif intervals:
            ends = bounds.low[number][rows], bounds.high[number][rows]
            value = value + _total(a.clamp(min=0) * ends[0] + a.clamp(max=0) * ends[1] - a.abs() * _some(slack, rows))
            continue
        else:
            alpha = None if alphas is None else alphas.get(number)
            added, part = _through(op, bounds.lines[number], rows, a, _some(slack, rows), alpha)
            value, parts = value + added, (part,)
        for i, part in zip(op.inputs, parts, strict=True):
            held[i] = held[i] + part if i in held else part
    return Lower(value.nan_to_num(-torch.inf, posinf=-torch.inf, neginf=-torch.inf), steep)


def _total(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)


def _some(slack: Tensor | None, rows: Tensor) -> Tensor:
    return torch.zeros(1, dtype=torch.float64, device=rows.device) if slack is None else slack[rows]


def _constant(op: Affine, a: Tensor, slack: Tensor | None, rows: Tensor) -> Tensor:
    """Return what the bias brings and rounding takes, (pairs,)."""
    value = torch.zeros(len(a), dtype=a.dtype, device=a.device)
    if op.bias is not None:
        value = value + _total(a * op.bias)
    return value if slack is None else value - _total(a.abs() * slack[rows])


def _through(
    op: Relu | MaxPool, lines: Lines | PoolLines, rows: Tensor, a: Tensor, slack: Tensor, alpha: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Carry coefficients through a bend: the line below where they are positive, above where they are negative."""
    up, down = a.clamp(min=0), a.clamp(max=0)
    if isinstance(lines, Lines):
        below = lines.alpha[rows] if alpha is None else alpha
        return _total(down * (lines.lift[rows] + slack) - up * slack), up * below + down * lines.chord[rows]
    assert isinstance(op, MaxPool)
    value = _total(down * (lines.lift[rows].view_as(a) + slack) - up * slack)
    size = prod(op.before)
    back = a.new_zeros(len(a), size).scatter_add(1, lines.below[rows], up.flatten(1))
    spread = (down.flatten(1)[:, :, None] * lines.slopes[rows]).flatten(1)
    places = op.windows.clamp(min=0).flatten().expand(len(a), -1)
    return value, back.scatter_add(1, places, spread).view(-1, *op.before)


def chunks(graph: Graph, pairs: int, times: int = 1) -> Iterator[slice]:
    """Yield slices of the pairs that fit the memory; `times` as many tensors are kept."""
    step = max(1, CHUNK // (graph.widest * times))
    for first in range(0, pairs, step):
        yield slice(first, min(first + step, pairs))


def _unit(graph: Graph, bounds: Bounds, number: int, rows: Tensor, chosen: Tensor, sign: float) -> tuple[Held, Tensor]:
    """Return the functions "sign times one number of an operator", one step behind it where that is cheap."""
    op, shape = graph.ops[number], graph.ops[number].shape
    value = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    picked = op.picked(chosen) if isinstance(op, Affine) else None
    if picked is None or not isinstance(op, Affine):
        first = torch.zeros(len(rows), prod(shape), dtype=torch.float64, device=rows.device)
        first[torch.arange(len(rows), device=rows.device), chosen] = sign
        return {number: first.view(-1, *shape)}, value
    if op.bias is not None:
        value = value + sign * op.bias.expand(shape).flatten()[chosen]
    slack = bounds.slack[number]
    if slack is not None:
        value = value - slack.flatten(1)[rows, chosen]
    return {op.inputs[0]: sign * picked}, value


def refine(graph: Graph, region: Region, bounds: Bounds, number: int, most: int) -> None:
    """Bound again the numbers of an operator whose sign is open, in rows with at most `most` of them.

    The end that is nearer to zero comes first; where it settles the sign, the other end may stay.
    """
    low, high = bounds.low[number].flatten(1), bounds.high[number].flatten(1)
    pooled = any(isinstance(op, MaxPool) and number in op.inputs for op in graph.ops)
    open_ = (low < high) if pooled else (low < 0) & (high > 0)
    rows, chosen = (open_ & (open_.sum(1, keepdim=True) <= most)).nonzero(as_tuple=True)
    low, high = low.clone(), high.clone()
    for part in chunks(graph, len(rows)):
        row, place = rows[part], chosen[part]
        below = high[row, place] >= -low[row, place]
        for nearer in (below, ~below):
            for sign, where in ((1.0, nearer), (-1.0, ~nearer)):
                still = where & (pooled | ((low[row, place] < 0) & (high[row, place] > 0)))
                _bound(graph, region, bounds, number, (row[still], place[still]), sign, low, high)
    bounds.low[number], bounds.high[number] = low.view_as(bounds.low[number]), high.view_as(bounds.high[number])


def _bound(
    graph: Graph,
    region: Region,
    bounds: Bounds,
    number: int,
    pairs: tuple[Tensor, Tensor],
    sign: float,
    low: Tensor,
    high: Tensor,
) -> None:
    """Tighten one end, in place."""
    held, value = _unit(graph, bounds, number, *pairs, sign)
    found = lower(graph, region, bounds, pairs[0], held, value).value
    if sign > 0:
        low[pairs] = torch.maximum(low[pairs], found)
    else:
        high[pairs] = torch.minimum(high[pairs], -found)


def tightened(graph: Graph, region: Region, most: int) -> Bounds:
    """Return bounds of every operator, those before the bends by CROWN."""
    bounds = begin(graph, region)
    exact = graph.direct if region.norm == "linf" else graph.linear
    while len(bounds.low) < len(graph.ops):
        number = len(bounds.low)
        bounds.settle(graph)
        advance(graph, region, bounds)
        if number in graph.refined and not exact[number]:
            refine(graph, region, bounds, number, most)
    bounds.settle(graph)
    return bounds
