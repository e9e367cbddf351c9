"""The smallest size of change that breaks a row, as far as a short attack finds it: many sizes in one pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.checks.balls import ball_threat
from veriward.checks.evasion.ascent import PGD
from veriward.checks.evasion.attack import Attack, run_plan
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.cheapest import shorten
from veriward.checks.evasion.rows import begin
from veriward.checks.evasion.square import Square
from veriward.core.streams import Stream
from veriward.core.threat import Threat


@dataclass(frozen=True)
class FindDistances:
    """Attack at each size, the smallest first, the rows that are neither broken below it nor certified beyond it."""

    threat: Threat
    sizes: tuple[float, ...]
    stream: Stream
    steps: int
    queries: int

    def __call__(self, opened: Opened, item: Mapping[str, Sequence[Any]]) -> Mapping[str, Any]:
        """Return per-row arrays: correct, and the distance of the nearest success (inf: none up to the largest size)."""
        chase, right, _ = begin(opened, self.threat, item["rows"])
        places = right.tolist()
        broken = torch.tensor([_size(item["broken"][i]) for i in places], dtype=torch.float64, device=right.device)
        proved = torch.tensor([item["certified"][i] for i in places], dtype=torch.float64, device=right.device)
        for number, size in enumerate(self.sizes):
            open_ = ((broken > size) & (proved < size)).nonzero().squeeze(1)
            if len(open_):
                found = self._attack(chase, open_, size, self.stream.child(str(number)))
                broken[open_] = torch.minimum(broken[open_], found)
        distance, correct = np.full(len(item["rows"]), np.inf), np.zeros(len(item["rows"]), np.int8)
        distance[places], correct[places] = broken.cpu().numpy(), 1
        return {"correct": correct, "distance": distance}

    def _attack(self, chase: Chase, where: Tensor, size: float, stream: Stream) -> Tensor:
        """Return the distances of rows broken at a size, inf for the others, (n,)."""
        threat = ball_threat(self.threat.knobs["norm"], self.threat.access, size)
        near = Chase(chase.opened, threat, chase.clean[where], chase.goal[where], chase.rows[where])
        run_plan(self._attacks(chase.opened), near, stream)
        shorten(near)
        near.verify()
        return torch.where(near.done, near.whole_ball.share(near.found) * size, torch.inf)

    def _attacks(self, opened: Opened) -> tuple[Attack, ...]:
        return (PGD(self.steps, 1),) if hasattr(opened.model, "forward") else (Square(self.queries),)


def _size(known: float | None) -> float:
    return float("inf") if known is None else known
