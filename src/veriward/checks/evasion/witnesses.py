"""The cheapest examples of a chase, in the user's words; images with their pixels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.goals import Misclassify, Move
from veriward.core.domain import ArrayDomain


def witnesses(chase: Chase, rows: Sequence[int], right: Tensor, keep: int) -> list[dict[str, Any]]:
    """Return the successes that spend the least of the budget."""
    where = chase.done.nonzero().squeeze(1)
    size = chase.ball(where).share(chase.found[where])
    if not isinstance(chase.opened.domain, ArrayDomain):
        # for a table, one column is cheaper than two
        size = _changed(chase.found[where], chase.clean[where]) + size.clamp(max=1.0) / 2
    chosen = where[size.argsort(stable=True)[:keep]]
    if not len(chosen):
        return []
    became = chase.raw(chase.found[chosen])
    became = became.argmax(1) if became.ndim > 1 else became
    return [_witness(chase, rows, right, int(i), b) for i, b in zip(chosen, became.tolist(), strict=True)]


def _changed(found: Tensor, clean: Tensor) -> Tensor:
    """Return how many numbers of each row differ, (n,); a missing number that stays missing does not."""
    return ((found != clean) & ~(torch.isnan(found) & torch.isnan(clean))).flatten(1).sum(1)


def _witness(chase: Chase, rows: Sequence[int], right: Tensor, i: int, became: float) -> dict[str, Any]:
    opened, found, clean = chase.opened, chase.found[i].cpu(), chase.clean[i].cpu()
    distance = chase.ball(torch.tensor([i])).share(chase.found[i : i + 1]).item()
    details: dict[str, Any] = {**_turned(chase, i, became), "changed": int(_changed(found[None], clean[None]))}
    if isinstance(opened.domain, ArrayDomain):
        details |= {"clean": clean.numpy(), "adversarial": found.numpy()}
        details["bounds"] = [opened.domain.low, opened.domain.high]
    return {
        "row": int(opened.test.index[rows[int(right[i])]]),
        "text": opened.domain.describe(found, clean),
        "size": float(distance),
        "details": details,
    }


def _turned(chase: Chase, i: int, became: float) -> dict[str, Any]:
    """Return what the answer was and became: names of classes, or predictions."""
    if isinstance(chase.goal, Move):
        return {"was": f"{float(chase.goal.start[i]):.4g}", "became": f"{became:.4g}"}
    assert isinstance(chase.goal, Misclassify)
    names = [str(name) for name in chase.opened.classes]
    return {"was": names[int(chase.goal.y[i])], "became": names[int(became)]}
