"""data/pii: do the rows hold personal identifiers? Every column of every split, whether the model reads it or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import Check, Control, Job
from veriward.checks.registry import register
from veriward.core.estimate import Estimate, census, proportion
from veriward.core.evidence import MAX_WITNESSES, Evidence, Witness
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.data.pii_found import Found
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

ROWS: Mapping[str, int | None] = {"quick": 20_000, "standard": 1_000_000, "thorough": None}  # of each split
PART = 250_000  # rows that are remembered together
MOST_PARTS = 32  # a file of texts is read anew for each
MOST_CELLS = 200  # estimates of single columns
UNIT, CELLS = "share of rows", "share of the column's cells"


@register
class PII(Check):
    """Identifiers with check digits, formats or words that name them; never their values."""

    name = "data/pii"
    version = "1"
    question = "Do the rows hold personal identifiers?"
    tasks = ("classification", "regression", "forecasting", "recommendation", "text", "policy")
    reads = ("train", "test")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse subjects whose columns are all arrays: pixels and signals name nobody in digits."""
        from veriward.checks.data.pii_found import readable_columns

        return None if readable_columns(opened) else note("pii.arrays_only")

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return whoever reads the data, or a model that remembers them."""
        return (Threat("read_identifiers", "data"),)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return how many rows are read, and by which recognisers: another one asks anew."""
        from veriward.privacy.identifiers import installed

        return {"budget": budget, "rows": ROWS[budget], "recognisers": [found.name for found in installed()]}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return some of the user's rows with identifiers in half of them, and with near misses in all."""
        from veriward.checks.data.pii_found import clean_texts
        from veriward.checks.data.pii_planted import planted_controls
        from veriward.checks.data.pii_rows import already_read

        return planted_controls(clean_texts(already_read(opened)), self.threats(opened)[0])

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Scan the splits part by part, then say what each column holds."""
        from veriward.checks.data.pii_found import gather, measure_power
        from veriward.checks.data.pii_key import content_key
        from veriward.checks.data.pii_rows import open_splits
        from veriward.checks.data.pii_scan import Look

        opened, most, splits = job.opened, job.settings["rows"], open_splits(subject)
        # arrays of files would travel to every worker; they are opened there
        here = {
            name: source
            for name, source in splits.items()
            if source.rows.path is not None or not isinstance(getattr(subject.data, name), str | Path)
        }
        look = Look(content_key(subject, splits), job.stream("rows"), most, here)
        items = {name: parts(name, source.rows.total, most) for name, source in splits.items()}
        scanned = iter(job.map("scan", look, [item for own in items.values() for item in own]))
        found = [
            gather(opened, name, splits[name].rows.total, list(islice(scanned, len(own))))
            for name, own in items.items()
        ]
        power = measure_power(splits)
        return Evidence(
            self.name,
            self.version,
            threat,
            tuple(estimate for split in found for estimate in estimates(split, power)),
            outcomes=_outcomes(opened, found),
            rows=sum(split.scanned for split in found),
            witnesses=tuple(_witnesses(found)),
            assumptions=tuple(_assumptions(found, job.settings["recognisers"], power)),
            untested=tuple(_untested(found, job.settings["recognisers"])),
        )


def parts(split: str, total: int, most: int | None) -> list[dict[str, Any]]:
    """Return what is scanned and remembered together: equal ranges of rows.

    >>> [item["stop"] for item in parts("test", 600_000, None)]
    [200000, 400000, 600000]
    """
    scanned = total if most is None else min(total, most)
    count = min(max(-(-scanned // PART), 1), MOST_PARTS)
    ends = [total * number // count for number in range(count + 1)]
    return [{"split": split, "start": start, "stop": stop} for start, stop in pairwise(ends)]


def estimates(found: Found, power: float) -> Iterator[Estimate]:
    """Yield the share of rows that hold identifiers, and of cells, by column and kind.

    Lower bounds: a name or an address in words is none that a pattern finds. `power`: the chance that an identifier of
    these kinds would have been seen, from those that were planted in these rows.
    """
    at: dict[str, Any] = {"split": found.split}
    yield _share("pii_rows", len(found.rows), found.scanned, found.sampled, at, UNIT, power)
    most = sorted(found.cells, key=lambda place: -found.cells[place])[:MOST_CELLS]
    for column, kind in most:
        count, present = found.cells[column, kind], found.present[column]
        yield _share("pii_cells", count, present, found.sampled, {**at, "column": column, "kind": kind}, CELLS, power)


def _share(metric: str, count: int, n: int, sampled: bool, at: Mapping[str, Any], unit: str, power: float) -> Estimate:
    if sampled or not n:
        found = proportion(metric, count, n, at=at, bound="lower", unit=unit)
    else:
        found = replace(census(metric, count / n, n, unit, at=at), bound="lower")
    return replace(found, basis={**found.basis, "power": power}) if found.basis else found


def _outcomes(opened: Opened, found: Sequence[Found]) -> dict[str, Any]:
    tested = found[0]  # the test split, or the training rows that stand for it
    outcome = np.full(opened.test.total, -1, np.int8)
    outcome[tested.seen] = 0
    outcome[tested.rows] = 1
    return {"identified": outcome}


def _witnesses(found: Sequence[Found]) -> Iterator[Witness]:
    """Yield examples in turn from every column and kind, those with check digits first: kinds and places, no values."""
    ranked = sorted(
        (turn, ("checksum", "context", "format").index(confidence), row, split.split, column, kind, digest)
        for split in found
        for turn, row, column, kind, confidence, digest in split.examples
    )
    for _, rank, row, split, column, kind, digest in ranked[:MAX_WITNESSES]:
        confidence = ("checksum", "context", "format")[rank]
        place = {"split": split, "column": column, "kind": kind, "confidence": confidence, "hash": digest}
        yield Witness(row, f"{split} · {column} · {kind} · #{digest}", float(rank), place)


def _assumptions(found: Sequence[Found], recognisers: Sequence[str], power: float) -> Iterator[Note]:
    yield note("pii.recognisers", names=list(recognisers))
    yield note("pii.power", share=power)
    for split in found:
        if split.sampled:
            yield note("pii.sampled", split=split.split, rows=split.scanned, total=split.total)
        if split.declared_only:
            names = ", ".join(split.declared)
            yield note("pii.declared", split=split.split, rows=split.declared_only, columns=names)
        if split.told:
            yield note("pii.numbers", split=split.split, columns=", ".join(split.told))
        if split.doubtful:
            yield note("pii.doubtful", split=split.split, columns=", ".join(split.doubtful))
    if any(split.examples for split in found):
        yield note("pii.hashes")


def _untested(found: Sequence[Found], recognisers: Sequence[str]) -> Iterator[Note]:
    yield note("pii.names") if len(recognisers) == 1 else note("pii.words")
    for split in found:
        for column, why in split.broken.items():
            yield note("pii.broken", split=split.split, column=column, why=why)
        for name, why in split.failed.items():
            yield note("pii.failed", split=split.split, name=name, why=why)
        if split.unread:
            yield note("pii.unread", split=split.split, columns=", ".join(split.unread))
