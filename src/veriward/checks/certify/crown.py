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
from veriward.checks.certify.bends import Lines, MaxPool, Relu
from veriward.checks.certify.graph import Graph, Input
from veriward.checks.certify.ibp import CHUNK, Bounds, advance, begin
from veriward.checks.certify.region import Region

Held = dict[int, Tensor]  # coefficients (pairs, ...) by operator
Rows = Tensor | slice  # each pair's row, (pairs,), or the one row of all


@dataclass(frozen=True)
class Lower:
    """Lower bounds (pairs,), and the coefficients by the input that they came from, (pairs, ...)."""

    value: Tensor
    steep: Tensor | None = None


def lower(
    graph: Graph,
    region: Region,
    bounds: Bounds,
    rows: Rows,
    held: Held,
    value: Tensor,
    *,
    alphas: Mapping[int, Tensor] | None = None,
    intervals: bool = False,
) -> Lower:
    """Return lower bounds of `value` + the functions `held`, for the rows (pairs,); `held` is used up.

    `rows` may be a slice of one row, whom all pairs belong to: then nothing is copied for each pair. `alphas` are slopes
    below the ReLUs, in place of CROWN's own. With `intervals` the way ends at the first bends, whose ends are known: that
    is interval arithmetic with the last affine operators taken together.
    """
    steep = None
    for number in graph.used(list(held)):
        if number not in held:
            continue
        op, a = graph.ops[number], held.pop(number)
        if bounds.slack[number] is not None:
            value = value - _dot(a.abs(), bounds.slack[number], rows)
        if isinstance(op, Input):
            value, steep = value + region[rows].minimum(a), a
            continue
        if isinstance(op, Affine):
            if op.bias is not None:
                value = value + a.flatten(1) @ op.bias.expand(op.shape).flatten()
            parts = op.pull(a)
        elif intervals:
            value = value + _dot(a.clamp(min=0), bounds.low[number], rows)
            value = value + _dot(a.clamp(max=0), bounds.high[number], rows)
            continue
        else:
            alpha = None if alphas is None else alphas.get(number)
            added, part = _through(op, bounds.lines[number], rows, a, alpha)
            value, parts = value + added, (part,)
        for i, part in zip(op.inputs, parts, strict=True):
            held[i] = held[i] + part if i in held else part
    return Lower(value.nan_to_num(-torch.inf, posinf=-torch.inf, neginf=-torch.inf), steep)


def _dot(a: Tensor, part: Tensor | None, rows: Rows) -> Tensor:
    """Return the product of each pair's coefficients with its row's numbers, (pairs,)."""
    assert part is not None
    if isinstance(rows, slice):
        return a.flatten(1) @ part[rows].flatten()
    return (a * part[rows]).flatten(1).sum(1)


def _through(op: Relu | MaxPool, lines: Lines, rows: Rows, a: Tensor, alpha: Tensor | None) -> tuple[Tensor, Tensor]:
    """Carry coefficients through a bend: the line below where they are positive, above where they are negative."""
    value = _dot(a.clamp(max=0), lines.lift, rows)
    wide = op.spread(a) if isinstance(op, MaxPool) else a
    chord = lines.chord[rows]
    below = lines.alpha[rows] if alpha is None else alpha
    part = torch.addcmul(wide * chord, wide.clamp(min=0), below - chord)
    return value, op.gather(part) if isinstance(op, MaxPool) else part


