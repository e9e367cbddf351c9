"""Readings beside an attack, from which the alarms are judged: does the slope tell the truth, does a huge budget win?

Carlini et al. 2019 (arXiv:1902.06705), section 5; Pintor et al. 2022 (arXiv:2106.09947), indicators 4 to 6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.checks.evasion.again import Again, chosen
from veriward.checks.evasion.attack import Attack
from veriward.checks.evasion.chase import Chase
from veriward.core.ball import Ball
from veriward.core.streams import Stream
from veriward.core.threat import Threat

MOST = 32  # survivors per block that the dearer readings look at
VOTES = 9  # calls of which the majority decides, where a model answers by chance
ASKED = 64  # rows asked twice: one tile, so that their company is the same
NEAR, FAR = 0.02, 0.2  # of the budget: where the slope is compared with the answers
OFF = 5.0  # times: an answer that moves so much more, or less, than the slope foretells contradicts it
ROUNDING = 1e-5  # of the answers' size: changes below are no evidence
WIDE_STEPS = 24


def listen(chase: Chase) -> None:
    """Ask some rows twice; if the answers differ, let majorities decide in this chase from now on."""
    rows = chase.clean[:ASKED]
    if len(rows):
        first, second = chase.raw(rows), chase.raw(rows)
        size = first.double().std(correction=0).clamp(min=1e-12)
        if bool((first - second).abs().nan_to_num(0.0).max() > 1e-3 * size):
            chase.votes = VOTES


def symptoms(chase: Chase, attacks: Sequence[Attack], stream: Stream) -> Mapping[str, Any]:
    """Return plain numbers about the rows that no attack broke, and about how the model may be asked.

    `stream` is the one that the plan ran with.
    """
    left = chase.active
    found: dict[str, Any] = {"votes": chase.votes, "detached": detached(chase.opened)}
    found |= {"saturated": int(_saturated(chase, left).sum()), "looked_again": _looked_again(chase, attacks, stream)}
    if chase.votes > 1 or not any(a.reads == "gradients" for a in attacks) or not chase.whole_ball.can_move:
        return {**found, "compared": 0, "misled": 0, "breakable": 0, "unbroken": 0}
    order = stream.child("symptoms").uniform(chase.rows).argsort(stable=True)
    # slopes are compared on any rows: one that misleads was luck where the row fell all the same
    judged, wrong = slopes(chase, order[:MOST], stream.child("symptoms"))
    some = order[~chase.done[order]][:MOST]
    breakable, unbroken = _huge_budget(chase, some, stream.child("symptoms"))
    return {
        **found,
        "compared": int(judged.sum()),
        "misled": int(wrong.sum()),
        "breakable": breakable,
        "unbroken": unbroken,
    }


def _looked_again(chase: Chase, attacks: Sequence[Attack], stream: Stream) -> int:
    """Return how many rows the second look with more steps was after."""
    number = next((i for i, attack in enumerate(attacks) if attack.name == Again.name), None)
    if number is None or chase.votes > 1:
        return 0
    there = (chase.by < 0) | (chase.by >= number)
    return int((there & chosen(chase.rows, stream.child(Again.name))).sum())


def detached(opened: Opened) -> bool:
    """Return whether the model is a network that could be differentiated, had its answers not left the graph."""
    said = opened.subject.model.access
    return opened.access == "scores" and opened.output != "labels" and opened.network is not None and said is None


def _saturated(chase: Chase, where: Tensor) -> Tensor:
    """Return where all classes but one score exactly nothing (zero, or minus infinity), (n,)."""
    none = torch.zeros(len(where), dtype=torch.bool, device=where.device)
    if (
        not len(where)
        or chase.opened.output not in ("probabilities", "logits")
        or not hasattr(chase.opened.model, "scores")
    ):
        return none
    raw = chase.raw(chase.clean[where])
    nothing = 0.0 if chase.opened.output == "probabilities" else -torch.inf
    return (raw == nothing).sum(1) >= raw.shape[1] - 1


def slopes(chase: Chase, where: Tensor, stream: Stream) -> tuple[Tensor, Tensor]:
    """Return for which rows the slope could be compared with the answers, and where it misleads, both (n,).

    From the row itself and from a random point of its ball, small steps up the slope and at random are foretold by the
    slope and then asked. A slope misleads where no foretold rise comes, or where answers move that it does not foretell.
    """
    judged = torch.zeros(len(where), dtype=torch.bool, device=where.device)
    wrong = judged.clone()
    if not len(where):
        return judged, wrong
    ball = chase.ball(where)
    aim = chase.goal[where].aim(chase.raw(ball.clean), 1)
    noise = stream.normal(chase.rows[where], ball.clean.shape[1:]).to(ball.clean.dtype)
    for start in (ball.clean, ball.draw(noise)):
        known, off = _compare(chase, where, aim, ball, start, stream)
        judged, wrong = judged | known, wrong | off
    return judged, wrong


def _compare(
    chase: Chase, where: Tensor, aim: Tensor, ball: Ball, start: Tensor, stream: Stream
) -> tuple[Tensor, Tensor]:
    _, gradient = chase.slope(start, where, "margin", aim)
    finite = torch.isfinite(gradient.flatten(1)).all(1)
    gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
    base, scale = _loss(chase, where, aim, start)
    signs = stream.child("signs").normal(chase.rows[where], start.shape[1:]).sign().to(start.dtype)
    up = _Way(chase, where, aim, start, gradient, base)
    rise = [up.along(ball, gradient, part) for part in (NEAR, FAR)]
    drift = up.along(ball, signs, NEAR)
    least = ROUNDING * scale
    known = (rise[0].foretold > least) | (drift.came.abs() > least)
    # honest networks bend: what the slope foretells must fail near by and farther off alike
    fails = torch.stack([r.came * OFF < r.foretold for r in rise]).all(0) & (rise[0].foretold > least)
    silent = (
        (drift.came.abs() > OFF * drift.foretold.abs())
        & (drift.came.abs() > OFF * rise[0].foretold)
        & (drift.came.abs() > least)
    )
    return known, (fails | silent | ~finite) & (known | ~finite)


@dataclass(frozen=True)
class _Step:
    foretold: Tensor
    came: Tensor


@dataclass(frozen=True)
class _Way:
    """Steps from a point: what its slope foretells of the loss, and what comes."""

    chase: Chase
    where: Tensor
    aim: Tensor
    start: Tensor
    gradient: Tensor
    base: Tensor

    def along(self, ball: Ball, direction: Tensor, part: float) -> _Step:
        """Step a part of the budget along a direction, inside the ball."""
        z = ball.clamp(ball.step(self.start, direction, part))
        foretold = (self.gradient.double() * (z - self.start).double()).nan_to_num(0.0).flatten(1).sum(1)
        return _Step(foretold, _loss(self.chase, self.where, self.aim, z)[0] - self.base)


def _loss(chase: Chase, where: Tensor, aim: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of z, (n,) float64, and the size of the scores that it comes from."""
    with torch.no_grad():
        raw = chase.opened.model.forward(z)  # type: ignore[union-attr]  # asked only where slopes are
    loss = chase.goal[where].loss(raw, "margin", aim).double()
    return loss, raw.double().abs().nan_to_num(0.0, 0.0, 0.0).reshape(len(z), -1).amax(1).clamp(max=1e30) + loss.abs()


