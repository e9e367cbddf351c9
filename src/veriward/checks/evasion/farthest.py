"""How far can predictions be moved? The same attacks on a goal that is never reached, so that no row leaves early."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.checks.evasion.attack import Attack, run_plan
from veriward.checks.evasion.chase import NOBODY, Chase
from veriward.checks.evasion.cheapest import shrink
from veriward.checks.evasion.goals import Answer, Move
from veriward.checks.evasion.rows import depends_on_company, flat_gradients
from veriward.checks.evasion.witnesses import witnesses
from veriward.core.streams import Stream
from veriward.core.threat import Threat


@dataclass(frozen=True)
class Farthest(Move):
    """A prediction as far away as it can be: every candidate may be bettered."""

    def __getitem__(self, where: Tensor) -> "Farthest":
        return Farthest(self.start[where], self.tolerance[where])

    def answer(self, raw: Tensor) -> Answer:
        """Return the distance from the start; nothing is far enough."""
        moved = raw.double() - self.start
        return Answer(moved.abs(), torch.zeros_like(moved, dtype=torch.bool), moved)


@dataclass
class FarChase(Chase):
    """A chase that keeps each row's farthest candidates on either side instead of its first success."""

    up: Tensor = field(init=False)  # (n,) the farthest moves that were verified
    down: Tensor = field(init=False)
    far: Tensor = field(init=False)  # the larger of the two, without its sign

    def __post_init__(self) -> None:
        super().__post_init__()
        self.up, self.down = torch.zeros_like(self.best), torch.zeros_like(self.best)
        self.far = torch.zeros_like(self.best)

    def observe(self, where: Tensor, z: Tensor, answer: Answer) -> Tensor:
        """Take note of candidates that are farther than any before, if they are allowed; nothing is a success."""
        assert answer.moved is not None
        moved = answer.moved
        farther = (moved > self.up[where]) | (moved < self.down[where])
        if bool(farther.any()):
            farther &= self.opened.domain.allowed(z, self.clean[where], self.threat)
        at, there = where[farther], moved[farther]
        self.up[at], self.down[at] = torch.maximum(self.up[at], there), torch.minimum(self.down[at], there)
        most = there.abs() > self.far[at]
        new = at[most]
        assert isinstance(self.goal, Move)
        limit, size = self.goal.tolerance[new], there.abs()[most]
        self.by[new[(self.far[new] <= limit) & (size > limit)]] = self.attack  # who moved it beyond the tolerance first
        self.far[new], self.found[new] = size, z[farther][most]
        self.best[where] = self.far[where]
        return torch.zeros_like(farther)

    def verify(self) -> None:
        """Nothing is done before the end."""

    def settle(self) -> None:
        """Ask again about the farthest candidates; those beyond the tolerance are successes from now on."""
        assert isinstance(self.goal, Move)
        everyone = self.active
        again = self.raw(self.found).double() - self.goal.start
        self.rejected += int(((again.abs() < self.far * (1 - 1e-6)) & (self.far > self.goal.tolerance)).sum())
        self.far = torch.minimum(self.far, again.abs())
        self.goal = Move(self.goal.start, self.goal.tolerance)
        self.done = self.far > self.goal.tolerance
        self.by[everyone[~self.done]] = NOBODY


@dataclass(frozen=True)
class MoveRows:
    """Move the predictions of a block of test rows. `items` are (rows, witnesses)."""

    threat: Threat
    stream: Stream
    attacks: tuple[Attack, ...]

    def __call__(self, opened: Opened, item: tuple[Sequence[int], int]) -> Mapping[str, Any]:
        """Return per-row arrays (by, spent, start, up, down), readings for the alarms, and the cheapest examples."""
        rows, keep = list(item[0]), item[1]
        chase, raw = _begin(opened, self.threat, rows)
        flat = flat_gradients(chase, self.attacks)
        if chase.whole_ball.can_move:
            run_plan(self.attacks, chase, self.stream)
        chase.settle()
        farthest = chase.found.clone()
        shrink(chase)
        spent = torch.where(chase.done, chase.whole_ball.share(chase.found), torch.nan)
        told = {name: getattr(chase, name).cpu().numpy() for name in ("by", "up", "down")}
        return {
            **told,
            "correct": np.ones(len(rows), np.int8),
            "start": raw.double().cpu().numpy(),
            "far": chase.far.cpu().numpy(),
            "spent": spent.float().cpu().numpy(),
            "flat_gradients": int((flat & (chase.far == 0)).sum()),
            "stuck": int((~opened.domain.allowed(chase.clean, chase.clean, self.threat)).sum()),
            "rejected": chase.rejected,
            "random": depends_on_company(chase, chase.clean, raw),
            "probabilities_as_logits": False,
            "witnesses": witnesses(replace_found(chase, farthest), rows, torch.arange(len(rows)), keep),
        }


def replace_found(chase: FarChase, farthest: Tensor) -> FarChase:
    """Return the chase with its cheapest successes; rows without one keep their farthest candidate."""
    chase.found = torch.where(chase.done.view(-1, *[1] * (farthest.ndim - 1)), chase.found, farthest)
    return chase


def _begin(opened: Opened, threat: Threat, rows: Sequence[int]) -> tuple[FarChase, Tensor]:
    clean = opened.encoded("test", rows)
    numbers = torch.as_tensor(opened.test.index[list(rows)], device=clean.device)
    nothing = torch.zeros(len(rows), dtype=torch.float64, device=clean.device)
    chase = FarChase(opened, threat, clean, Farthest(nothing, nothing), numbers)
    raw = chase.raw(clean).double()
    goal = Move.of(opened, raw)
    return replace(chase, goal=Farthest(goal.start, goal.tolerance)), raw
