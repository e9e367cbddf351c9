"""Signs that an attack failed for a reason other than robustness, each with the attack that would settle it.

Carlini et al. 2019 (arXiv:1902.06705), section 5; Athalye, Carlini & Wagner 2018 (arXiv:1802.00420), section 3.1;
Pintor et al. 2022 (arXiv:2106.09947).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veriward.core.note import Note, note

if TYPE_CHECKING:
    import numpy as np

    from veriward.checks.evasion.attack import Attack

FEWEST = 3  # rows: less may be luck


def alarms(
    correct: np.ndarray[Any, Any],
    by: np.ndarray[Any, Any],
    items: Sequence[Mapping[str, Any]],
    attacks: Sequence[Attack],
) -> tuple[Note, ...]:
    """Return signs of masked gradients, of random models and of rows that cannot be attacked as they stand."""
    seen = _Seen(max(int(correct.sum()), 1), by, items, attacks)
    found = [*_rows(seen), *_chance(seen), *_answers(seen)]
    if any(attack.reads == "gradients" for attack in attacks):
        found += [*_weakness(seen), *_slopes(seen)]
    return tuple(found)


@dataclass(frozen=True)
class _Seen:
    right: int
    by: np.ndarray[Any, Any]
    items: Sequence[Mapping[str, Any]]
    attacks: Sequence[Attack]

    def sum(self, name: str) -> int:
        return sum(int(item.get(name, 0)) for item in self.items)

    def any(self, name: str) -> bool:
        return any(item.get(name) for item in self.items)

    def broken(self, *names: str, reads: str = "") -> int:
        """Return how many rows fell to attacks of these names, or to those that read this of the model."""
        chosen = [i for i, a in enumerate(self.attacks) if a.name in names or a.reads == reads]
        return sum(int((self.by == i).sum()) for i in chosen)

    def left(self, name: str) -> int:
        """Return how many rows were left when the attack of this name began."""
        first = next((i for i, a in enumerate(self.attacks) if a.name == name), len(self.attacks))
        return max(self.right - int(((self.by >= 0) & (self.by < first)).sum()), 1)

    @property
    def votes(self) -> int:
        return max((int(item.get("votes", 1)) for item in self.items), default=1)

    @property
    def robust(self) -> int:
        return max(self.right - int((self.by >= 0).sum()), 1)


def _clear(rows: int, of: int, share: float) -> bool:
    """Return whether rows are more than luck: three at least, and more than a share."""
    return rows >= FEWEST and rows > share * of


def _rows(seen: _Seen) -> Iterator[Note]:
    stuck = seen.sum("stuck")
    if stuck / seen.right > 0.01:
        yield note("evasion.rows_break_rules", rows=stuck, correct=seen.right)


def _chance(seen: _Seen) -> Iterator[Note]:
    rejected = seen.sum("rejected")
    if seen.votes > 1:
        yield note("evasion.answers_by_chance", votes=seen.votes, rows=seen.broken("eot-pgd"))
    elif seen.any("random") or _clear(rejected, seen.right, 0.01):
        yield note("evasion.random_model")


def _answers(seen: _Seen) -> Iterator[Note]:
    if seen.any("probabilities_as_logits"):
        yield note("evasion.probabilities_as_logits")
    if seen.any("detached"):
        yield note("evasion.left_the_graph", rows=seen.robust)
    if _clear(seen.sum("saturated"), seen.robust, 0.02):
        yield note("evasion.saturated", rows=seen.sum("saturated"), robust=seen.robust)


def _weakness(seen: _Seen) -> Iterator[Note]:
    """What broke rows that the attack by gradients had left."""
    # evolution also changes categories and whole numbers, where no slope leads: what it adds is no sign of masking
    surprise = seen.broken(reads="scores") + seen.broken(reads="labels") - seen.broken("moeva")
    left = max(seen.right - seen.broken(reads="gradients"), 1)
    if _clear(surprise, left, 0.05):
        yield note("evasion.black_box_beats_white_box", rows=surprise, left=left)
    one, left = seen.broken("one-step"), seen.left("one-step")
    if _clear(one, left, 0.03) and seen.votes == 1:  # chance alone breaks rows at a second try
        yield note("evasion.one_step_beats_many", rows=one, left=left)
    again, looked = seen.broken("again"), max(seen.sum("looked_again"), 1)
    if _clear(again, looked, 0.05):
        yield note("evasion.still_falling", rows=again, left=looked)
    unbroken, breakable = seen.sum("unbroken"), seen.sum("breakable")
    if _clear(unbroken, breakable, 0.05):
        yield note("evasion.huge_budget_fails", rows=unbroken, breakable=breakable)


def _slopes(seen: _Seen) -> Iterator[Note]:
    flat, misled, compared = seen.sum("flat_gradients"), seen.sum("misled"), max(seen.sum("compared"), 1)
    if _clear(flat, seen.robust, 0.02):
        yield note("evasion.flat_gradients", rows=flat, robust=seen.robust)
    elif _clear(misled, compared, 0.1):
        yield note("evasion.gradients_mislead", rows=misled, compared=compared)
