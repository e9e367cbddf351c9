"""fairness/groups: do the groups of a protected attribute fare alike? Point values with simultaneous intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import Check, Control, Job
from veriward.checks.registry import register
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.groups import Attribute
    from veriward.core.subject import Subject

BLOCK = 8192
Found = tuple[list[Estimate], dict[str, Any], list[Note], list[Note]]  # numbers, outcomes, assumptions, untested


@dataclass(frozen=True)
class Decisions:
    """Ask a classifier about a block of test rows; `outcomes` are the classes whose probability is wanted."""

    outcomes: tuple[int, ...]

    def __call__(self, opened: Opened, rows: Sequence[int]) -> Mapping[str, Any]:
        """Return the predicted class numbers, (n,), and where scores are granted the probabilities, (n, outcomes)."""
        from veriward.adapters.model import logarithms

        model, x = opened.model, opened.domain.decode(opened.encoded("test", list(rows)))
        if not hasattr(model, "scores"):
            return {"label": model.labels(x).cpu().numpy().astype(np.int32)}  # type: ignore[union-attr]
        scores = model.scores(x)
        chances = logarithms(scores, opened.output).exp()[:, list(self.outcomes)]
        return {"label": scores.argmax(1).cpu().numpy().astype(np.int32), "probability": chances.cpu().numpy()}


@dataclass(frozen=True)
class Predictions:
    """Ask a model of numbers about a block of test rows."""

    def __call__(self, opened: Opened, rows: Sequence[int]) -> Mapping[str, Any]:
        """Return the predicted values, (n,)."""
        x = opened.domain.decode(opened.encoded("test", list(rows)))
        return {"value": opened.model.values(x).cpu().numpy()}  # type: ignore[union-attr]


@register
class Groups(Check):
    """Parity of decisions, of errors and of calibration for each declared attribute and where attributes cross."""

    name = "fairness/groups"
    version = "2"
    question = "Do people of different groups get the favourable outcome equally often, and equally rightly?"
    needs = ("labels",)
    tasks = ("classification", "regression")
    reads = ("model", "test", "input", "groups")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse subjects without groups."""
        return None if opened.subject.data.groups else note("fairness.no_groups")

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one "threat": everyday use; nobody attacks."""
        return (Threat("unequal treatment", "labels"),)

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return a subject that treats one group otherwise by a known amount, and one that does not."""
        from veriward.checks.fairness.planted import planted_controls, predicted_controls

        return predicted_controls() if opened.task == "regression" else planted_controls()

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Take the answers to all test rows and compare the groups of each attribute."""
        from veriward.checks.fairness.compare import untold
        from veriward.checks.fairness.crossed import crossed
        from veriward.core.groups import attributes_of

        opened = job.opened
        own = attributes_of(opened.test.groups, opened.subject.data.private)
        cells, left = crossed(own)
        attributes = [*own, *cells]
        compared = _predicted(job, attributes) if opened.task == "regression" else _decided(job, attributes)
        estimates, outcomes, assumptions, untested = compared
        return Evidence(
            self.name,
            self.version,
            threat,
            tuple(estimates),
            outcomes=outcomes,
            rows=len(opened.test),
            assumptions=(*assumptions, *bands_of(own)),
            untested=(*untested, *untold(attributes), *left, note("fairness.groups_only")),
        )


def bands_of(attributes: Sequence[Attribute]) -> list[Note]:
    """Return a remark on each attribute whose numbers became bands."""
    return [note("fairness.bands", attribute=a.name, bands=a.bands) for a in attributes if a.bands]


def blocks(n: int) -> list[list[int]]:
    """Return the numbers of n rows in blocks."""
    return [list(range(i, min(i + BLOCK, n))) for i in range(0, n, BLOCK)]


def _decided(job: Job, attributes: Sequence[Attribute]) -> Found:
    from veriward.checks.fairness.decided import Decided, about_outcomes, compare_decisions, outcomes_of

    opened, outcomes = job.opened, outcomes_of(job.opened)
    results = job.map("decisions", Decisions(tuple(n for n, _ in outcomes)), blocks(len(opened.test)))
    labels = np.concatenate([r["label"] for r in results])
    scored = "probability" in results[0]
    chances = np.concatenate([r["probability"] for r in results]) if scored else None
    decided = Decided(opened.targets["test"].cpu().numpy(), labels, outcomes, chances)
    estimates, unseen = compare_decisions(decided, attributes)
    assumptions, left = about_outcomes(opened, outcomes)
    missing = [] if scored else [note("fairness.no_scores")]
    return estimates, _favourable(opened, labels, outcomes), assumptions, [*unseen, *left, *missing]


def _favourable(opened: Opened, labels: Any, outcomes: Sequence[tuple[int, str | None]]) -> dict[str, Any]:
    """Return whether each row got the favourable outcome; among several, which class it got."""
    outcome = np.full(opened.test.total, -1, np.int8 if outcomes[0][1] is None else np.int32)
    if outcomes[0][1] is None:
        outcome[opened.test.index] = labels == outcomes[0][0]
        return {"favourable": outcome}
    outcome[opened.test.index] = labels
    return {"decision": outcome}


def _predicted(job: Job, attributes: Sequence[Attribute]) -> Found:
    from veriward.checks.fairness.predicted import compare_predictions

    opened = job.opened
    results = job.map("predictions", Predictions(), blocks(len(opened.test)))
    predicted = np.concatenate([r["value"] for r in results])
    truth = opened.targets["test"].cpu().numpy()
    estimates, untested = compare_predictions(truth, predicted, attributes)
    residual = np.full(opened.test.total, np.nan)
    residual[opened.test.index] = truth - predicted
    return estimates, {"residual": residual}, [note("fairness.in_deviations")], untested
