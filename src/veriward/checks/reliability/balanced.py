"""The mean of the classes' recalls, with an interval that holds for any number of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from veriward.core.estimate import Estimate, from_basis, not_estimable
from veriward.core.note import note

# Hoeffding's tail exp(-x^2 / 2) at .05, as a multiple of the normal one: sqrt(2 ln 20) / 1.645. The ratio falls towards
# one as the level does, so a normal law that much wider bounds Hoeffding's tail at every level up to .05.
WIDER = math.sqrt(2 * math.log(20)) / 1.6448536269514722


def balanced_accuracy(counts: Sequence[Sequence[int]], *, at: Mapping[str, Any] | None = None) -> Estimate:
    """Return the mean recall of classes [right, rows]; classes without rows are left out.

    Given how many rows a class has, the estimate is a sum of independent numbers, each in a span of 1 / (classes * rows of
    its class); Hoeffding (1963), J. Am. Stat. Assoc. 58(301), theorem 2 bounds how far it strays, whatever the recalls.

    >>> balanced_accuracy([[90, 100], [1, 10]]).value
    0.5
    """
    seen = [(k, n) for k, n in counts if n]
    if len(seen) < 2:
        return not_estimable("balanced_accuracy", note("reliability.one_class"), at=at, unit="mean of shares")
    value = sum(k / n for k, n in seen) / len(seen)
    spread = math.sqrt(sum(1 / n for _, n in seen)) / (2 * len(seen))
    basis = {"kind": "normal", "value": value, "se": WIDER * spread, "n": sum(n for _, n in seen)}
    found = from_basis("balanced_accuracy", basis, unit="mean of shares", method="Hoeffding, by class", at=at)
    assert found.low is not None and found.high is not None
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))
