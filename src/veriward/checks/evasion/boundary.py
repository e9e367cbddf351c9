"""HopSkipJump: a walk along the decision boundary that needs labels alone, all rows at once.

Chen, Jordan & Wainwright, 2020 (arXiv:1904.02144), algorithms 1 and 2: start at a row that is decided otherwise, search the
boundary between it and the clean row, feel there which way the decision leans, step that way, and search again. Distances
are in budgets. One question per round is ours: the rim of the ball on that side, which is as far as the attacker may go.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.probing import blocks
from veriward.checks.evasion.roam import roam
from veriward.checks.evasion.starts import Pool, Room, starts
from veriward.core.streams import Stream

DRAWS = 10  # random points of the ball that are tried first
FINEST = 1e-4  # of the distance: how near the boundary is searched, where the paper's d^-1.5 would drown in rounding
HALVINGS = 10  # of a step that overshot


@dataclass(frozen=True)
class Boundary:
    """Walk along the boundary with `queries` per row, `samples` of them for the first direction and more for later ones."""

    name: ClassVar[str] = "boundary"
    reads: ClassVar[Reads] = "labels"

    queries: int = 1000
    samples: int = 100  # the paper's B_0; the t-th direction takes B_0 sqrt(t)
    pool: int = 200  # rows of the user's among which starting points are sought, asked once
    walks: int = 2  # from rows of different classes: a walk rarely leaves the class it began in

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        self._draw(chase, stream.child("draw"))
        if not len(chase.active):
            return
        room, pool = Room.of(chase), Pool.of(chase, self.pool, stream.child("pool"))
        walks = min(self.walks, chase.goal.aims) if len(pool.labels.unique()) > 1 else 1
        avoid = torch.full((len(chase.clean), walks), -1, dtype=torch.int64, device=chase.clean.device)
        for number in range(walks):
            part = stream.child(f"walk {number}")
            begun = starts(chase, room, pool, avoid, part.child("starts"))
            avoid[begun.where, number] = begun.labels
            if room.smooth:
                self._walk(chase, room[begun.where], begun.where, begun.z, self.queries // walks, part)
            else:
                roam(chase, room[begun.where], begun.where, begun.z, self.queries // walks, part)

    def _draw(self, chase: Chase, stream: Stream) -> None:
        for number in range(DRAWS):
            where = chase.active
            if len(where):
                ball = chase.ball(where)
                noise = stream.normal(chase.rows[where], ball.clean.shape[1:], number)
                _tell(chase, where, ball.project(ball.draw(noise.to(ball.clean.dtype))))

    def _walk(self, chase: Chase, room: Room, where: Tensor, z: Tensor, queries: int, stream: Stream) -> None:
        """Walk from the adversarial rows z until each lies in its ball or the queries are spent."""
        tolerance = max(room.size**-1.5, FINEST)
        bisections = math.ceil(-math.log2(tolerance))
        spent, turn = DRAWS, 0
        while len(where):
            turn += 1
            z, reached = self._to_boundary(chase, where, room, z, bisections)
            _tell(chase, where, room.ball.project(z))
            samples = min(round(self.samples * turn**0.5), queries - spent)
            spent += bisections + samples + HALVINGS + 2
            left = ~chase.done[where]
            if samples < 2 or not bool(left.any()):
                return
            where, room, z, reached = where[left], room[left], z[left], reached[left]
            radius = tolerance * room.size**0.5 * reached
            way = self._felt(chase, where, room, z, radius, samples, stream, turn)
            _tell(chase, where, room.ball.project(room.ball.step(room.ball.clean, way, 1.0)))
            z = self._stepped(chase, where, room, z, way, reached / turn**0.5)

    def _to_boundary(
        self, chase: Chase, where: Tensor, room: Room, z: Tensor, bisections: int
    ) -> tuple[Tensor, Tensor]:
        """Return the points where z, pulled back to the clean row, is just still adversarial, and their distances (n,)."""
        large = room.ball.share(z)
        small, best = torch.zeros_like(large), z
        for _ in range(bisections):
            middle = (small + large) / 2
            trial = room.pulled(z, middle)
            fooled = chase.ask(trial, where).fooled
            best = torch.where(_as(fooled, z), trial, best)
            small, large = torch.where(fooled, small, middle), torch.where(fooled, middle, large)
        return best, room.ball.share(best)

    def _felt(
        self,
        chase: Chase,
        where: Tensor,
        room: Room,
        z: Tensor,
        radius: Tensor,
        samples: int,
        stream: Stream,
        turn: int,
    ) -> Tensor:
        """Return which way the decision leans, (n, ...): questions all around, their mean taken off (equation 16)."""
        sums, weighted, agreed = torch.zeros_like(z), torch.zeros_like(z), torch.zeros(len(z), device=z.device)
        for part in blocks(samples, z):
            ways = [room.direction(stream.child(f"{turn}"), chase.rows[where], number, z) for number in part]
            points = [room.within(z + _as(radius.to(z.dtype), z) * room.ball.radii * way) for way in ways]
            fooled = chase.ask(torch.cat(points), where.repeat(len(ways))).fooled.view(len(ways), -1)
            for way, says in zip(ways, fooled, strict=True):  # in this order whatever the blocks
                sign = says.to(z.dtype) * 2 - 1
                sums, weighted, agreed = sums + way, weighted + _as(sign, z) * way, agreed + sign
        mean = agreed / samples
        lean = torch.where(_as(mean.abs() < 1, z), weighted - _as(mean, z).to(z.dtype) * sums, weighted)
        return torch.where(room.ball.radii > 0, lean / room.ball.radii.clamp(min=1e-30), 0.0)

    def _stepped(self, chase: Chase, where: Tensor, room: Room, z: Tensor, way: Tensor, size: Tensor) -> Tensor:
        """Return z moved along `way` by `size` budgets, halved until it is adversarial; z itself where it never is."""
        left, moved = torch.ones(len(z), dtype=torch.bool, device=z.device), z
        for _ in range(HALVINGS):
            trial = room.within(room.ball.step(z, way, _as(size.to(z.dtype), z)))
            fooled = left & chase.ask(trial, where).fooled
            moved, left = torch.where(_as(fooled, z), trial, moved), left & ~fooled
            size = size / 2
            if not bool(left.any()):
                break
        return moved


def _tell(chase: Chase, where: Tensor, candidate: Tensor) -> None:
    chase.observe(where, candidate, chase.ask(candidate, where))


def _as(values: Tensor, z: Tensor) -> Tensor:
    return values.view(-1, *[1] * (z.ndim - 1))