def chunks(graph: Graph, pairs: int, times: int = 1) -> Iterator[slice]:
    """Yield slices of the pairs that fit the memory; `times` as many tensors are kept."""
    step = max(1, CHUNK // (graph.widest * times))
    for first in range(0, pairs, step):
        yield slice(first, min(first + step, pairs))


def _unit(graph: Graph, bounds: Bounds, number: int, row: int, chosen: Tensor, signs: Tensor) -> tuple[Held, Tensor]:
    """Return the functions "sign times one number of an operator" of a row, one step behind it where that is cheap."""
    op, shape = graph.ops[number], graph.ops[number].shape
    value = torch.zeros(len(chosen), dtype=torch.float64, device=chosen.device)
    picked = op.picked(chosen) if isinstance(op, Affine) else None
    if picked is None or not isinstance(op, Affine):
        first = torch.zeros(len(chosen), prod(shape), dtype=torch.float64, device=chosen.device)
        first[torch.arange(len(chosen), device=chosen.device), chosen] = signs
        return {number: first.view(-1, *shape)}, value
    if op.bias is not None:
        value = value + signs * op.bias.expand(shape).flatten()[chosen]
    slack = bounds.slack[number]
    if slack is not None:
        value = value - slack[row].flatten()[chosen]
    return {op.inputs[0]: signs.view(-1, *[1] * (picked.ndim - 1)) * picked}, value


def refine(graph: Graph, region: Region, bounds: Bounds, number: int, most: int) -> None:
    """Bound again the numbers of an operator that bends leave open, in rows with at most `most` of them.

    The end that is nearer to zero comes first; where it settles the sign, the other end may stay.
    """
    shape, wanted = bounds.low[number].shape, _wanted(graph, bounds, number)
    low, high = bounds.low[number].flatten(1).clone(), bounds.high[number].flatten(1).clone()
    pooled = any(isinstance(op, MaxPool) and number in op.inputs for op in graph.ops)
    for row in range(len(low)):
        down, up = low[row], high[row]
        chosen = wanted[row].nonzero().squeeze(1)
        if 0 < len(chosen) <= most:
            signs = torch.where(up[chosen] >= -down[chosen], 1.0, -1.0).double()
            _tighten(graph, region, bounds, number, row, chosen, signs, down, up)
            still = (up[chosen] > 0) & ((down[chosen] < 0) | pooled)
            _tighten(graph, region, bounds, number, row, chosen[still], -signs[still], down, up)
    bounds.low[number], bounds.high[number] = low.view(shape), high.view(shape)


def _wanted(graph: Graph, bounds: Bounds, number: int) -> Tensor:
    """Return the numbers (n, numbers) on whose ends a line depends: open signs, and rivals for a maximum.

    Of maxima before a ReLU, those that are below zero anyhow need no telling apart.
    """
    low, high = bounds.low[number], bounds.high[number]
    wanted = torch.zeros_like(low.flatten(1), dtype=torch.bool)
    for place, op in enumerate(graph.ops):
        if number in op.inputs and isinstance(op, Relu):
            wanted |= ((low < 0) & (high > 0)).flatten(1)
        if number in op.inputs and isinstance(op, MaxPool):
            floor = all(isinstance(user, Relu) for user in graph.ops if place in user.inputs)
            wanted |= op.open(low, high, floor=floor)
    return wanted


def _tighten(
    graph: Graph,
    region: Region,
    bounds: Bounds,
    number: int,
    row: int,
    chosen: Tensor,
    signs: Tensor,
    low: Tensor,
    high: Tensor,
) -> None:
    """Tighten the lower (sign 1) or upper (sign -1) ends of a row's numbers, in place."""
    for part in chunks(graph, len(chosen)):
        held, value = _unit(graph, bounds, number, row, chosen[part], signs[part])
        found = lower(graph, region, bounds, slice(row, row + 1), held, value).value
        below = signs[part] > 0
        place = chosen[part][below]
        low[place] = torch.maximum(low[place], found[below])
        place = chosen[part][~below]
        high[place] = torch.minimum(high[place], -found[~below])


def tightened(graph: Graph, region: Region, most: int) -> Bounds:
    """Return bounds of every operator, those before the bends by CROWN."""
    bounds = begin(graph, region)
    while len(bounds.low) < len(graph.ops):
        number = len(bounds.low)
        bounds.settle(graph)
        advance(graph, region, bounds)
        if number in graph.refined(region.norm):
            refine(graph, region, bounds, number, most)
    bounds.settle(graph)
    return bounds
