"""RayS: the nearest decision along rays of plus and minus one, found by labels alone, all rows at once.

Chen & Gu, 2020 (arXiv:2006.12792), algorithms 1 to 3: a direction is a sign per number; its signs are turned block by
block, each time in halves of the blocks before, and a turned ray is kept if it is still decided otherwise where the best
ray so far begins to be. Distances are in budgets; a row leaves as soon as a ray reaches another decision inside its ball.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.starts import Room
from veriward.core.streams import Stream

HALVINGS = 10  # of the distance that a better ray has won


@dataclass(frozen=True)
class RayS:
    """Turn signs block by block; `queries` per row. For L-infinity, whose nearest points lie on such rays."""

    name: ClassVar[str] = "rays"
    reads: ClassVar[Reads] = "labels"

    queries: int = 1000

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase. Nothing is drawn at random."""
        where, room = chase.active, Room.of(chase)
        if not len(where) or not room.smooth or room.ball.norm != "linf":
            return
        rays = _Rays.begun(chase, where, room[where])
        for block in blocks(room.size):
            rays = rays.left(self.queries)
            if not len(rays.where):
                return
            rays.turn(block)


def blocks(size: int) -> Iterator[slice]:
    """Yield blocks of `size` numbers for ever: the whole, halves, quarters, single ones, and from the start again.

    >>> found = blocks(4)
    >>> [(part.start, part.stop) for part in (next(found) for _ in range(7))]
    [(0, 4), (0, 2), (2, 4), (0, 1), (1, 2), (2, 3), (3, 4)]
    """
    while True:
        length = size
        while True:
            yield from (slice(start, min(start + length, size)) for start in range(0, size, length))
            if length == 1:
                break
            length = (length + 1) // 2


@dataclass(eq=False)
class _Rays:
    """The best ray of each row: its signs (n, d), how far along it another decision begins (n,), questions spent (n,)."""

    chase: Chase
    where: Tensor
    room: Room
    signs: Tensor
    reach: Tensor
    spent: Tensor

    @classmethod
    def begun(cls, chase: Chase, where: Tensor, room: Room) -> "_Rays":
        """Return rays of all plus and all minus, the better of the two for each row."""
        span = torch.where(room.ball.radii > 0, (room.high - room.low) / room.ball.radii.clamp(min=1e-30), 0.0)
        far = span.flatten(1).amax(1).double().clamp(min=1.0)  # beyond it a ray lies in a corner of the box
        signs = torch.ones(len(where), room.size, dtype=chase.clean.dtype, device=where.device)
        rays = cls(chase, where, room, -signs, far, torch.zeros_like(where))
        for turned in (-signs, signs):
            rays._take(turned)
        return rays

    def left(self, queries: int) -> "_Rays":
        """Return the rays of the rows that are not broken and have questions left."""
        keep = ~self.chase.done[self.where] & (self.spent < queries)
        if bool(keep.all()):
            return self
        parts = (self.where, self.room, self.signs, self.reach, self.spent)
        return _Rays(self.chase, *(part[keep] for part in parts))  # type: ignore[arg-type]  # the same kinds, fewer rows

    def turn(self, block: slice) -> None:
        """Ask whether rays with the signs of a block turned are better."""
        turned = self.signs.clone()
        turned[:, block] *= -1
        self._take(turned)

    def _take(self, turned: Tensor) -> None:
        """Keep the turned rays that are decided otherwise where the best ones so far begin to be, as far as they carry."""
        hits = self._fooled(torch.arange(len(self.where), device=self.where.device), turned, self.reach).nonzero()
        hits = hits.squeeze(1)
        if not len(hits):
            return
        self.signs[hits] = turned[hits]
        inside = self._fooled(hits, turned[hits], torch.ones_like(self.reach[hits]))
        hits = hits[~inside]
        low, high = torch.ones_like(self.reach[hits]), self.reach[hits]
        for _ in range(HALVINGS):
            middle = (low * high).sqrt()  # distances may begin at many budgets
            fooled = self._fooled(hits, self.signs[hits], middle)
            low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
        self.reach[hits] = high

    def _fooled(self, rows: Tensor, signs: Tensor, reach: Tensor) -> Tensor:
        """Ask about the points `reach` budgets along the rays; those inside the ball are noted in the chase."""
        room, where = self.room[rows], self.where[rows]
        part = reach.to(signs.dtype).view(-1, *[1] * (room.low.ndim - 1))
        z = room.within(room.ball.clean + part * room.ball.radii * signs.view_as(room.low))
        inside = reach <= 1
        z = torch.where(inside.view_as(part), room.ball.project(z), z)
        answer = self.chase.ask(z, where)
        self.spent[rows] += 1
        self.chase.observe(where, z, answer)
        return answer.fooled
