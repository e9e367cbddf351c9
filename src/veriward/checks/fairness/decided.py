"""What a classifier's decisions do to the groups: gaps of each outcome, of accuracy and of calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.fairness.compare import gaps, group_rates, place, share_gap, unseen
from veriward.checks.fairness.means import CALIBRATED, calibrated, group_means, mean_gap
from veriward.checks.fairness.rates import GroupRates, count, shares
from veriward.core.estimate import Estimate
from veriward.core.groups import Attribute
from veriward.core.note import Note, note

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened

Array = np.ndarray[Any, Any]
MOST_OUTCOMES = 10  # classes that are held against the rest
TWO = 2


@dataclass(frozen=True)
class Decided:
    """The truth and the decision of each test row as class numbers, (n,), and the probabilities of `outcomes`."""

    truth: Array
    decision: Array
    outcomes: tuple[tuple[int, str | None], ...]  # class numbers; named where there are several
    probability: Array | None = None  # (n, outcomes)


def outcomes_of(opened: Opened) -> tuple[tuple[int, str | None], ...]:
    """Return the outcomes that are compared: the favourable one, else each of several classes against the rest.

    Which classes are told is chosen by how often they are true, never by what the model does: a choice by the gaps
    would have to be paid for in every interval.
    """
    favourable = favourable_class(opened)
    if favourable is not None:
        return ((favourable, None),)
    rows = np.bincount(opened.targets["test"].cpu().numpy(), minlength=len(opened.classes))
    most = sorted(np.argsort(-rows, kind="stable")[:MOST_OUTCOMES].tolist())
    return tuple((number, str(opened.classes[number])) for number in most)


def favourable_class(opened: Opened) -> int | None:
    """Return the number of the favourable class: as declared, else the second of two; None if nobody can tell."""
    wanted, names = opened.subject.data.favourable, list(opened.classes)
    if wanted is None:
        return 1 if len(names) == TWO else None
    return next((number for number, name in enumerate(names) if name == wanted or str(name) == str(wanted)), None)


def about_outcomes(opened: Opened, outcomes: Sequence[tuple[int, str | None]]) -> tuple[list[Note], list[Note]]:
    """Return what was assumed about the outcomes, and which of many classes were left out."""
    if len(outcomes) == 1 and outcomes[0][1] is None:
        return [note("fairness.favourable", outcome=str(opened.classes[outcomes[0][0]]))], []
    left = len(opened.classes) - len(outcomes)
    told = [note("fairness.one_against_rest", classes=len(outcomes))]
    return told, [note("fairness.classes_left", classes=left, told=len(outcomes))] if left else []


def compare_decisions(decided: Decided, attributes: Sequence[Attribute]) -> tuple[list[Estimate], list[Note]]:
    """Return every gap, those of an attribute's outcomes with the widest first, then the groups' own rates."""
    found: list[Estimate] = []
    behind: list[Estimate] = []
    notes: list[Note] = []
    for attribute in attributes:
        sets = [_outcome(decided, place, attribute) for place in range(len(decided.outcomes))]
        sets.sort(key=lambda item: -max((e.value or 0.0) for e in item[0]))
        for estimates, _, _ in sets:
            found += estimates
        found.append(_accuracy(decided, attribute))
        behind += sets[0][1]  # of the outcome with the widest gap
        notes += [] if attribute.crossed else sets[0][2]
    return found + behind, notes


def _outcome(decided: Decided, number: int, attribute: Attribute) -> tuple[list[Estimate], list[Estimate], list[Note]]:
    """Return the gaps of one outcome, the rates behind them, and what stays unknown."""
    outcome, name = decided.outcomes[number]
    deserved = decided.truth == outcome
    rates: GroupRates = count(decided.decision == outcome, deserved, attribute)
    found, behind = gaps(attribute, rates, name), group_rates(attribute, rates, name)
    if decided.probability is not None:
        gap, groups = _calibration(deserved, decided.probability[:, number], attribute, name)
        found, behind = [*found, gap], [*behind, *groups]
    return found, behind, unseen(attribute, rates)


def _calibration(
    deserved: Array, predicted: Array, attribute: Attribute, name: str | None
) -> tuple[Estimate, list[Estimate]]:
    at, found = place(attribute, name), calibrated(deserved, predicted, attribute)
    gap = mean_gap("calibration_difference", found, at, unit="difference of shares", method=f"{CALIBRATED}, Sidak")
    groups = group_means("calibration_gap", found, attribute.groups, at, unit="difference of shares", method=CALIBRATED)
    return gap, groups


def _accuracy(decided: Decided, attribute: Attribute) -> Estimate:
    right = decided.truth == decided.decision
    counts = shares(right, attribute, np.ones_like(right))
    return share_gap("accuracy_difference", [counts], attribute, place(attribute))
