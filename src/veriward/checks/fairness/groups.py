"""fairness/groups: do the groups of a protected attribute fare alike? Point values with simultaneous exact intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import Check, Control, Job
from veriward.checks.registry import register
from veriward.core.estimate import Estimate, gap, not_estimable, proportion
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.fairness.rates import GroupRates
    from veriward.core.subject import Subject

BLOCK = 8192
FEWEST = 2  # groups that can be compared


@dataclass(frozen=True)
class Decisions:
    """Ask the model for its decisions on a block of test rows."""

    def __call__(self, opened: Opened, rows: Sequence[int]) -> Mapping[str, Any]:
        """Return the predicted class numbers, (n,)."""
        labels = opened.model.labels(opened.domain.decode(opened.encoded("test", list(rows))))  # type: ignore[union-attr]
        return {"label": labels.cpu().numpy().astype(np.int32)}


@register
class Groups(Check):
    """Demographic parity, equal opportunity, equalised odds for each declared attribute."""

    name = "fairness/groups"
    version = "1"
    question = "Do people of different groups get the favourable outcome equally often, and equally rightly?"
    needs = ("labels",)
    reads = ("model", "test", "input", "groups")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse subjects without groups, or without a favourable outcome among several classes."""
        if not opened.subject.data.groups:
            return note("fairness.no_groups")
        if favourable_class(opened) is None:
            return note("fairness.no_favourable", classes=", ".join(str(c) for c in opened.classes[:8]))
        return None

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one "threat": everyday use; nobody attacks."""
        return (Threat("unequal treatment", "labels"),)

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return a subject that treats one group otherwise by a known amount, and one that does not."""
        from veriward.checks.fairness.planted import planted_controls

        return planted_controls()

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Take the decisions on all test rows and compare the groups of each attribute."""
        from veriward.checks.fairness.rates import count

        opened = job.opened
        favourable, n = favourable_class(opened), len(opened.test)
        assert favourable is not None
        items = [list(range(i, min(i + BLOCK, n))) for i in range(0, n, BLOCK)]
        labels = np.concatenate([r["label"] for r in job.map("decisions", Decisions(), items)])
        deserved = (opened.targets["test"] == favourable).cpu().numpy()
        estimates: list[Estimate] = []
        notes: list[Note] = [note("fairness.favourable", outcome=str(opened.classes[favourable]))]
        untested: list[Note] = [note("fairness.no_intersections")]
        for attribute, values, remark in attributes(opened):
            rates = count(labels == favourable, deserved, values)
            estimates += compare(attribute, rates)
            notes += [remark] if remark else []
            untested += _unseen(attribute, rates)
        return Evidence(
            self.name,
            self.version,
            threat,
            tuple(estimates),
            outcomes=_outcomes(opened, labels, favourable),
            rows=n,
            assumptions=tuple(notes),
            untested=tuple(untested),
        )


def favourable_class(opened: Opened) -> int | None:
    """Return the number of the favourable class: as declared, else the second of two; None if nobody can tell."""
    wanted, names = opened.subject.data.favourable, list(opened.classes)
    if wanted is None:
        return 1 if len(names) == FEWEST else None
    return next((number for number, name in enumerate(names) if name == wanted or str(name) == str(wanted)), None)


def attributes(opened: Opened) -> Iterator[tuple[str, np.ndarray[Any, Any], Note | None]]:
    """Yield each protected attribute's name, its value per test row as texts, and a remark if numbers became bands."""
    from veriward.core.table_domain import group_values

    for name, values in opened.test.groups.items():
        texts, bands = group_values(values)
        yield name, texts, note("fairness.bands", attribute=name, bands=bands) if bands else None


def compare(attribute: str, rates: GroupRates) -> list[Estimate]:
    """Return the gaps of an attribute and the rates of its groups, told apart by `at`."""
    from veriward.checks.fairness.rates import families

    at = {"attribute": attribute}
    found = [_gap(metric, shares, at, rates.names) for metric, shares in families(rates).items()]
    per_group = {
        "selection_rate": rates.selected,
        "true_positive_rate": rates.true_positive,
        "false_positive_rate": rates.false_positive,
    }
    for metric, counts in per_group.items():
        for name, (k, n) in zip(rates.names, counts.tolist(), strict=True):
            found.append(_rate(metric, k, n, {**at, "group": name}))
    return found


def _gap(metric: str, shares: Sequence[Any], at: Mapping[str, Any], names: Sequence[str]) -> Estimate:
    if any((counts[:, 1] > 0).sum() < FEWEST for counts in shares):
        return not_estimable(metric, note("fairness.nothing_to_compare"), at=at, unit="difference of shares")
    return gap(metric, [counts.tolist() for counts in shares], at=at, names=names)


def _rate(metric: str, k: int, n: int, at: Mapping[str, Any]) -> Estimate:
    if n == 0:
        return not_estimable(metric, note("fairness.empty_group"), at=at, unit="share of the group's rows")
    return proportion(metric, k, n, at=at, unit="share of the group's rows")


def _unseen(attribute: str, rates: GroupRates) -> list[Note]:
    """Name groups in which nobody deserved the outcome, or everybody did: their rates stay unknown."""
    empty = [
        name
        for name, positive, negative in zip(rates.names, rates.true_positive, rates.false_positive, strict=True)
        if positive[1] == 0 or negative[1] == 0
    ]
    return [note("fairness.groups_unseen", attribute=attribute, groups=", ".join(empty))] if empty else []


def _outcomes(opened: Opened, labels: np.ndarray[Any, Any], favourable: int) -> dict[str, Any]:
    outcome = np.full(opened.test.total, -1, np.int8)
    outcome[opened.test.index] = labels == favourable
    return {"favourable": outcome}
