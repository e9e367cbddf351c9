"""reliability/accuracy: how often is the model right, for every class and group, and do its probabilities mean it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import Check, Control, Job
from veriward.checks.registry import register
from veriward.checks.reliability.asking import EVERYDAY, ROWS, TASKS, answers, blocks, residuals, spread, told, truth
from veriward.checks.sampling import sample
from veriward.core.estimate import Estimate, drop, gap, mean, not_estimable, proportion
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

Array = np.ndarray[Any, Any]
MOST_CLASSES, MOST_GROUPS = 30, 30  # told one by one
TARGET, SHARE = "units of the target", "share of the group's rows"


@dataclass(frozen=True)
class Judge:
    """Ask the model about a block of test rows, and hold its probabilities against the truth where it gives any."""

    def __call__(self, opened: Opened, rows: Sequence[int]) -> Mapping[str, Any]:
        """Return the answers, (n,), and with scores confidence, log loss and Brier score of each row."""
        x = opened.domain.decode(opened.encoded("test", list(rows)))
        if not hasattr(opened.model, "scores"):
            return {"answer": answers(opened, x)}
        from veriward.checks.reliability.probabilities import judged

        scores = opened.model.scores(x)
        return judged(scores, opened.output, opened.targets["test"][list(rows)].to(scores.device))


@register
class Accuracy(Check):
    """Accuracy by class and group, calibration, log loss; for predicted numbers their errors; against saying one thing."""

    name = "reliability/accuracy"
    version = "1"
    question = "How often is the model right, for every class and group, and do its probabilities mean what they say?"
    needs = ("labels",)
    tasks = TASKS
    reads = ("model", "train", "test", "input", "groups")

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one "threat": everyday use; nobody attacks."""
        return (EVERYDAY,)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return how many rows are asked about."""
        return {"budget": budget, "rows": ROWS[budget]}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return subjects whose answers are right, or off, by a known amount."""
        from veriward.checks.reliability.planted import accuracy_controls

        return accuracy_controls(opened.task)

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Take the answers to the test rows and hold them against the truth."""
        opened = job.opened
        rows = sample(job, "rows", len(opened.test), job.settings["rows"])
        found = job.map("judge", Judge(), blocks(opened, rows))
        columns = {name: np.concatenate([item[name] for item in found]) for name in found[0]}
        y = truth(opened, rows)
        classes = opened.task == "classification"
        estimates, outcome = (_decisions if classes else _numbers)(opened, rows, columns, y)
        name = "correct" if classes else "absolute_error"
        return Evidence(
            self.name,
            self.version,
            threat,
            tuple(estimates),
            outcomes={name: spread(opened, rows, outcome, -1 if classes else np.nan)},
            rows=len(rows),
            assumptions=tuple(_assumptions(opened, rows)),
            untested=tuple(_untested(opened, columns, y)),
        )


def _decisions(opened: Opened, rows: Array, columns: Mapping[str, Array], y: Array) -> tuple[list[Estimate], Array]:
    from veriward.checks.reliability.balanced import balanced_accuracy
    from veriward.checks.reliability.probabilities import quality

    right = columns["answer"] == y
    n = len(opened.classes)
    counts = np.stack([np.bincount(y[right], minlength=n), np.bincount(y, minlength=n)], axis=1)
    estimates = [proportion("clean_accuracy", int(right.sum()), len(right)), balanced_accuracy(counts.tolist())]
    estimates += [_against_baseline(opened, right, y)]
    estimates += quality(columns, right) if "confidence" in columns else []
    for number in _told_classes(y):
        at = {"class": str(opened.classes[number])}
        estimates.append(
            proportion("class_accuracy", *counts[number].tolist(), at=at, unit="share of the class's rows")
        )
    for attribute, names, group in _groups(opened, rows):
        parts = [[int(right[group == i].sum()), int((group == i).sum())] for i in range(len(names))]
        estimates.append(gap("accuracy_gap", [parts], at={"attribute": attribute}, names=names))
        for name, (k, size) in zip(names[:MOST_GROUPS], parts, strict=False):
            estimates.append(proportion("group_accuracy", k, size, at=_place(attribute, name), unit=SHARE))
    return estimates, right.astype(np.int8)


def _place(attribute: str, group: str) -> dict[str, str]:
    return {"attribute": attribute, "group": group}


def _against_baseline(opened: Opened, right: Array, y: Array) -> Estimate:
    """Return by how much the model is right more often than saying the most frequent class of the training rows."""
    if "train" not in opened.targets:
        return not_estimable("gain_over_baseline", note("reliability.no_train"), unit="difference of shares")
    often = int(np.bincount(opened.targets["train"].cpu().numpy()).argmax())
    baseline = y == often
    return drop("gain_over_baseline", int((right & ~baseline).sum()), int((baseline & ~right).sum()), len(y))


def _told_classes(y: Array) -> list[int]:
    """Return the classes that test rows have, the most frequent ones where there are many: chosen before any answer."""
    counts = np.bincount(y)
    order = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    return sorted(int(number) for number in order if counts[number])


def _groups(opened: Opened, rows: Array) -> Iterator[tuple[str, list[str], Array]]:
    """Yield each declared attribute, the names of its groups, and the number of each row's group, (n,)."""
    from veriward.core.table_domain import group_values

    for attribute, values in opened.test.groups.items():
        names, number = np.unique(group_values(values)[0].astype(str), return_inverse=True)
        private = attribute in opened.subject.data.private
        yield attribute, told(names.tolist(), private=private), number.reshape(-1)[rows]


