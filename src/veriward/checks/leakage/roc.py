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
    return at_threshold(members, non_members, threshold(non_members, fpr))


def threshold(non_members: Array, fpr: float) -> float:
    """Return the lowest score above which at most a share `fpr` of the non-members lies; -inf if all may.

    >>> threshold(np.array([0.0, 1.0, 2.0, 3.0]), 0.25)
    2.0
    """
    allowed = int(np.floor(fpr * len(non_members) + 1e-9))
    return float(np.sort(non_members)[::-1][allowed]) if allowed < len(non_members) else -np.inf


def at_threshold(members: Array, non_members: Array, above: float) -> Operating:
    """Return the point at a threshold that was set on other rows: its rates are then shares of independent rows.

    >>> at_threshold(np.array([2.0, 3.0]), np.array([0.0, 1.0]), 2.0)
    Operating(hits=1, members=2, false_alarms=0, non_members=2)
    """
    return Operating(int((members > above).sum()), len(members), int((non_members > above).sum()), len(non_members))
