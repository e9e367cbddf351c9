"""One item of work: a block of rows put through a plan of attacks, and what came of it as plain arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.answers import looks_like_probabilities
from veriward.adapters.opened import Opened
from veriward.checks.evasion.attack import Attack, run_plan
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.cheapest import shrink
from veriward.checks.evasion.goals import Goal, Misclassify
from veriward.checks.evasion.symptoms import listen, symptoms
from veriward.checks.evasion.witnesses import witnesses
from veriward.core.streams import Stream
from veriward.core.threat import Threat


@dataclass(frozen=True)
class AttackRows:
    """Attack a block of test rows. `items` are (rows, witnesses): their numbers, and how many examples to keep."""

    threat: Threat
    stream: Stream
    attacks: tuple[Attack, ...]

    def __call__(self, opened: Opened, item: tuple[Sequence[int], int]) -> Mapping[str, Any]:
        """Return per-row arrays (correct, by, spent), readings for the alarms, and the cheapest examples."""
        rows, keep = list(item[0]), item[1]
        chase, right, raw = begin(opened, self.threat, rows)
        listen(chase)
        flat = flat_gradients(chase, self.attacks)
        if chase.whole_ball.can_move:
            run_plan(self.attacks, chase, self.stream)
            if chase.votes == 1:  # a shorter way that wins one vote by luck would lose the next
                shrink(chase)
                chase.verify()
        return {
            **_arrays(chase, len(rows), right),
            "flat_gradients": int((flat & ~chase.done).sum()),
            "stuck": int((~opened.domain.allowed(chase.clean, chase.clean, self.threat)).sum()),
            "rejected": chase.rejected,
            "contradicted": chase.contradicted,
            **symptoms(chase, self.attacks, self.stream),
            "random": depends_on_company(chase, opened.encoded("test", rows), raw),
            "probabilities_as_logits": opened.output == "logits" and looks_like_probabilities(raw),
            "witnesses": witnesses(chase, rows, right, keep),
        }


def flat_gradients(chase: Chase, attacks: Sequence[Attack]) -> Tensor:
    """Return where the gradient is zero or not a number, (n,): without a slope, descent proves nothing."""
    if not any(attack.reads == "gradients" for attack in attacks) or not len(chase.clean):
        return torch.zeros(len(chase.clean), dtype=torch.bool, device=chase.clean.device)
    _, gradient = chase.slope(chase.clean, chase.active)
    steep = (gradient.flatten(1) != 0).any(1) & torch.isfinite(gradient.flatten(1)).all(1)
    return ~steep


def begin(opened: Opened, threat: Threat, rows: Sequence[int]) -> tuple[Chase, Tensor, Tensor]:
    """Return a chase of those test rows that can be broken, their positions among `rows`, and the clean answers of all."""
    clean = opened.encoded("test", rows)
    target = opened.targets["test"][list(rows)].to(clean.device)
    numbers = torch.as_tensor(opened.test.index[list(rows)], device=clean.device)
    asked = Chase(opened, threat, clean, Misclassify(target, opened.output, len(opened.classes)), numbers)
    raw = asked.raw(clean)
    goal: Goal = asked.goal
    right = (~goal.answer(raw).fooled).nonzero().squeeze(1)  # as the model decides: a tie is no error of its own
    return Chase(opened, threat, clean[right], goal[right], numbers[right]), right, raw


def _arrays(chase: Chase, n: int, right: Tensor) -> dict[str, Any]:
    correct, by, spent = np.zeros(n, np.int8), np.full(n, -1, np.int8), np.full(n, np.nan, np.float32)
    where = right.cpu().numpy()
    correct[where], by[where] = 1, chase.by.cpu().numpy()
    distance = chase.whole_ball.share(chase.found).cpu().numpy()
    spent[where] = np.where(chase.done.cpu().numpy(), distance, np.nan)
    return {"correct": correct, "by": by, "spent": spent}


def depends_on_company(chase: Chase, clean: Tensor, raw: Tensor) -> bool:
    """Return whether rows get other answers in another order: noise, or rows that influence each other.

    Honest models differ by rounding alone, a thousand times less than what is called a difference here.
    """
    if len(raw) < 2:
        return False
    again = chase.raw(clean.flip(0)).flip(0)
    return bool((again - raw).abs().max() > 1e-3 * raw.double().std().clamp(min=1e-12))
