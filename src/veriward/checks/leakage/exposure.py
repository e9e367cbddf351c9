"""How far scores tell members from others: of all rows, and of each class and group, since averages hide the exposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.core.delong import area
from veriward.core.estimate import Estimate, not_estimable, proportion
from veriward.core.note import Note, note

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened

Array = np.ndarray[Any, Any]
RATES = (0.01, 0.1)
FEWEST = 20  # rows on either side of a class or group: with fewer, DeLong's error is not known
MOST_PARTS = 10  # classes, and groups of an attribute, that are told: the largest ones


@dataclass(frozen=True)
class Part:
    """A class or a group: which of the rows that were asked about belong to it."""

    at: Mapping[str, Any]
    members: Array
    non_members: Array

    @property
    def size(self) -> int:
        """Its rows on the smaller side."""
        return int(min(self.members.sum(), self.non_members.sum()))


def estimates(members: Array, non_members: Array, at: Mapping[str, Any] | None = None) -> tuple[Estimate, ...]:
    """Return the area under the curve, and the true positive rate at 1 % FPR; where that cannot be seen, at 10 % too."""
    found = [area("auc", members, non_members, at=at)]
    for rate in RATES:
        found += _at_rate(members, non_members, rate, at or {})
        if found[-1].value is not None:
            break
    return tuple(found)


def held_out(members: Array, non_members: Array, first: Array, rate: float) -> tuple[Estimate, Estimate]:
    """Return the realised false positive rate and the true one, with the threshold set on one part of the non-members.

    `first` (non_members,) bool: the rows that set the threshold, drawn without regard to the scores; the rest measure it.
    Both rates are exact (Clopper-Pearson) for that threshold. It need not meet `rate`: the realised one says how near it
    came. Not estimable below 10 / rate non-members, without members, or where either part is empty.

    >>> scores = np.arange(100.0)
    >>> fpr, tpr = held_out(scores + 80, scores, scores % 2 == 0, 0.1)  # above 88
    >>> fpr.value, fpr.n, tpr.value
    (0.12, 50, 0.91)
    """
    from veriward.checks.leakage.roc import at_threshold, threshold

    at, rest = {"fpr": rate}, non_members[~first]
    if not min(len(members), len(rest), first.sum()) or not _enough(len(non_members), rate):
        few = note("leakage.too_few_non_members", n=len(non_members), wanted=round(10 / rate))
        why = note("estimate.no_rows") if _enough(len(non_members), rate) else few
        return (
            not_estimable("realised_fpr", why, at=at, unit="share of non-members", n=len(non_members)),
            not_estimable("tpr_at_fpr", why, at=at, bound="lower", unit="share of members", n=len(non_members)),
        )
    point = at_threshold(members, rest, threshold(non_members[first], rate))
    return (
        proportion("realised_fpr", point.false_alarms, point.non_members, at=at, unit="share of non-members"),
        proportion("tpr_at_fpr", point.hits, point.members, at=at, bound="lower", unit="share of members"),
    )


def from_labels(members: Array, non_members: Array) -> tuple[Estimate, ...]:
    """Return what decisions alone give away: who is right is called a member (Yeom et al., 2018, section 3.1).

    The advantage, true minus false positive rate, is the accuracy on members minus that on others. There is one
    threshold alone, so a low false positive rate is out of this attack's reach.
    """
    found = area("auc", members, non_members)
    missing = not_estimable("tpr_at_fpr", note("leakage.labels_only"), at={"fpr": RATES[0]}, bound="lower")
    if found.value is None:
        return found, missing
    ends = {name: 2 * getattr(found, name) - 1 for name in ("value", "low", "high")}
    basis = {**found.basis, "value": ends["value"], "se": 2 * found.basis["se"]}
    return (
        found,
        replace(found, metric="membership_advantage", unit="difference of shares", basis=basis, **ends),
        missing,
    )


def exposed(members: Array, non_members: Array, parts: Sequence[Part], *, scored: bool) -> list[Estimate]:
    """Return the area of each part, and its rate where as many non-members allow it as all rows; most exposed first."""
    rate = next((rate for rate in RATES if _enough(len(non_members), rate)), None)
    found = []
    for part in parts:
        inside, outside = members[part.members], non_members[part.non_members]
        told = [area("auc", inside, outside, at=part.at)]
        if scored and rate is not None and _enough(len(outside), rate):
            told += _at_rate(inside, outside, rate, part.at)[1:]
        found.append(told)
    found.sort(key=lambda told: -(told[0].value or 0.0))
    return [estimate for told in found for estimate in told]


def parts_of(opened: Opened, rows: Mapping[str, Array]) -> tuple[list[Part], list[Note]]:
    """Return the classes and groups that are told, and a note on those that are not; `rows` were asked of each split."""
    chosen: list[Part] = []
    left = 0
    for parts in (_classes(opened, rows), *_groups(opened, rows)):
        told = sorted((part for part in parts if part.size >= FEWEST), key=lambda part: -part.size)[:MOST_PARTS]
        chosen += told
        left += len(parts) - len(told)
    return chosen, [note("leakage.parts_left", parts=left, rows=FEWEST, most=MOST_PARTS)] if left else []


def _classes(opened: Opened, rows: Mapping[str, Array]) -> list[Part]:
    if opened.task != "classification":
        return []
    y = {which: opened.targets[which].cpu().numpy()[rows[which]] for which in ("train", "test")}
    return [Part({"class": str(c)}, y["train"] == i, y["test"] == i) for i, c in enumerate(opened.classes)]


def _groups(opened: Opened, rows: Mapping[str, Array]) -> list[list[Part]]:
    """Return the groups of each attribute, cut alike in both splits."""
    from veriward.core.groups import cut

    assert opened.train is not None
    found, private, middle = [], opened.subject.data.private, len(rows["train"])
    for name in opened.subject.data.groups:
        columns = [opened.split(which).groups[name][rows[which]] for which in ("train", "test")]
        attribute = cut(name, np.concatenate(columns), private=name in private)
        number = attribute.number
        found.append(
            [
                Part({"attribute": name, "group": group}, number[:middle] == i, number[middle:] == i)
                for i, group in enumerate(attribute.groups)
            ]
        )
    return found


def _enough(non_members: int, rate: float) -> bool:
    from veriward.checks.leakage.roc import estimable

    return estimable(non_members, rate)


def _at_rate(members: Array, non_members: Array, rate: float, place: Mapping[str, Any]) -> list[Estimate]:
    from veriward.checks.leakage.roc import operate
    from veriward.core.operating import counts

    at = {"fpr": rate, **place}
    if not len(members) or not _enough(len(non_members), rate):
        why = note("leakage.too_few_non_members", n=len(non_members), wanted=round(10 / rate))
        return [not_estimable("tpr_at_fpr", why, at=at, bound="lower", unit="share of members", n=len(non_members))]
    point = operate(members, non_members, rate)
    return [
        proportion("realised_fpr", point.false_alarms, point.non_members, at=at, unit="share of non-members"),
        _rate(counts(members, non_members, rate), at),
    ]


def _rate(roc: Mapping[str, Any], at: Mapping[str, Any]) -> Estimate:
    from veriward.core.basis import interval, value

    middle, (low, high) = value(roc), interval(roc)
    method = "order statistics, Clopper-Pearson"
    low, high = min(low, middle), max(high, middle)  # ties can put the realised point outside
    unit, n = "share of members", roc["members"]
    return Estimate("tpr_at_fpr", middle, low, high, n, unit, method, at, bound="lower", basis=roc)
