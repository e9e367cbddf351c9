"""Rates of groups as counts: who gets the favourable outcome, and who of those that deserve it or do not.

Demographic parity: Dwork et al., 2012 (arXiv:1104.3913). Equal opportunity and equalised odds: Hardt et al., 2016
(arXiv:1610.02413), definitions 2.1 and 2.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class GroupRates:
    """Counts of one attribute's groups, (groups, 2) each: [favourable decisions, rows]."""

    names: tuple[str, ...]
    selected: Array  # of all rows
    true_positive: Array  # of the rows whose true outcome is the favourable one
    false_positive: Array  # of the others


def count(chosen: Array, deserved: Array, groups: Array) -> GroupRates:
    """Return the counts; chosen, deserved (n,) of booleans, groups (n,) of texts.

    >>> rates = count(np.array([True, False]), np.array([True, True]), np.array(["a", "b"]))
    >>> rates.true_positive.tolist()
    [[1, 1], [0, 1]]
    """
    names, number = np.unique(groups.astype(str), return_inverse=True)
    number, everybody = number.reshape(-1), np.ones_like(deserved)
    parts = [_counts(chosen, among, number, len(names)) for among in (everybody, deserved, ~deserved)]
    return GroupRates(tuple(names.tolist()), *parts)


def _counts(chosen: Array, among: Array, number: Array, groups: int) -> Array:
    rows = np.bincount(number[among], minlength=groups)
    hits = np.bincount(number[among & chosen], minlength=groups)
    return np.stack([hits, rows], axis=1)


def families(rates: GroupRates) -> dict[str, Sequence[Array]]:
    """Return the shares that each gap compares."""
    return {
        "demographic_parity_difference": (rates.selected,),
        "equal_opportunity_difference": (rates.true_positive,),
        "equalized_odds_difference": (rates.true_positive, rates.false_positive),
    }
