"""Signs that an attack failed for a reason other than robustness. Carlini et al., 2019 (arXiv:1902.06705), section 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from veriward.core.note import Note, note

if TYPE_CHECKING:
    import numpy as np

    from veriward.checks.evasion.attack import Attack


def alarms(
    correct: np.ndarray[Any, Any],
    by: np.ndarray[Any, Any],
    items: Sequence[Mapping[str, Any]],
    attacks: Sequence[Attack],
) -> tuple[Note, ...]:
    """Return signs of masked gradients, of random models and of rows that cannot be attacked as they stand."""
    white = [number for number, attack in enumerate(attacks) if attack.reads == "gradients"]
    right = max(int(correct.sum()), 1)
    by_gradient, broken = sum(int((by == number).sum()) for number in white), int((by >= 0).sum())
    left, surprise = max(right - by_gradient, 1), broken - by_gradient
    flat, stuck = sum(item["flat_gradients"] for item in items), sum(item["stuck"] for item in items)
    found = []
    if stuck / right > 0.01:
        found.append(note("evasion.rows_break_rules", rows=stuck, correct=right))
    if white and surprise >= 3 and surprise / left > 0.05:
        found.append(note("evasion.black_box_beats_white_box", rows=surprise, left=left))
    robust = max(right - broken, 1)
    if white and flat >= 3 and flat / robust > 0.02:
        found.append(note("evasion.flat_gradients", rows=flat, robust=robust))
    rejected = sum(item["rejected"] for item in items)
    if any(item["random"] for item in items) or (rejected >= 3 and rejected / right > 0.01):
        found.append(note("evasion.random_model"))
    if any(item["probabilities_as_logits"] for item in items):
        found.append(note("evasion.probabilities_as_logits"))
    return tuple(found)