def _numbers(opened: Opened, rows: Array, columns: Mapping[str, Array], y: Array) -> tuple[list[Estimate], Array]:
    from veriward.checks.reliability.residuals import r_squared, relative_absolute_error, root_mean_squared_error

    error = residuals(columns["answer"], y)
    if not np.isfinite(error).all():
        why = note("reliability.too_large")
        return [not_estimable("mean_absolute_error", why, unit=TARGET, n=len(y))], np.abs(error)
    size = np.abs(error)
    estimates = [mean("mean_absolute_error", size, unit=TARGET), root_mean_squared_error(error), r_squared(error, y)]
    if "train" in opened.targets:
        guess = float(np.median(opened.targets["train"].cpu().numpy()))
        estimates.append(relative_absolute_error(error, y, guess))
    else:
        estimates.append(not_estimable("relative_absolute_error", note("reliability.no_train"), unit="ratio"))
    for attribute, names, group in _groups(opened, rows):
        for i, name in enumerate(names[:MOST_GROUPS]):
            estimates.append(mean("group_absolute_error", size[group == i], unit=TARGET, at=_place(attribute, name)))
    return estimates, size


def _assumptions(opened: Opened, rows: Array) -> Iterator[Note]:
    from veriward.core.table_domain import group_values

    for attribute, values in opened.test.groups.items():
        bands = group_values(values)[1]
        if bands and attribute not in opened.subject.data.private:
            yield note("reliability.bands", attribute=attribute, bands=bands)
    if len(rows) < len(opened.test):
        yield note("reliability.sampled", rows=len(rows), total=len(opened.test))


def _untested(opened: Opened, columns: Mapping[str, Array], y: Array) -> Iterator[Note]:
    yield note("reliability.same_source")
    if opened.task != "classification":
        return
    if "confidence" not in columns:
        yield note("reliability.no_scores")
    counts = np.bincount(y, minlength=len(opened.classes))
    unseen = [str(opened.classes[i]) for i in np.flatnonzero(counts == 0)]
    if unseen:
        yield note("reliability.classes_unseen", classes=unseen[:MOST_CLASSES], count=len(unseen))
    if (counts > 0).sum() > MOST_CLASSES:
        yield note("reliability.classes_untold", told=MOST_CLASSES, count=int((counts > 0).sum()))
