"""How many members an attacker names while wrongly naming at most a given share of the others."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Operating:
    """One point of the ROC curve, in counts."""

    hits: int  # members named
    members: int
    false_alarms: int  # non-members named
    non_members: int

    @property
    def fpr(self) -> float:
        """The realised false positive rate."""
        return self.false_alarms / self.non_members


def estimable(non_members: int, fpr: float) -> bool:
    """Return whether at least ten non-members stand behind the rate: below 10 / FPR of them there is nothing to see."""
    return non_members >= round(10 / fpr)


def operate(members: Array, non_members: Array, fpr: float) -> Operating:
    """Return the point with the largest FPR that is at most `fpr`; larger scores speak for membership.

    Rows that score exactly the threshold are not named, so ties never raise the rate.

    >>> operate(np.array([2.0, 3.0]), np.array([0.0, 1.0]), 0.5)
    Operating(hits=2, members=2, false_alarms=1, non_members=2)
    """
    allowed = int(np.floor(fpr * len(non_members) + 1e-9))
    threshold = np.sort(non_members)[::-1][allowed] if allowed < len(non_members) else -np.inf
    return Operating(
        int((members > threshold).sum()), len(members), int((non_members > threshold).sum()), len(non_members)
    )
