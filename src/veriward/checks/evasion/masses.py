"""Square attack under L2 and L1: what is spent moves between windows. arXiv:1912.00049, algorithm 3 and section 3.3.

A window of the picture gives up what it spends, and another gets it, with whatever of the budget was unspent: in the
shape of a bump, of a sign of its own in each channel, on top of what it had. Under L1 (arXiv:2103.01208, section 4) the
same with sums in place of squares. On tables and vectors random sets of columns take the place of windows.
"""

from functools import lru_cache

import torch
from torch import Tensor

from veriward.core.ball import Ball
from veriward.core.streams import Stream

SMALLEST = 3  # side of a window
TILES = 5  # bumps along a side of the first picture
TINY = 1e-12


@lru_cache(maxsize=64)
def bump(side: int) -> Tensor:
    """Return two heaps side by side, one up and one down, (side, side), of norm one: equation 2 and section 3.3.

    >>> bump(4).abs().sum(1)[0] > 0, round(float(bump(5).square().sum()), 6)
    (tensor(True), 1.0)
    """
    up = _heap(side // 2, side)
    both = torch.cat([up, -_heap(side - side // 2, side)]) if side > 1 else torch.ones(1, 1)
    return both / both.square().sum().sqrt()


def _heap(height: int, width: int) -> Tensor:
    """Return sums of centred rectangles, each thinner in weight by one over its number squared: equation 2."""
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width).view(1, -1)
    middle, across = height // 2, width // 2
    away = torch.maximum((rows - middle).abs(), (columns - across).abs())
    layers = torch.arange(max(middle, across) + 1)
    heap = ((away[..., None] <= layers) / (layers + 1.0).square()).sum(-1)
    return heap / heap.square().sum().sqrt().clamp(min=TINY)


def first(ball: Ball, rows: Tensor, stream: Stream) -> Tensor:
    """Return starts on the edge of the ball: tiles of bumps, each of a random sign, or random columns; (n, ...)."""
    shape = ball.clean.shape[1:]
    if not _has_windows(ball.clean):
        return _spread(ball, stream.child("stripes").normal(rows, shape))
    side = max(1, min(shape[-2:]) // TILES)
    high, wide = (-(-length // side) for length in shape[-2:])
    sign = (stream.child("stripes").uniform(rows, (*shape[:-2], high, wide)) < 0.5).float() * 2 - 1
    tiles = sign.repeat_interleave(side, -2).repeat_interleave(side, -1)[..., : shape[-2], : shape[-1]]
    pattern = bump(side).to(rows.device).repeat(high, wide)[: shape[-2], : shape[-1]]
    return _spread(ball, tiles * pattern)


def _has_windows(z: Tensor) -> bool:
    """Return whether rows are pictures high and wide enough for windows."""
    return z.ndim >= 3 and min(z.shape[-2:]) >= SMALLEST


def _spread(ball: Ball, delta: Tensor) -> Tensor:
    """Return clean rows moved along delta, the whole budget spent."""
    length = _size(delta.flatten(1), ball.norm).view(-1, *[1] * (delta.ndim - 1))
    return ball.clamp(ball.clean + ball.radii * (delta / length.clamp(min=TINY)).to(ball.clean.dtype))


def _size(values: Tensor, norm: str) -> Tensor:
    """Return the norm along the last axis."""
    return values.abs().sum(-1) if norm == "l1" else values.square().sum(-1).sqrt()


def exchange(z: Tensor, ball: Ball, rows: Tensor, share: float, query: int, stream: Stream) -> Tensor:
    """Return z with the mass of one window, or some mass of some columns, moved into another, (n, ...); in the ball.

    Whole numbers are not made whole.
    """
    delta = ((z - ball.clean) / ball.radii.clamp(min=torch.finfo(z.dtype).tiny)).nan_to_num(0.0)
    if _has_windows(z):
        layers = delta.reshape(len(z), -1, z.shape[-2] * z.shape[-1])
        into, out_of, shape = _windows(z, ball.norm, rows, share, query, stream)
    else:
        layers = delta.reshape(len(z), 1, -1)
        into, out_of, shape = _sets((ball.high > ball.low).flatten(1), ball.norm, rows, share, query, stream)
    into, out_of, shape = (part.to(z.dtype) for part in (into, out_of, shape))
    moved = _moved(layers, into, out_of, shape, ball.norm, ball.reach.reshape(-1, 1)).view_as(z)
    # no more mass than there is: only the box can be in the way
    trial = torch.minimum(torch.maximum(ball.clean + ball.radii * moved, ball.low), ball.high)
    return trial if ball.jump is None else _alone(trial, ball, rows, query, stream)


def _moved(delta: Tensor, into: Tensor, out_of: Tensor, shape: Tensor, norm: str, all_of_it: Tensor) -> Tensor:
    """Return delta (n, layers, m) with a share of what `out_of` spends, and what nobody does, moved into `into`.

    Each layer keeps what it spent; what nobody spent is shared by all alike.
    """
    power, layers = 1 if norm == "l1" else 2, delta.shape[1]
    new = _unit(shape * into, norm)
    both = new + _unit(delta * into, norm)
    both = torch.where(_size(both, norm)[..., None] > 1e-3, both, new)  # a single number would go out by its opposite
    left = delta * (1 - torch.maximum(into, out_of))
    spent = _size(delta, norm) ** power
    unspent = (all_of_it**power - spent.sum(1, keepdim=True)).clamp(min=0) / layers
    mass = (unspent + spent - _size(left, norm) ** power).clamp(min=0) ** (1 / power)
    return left + _unit(both, norm) * mass[..., None]


def _unit(values: Tensor, norm: str) -> Tensor:
    return values / _size(values, norm).clamp(min=TINY)[..., None]


def _windows(
    z: Tensor, norm: str, rows: Tensor, share: float, query: int, stream: Stream
) -> tuple[Tensor, Tensor, Tensor]:
    """Return two windows per row, (n, 1, m) of 0 and 1, and bumps in the first, (n, layers, m)."""
    height, width = z.shape[-2:]
    most = min(height, width) - (min(height, width) + 1) % 2  # odd
    side = out_side = min(max(round((share * height * width) ** 0.5), SMALLEST) // 2 * 2 + 1, most)
    if share * height * width < SMALLEST**2 and query % 2:
        # beyond the paper: one steep pixel can be worth more than any window of three, and under L1 than a wide one
        side, out_side = 1, 1 + query // 2 * 2 % (most + 1) if norm == "l1" else 1
    place = stream.child("place").uniform(rows, (4,), query)
    ends = (height - side, width - side, height - out_side, width - out_side)
    top, left, out_top, out_left = ((place[:, i] * (end + 1)).long().view(-1, 1) for i, end in enumerate(ends))
    down, across = torch.arange(height, device=z.device), torch.arange(width, device=z.device)
    shape = _placed(bump(side).to(z.device), down - top, across - left)
    turned = _placed(bump(side).T.to(z.device), down - top, across - left)
    turn = stream.child("turn").uniform(rows, (1,), query) < 0.5
    layers = z.shape[1:-2].numel()
    sign = (stream.child("sign").uniform(rows, (layers, 1), query) < 0.5).float() * 2 - 1
    into = _placed(torch.ones(side, side, device=z.device), down - top, across - left)
    out_of = _placed(torch.ones(out_side, out_side, device=z.device), down - out_top, across - out_left)
    shape = torch.where(turn, turned.flatten(1), shape.flatten(1))[:, None] * sign
    return into.flatten(1)[:, None], out_of.flatten(1)[:, None], shape


def _placed(pattern: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Return the pattern (side, side) at a place of its own in each row, (n, height, width); 0 elsewhere."""
    side = len(pattern)
    inside = ((down >= 0) & (down < side))[:, :, None] & ((across >= 0) & (across < side))[:, None]
    values = pattern[down.clamp(0, side - 1)[:, :, None], across.clamp(0, side - 1)[:, None]]
    return torch.where(inside, values, 0.0)


def _sets(
    movable: Tensor, norm: str, rows: Tensor, share: float, query: int, stream: Stream
) -> tuple[Tensor, Tensor, Tensor]:
    """Return random columns that take mass, others that give a random part of theirs, and random directions.

    Under L1 any number of columns may give, and all they have: one column can be worth more than all others together.
    """
    luck = stream.child("part").uniform(rows, (3,), query)
    much: float | Tensor = share
    part = luck[:, :1]
    if norm == "l1":
        much, part = torch.where(luck[:, 1:2] < 0.5, share, luck[:, 2:]), (2 * part).clamp(max=1)
    into = _some(movable, stream.child("columns").uniform(rows, movable.shape[1:], query), share)
    out_of = _some(movable, stream.child("others").uniform(rows, movable.shape[1:], query), much)
    shape = stream.child("direction").normal(rows, movable.shape[1:], query)
    return into[:, None].float(), (out_of * part)[:, None], shape[:, None]


def _some(movable: Tensor, draw: Tensor, share: float | Tensor) -> Tensor:
    """Return a random share of the movable columns, at least one per row that has any."""
    draw = torch.where(movable, draw, torch.inf)
    return movable & ((draw < share) | (draw == draw.amin(1, keepdim=True)))


def _alone(trial: Tensor, ball: Ball, rows: Tensor, query: int, stream: Stream) -> Tensor:
    """Return trials, a quarter of them the clean row with one category changed: that costs all there is."""
    assert ball.jump is not None
    can = ball.jump.to(trial.device) & (ball.high > ball.low)
    draw = torch.where(can, stream.child("category").uniform(rows, can.shape[1:], query), torch.inf)
    picked = can & (draw == draw.amin(1, keepdim=True))
    luck = stream.child("alone").uniform(rows, (2,), query).to(trial.dtype)
    code = torch.minimum((ball.low + luck[:, :1] * (ball.high - ball.low + 1)).floor(), ball.high)
    use = (luck[:, 1:] < 0.25) & can.any(1, keepdim=True)
    return torch.where(use, torch.where(picked, code, ball.clean), trial)
