"""data/splits: do train and test overlap? Equal rows, nearly equal rows, the same persons, and labels that contradict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import Check, Control, Job
from veriward.checks.registry import register
from veriward.core.estimate import Estimate, census, not_estimable, proportion
from veriward.core.evidence import MAX_WITNESSES, Evidence, Witness
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.data.near import Looked
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

SIZES: Mapping[str, tuple[int, int]] = {
    "quick": (500, 10_000),
    "standard": (2000, 50_000),
    "thorough": (10_000, 200_000),
}
COARSE = 0.05  # share of training rows with a twin, beyond which equal rows are no sign of copies
UNIT = "share of test rows"
PAIRS = MAX_WITNESSES // 2


@dataclass(frozen=True)
class Exact:
    """Compare all rows of both splits by their keys."""

    def __call__(self, opened: Opened, item: str) -> Mapping[str, Any]:
        """Return counts of shared rows, twins, repeats and conflicts, and which test rows are shared, (n,) int8."""
        from veriward.checks.data import overlap
        from veriward.checks.data.keys import input_names, read_keys

        splits, data = opened_rows(opened), opened.subject.data
        label = data.label or "y"
        names = input_names(splits, (label, data.id))
        keys = read_keys(splits, names, label, data.id)
        train, test = keys["train"], keys["test"]
        partner = overlap.partners(test.inputs, train.inputs)
        shared = np.flatnonzero(partner >= 0)[:PAIRS]
        return {
            "shared": (partner >= 0).astype(np.int8),
            "pairs": [[int(row), int(partner[row])] for row in shared],
            "same_label": int((overlap.partners(test.whole, train.whole) >= 0).sum()),
            "twins": int(overlap.twins(train.inputs).sum()),
            "repeats": {which: int(overlap.repeats(split.whole).sum()) for which, split in keys.items()},
            "persons": _persons(train.ids, test.ids),
            "conflicts": _conflicts(train, test),
            "totals": {which: len(split.inputs) for which, split in keys.items()},
            "inputs": sum(splits["test"].width(name) for name in names),
        }


def _persons(train: Any, test: Any) -> int | None:
    """Return how many test rows belong to a person who stands in train, None without ids."""
    from veriward.checks.data import overlap

    return None if train is None or test is None else int((overlap.partners(test, train) >= 0).sum())


def _conflicts(train: Any, test: Any) -> int | None:
    """Return how many rows of both splits have an equal with another label, None without labels."""
    from veriward.checks.data import overlap

    if train.labels is None or test.labels is None:
        return None
    joined = [np.concatenate([getattr(train, role), getattr(test, role)]) for role in ("inputs", "labels")]
    return int(overlap.conflicting(*joined).sum())


@dataclass(frozen=True)
class Near:
    """Look for test rows that are nearly training rows, among samples of both."""

    key: int  # of the random numbers
    tests: int
    pool: int

    def __call__(self, opened: Opened, item: str) -> Mapping[str, Any]:
        """Return for the points, and for each column of texts, what `near.look` found."""
        from veriward.checks.data.near import look

        return {"found": look(opened_rows(opened), opened.subject.data, self.key, self.tests, self.pool)}


def opened_rows(opened: Opened) -> dict[str, Any]:
    """Return the rows of the subject's splits, every column as it stands in its source."""
    from veriward.core.rows import open_rows

    found = {which: open_rows(opened.subject, which) for which in ("train", "test")}
    return {which: rows for which, rows in found.items() if rows is not None}


