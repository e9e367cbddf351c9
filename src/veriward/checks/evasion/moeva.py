"""MOEVA: genetic search on tables whose rows keep rules, with scores alone. Simonetto et al. 2022 (arXiv:2112.01156).

Its objectives are the margin, the share of the budget and the violation of the rules. Survivors are not chosen by R-NSGA-III
but in three equal parts, which is simpler and runs for all rows at once: the best margins among rows that keep the rules,
the best margins of any, and the ranks of dominance in all three objectives (Fonseca & Fleming 1993). Children are mended
like CAPGD's candidates.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.flips import draw_units, flip
from veriward.checks.evasion.repair import Repair
from veriward.core.ball import Ball
from veriward.core.streams import Stream
from veriward.core.table_domain import NUMBERS, TableDomain

CROSS = 0.9  # of the children have two parents
CROWD = 20.0  # the index of polynomial mutation: Deb & Agrawal 1999
ROWS = 512  # attacked together: memory


@dataclass(frozen=True)
class MOEVA:
    """Breed candidates of each row: `population` of them in each of `generations`."""

    name: ClassVar[str] = "moeva"
    reads: ClassVar[Reads] = "scores"

    generations: int = 30
    population: int = 30

    @classmethod
    def of(cls, queries: int) -> "MOEVA":
        """Return a search that asks about so many candidates of each row.

        >>> MOEVA.of(1000)
        MOEVA(generations=34, population=30)
        """
        population = min(30, max(6, queries // 5))
        return cls(max(1, -(-queries // population)), population)

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        domain = chase.opened.domain
        assert isinstance(domain, TableDomain)
        herd = _Herd(chase, domain, Repair(domain), stream, self.population)
        for where in chase.active.split(ROWS):
            z = chase.clean[where].clone()
            flip(chase, herd.repair, where, z)
            keep = ~chase.done[where]
            if bool(keep.any()):
                herd.live(where[keep], z[keep], self.generations)


@dataclass(frozen=True, eq=False)
class _Herd:
    """The populations of some rows: tensors (n, population, columns)."""

    chase: Chase
    domain: TableDomain
    repair: Repair
    stream: Stream
    size: int

    def live(self, where: Tensor, seed: Tensor, generations: int) -> None:
        """Breed the rows `where`; their best categories so far, `seed` (n, columns), are among the first."""
        ball = self.chase.ball(where)
        herd = self._first(where, ball)
        if ball.norm == "linf":
            herd[:, 1] = seed
        worth = self._judged(where, ball, herd)
        for generation in range(1, generations):
            keep = ~self.chase.done[where]
            if not bool(keep.any()):
                return
            where, ball, herd, worth = where[keep], ball[keep], herd[keep], worth[keep]
            children = self._children(where, ball, herd, worth, generation)
            both, told = torch.cat([herd, children], 1), torch.cat([worth, self._judged(where, ball, children)], 1)
            chosen = survivors(told, self.size)
            herd, worth = _picked(both, chosen), _picked(told, chosen)

    def _first(self, where: Tensor, ball: Ball) -> Tensor:
        """Return the row itself and mutants of it, ever wilder: few columns, then all of them."""
        rows, width = self.chase.rows[where], ball.clean.shape[1]
        shape, wide = (self.size, width), _widened(ball, self.size)
        coins = self.stream.child("first").uniform(rows, shape).to(ball.clean.dtype)
        share = torch.linspace(0, 1, self.size, dtype=coins.dtype, device=coins.device).view(1, -1, 1)
        sought = self._mask(self.stream.child("first columns").uniform(rows, shape).to(coins.dtype), share, ball.norm)
        return self._mended(
            torch.where(sought, self._anywhere(wide, coins.flatten(0, 1)).view_as(coins), ball.clean[:, None]), wide
        )

    def _anywhere(self, ball: Ball, coins: Tensor) -> Tensor:
        """Return uniform points of the box: half of the numbers at its ends, categories drawn."""
        part = (2 * coins - 0.5).clamp(0, 1)
        return draw_units(ball.low + part * (ball.high - ball.low), ball, self.domain, coins)

    def _mask(self, coins: Tensor, share: Tensor | float, norm: str) -> Tensor:
        """Return which columns change: each with probability `share`, at least one; blocks as a whole.

        Under L2 and L1 numbers alone do: a category spends the whole budget, and every single one has been tried.
        """
        for places in map(list, self.domain.blocks.values()):
            coins = coins.index_copy(2, torch.tensor(places), coins[:, :, places[:1]].expand(-1, -1, len(places)))
        may = [c.movable and (norm == "linf" or c.kind in NUMBERS) for c in self.domain.columns]
        free = torch.where(torch.tensor(may, device=coins.device), coins, torch.inf)
        return (free < share) | (free == free.amin(2, keepdim=True))

    def _mended(self, herd: Tensor, wide: Ball) -> Tensor:
        flat = self.domain.settle(herd.flatten(0, 1), wide)
        return self.repair(flat, wide).view_as(herd)

    def _judged(self, where: Tensor, ball: Ball, herd: Tensor) -> Tensor:
        """Return margin, share of the budget and violation of each candidate, (n, population, 3); report the best."""
        n, size = herd.shape[:2]
        flat, owner = herd.flatten(0, 1), where.repeat_interleave(size)
        answer = self.chase.ask(flat, owner)
        clean = ball.clean.repeat_interleave(size, 0)
        fair = self.domain.allowed(flat, clean, self.chase.threat)
        margin = answer.margin.double()
        broken = torch.where(fair, 0.0, self.domain.violations(flat) + 1e-3)  # beyond the budget counts, too
        share = _widened(ball, size).share(flat)
        # one candidate per row is reported: a fair success if there is one
        order = (margin + 1e6 * (fair & answer.fooled) + 1e3 * fair).view(n, size).argmax(1)
        best = torch.arange(n, device=herd.device) * size + order
        self.chase.observe(where, flat[best], type(answer)(answer.margin[best], answer.fooled[best]))
        return torch.stack([margin, share, broken], 1).view(n, size, 3)

    def _children(self, where: Tensor, ball: Ball, herd: Tensor, worth: Tensor, generation: int) -> Tensor:
        """Return as many children: two-point crossover of tournament winners, mutated, mended."""
        rows, shape = self.chase.rows[where], herd.shape[1:]
        coins = self.stream.child("parents").uniform(rows, (6, self.size), generation).to(herd.dtype)
        mother, father = (_picked(herd, _winners(coins[:, i : i + 2], worth)) for i in (0, 2))
        cut = (coins[:, 4:6] * shape[1]).sort(dim=1).values[..., None]
        place = torch.arange(shape[1], device=herd.device)
        within = (place >= cut[:, 0]) & (place < cut[:, 1])
        mixed = self.stream.child("cross").uniform(rows, (self.size, 1), generation) < CROSS
        child = torch.where(within & mixed, father, mother)
        return self._mended(self._mutated(child, rows, ball, generation), _widened(ball, self.size))

    def _mutated(self, child: Tensor, rows: Tensor, ball: Ball, generation: int) -> Tensor:
        """Change one unit in each child on average: numbers by polynomial mutation or anew, categories anew."""
        draw = self.stream.child("mutate").uniform
        which = self.stream.child("which").uniform(rows, child.shape[1:], generation).to(child.dtype)
        mask = self._mask(which, self._rate, ball.norm)
        coins = draw(rows, child.shape[1:], 2 * generation).to(child.dtype)
        wide = _widened(ball, self.size)
        anew = self._anywhere(wide, coins.flatten(0, 1)).view_as(child)
        near = child + polynomial(coins) * (ball.high - ball.low)[:, None]
        numbers = torch.tensor([c.kind in NUMBERS for c in self.domain.columns], device=child.device)
        local = draw(rows, child.shape[1:], 2 * generation + 1) < 0.5
        return torch.where(mask, torch.where(numbers & local, near, anew), child)

    @property
    def _rate(self) -> float:
        return 1.0 / max(len(self.domain.units), 1)


def polynomial(coins: Tensor, crowd: float = CROWD) -> Tensor:
    """Return mutations in (-1, 1) from uniforms, small ones likelier: Deb & Agrawal 1999.

    >>> polynomial(torch.tensor([0.0, 0.5])).tolist()
    [-1.0, 0.0]
    """
    down = (2 * coins) ** (1 / (crowd + 1)) - 1
    return torch.where(coins < 0.5, down, 1 - (2 * (1 - coins)) ** (1 / (crowd + 1)))


def dominators(worth: Tensor) -> Tensor:
    """Return how many others dominate each candidate, (n, m), by margin (more), share and violation (less), (n, m, 3)."""
    cost = worth * worth.new_tensor([-1.0, 1.0, 1.0])
    a, b = cost[:, :, None], cost[:, None]
    return ((a <= b).all(3) & (a < b).any(3)).sum(1)


def survivors(worth: Tensor, size: int) -> Tensor:
    """Return which `size` of the candidates live on, (n, size): a third each by fair margin, margin, and dominance."""
    margin, broken = worth[..., 0], worth[..., 2]
    fair = margin - 1e6 * (broken > 0) - 1e3 * broken
    keys = (fair, margin, -dominators(worth).double() + 1e-6 * torch.tanh(margin))
    taken = torch.zeros_like(margin, dtype=torch.bool)
    for i, key in enumerate(keys):
        count = size // 3 if i else size - 2 * (size // 3)
        top = torch.where(taken, -torch.inf, key).argsort(dim=1, descending=True, stable=True)[:, :count]
        taken = taken.scatter(1, top, True)
    return taken.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :size]


def _winners(coins: Tensor, worth: Tensor) -> Tensor:
    """Return the better of two drawn candidates, (n, size): the one that keeps the rules, then the larger margin."""
    m = worth.shape[1]
    pair = (coins * m).long().clamp(max=m - 1)
    value = worth[..., 0] - 1e3 * worth[..., 2]
    first, second = pair[:, 0], pair[:, 1]
    return torch.where(value.gather(1, first) >= value.gather(1, second), first, second)


def _picked(parts: Tensor, chosen: Tensor) -> Tensor:
    return parts.gather(1, chosen[..., None].expand(-1, -1, parts.shape[2]))


def _widened(ball: Ball, size: int) -> Ball:
    """Return the balls of all candidates of all rows."""
    return ball[torch.arange(len(ball), device=ball.clean.device).repeat_interleave(size)]
