"""Square attack: random search with scores alone. Andriushchenko et al., 2020 (arXiv:1912.00049), algorithms 1 and 2.

On images windows of the picture move to an end of the box; on tables and vectors random sets of columns do. Columns also
try values between the ends, since trees answer to thresholds, not to size. Under L2 and L1 mass moves instead: `masses`.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.masses import exchange, first
from veriward.core.ball import Ball
from veriward.core.streams import Stream

FIRST_SHARE = 0.8  # of the numbers, changed at once in the beginning; the paper's p_init for L-infinity
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10 000 queries, section 5


@dataclass(frozen=True)
class Square:
    """Change a random part; keep it if the margin rises."""

    name: ClassVar[str] = "square"
    reads: ClassVar[Reads] = "scores"

    queries: int = 300

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        where = chase.active
        rows, ball = chase.rows[where], chase.ball(where)
        z = ball.project(_start(ball, rows, stream))
        z = _choose(_allowed(chase, z, where), z, ball.clean)
        answer = chase.ask(z, where)
        best, keep = answer.margin, ~chase.observe(where, z, answer)
        for query in range(1, self.queries):
            if not bool(keep.all()):
                where, ball, rows, z, best = where[keep], ball[keep], rows[keep], z[keep], best[keep]
            if not len(where):
                return
            share = share_at(query, self.queries)
            trial = _change(z, ball, rows, share, query, stream)
            answer = chase.ask(trial, where)
            # ties are taken, too: scores of trees and neighbours have plateaus, which only a drifting search crosses
            better = (answer.margin >= best) & _allowed(chase, trial, where)
            z, best = _choose(better, trial, z), torch.where(better, answer.margin, best)
            keep = ~chase.observe(where, trial, answer)


def share_at(query: int, queries: int) -> float:
    """Return the share of numbers to change at a query: halved at fixed parts of the budget.

    >>> share_at(0, 10_000), share_at(60, 10_000)
    (0.8, 0.2)
    """
    passed = sum(query * 10_000 / queries > halving for halving in HALVINGS)
    return FIRST_SHARE * 0.5**passed


def _choose(better: Tensor, trial: Tensor, z: Tensor) -> Tensor:
    return torch.where(better.view(-1, *[1] * (z.ndim - 1)), trial, z)


def _allowed(chase: Chase, z: Tensor, where: Tensor) -> Tensor:
    return chase.opened.domain.allowed(z, chase.clean[where], chase.threat)


def _start(ball: Ball, rows: Tensor, stream: Stream) -> Tensor:
    return _stripes(ball.low, ball.high, rows, stream) if ball.norm == "linf" else first(ball, rows, stream)


def _change(z: Tensor, ball: Ball, rows: Tensor, share: float, query: int, stream: Stream) -> Tensor:
    """Return trials near z, in the ball: some numbers at an end of the box, or some of the mass moved."""
    if ball.norm != "linf":
        trial = exchange(z, ball, rows, share, query, stream)
        return trial if ball.whole is None else ball.project(trial)
    move = _window if z.ndim >= 3 else _columns
    return ball.project(move(z, ball.low, ball.high, rows, share, query, stream))


def _stripes(low: Tensor, high: Tensor, rows: Tensor, stream: Stream) -> Tensor:
    """Start at random ends, constant along columns of a picture as in section 3.2."""
    shape = [*low.shape[1:]]
    if len(shape) >= 2:
        shape[-2] = 1
    up = stream.child("stripes").uniform(rows, shape) < 0.5
    return torch.where(up, high, low)


def _window(z: Tensor, low: Tensor, high: Tensor, rows: Tensor, share: float, query: int, stream: Stream) -> Tensor:
    """Move one square window per row to an end of the box, drawn anew for each channel."""
    height, width = z.shape[-2:]
    area = share * height * width
    tall = max(1, min(round(area**0.5), height))
    wide = max(1, min(round(area / tall), width))  # a square, unless the picture is too flat for it
    tall = max(1, min(round(area / wide), height))
    place = stream.child("place").uniform(rows, (2,), query)
    top = (place[:, 0] * (height - tall + 1)).long().view(-1, 1, 1)
    left = (place[:, 1] * (width - wide + 1)).long().view(-1, 1, 1)
    down = torch.arange(height, device=z.device).view(1, -1, 1)
    across = torch.arange(width, device=z.device).view(1, 1, -1)
    inside = (down >= top) & (down < top + tall) & (across >= left) & (across < left + wide)
    up = stream.child("sign").uniform(rows, (*z.shape[1:-2], 1, 1), query) < 0.5
    inside = inside.view(len(z), *[1] * (z.ndim - 3), height, width)
    return torch.where(inside, torch.where(up, high, low), z)


def _columns(z: Tensor, low: Tensor, high: Tensor, rows: Tensor, share: float, query: int, stream: Stream) -> Tensor:
    """Move a random set of columns, at least one per row, half of them to an end and half anywhere in the box."""
    movable = high > low
    draw = stream.child("columns").uniform(rows, z.shape[1:], query)
    draw = torch.where(movable, draw, torch.inf)
    picked = (draw < share) | (draw == draw.amin(1, keepdim=True))
    kind = stream.child("kind").uniform(rows, z.shape[1:], query).to(z.dtype)
    anywhere = low + (2 * kind).remainder(1.0) * (high - low)
    end = torch.where(stream.child("sign").uniform(rows, z.shape[1:], query) < 0.5, high, low)
    return torch.where(picked & movable, torch.where(kind < 0.5, end, anywhere), z)
