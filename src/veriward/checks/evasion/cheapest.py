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


def shorten(chase: Chase) -> None:
    """Replace each success by the nearest one on the straight way to it, however many columns that takes."""
    where = chase.done.nonzero().squeeze(1)
    if len(where):
        _shorten(chase, where)


def _try(chase: Chase, where: Tensor, trial: Tensor) -> Tensor:
    """Keep the trials that succeed; return which do."""
    clean = chase.clean[where]
    works = chase.ask(trial, where).fooled
    works &= chase.opened.domain.allowed(trial, clean, chase.threat)
    chase.found[where[works]] = trial[works]
    return works


def _take_back(chase: Chase, where: Tensor, domain: TableDomain) -> None:
    """Undo one column (or one-hot block) after the other, the one that spends least of its budget first."""
    clean, ball = chase.clean[where], chase.ball(where)
    reach = torch.maximum(ball.high - clean, clean - ball.low).clamp(min=1e-300)
    spent = ((chase.found[where] - clean).abs() / reach).nan_to_num(0.0)
    order = torch.stack([spent[:, list(unit)].amax(1) for unit in domain.units], 1).argsort(dim=1, stable=True)
    parts = torch.zeros(len(domain.units), clean.shape[1], dtype=torch.bool, device=clean.device)
    for number, unit in enumerate(domain.units):
        parts[number, list(unit)] = True
    for turn in range(len(domain.units)):
        _try(chase, where, torch.where(parts[order[:, turn]], clean, chase.found[where]))


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
