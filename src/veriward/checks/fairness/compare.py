"""From counts of groups to gaps with simultaneous exact intervals, and to the rates behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from veriward.checks.fairness.rates import Array, GroupRates, families
from veriward.core.estimate import Estimate, gap, not_estimable, proportion
from veriward.core.groups import Attribute
from veriward.core.intervals import gap_value
from veriward.core.note import Note, note

FEWEST = 2  # groups that can be compared
STEADY = 10  # rows from which the share of an intersection's group counts as a point value
MOST_TOLD = 24  # groups whose own rates are told
GAP = "difference of shares"


def gaps(attribute: Attribute, rates: GroupRates, outcome: str | None = None) -> list[Estimate]:
    """Return the gaps of an attribute, of one outcome among several where it is named."""
    at = place(attribute, outcome)
    return [share_gap(metric, shares, attribute, at) for metric, shares in families(rates).items()]


def place(attribute: Attribute, outcome: str | None = None) -> dict[str, Any]:
    """Return what tells the numbers of an attribute, and of an outcome, from their siblings."""
    return {"attribute": attribute.name} | ({} if outcome is None else {"outcome": outcome})


def share_gap(metric: str, shares: Sequence[Array], attribute: Attribute, at: Mapping[str, Any]) -> Estimate:
    """Return the largest gap within the families of shares, (groups, 2) each, with its simultaneous interval."""
    if any((counts[:, 1] > 0).sum() < FEWEST for counts in shares):
        return not_estimable(metric, note("fairness.nothing_to_compare"), at=at, unit=GAP)
    found = gap(metric, [counts.tolist() for counts in shares], at=at, names=attribute.groups)
    return _steadied(found, shares) if attribute.crossed else found


def _steadied(found: Estimate, shares: Sequence[Array]) -> Estimate:
    """Return the gap of an intersection with the point value of the groups of ten rows or more.

    One row has a share of 0 or 1, so a single cell of one row would tell a gap of 1. The interval keeps every cell: it
    widens, as nobody knows how such a cell fares. A small cell that is shown to differ moves the value all the same.
    """
    steady = gap_value([counts[counts[:, 1] >= STEADY].tolist() for counts in shares])
    if np.isnan(steady):
        why = note("fairness.cells_too_small", rows=STEADY)
        return not_estimable(found.metric, why, at=found.at, unit=GAP, n=found.n)
    return replace(found, value=max(steady, found.low or 0.0))


def group_rates(attribute: Attribute, rates: GroupRates, outcome: str | None = None) -> list[Estimate]:
    """Return the rates of the groups; of very many groups, those at either end of the selection rate."""
    at, told = place(attribute, outcome), ends(rates.selected[:, 0] / np.maximum(rates.selected[:, 1], 1))
    per_group = {
        "selection_rate": rates.selected,
        "true_positive_rate": rates.true_positive,
        "false_positive_rate": rates.false_positive,
    }
    return [
        _rate(metric, counts[number], {**at, "group": attribute.groups[number]})
        for metric, counts in per_group.items()
        for number in told
    ]


def ends(values: Array) -> list[int]:
    """Return the numbers of the groups that are told: all, or as many from the lowest as from the highest values.

    >>> len(ends(np.arange(500))), ends(np.array([2.0, 1.0]))
    (24, [0, 1])
    """
    if len(values) <= MOST_TOLD:
        return list(range(len(values)))
    order = np.argsort(values, kind="stable")
    return sorted([*order[: MOST_TOLD // 2].tolist(), *order[-MOST_TOLD // 2 :].tolist()])


def _rate(metric: str, counts: Array, at: Mapping[str, Any]) -> Estimate:
    k, n = counts.tolist()
    if n == 0:
        return not_estimable(metric, note("fairness.empty_group"), at=at, unit="share of the group's rows")
    return proportion(metric, k, n, at=at, unit="share of the group's rows")


def untold(attributes: Sequence[Attribute]) -> list[Note]:
    """Return a note on each attribute of which not every group is told."""
    return [
        note("fairness.groups_untold", attribute=a.name, told=MOST_TOLD, groups=len(a.groups))
        for a in attributes
        if len(a.groups) > MOST_TOLD
    ]


def unseen(attribute: Attribute, rates: GroupRates) -> list[Note]:
    """Name groups in which nobody deserved the outcome, or everybody did: their rates stay unknown."""
    rows = zip(attribute.groups, rates.true_positive[:, 1], rates.false_positive[:, 1], strict=True)
    empty = [name for name, positive, negative in rows if positive == 0 or negative == 0]
    shown = empty[:MOST_TOLD] + (["…"] if len(empty) > MOST_TOLD else [])
    return [note("fairness.groups_unseen", attribute=attribute.name, groups=", ".join(shown))] if empty else []
