"""The true positive rate at a given false positive rate, with an interval that knows the threshold is estimated, too.

The attacker names every row that scores above the (k+1)-th largest score of n non-members. The true false positive rate of
that threshold is Beta(k+1, n-k) distributed, whatever the scores are (order statistics; David & Nagaraja 2003, section 2.1),
and above a share a exactly if a Binomial(n, a) is at most k. So from below: take the k at which the rate is at most `fpr`
with the wanted confidence, and the exact lower end of the hits there; from above likewise. The interval that takes the
threshold for granted covers the truth in clearly fewer than 95 of 100 cases.

The counts: `{"kind": "roc", "fpr": a, "members": m, "non_members": n, "first": k0, "strict": [...], "loose": [...]}`, where
`strict[i]` members score above the (k0+i+1)-th largest non-member, and `loose[i]` at least as high (ties tell them apart).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import bdtr, bdtrik, betaincinv

from veriward.core.intervals import clopper_pearson

Roc = Mapping[str, Any]
SIGMAS = 8  # the thresholds kept on either side: beyond them no level that is ever asked for can lead


def counts(members: "np.ndarray[Any, Any]", non_members: "np.ndarray[Any, Any]", fpr: float) -> dict[str, Any]:
    """Return the counts around a false positive rate; larger scores speak for membership.

    >>> roc = counts(np.array([2.0, 3.0]), np.array([0.0, 1.0]), 0.5)
    >>> roc["first"], roc["strict"], roc["loose"]
    (0, [2, 2], [2, 2])
    """
    m, n = len(members), len(non_members)
    reach = SIGMAS * math.sqrt(n * fpr) + 10
    first, last = max(0, math.floor(n * fpr - reach)), min(n - 1, math.ceil(n * fpr + reach))
    thresholds = np.sort(non_members)[::-1][first : last + 1]
    ordered = np.sort(members)
    return {
        "kind": "roc",
        "fpr": fpr,
        "members": m,
        "non_members": n,
        "first": first,
        "strict": (m - np.searchsorted(ordered, thresholds, side="right")).tolist(),
        "loose": (m - np.searchsorted(ordered, thresholds, side="left")).tolist(),
    }


def point(roc: Roc) -> tuple[int, int]:
    """Return (hits, false alarms allowed) at the threshold with the largest realised rate that is at most `fpr`."""
    allowed = math.floor(roc["fpr"] * roc["non_members"] + 1e-9)
    place = allowed - roc["first"]
    if place < len(roc["strict"]):
        return int(roc["strict"][place]), allowed
    return int(roc["members"]), int(roc["non_members"])


def lower(roc: Roc, error: float) -> float:
    """Return the lower end that is too high with at most probability `error`; half of it is the threshold's."""
    n, fpr = roc["non_members"], roc["fpr"]
    k = math.floor(float(bdtrik(error / 2, n, fpr)) + 1e-9) if bdtr(0, n, fpr) <= error / 2 else -1
    k -= k >= 0 and bdtr(k, n, fpr) > error / 2
    place = min(k - roc["first"], len(roc["strict"]) - 1)
    if k < 0 or place < 0:
        return 0.0
    return clopper_pearson(roc["strict"][place], roc["members"], 1 - error)[0]


def upper(roc: Roc, error: float) -> float:
    """Return the upper end that is too low with at most probability `error`; half of it is the threshold's."""
    n, fpr = roc["non_members"], roc["fpr"]
    k = math.ceil(float(bdtrik(1 - error / 2, n, fpr)) - 1e-9)
    k += bdtr(k, n, fpr) < 1 - error / 2
    place = k - roc["first"]
    if place >= len(roc["loose"]):
        return 1.0
    return clopper_pearson(roc["loose"][max(place, 0)], roc["members"], 1 - error)[1]


def scaled(roc: Roc, factor: float) -> dict[str, Any]:
    """Return the counts as if `factor` times the rows had shown the same curve."""
    m, n = round(roc["members"] * factor), round(roc["non_members"] * factor)
    reach = SIGMAS * math.sqrt(n * roc["fpr"]) + 10
    first, last = max(0, math.floor(n * roc["fpr"] - reach)), min(n - 1, math.ceil(n * roc["fpr"] + reach))
    rates = (roc["first"] + np.arange(len(roc["strict"])) + 1) / roc["non_members"]
    wanted = (np.arange(first, last + 1) + 1) / n
    grown = {name: np.interp(wanted, rates, roc[name]) / roc["members"] * m for name in ("strict", "loose")}
    return {**roc, "members": m, "non_members": n, "first": first} | {
        name: np.round(values).astype(int).tolist() for name, values in grown.items()
    }


def reach_of(roc: Roc, threshold: float, level: float, power: float) -> float | None:
    """Return a rate that these rows would show to lie above `threshold` with at least `power`, None if none would.

    Assumes a concave curve, on which the rate at a smaller false positive rate is at least proportional.
    """
    from scipy.special import ndtri

    n, m, fpr = roc["non_members"], roc["members"], roc["fpr"]
    if bdtr(0, n, fpr) > level / 2:
        return None
    k = math.floor(float(bdtrik(level / 2, n, fpr)))
    miss = (1 - power) / 2  # of the threshold, and of the hits
    at_least = float(betaincinv(k + 1, n - k, miss))
    deviation = math.sqrt(max(threshold * (1 - threshold), 0.25 / m) / m)
    wanted = threshold + float(ndtri(1 - level / 2) + ndtri(1 - miss)) * deviation
    found = wanted * fpr / at_least
    return found if found <= 1 else None
