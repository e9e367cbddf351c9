"""A walk by labels through whole numbers and categories, where there is no boundary to feel one's way along.

From a row that is decided otherwise, random sets of columns go back towards the clean row, or anywhere inside their
budgets; a move stays if the decision stays wrong and no more lies beyond the budgets than before. In the spirit of the
Boundary Attack of Brendel, Rauber & Bethge, 2018 (arXiv:1712.04248), section 2, with columns instead of directions.
"""

import torch
from torch import Tensor

from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.starts import Room
from veriward.core.ball import Ball
from veriward.core.streams import Stream

HOME = 0.3  # of the moves towards the clean row go all the way


def roam(chase: Chase, room: Room, where: Tensor, z: Tensor, queries: int, stream: Stream) -> None:
    """Walk from the adversarial rows z (n, columns) of the positions `where`; successes are noted in the chase."""
    cost = beyond_budgets(room.ball, z)
    for query in range(queries):
        if not len(where):
            return
        trial = _moved(room, z, chase.rows[where], query, stream)
        answer, price = chase.ask(trial, where), beyond_budgets(room.ball, trial)
        keep = ~chase.observe(where, trial, answer)
        better = answer.fooled & (price <= cost)
        z, cost = torch.where(better[:, None], trial, z), torch.where(better, price, cost)
        if not bool(keep.all()):
            where, room, z, cost = where[keep], room[keep], z[keep], cost[keep]


def beyond_budgets(ball: Ball, z: Tensor) -> Tensor:
    """Return what lies beyond the budgets, (n,): the sum over columns under L-infinity, else the share beyond one.

    >>> from veriward.core.ball import flat_ball
    >>> ball = flat_ball(torch.zeros(1, 2), 1.0, "linf")
    >>> beyond_budgets(ball, torch.tensor([[3.0, 0.5]])).item()
    2.0
    """
    if ball.norm != "linf":
        return (ball.share(z) - 1).clamp(min=0)
    moved = (z.double() - ball.clean.double()).abs().nan_to_num(0.0)
    shares = torch.where(moved > 0, moved / ball.radii.double().clamp(min=1e-300), 0.0)
    return (shares - 1).clamp(min=0).sum(1)


def _moved(room: Room, z: Tensor, rows: Tensor, query: int, stream: Stream) -> Tensor:
    """Return z with some columns moved, (n, columns): half of them home or part of the way, half inside their budgets."""
    width, ball = z.shape[1:], room.ball
    free = room.high > room.low
    share = 0.5 ** (1 + 4 * stream.child("share").uniform(rows, (1,), query))
    draw = torch.where(free, stream.child("columns").uniform(rows, width, query), torch.inf)
    picked = free & ((draw < share) | (draw == draw.amin(1, keepdim=True)))
    kind, amount = (stream.child(name).uniform(rows, width, query).to(z.dtype) for name in ("kind", "amount"))
    part = torch.where(amount < HOME, 0.0, (amount - HOME) / (1 - HOME))
    home = torch.where(z == ball.clean, ball.clean, ball.clean + part * (z - ball.clean))
    near = ball.low + (2 * amount - 0.5).clamp(0, 1) * (ball.high - ball.low)  # half of them to an end
    moved = torch.where(picked, torch.where(kind < 0.5, home, near), z)
    if ball.whole is None:
        return moved
    cut = torch.where(moved > ball.clean, torch.floor(moved), torch.ceil(moved))  # never farther than it was
    return torch.where(ball.whole.to(z.device) & picked, cut, moved)