def widened(opened: Opened, threat: Threat, clean: Tensor) -> Threat | None:
    """Return the threat with a budget that reaches the whole domain; None where budgets are not one number."""
    if threat.knobs.get("eps") is None:
        return None
    ends = _domain_width(opened)
    size = clean[0].numel()
    norm = threat.knobs.get("norm", "linf")
    reach = ends * {"linf": 1.0, "l2": size**0.5, "l1": float(size)}[norm]
    return replace(threat, knobs={**threat.knobs, "eps": max(reach, float(threat.knobs["eps"]))})


def _domain_width(opened: Opened) -> float:
    columns = getattr(opened.domain, "columns", None)
    if columns is None:
        return float(opened.domain.high - opened.domain.low)  # type: ignore[attr-defined]  # arrays have bounds
    return max((float(column.high - column.low) for column in columns if column.movable), default=0.0)


def _huge_budget(chase: Chase, where: Tensor, stream: Stream) -> tuple[int, int]:
    """Return how many rows some other row within a budget without end would break, and how many gradients do not."""
    from veriward.checks.evasion.ascent import PGD

    wide = widened(chase.opened, chase.threat, chase.clean) if len(where) else None
    if wide is None:
        return 0, 0
    where = where[_breakable(chase, where, wide)]
    clean, goal, rows = chase.clean[where], chase.goal[where], chase.rows[where]
    trial = Chase(chase.opened, wide, clean, goal, rows)
    if len(where):
        PGD(WIDE_STEPS, 1).run(trial, stream)
        trial.verify()
    return len(where), len(trial.active)


def _breakable(chase: Chase, where: Tensor, wide: Threat) -> Tensor:
    """Return which rows turn into a success when another row of the block takes their place, as far as it may, (n,)."""
    clean, found = chase.clean[where], torch.zeros(len(where), dtype=torch.bool, device=where.device)
    for shift in (1, 7, 31):
        other = chase.clean.roll(shift, 0)[where]
        z = chase.opened.domain.project(other, clean, wide)
        found |= chase.ask(z, where).fooled & chase.opened.domain.allowed(z, clean, wide)
    return found
