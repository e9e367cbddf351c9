"""One change for all rows: the search for it, and the attack that applies it. Changes are in shares of each budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.checks.contract import Control
from veriward.checks.evasion.attack import Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.goals import Goal, Misclassify, Move
from veriward.checks.evasion.linear import linear_controls
from veriward.core.ball import Ball
from veriward.core.streams import Stream
from veriward.core.subject import Access
from veriward.core.threat import Threat

SOFTNESS = 0.25  # of the margins' spread
NEARLY = 0.03  # around the truth of the control: of its hundred rows, three may lie at the very edge


@dataclass(frozen=True, eq=False)
class Everyone:
    """Apply one change, (...) in shares of each number's budget, to every row."""

    name: ClassVar[str] = "universal"
    reads: ClassVar[Reads] = "labels"

    change: np.ndarray[Any, Any]

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        where = chase.active
        if len(where):
            candidate = shifted(chase.ball(where), torch.as_tensor(np.array(self.change)))
            chase.observe(where, candidate, chase.ask(candidate, where))


@dataclass(frozen=True, eq=False)
class EveryoneUphill(Everyone):
    """The same, of a change that was found by gradients: where those are flat, it proves little."""

    reads: ClassVar[Reads] = "gradients"


def shifted(ball: Ball, change: Tensor) -> Tensor:
    """Return the clean rows changed by shares (...) of their budgets, inside the box."""
    return ball.project(ball.clean + ball.radii * change.to(ball.clean))


@dataclass(frozen=True)
class Search:
    """Work of one item, the numbers of the rows to learn from: find the change that turns the most of them."""

    threat: Threat
    stream: Stream
    which: str
    steps: int
    restarts: int

    def __call__(self, opened: Opened, rows: Sequence[int]) -> Mapping[str, Any]:
        """Return the best change as plain data, and the share of the right rows that it turned while searching."""
        chase = _learning(opened, self.threat, self.which, rows)
        best, fallen = torch.zeros_like(chase.clean[0]), -1.0
        white = hasattr(opened.model, "forward")
        for restart in range(self.restarts if len(chase.clean) else 0):
            stream = self.stream.child(str(restart))
            climb = _ascended if white else _sought
            change = climb(chase, stream, self.steps, restart)
            share = float(chase.ask(shifted(chase.whole_ball, change), chase.active).fooled.double().mean())
            if share > fallen:
                best, fallen = change, share
        return {"change": best.double().cpu().numpy(), "fallen": fallen}


def _learning(opened: Opened, threat: Threat, which: str, rows: Sequence[int]) -> Chase:
    """Return a chase of those rows of a split that the model decides rightly."""
    clean = opened.encoded(which, list(rows))
    target = opened.targets[which][list(rows)].to(clean.device)
    numbers = torch.as_tensor(list(rows), device=clean.device)
    asked = Chase(opened, threat, clean, Misclassify(target, opened.output, len(opened.classes)), numbers)
    raw = asked.raw(clean)
    goal: Goal = Move.of(opened, raw) if opened.task == "regression" else asked.goal
    right = (~goal.answer(raw).fooled).nonzero().squeeze(1)
    return Chase(opened, threat, clean[right], goal[right], numbers[right])


def _start(chase: Chase, stream: Stream, restart: int) -> Tensor:
    like = chase.clean[0]
    if not restart:
        return torch.zeros_like(like)
    return (stream.child("start").uniform(torch.zeros(1), like.shape)[0] * 2 - 1).to(like)


def _softness(chase: Chase) -> float:
    """Return the width of the step that stands for "fallen": a part of the spread of the clean rows' margins."""
    margins = chase.ask(chase.clean, chase.active).margin.double()
    return SOFTNESS * max(float(margins.std(correction=0)), 1e-12)


def _ascended(chase: Chase, stream: Stream, steps: int, restart: int) -> Tensor:
    """Return a change found by sign ascent on all rows at once; steps fall from half the budget to nothing."""
    ball, where, change = chase.whole_ball, chase.active, _start(chase, stream, restart)
    width, best, highest = _softness(chase), change, -torch.inf
    for step in range(steps):
        answer, gradient = chase.slope(shifted(ball, change), where, "margin")
        fallen = torch.sigmoid(answer.margin.double() / width)
        if float(fallen.mean()) > highest:
            best, highest = change, float(fallen.mean())
        weight = (fallen * (1 - fallen)).view(-1, *[1] * (gradient.ndim - 1))
        slope = (weight * gradient.double().nan_to_num(0.0, 0.0, 0.0) * ball.radii).sum(0)
        change = (change + 0.5 * (1 - step / steps) * slope.sign().to(change)).clamp(-1, 1)
    return best


def _sought(chase: Chase, stream: Stream, steps: int, restart: int) -> Tensor:
    """Return a change found by random search: a random part goes to an end, and stays if the mean does not fall."""
    ball, where, change = chase.whole_ball, chase.active, _start(chase, stream, 1).sign()
    width = _softness(chase)

    def value(trial: Tensor) -> float:
        return float(torch.sigmoid(chase.ask(shifted(ball, trial), where).margin.double() / width).mean())

    highest, one = value(change), torch.zeros(1)
    for step in range(5 * steps):
        share = max(0.5 * (1 - step / (5 * steps)), 1 / change.numel())
        draw = stream.child("part").uniform(one, change.shape, step)[0].to(change.device)
        end = (stream.child("end").uniform(one, change.shape, step)[0] < 0.5).to(change) * 2 - 1
        trial = torch.where((draw < share) | (draw == draw.amin()), end, change)
        now = value(trial)
        if now >= highest:
            change, highest = trial, now
    return change


def universal_controls(access: Access, *, table: bool) -> tuple[Control, ...]:
    """Return the linear controls: a change against the weights turns the near rows of one class, and none of the other."""
    half, none = linear_controls("linf", access=access, table=table)
    low, high = _linear_truth(half)
    path = half.name.removeprefix("linear, ")
    return (
        Control(f"one change, {path}", half.subject, half.threat, {"robust_accuracy": (low - NEARLY, high + NEARLY)}),
        Control(f"one change, {none.name}", none.subject, none.threat, dict(none.truth)),
    )


def _linear_truth(control: Control) -> tuple[float, float]:
    """Return the shares that stay right when one class or the other is turned, of the rows that are measured on."""
    x, y = control.subject.data.test
    live = control.subject.model.live
    white = isinstance(live, torch.nn.Module)
    weight = (next(live.parameters())[1] if white else live.weight).detach().double()
    margin = torch.as_tensor(np.array(x)).double().flatten(1) @ weight
    near = margin.abs() < float(control.threat.knobs["eps"]) * weight.abs().sum()
    shares = [float((near & (torch.as_tensor(y) == label))[1::2].double().mean()) for label in (0, 1)]
    return 1 - max(shares), 1 - min(shares)
