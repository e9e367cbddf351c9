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


@dataclass(frozen=True)
class Round:
    """Climbs of `steps` towards `targets` directions for rows of which at most `near` of the way is left."""

    steps: int
    targets: int = 0  # 0: the best wrong class of every step
    near: float = 1.0
    random: bool = False  # starts anywhere in the ball, not at the row


@dataclass(frozen=True)
class Search:
    """Ascend in rounds."""

    name: ClassVar[str] = "search"
    reads: ClassVar[Reads] = "gradients"

    rounds: tuple[Round, ...] = (
        Round(20),
        Round(20, 4, 0.7),
        Round(40, 3, 0.4, random=True),
        Round(100, 9, 0.15, random=True),
    )

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        where = chase.active
        if not len(where):
            return
        promise = Promise.of(chase, where)
        for number, turn in enumerate(self.rounds):
            where = chase.active
            where = where[chase.gap(where) <= turn.near]
            if len(where):
                _climb(chase, where, turn, promise, stream.child(str(number)))


def _climb(chase: Chase, where: Tensor, turn: Round, promise: "Promise", stream: Stream) -> None:
    ranks = promise.ranks(where, turn.targets) if turn.targets else None
    lanes = len(ranks) if ranks is not None else 1
    z = chase.clean[where].expand(lanes, -1, *[-1] * (chase.clean.ndim - 1))
    if turn.random:
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
    def of(cls, chase: Chase, where: Tensor) -> "Promise":
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
        known = self.best[where].scatter(1, ranks.T, torch.maximum(self.best[where].gather(1, ranks.T), top.T))
        self.best[where] = known
