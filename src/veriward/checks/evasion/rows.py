"""One item of work: a block of rows put through the attacks, cheapest first, and what came of it as plain arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.answers import looks_like_probabilities
from veriward.adapters.opened import Opened
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.cheapest import shrink
from veriward.checks.evasion.pgd import PGD, input_gradient
from veriward.checks.evasion.square import Square
from veriward.core.domain import ArrayDomain
from veriward.core.streams import Stream
from veriward.core.threat import Threat


@dataclass(frozen=True)
class AttackRows:
    """Attack a block of test rows. `items` are (rows, witnesses): their numbers, and how many examples to keep."""

    threat: Threat
    stream: Stream
    pgd: PGD | None
    square: Square

    def __call__(self, opened: Opened, item: tuple[Sequence[int], int]) -> Mapping[str, Any]:
        """Return per-row arrays (correct, by_gradient, by_scores, spent) and the cheapest examples."""
        rows, keep = list(item[0]), item[1]
        clean = opened.encoded("test", rows)
        y = opened.targets["test"][rows].to(clean.device)
        raw = opened.model.scores(opened.domain.decode(clean)).to(clean.device)  # type: ignore[union-attr]
        right = (raw.argmax(1) == y).nonzero().squeeze(1)  # as the model decides: a tie is no error of its own
        numbers = torch.as_tensor(opened.test.index[rows], device=clean.device)
        chase = Chase(opened, self.threat, clean[right], y[right], numbers[right])
        flat = self._flat_gradients(chase)
        by_gradient = self._attack(chase)
        result = self._arrays(chase, len(rows), right, by_gradient)
        return {
            **result,
            "flat_gradients": int((flat & ~chase.done).sum()),
            "stuck": int((~opened.domain.allowed(chase.clean, chase.clean, self.threat)).sum()),
            "rejected": chase.rejected,
            "random": _depends_on_company(chase, clean, raw),
            "probabilities_as_logits": opened.output == "logits" and looks_like_probabilities(raw),
            "witnesses": _witnesses(chase, rows, right, keep),
        }

    def _attack(self, chase: Chase) -> Tensor:
        """Run the attacks; return which rows fell to gradients, before the black box had its turn."""
        if not chase.can_move:
            return chase.done.clone()
        if self.pgd is not None:
            self.pgd.run(chase, self.stream)
            chase.verify()
        by_gradient = chase.done.clone()
        self.square.run(chase, self.stream)
        chase.verify()
        shrink(chase)
        chase.verify()
        return by_gradient

    def _flat_gradients(self, chase: Chase) -> Tensor:
        """Return where the gradient is zero or not a number, (n,): without a slope, descent proves nothing."""
        if self.pgd is None or not len(chase.clean):
            return torch.zeros(len(chase.clean), dtype=torch.bool, device=chase.clean.device)
        _, gradient = input_gradient(chase, chase.clean, chase.y, None)
        steep = (gradient.flatten(1) != 0).any(1) & torch.isfinite(gradient.flatten(1)).all(1)
        return ~steep

    def _arrays(self, chase: Chase, n: int, right: Tensor, by_gradient: Tensor) -> dict[str, Any]:
        correct, gradient, scores = (np.zeros(n, np.int8) for _ in range(3))
        spent = np.full(n, np.nan, np.float32)
        where = right.cpu().numpy()
        correct[where] = 1
        gradient[where] = (by_gradient & chase.done).cpu().numpy()
        scores[where] = (chase.done & ~by_gradient).cpu().numpy()
        distance = chase.opened.domain.distance(chase.found, chase.clean, self.threat).cpu().numpy()
        spent[where] = np.where(chase.done.cpu().numpy(), distance, np.nan)
        return {"correct": correct, "by_gradient": gradient, "by_scores": scores, "spent": spent}


def _depends_on_company(chase: Chase, clean: Tensor, raw: Tensor) -> bool:
    """Return whether rows get other scores in another order: noise, or rows that influence each other.

    Honest models differ by rounding alone, a thousand times less than what is called a difference here.
    """
    again = chase.scores(clean.flip(0)).flip(0)
    return bool((again - raw).abs().max() > 1e-3 * raw.std().clamp(min=1e-12)) if len(raw) > 1 else False


def _witnesses(chase: Chase, rows: Sequence[int], right: Tensor, keep: int) -> list[dict[str, Any]]:
    """Return the successes that spend the least of the budget, in the user's words; images with their pixels."""
    opened, where = chase.opened, chase.done.nonzero().squeeze(1)
    size = opened.domain.distance(chase.found[where], chase.clean[where], chase.threat)
    changed = _changed(chase.found[where], chase.clean[where])
    if not isinstance(opened.domain, ArrayDomain):
        size = changed + size.clamp(max=1.0) / 2  # for a table, one column is cheaper than two
    chosen = where[size.argsort(stable=True)[:keep]]
    if not len(chosen):
        return []
    became = chase.scores(chase.found[chosen]).argmax(1)
    return [_witness(chase, rows, right, int(i), int(b)) for i, b in zip(chosen, became, strict=True)]


def _changed(found: Tensor, clean: Tensor) -> Tensor:
    """Return how many numbers of each row differ, (n,); a missing number that stays missing does not."""
    return ((found != clean) & ~(torch.isnan(found) & torch.isnan(clean))).flatten(1).sum(1)


def _witness(chase: Chase, rows: Sequence[int], right: Tensor, i: int, became: int) -> dict[str, Any]:
    opened, names = chase.opened, [str(name) for name in chase.opened.classes]
    found, clean = chase.found[i].cpu(), chase.clean[i].cpu()
    distance = opened.domain.distance(found[None], clean[None], chase.threat).item()
    details: dict[str, Any] = {"was": names[int(chase.y[i])], "became": names[became]}
    details["changed"] = int(_changed(found[None], clean[None]))
    if isinstance(opened.domain, ArrayDomain):
        details |= {"clean": clean.numpy(), "adversarial": found.numpy()}
        details["bounds"] = [opened.domain.low, opened.domain.high]
    return {
        "row": int(opened.test.index[rows[int(right[i])]]),
        "text": opened.domain.describe(found, clean),
        "size": float(distance),
        "details": details,
    }
