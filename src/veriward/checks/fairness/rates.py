"""Rates of groups as counts: who gets the favourable outcome, and who of those that deserve it or do not.

Demographic parity: Dwork et al., 2012 (arXiv:1104.3913). Equal opportunity and equalised odds: Hardt et al., 2016
(arXiv:1610.02413), definitions 2.1 and 2.2. Among several classes each is held against the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from veriward.core.groups import Attribute

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class GroupRates:
    """Counts of one attribute's groups, (groups, 2) each: [favourable decisions, rows]."""

    selected: Array  # of all rows
    true_positive: Array  # of the rows whose true outcome is the favourable one
    false_positive: Array  # of the others


def count(chosen: Array, deserved: Array, attribute: Attribute) -> GroupRates:
    """Return the counts; chosen, deserved (n,) of booleans: the decision and the truth.

    >>> from veriward.core.groups import cut
    >>> rates = count(np.array([True, False]), np.array([True, True]), cut("g", np.array(["a", "b"])))
    >>> rates.true_positive.tolist()
    [[1, 1], [0, 1]]
    """
    everybody = np.ones_like(deserved)
    return GroupRates(*(shares(chosen, attribute, among) for among in (everybody, deserved, ~deserved)))


def shares(hit: Array, attribute: Attribute, among: Array) -> Array:
    """Return [hits, rows] of each group among the rows where `among` holds, (groups, 2)."""
    groups = len(attribute.groups)
    rows = np.bincount(attribute.number[among], minlength=groups)
    return np.stack([np.bincount(attribute.number[among & hit], minlength=groups), rows], axis=1)


def families(rates: GroupRates) -> dict[str, Sequence[Array]]:
    """Return the shares that each gap compares."""
    return {
        "demographic_parity_difference": (rates.selected,),
        "equal_opportunity_difference": (rates.true_positive,),
        "equalized_odds_difference": (rates.true_positive, rates.false_positive),
    }
