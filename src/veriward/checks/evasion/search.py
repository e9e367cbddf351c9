"""The strongest search for its cost: every row a little, and long climbs only for rows that come near the edge.

Each round climbs with falling steps towards the wrong classes that promise most, several at once: first those next to the
row, later those that an earlier round brought farthest. Who is near is read from the row itself (`Chase.gap`), so that a
row's outcome depends on no other row. What a round leaves far from the edge, later rounds do not touch: on verified models
no such row was ever broken by anything, and it is what makes AutoAttack (Croce & Hein 2020, arXiv:2003.01690) slow.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from veriward.checks.evasion.ascent import climb, drawn, falling
from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.core.streams import Stream

MOST = 9  # directions that are ever tried: AutoAttack's number
LANES, NUMBERS = 256, 1 << 23  # climb at once: four tiles at least, and as many as make so many numbers


@dataclass(frozen=True)
class Round:
    """Climbs of `steps` towards `targets` directions for rows of which at most `near` of the way is left."""

    steps: int
    targets: int = 0  # 0: the best wrong class of every step
    near: float = 1.0
    starts: int = 0  # anywhere in the ball, for each direction; 0: at the row itself


def rounds(steps: int, restarts: int) -> tuple[Round, ...]:
    """Return what an effort buys: probes of every direction for half the way, then the dearer the nearer.

    >>> [turn.steps for turn in rounds(40, 4)]
    [10, 10, 30, 100, 200, 400]
    """
    probe = max(5, steps // 4)
    return (
        Round(probe),
        Round(probe, MOST, 0.6 if restarts < MOST else 1.0),
        Round(max(5, steps * 3 // 4), restarts, 0.3, 1),
        Round(steps * 5 // 2, max(1, restarts // 2), 0.12, 1),
        Round(steps * 5, 1, 0.04, restarts),
        Round(steps * 10, 2, 0.005, 2 * restarts),  # a hair's breadth, which few starts get over
    )


@dataclass(frozen=True)
class Search:
    """Ascend in rounds."""

    name: ClassVar[str] = "search"
    reads: ClassVar[Reads] = "gradients"

    rounds: tuple[Round, ...] = rounds(40, 4)

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        if not len(chase.active):
            return
        promise = Promise.of(chase)
        for number, turn in enumerate(self.rounds):
            where = chase.active
            where = where[chase.gap(where) <= turn.near]
            for part in where.split(_together(chase, turn)):
                _climb(chase, part, turn, promise, stream.child(str(number)))


def _together(chase: Chase, turn: Round) -> int:
    """Return how many rows climb at once, so that large rows in many lanes still fit."""
    lanes = max(1, turn.targets) * max(1, turn.starts)
    most = max(LANES, NUMBERS // max(1, chase.clean[:1].numel()))
    return max(1, most // lanes)


def _climb(chase: Chase, where: Tensor, turn: Round, promise: "Promise", stream: Stream) -> None:
    ranks = promise.ranks(where, turn.targets).repeat(max(1, turn.starts), 1) if turn.targets else None
    lanes = len(ranks) if ranks is not None else 1
    z = chase.clean[where].expand(lanes, -1, *[-1] * (chase.clean.ndim - 1))
    if turn.starts:
        z = torch.stack([drawn(chase, where, stream, lane) for lane in range(lanes)])
    aim = None if ranks is None else promise.aims[where].gather(1, ranks.T).T
    top = climb(chase, where, z, aim, turn.steps, lambda step: falling(step, turn.steps))
    if ranks is not None:
        promise.learn(where, ranks, top)


@dataclass
class Promise:
    """What the directions of each row promise: `aims` (n, most), the best first by the clean answers, and `best` so far."""

    aims: Tensor
    best: Tensor

    @classmethod
    def of(cls, chase: Chase) -> "Promise":
        """Return the directions of all rows; nothing is known of them yet but their order."""
        most = min(chase.goal.aims, MOST)
        raw = chase.raw(chase.clean)
        aims = torch.stack([chase.goal.aim(raw, rank) for rank in range(1, most + 1)], 1)
        return cls(aims, torch.full(aims.shape, -torch.inf, dtype=torch.float64, device=aims.device))

    def ranks(self, where: Tensor, count: int) -> Tensor:
        """Return the most promising directions of rows, (lanes, n): tried ones by what they reached, then the others."""
        return self.best[where].argsort(dim=1, descending=True, stable=True)[:, :count].T

    def learn(self, where: Tensor, ranks: Tensor, top: Tensor) -> None:
        """Remember how far directions (lanes, n) led."""
        known = self.best[where]
        self.best[where] = known.scatter_reduce(1, ranks.T, top.T, "amax")
