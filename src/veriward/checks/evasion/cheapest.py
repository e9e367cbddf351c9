"""The cheapest version of a found attack: what is not needed is taken back, the rest is made smaller."""

import torch
from torch import Tensor

from veriward.checks.evasion.chase import Chase
from veriward.core.table_domain import TableDomain

HALVINGS = 6


def shrink(chase: Chase) -> None:
    """Replace each success by a smaller one that still succeeds: first fewer columns, then a shorter way."""
    where = chase.done.nonzero().squeeze(1)
    if not len(where):
        return
    if isinstance(chase.opened.domain, TableDomain):
        _take_back(chase, where, chase.opened.domain)
    _shorten(chase, where)


def _try(chase: Chase, where: Tensor, trial: Tensor) -> Tensor:
    """Keep the trials that succeed; return which do."""
    clean = chase.clean[where]
    works = chase.ask(trial, where).fooled
    works &= chase.opened.domain.allowed(trial, clean, chase.threat)
    chase.found[where[works]] = trial[works]
    return works


def _take_back(chase: Chase, where: Tensor, domain: TableDomain) -> None:
    """Undo one column after the other, the one that spends least of its budget first."""
    columns = domain.movable.nonzero().squeeze(1).to(chase.clean.device)
    clean, ball = chase.clean[where], chase.ball(where)
    reach = torch.maximum(ball.high - clean, clean - ball.low).clamp(min=1e-300)
    spent = ((chase.found[where] - clean).abs() / reach)[:, columns].nan_to_num(0.0)
    order = columns[spent.argsort(dim=1, stable=True)]
    for turn in range(len(columns)):
        trial = chase.found[where].clone()
        column = order[:, turn : turn + 1]
        trial.scatter_(1, column, clean.gather(1, column))
        _try(chase, where, trial)


def _shorten(chase: Chase, where: Tensor) -> None:
    """Bisect the straight way from the clean row to the success."""
    clean, far, ball = chase.clean[where], chase.found[where].clone(), chase.ball(where)
    low = torch.zeros(len(where), dtype=clean.dtype, device=clean.device)
    high = torch.ones_like(low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        part = middle.view(-1, *[1] * (clean.ndim - 1))
        way = torch.where(far == clean, clean, clean + part * (far - clean))
        works = _try(chase, where, ball.project(way))
        low, high = torch.where(works, low, middle), torch.where(works, middle, high)