@register
class Splits(Check):
    """Test rows that stand in train, nearly stand there, or belong to a person who does."""

    name = "data/splits"
    version = "1"
    question = "Do test rows also stand in the training data, exactly, nearly or by the same person?"
    tasks = ("classification", "regression", "forecasting", "recommendation", "text", "policy")
    reads = ("train", "test", "input")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse subjects without training rows."""
        return note("splits.no_train") if opened.train is None else None

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one "threat": everyday use; nobody attacks."""
        return (Threat("none", "data"),)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return how many rows the search for near duplicates takes; exact ones are looked for among all rows."""
        return {"budget": budget, "tests": SIZES[budget][0], "pool": SIZES[budget][1]}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return splits with planted copies, near copies and shared persons, and splits without."""
        from veriward.checks.data.planted_splits import planted_controls

        return planted_controls(self.threats(opened)[0])

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Compare all rows exactly, and a sample nearly."""
        sizes = job.settings["tests"], job.settings["pool"]
        exact = job.map("exact", Exact(), ["all"])[0]
        looked = job.map("near", Near(job.stream("near").key, *sizes), ["sample"])[0]["found"]
        shared = np.asarray(exact["shared"])
        near = np.full(len(shared), -1, np.int8)
        estimates, witnesses, untested = exact_estimates(exact), _equal_pairs(exact), []
        for found in looked:
            estimate, remark, pairs = near_estimate(found, shared)
            estimates.append(estimate)
            witnesses += pairs[: MAX_WITNESSES - len(witnesses)]
            untested += remark
            rows = np.asarray(found["rows"])
            near[rows] = np.maximum(near[rows], _is_near(found) & (shared[rows] == 0))
        return Evidence(
            self.name,
            self.version,
            threat,
            tuple(estimates),
            outcomes={"shared": shared, "near": near},
            rows=len(shared),
            witnesses=tuple(witnesses),
            assumptions=tuple(_assumptions(exact, looked, shared)),
            untested=(*untested, *_untested(exact)),
        )


def exact_estimates(exact: Mapping[str, Any]) -> list[Estimate]:
    """Return what the keys tell: counted facts about all rows."""
    totals, test = exact["totals"], exact["totals"]["test"]
    estimates = [_shared(exact)]
    if exact["persons"] is not None:
        estimates.append(census("shared_ids", exact["persons"] / test, test, UNIT))
    for which, count in exact["repeats"].items():
        share = count / totals[which]
        estimates.append(census("duplicate_rows", share, totals[which], "share of rows", at={"split": which}))
    if exact["conflicts"] is not None:
        both = sum(totals.values())
        estimates.append(census("label_conflicts", exact["conflicts"] / both, both, "share of rows"))
    return estimates


def _shared(exact: Mapping[str, Any]) -> Estimate:
    """Return the share of test rows that stand in train, unless rows of such columns are equal by chance anyway.

    Rows drawn alike meet a training row as often as training rows meet each other. Where that is often, an equal row is
    no copy: the share counts only if it exceeds the training rows' own by `COARSE`, beyond chance.
    """
    from veriward.core.basis import p_above

    k, n = int(np.asarray(exact["shared"]).sum()), exact["totals"]["test"]
    twins, m = exact["twins"], exact["totals"]["train"]
    if twins <= COARSE * m:
        return census("shared_rows", k / n, n, UNIT)
    excess = {"kind": "gap", "families": [[[k, n], [twins, m]]]}
    if k / n > twins / m and p_above(excess, COARSE) <= 0.05:
        return census("shared_rows", k / n, n, UNIT)
    why = note("splits.coarse", shared=k / n, twins=twins / m)
    return not_estimable("shared_rows", why, unit=UNIT, n=n)


def _is_near(found: Looked) -> Any:
    values = np.asarray(found["values"])
    limit = found["limit"]
    if limit is None:
        return np.zeros(len(values), bool)
    return values >= limit if found["column"] else values < limit


def near_estimate(found: Looked, shared: Any) -> tuple[Estimate, list[Note], list[Witness]]:
    """Return the share of the test rows looked at that nearly stand in train; those that do stand there are apart."""
    at = {"column": found["column"]} if found["column"] else {}
    rows, values = np.asarray(found["rows"]), np.asarray(found["values"])
    apart = shared[rows] == 0
    if found["limit"] is None or found["limit"] == 0:
        why = note("splits.no_distances") if found["limit"] is None else note("splits.coarse_distances")
        return not_estimable("near_shared_rows", why, at=at, unit=UNIT), [], []
    hits = np.flatnonzero(_is_near(found) & apart)
    estimate = proportion("near_shared_rows", len(hits), int(apart.sum()), at=at, unit=UNIT)
    worst = hits[np.argsort(-values[hits] if found["column"] else values[hits], kind="stable")][:PAIRS]
    pairs = [
        Witness(int(rows[h]), f"≈ train[{found['partners'][h]}]", float(values[h]), {"train_row": found["partners"][h]})
        for h in worst.tolist()
    ]
    return estimate, [], pairs


def _equal_pairs(exact: Mapping[str, Any]) -> list[Witness]:
    return [Witness(row, f"= train[{other}]", 0.0, {"train_row": other}) for row, other in exact["pairs"]]


def _assumptions(exact: Mapping[str, Any], looked: Sequence[Looked], shared: Any) -> list[Note]:
    notes = [
        note("splits.compared", inputs=exact["inputs"], test=exact["totals"]["test"], train=exact["totals"]["train"]),
        note("splits.shared", rows=int(shared.sum()), same_label=exact["same_label"]),
        note("splits.twins", rows=exact["twins"], share=exact["twins"] / exact["totals"]["train"]),
    ]
    for found in looked:
        if found["limit"] and not found["column"]:
            notes.append(note("splits.near", share=found["level"], ratio=found["limit"] / max(found["median"], 1e-300)))
        elif found["column"]:
            base = note("splits.texts", column=found["column"], resemblance=found["limit"], share=found["base"])
            notes.append(base)
    return notes


def _untested(exact: Mapping[str, Any]) -> list[Note]:
    notes = [note("splits.not_seen")]
    return notes if exact["persons"] is not None else [*notes, note("splits.no_id")]
