"""Balls beyond the ball: what lies within some multiple of the budgets, or anywhere in the domain.

Attacks that measure distances, or that begin farther out and come nearer, search here; only what lies in the threat's own
ball counts, and that is the chase's to say.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from veriward.checks.evasion.chase import Chase
from veriward.core.ball import Ball
from veriward.core.domain import ArrayDomain
from veriward.core.table_domain import TableDomain


def room(chase: Chase, where: Tensor, times: float = math.inf) -> Ball:
    """Return the balls of `times` the budgets around the rows `where`; without end, the domain with the budgets as units."""
    ball = chase.ball(where)
    if times == 1:
        return ball
    low, high = _ends(chase, ball)
    moves, radii = ball.radii > 0, ball.radii
    if times < math.inf:
        radii = radii * times
        low, high = torch.maximum(low, ball.clean - radii), torch.minimum(high, ball.clean + radii)
    if ball.whole is not None:
        whole = ball.whole.to(low.device)
        low, high = torch.where(whole, low.ceil(), low), torch.where(whole, high.floor(), high)
    # never less than the ball itself: its ends were rounded with care
    low, high = torch.minimum(low, ball.low), torch.maximum(high, ball.high)
    return replace(ball, low=torch.where(moves, low, ball.low), high=torch.where(moves, high, ball.high), radii=radii)


def _ends(chase: Chase, ball: Ball) -> tuple[Tensor, Tensor]:
    """Return the ends of the domain, which the rows themselves may lie beyond."""
    domain, clean = chase.opened.domain, ball.clean
    if isinstance(domain, ArrayDomain):
        low, high = torch.full_like(clean, domain.low), torch.full_like(clean, domain.high)
    elif isinstance(domain, TableDomain):
        low = clean.new_tensor([column.low for column in domain.columns]).expand_as(clean)
        high = clean.new_tensor([column.high for column in domain.columns]).expand_as(clean)
    else:
        low, high = ball.low, ball.high
    return torch.minimum(low, clean), torch.maximum(high, clean)
