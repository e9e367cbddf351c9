"""CAPGD: gradient ascent on tables whose rows keep rules. Simonetto, Ghamizi & Cordy 2024 (arXiv:2406.00775).

As there: starts from the row itself and at random, momentum, a step that halves where progress stalls (Croce & Hein 2020,
arXiv:2003.01690, section 3), a penalty for what breaks the rules, and a repair of every candidate. Beyond it: the ascent
takes the norm's steepest step, the slope goes through the repair, categories and one-hot blocks are flipped by exact search
between two ascents, and rules are repaired whatever their form.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.flips import draw_units, flip
from veriward.checks.evasion.goals import Answer
from veriward.checks.evasion.moeva import MOEVA
from veriward.checks.evasion.repair import Repair
from veriward.core.ball import Ball
from veriward.core.streams import Stream
from veriward.core.table_domain import NUMBERS, TableDomain

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.evasion.attack import Attack

MOMENTUM = 0.75  # of APGD and CAPGD
ENOUGH = 0.75  # of the steps must gain, or the step halves


def needs_search(opened: "Opened") -> bool:
    """Return whether a table holds what plain attacks cannot keep: rules, or categories and blocks that may move.

    Bare labels give nothing to search by.
    """
    domain, model = opened.domain, opened.model
    if not isinstance(domain, TableDomain) or not (hasattr(model, "scores") or hasattr(model, "values")):
        return False
    return bool(domain.rules) or any(c.movable and c.kind not in NUMBERS for c in domain.columns)


def table_attacks(opened: "Opened", steps: int, restarts: int, queries: int) -> "tuple[Attack, ...]":
    """Return CAA, the attacks of a constrained table: CAPGD where there are gradients, then MOEVA on the survivors."""
    search = MOEVA.of(queries)
    return (CAPGD(steps, restarts), search) if hasattr(opened.model, "forward") else (search,)


@dataclass(frozen=True)
class CAPGD:
    """Ascend the margin less the penalty of broken rules; flip categories in between."""

    name: ClassVar[str] = "capgd"
    reads: ClassVar[Reads] = "gradients"

    steps: int = 40
    restarts: int = 4
    penalty: float = 0.5  # of the rules' slope against the model's

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        domain = chase.opened.domain
        assert isinstance(domain, TableDomain)
        search = _Search(chase, domain, Repair(domain), self.penalty)
        for restart in range(self.restarts):
            where = chase.active
            if not len(where):
                return
            ball, aim = chase.ball(where), None
            z = ball.clean.clone()
            if restart:
                z = search.start(ball, chase.rows[where], stream.child(str(restart)))
                aim = chase.goal[where].aim(chase.raw(ball.clean), restart)
            best = search.ascend(where, ball, z, aim, self.steps)
            where, best = search.left(where, best)
            if flip(chase, search.repair, where, best):
                where, best = search.left(where, best)
                search.ascend(where, chase.ball(where), best, None, self.steps // 2)


@dataclass(frozen=True, eq=False)
class _Search:
    """The moves of CAPGD on one chase."""

    chase: Chase
    domain: TableDomain
    repair: Repair
    penalty: float

    def start(self, ball: Ball, rows: Tensor, stream: Stream) -> Tensor:
        """Return random rows of the ball, mended."""
        noise = stream.child("numbers").normal(rows, ball.clean.shape[1:]).to(ball.clean.dtype)
        coins = stream.child("categories").uniform(rows, ball.clean.shape[1:]).to(ball.clean.dtype)
        z = ball.draw(noise)
        if ball.norm == "linf":  # elsewhere one category would cost all there is
            z = draw_units(z, ball, self.domain, coins)
        return self.repair(self.domain.settle(z, ball), ball)

    def left(self, where: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows that are not broken yet."""
        keep = ~self.chase.done[where]
        return where[keep], z[keep]

    def ascend(self, where: Tensor, ball: Ball, z: Tensor, aim: Tensor | None, steps: int) -> Tensor:
        """Climb from z; return the best feasible candidate of each row, broken or not."""
        n, ball = len(where), self._climbed(ball)
        kept, every = z.clone(), where
        size = torch.ones(n, 1, dtype=z.dtype, device=z.device)
        best = torch.full((n,), -torch.inf, dtype=torch.float64, device=z.device)
        gained = torch.zeros(n, dtype=z.dtype, device=z.device)
        place, before, top, last = torch.arange(n, device=z.device), z, z.clone(), best.clone()
        marks, since = _checkpoints(steps), 0
        for step in range(steps + 1):
            candidate, answer, gradient = self._asked(z, where, ball, aim)
            hits = self.chase.observe(where, candidate, answer)
            worth = (
                answer.margin.double() - 1e3 * (~self.domain.allowed(candidate, ball.clean, self.chase.threat)).double()
            )
            better = worth > best
            top, best = torch.where(better[:, None], candidate, top), torch.maximum(worth, best)
            kept[place] = top
            gained, last = gained + (worth > last), worth
            keep = ~hits
            if step == steps or not bool(keep.any()):
                break
            since += 1
            if step in marks:  # APGD, condition 1: too few steps gained, so go on from the best with half the step
                stalled = (gained < ENOUGH * since)[:, None]
                size, z = torch.where(stalled, size / 2, size), torch.where(stalled, top, z)
                gained, since = torch.zeros_like(gained), 0
            moved = self._step(z, candidate, gradient, before, ball, size)
            z, before = moved[keep], z[keep]
            where, ball, size, best, top = where[keep], ball[keep], size[keep], best[keep], top[keep]
            gained, last, place = gained[keep], last[keep], place[keep]
            aim = aim[keep] if aim is not None else None
        assert len(kept) == len(every)
        return kept

    def _asked(self, z: Tensor, where: Tensor, ball: Ball, aim: Tensor | None) -> tuple[Tensor, Answer, Tensor]:
        """Return the mended candidate for z, what the model says to it, and the slope through the repair.

        Where a rule sets one column by another, the slope of the second is that of both.
        """
        settled = self.domain.settle(z, ball)
        with torch.enable_grad():
            base = settled.detach().requires_grad_()
            mended = self.repair(base, ball)
        candidate = mended.detach()
        answer, gradient = self.chase.slope(candidate, where, "margin", aim)
        gradient = gradient.to(z.dtype)
        if mended is not base:
            (gradient,) = torch.autograd.grad(mended, base, gradient)
        return candidate, answer, gradient.nan_to_num(0.0)

    def _climbed(self, ball: Ball) -> Ball:
        """Return the ball to climb in: under L2 and L1 numbers alone, since a category costs the whole budget."""
        if ball.norm == "linf":
            return ball
        number = torch.tensor([c.kind in NUMBERS for c in self.domain.columns], device=ball.clean.device)
        low, high = (torch.where(number, end, ball.clean) for end in (ball.low, ball.high))
        return Ball(ball.clean, low, high, torch.where(number, ball.radii, 0.0), ball.norm, ball.whole, ball.jump)

    def _step(self, z: Tensor, at: Tensor, gradient: Tensor, before: Tensor, ball: Ball, size: Tensor) -> Tensor:
        """Return z after a step with momentum. What the repair changed is taken over; whole numbers go on in fractions."""
        settled = self.domain.settle(z, ball)
        start = torch.where(at != settled, at, z)
        slope = self._pulled(start, gradient, ball)
        climbed = ball.clamp(ball.step(start, slope, size))
        return ball.clamp(start + MOMENTUM * (climbed - start) + (1 - MOMENTUM) * (start - before))

    def _pulled(self, z: Tensor, gradient: Tensor, ball: Ball) -> Tensor:
        """Return the model's slope less that of the rules, both of length one per row in budgets."""
        if not self.domain.rules:
            return gradient
        with torch.enable_grad():
            x = z.detach().requires_grad_()
            total = self.domain.violations(x).sum()
            pull = torch.autograd.grad(total, x)[0] if total.requires_grad else torch.zeros_like(z)
        return _unit(gradient, ball) - self.penalty * _unit(pull.nan_to_num(0.0), ball)


def _unit(slope: Tensor, ball: Ball) -> Tensor:
    """Return a slope of length one per row, measured in budgets."""
    length = (slope * ball.radii).square().sum(1, keepdim=True).sqrt()
    return slope / length.clamp(min=torch.finfo(slope.dtype).tiny)


def _checkpoints(steps: int) -> set[int]:
    """Return when progress is looked at: Croce & Hein 2020, section 3.2.

    >>> sorted(_checkpoints(100))[:3]
    [22, 41, 57]
    """
    parts = [0.0, 0.22]
    while parts[-1] < 1:
        parts.append(parts[-1] + max(parts[-1] - parts[-2] - 0.03, 0.06))
    return {round(part * steps) for part in parts[1:] if part < 1}
