"""data/profile: what stands in the columns: gaps, constants, mixed types, small classes, and columns that leak the label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import Check, Control, Job
from veriward.checks.data.splits import opened_rows
from veriward.checks.registry import register
from veriward.core.estimate import Estimate, census, flagged, not_estimable, proportion, worst_share
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.data.columns import Counted
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

SAMPLE: Mapping[str, int] = {"quick": 5000, "standard": 20_000, "thorough": 100_000}
TOLD = 30  # columns of a split whose gaps are told one by one
CLASSES = 10_000
MIXED = 0.5  # a column of texts that are numbers this often is one of numbers with other things among them
LEVEL = 0.05


@dataclass(frozen=True)
class CountColumns:
    """Count what stands in the columns of one split, all rows."""

    def __call__(self, opened: Opened, item: str) -> Mapping[str, Any]:
        """Return the columns' counts, the broken ones' names, the rows of each class."""
        from veriward.checks.data.columns import count_columns

        rows, data = opened_rows(opened)[item], opened.subject.data
        counted, broken = count_columns(rows, opened.subject.features)
        sizes: list[int] = []
        if opened.task == "classification" and (data.label or "y") in rows.names:
            from veriward.core.rows import quoted

            sql = f"SELECT count(*) AS n FROM rows GROUP BY CAST({quoted(data.label or 'y')} AS VARCHAR) ORDER BY n"  # noqa: S608
            with rows.query(f"{sql} LIMIT {CLASSES}") as result:
                sizes = [int(row[0]) for row in result.fetchall()]
        return {"columns": counted, "broken": broken, "classes": sizes, "rows": rows.total}


@dataclass(frozen=True)
class Suspect:
    """Look for leaking and shifted columns in samples of the rows."""

    key: int
    rows: int

    def __call__(self, opened: Opened, item: str) -> Mapping[str, Any]:
        """Return p-values per column."""
        from veriward.checks.data.suspicions import suspect
        from veriward.core.streams import Stream

        classify = opened.task == "classification"
        return suspect(opened_rows(opened), opened.subject.data, Stream(self.key), self.rows, classify=classify)


@register
class Profile(Check):
    """Gaps, constants, types and imbalance of all rows; leaking and shifted columns of a sample, with error control."""

    name = "data/profile"
    version = "1"
    question = "Are the columns what they should be, and does one of them give the label away?"
    tasks = ("classification", "regression", "forecasting", "recommendation", "text", "policy")
    reads = ("train", "test", "input", "groups")

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one "threat": everyday use; nobody attacks."""
        return (Threat("none", "data"),)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return how many rows of a split the search for suspicious columns takes; all else is counted on all rows."""
        return {"budget": budget, "rows": SAMPLE[budget]}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return a table with planted flaws, and one of pure noise."""
        from veriward.checks.data.planted_profile import planted_controls

        return planted_controls(self.threats(opened)[0])

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Count the columns of each split, then look for suspicious ones."""
        which = list(opened_rows(job.opened))
        counted = dict(zip(which, job.map("columns", CountColumns(), which), strict=True))
        found = job.map("suspicions", Suspect(job.stream("sample").key, job.settings["rows"]), ["columns"])[0]
        estimates = [*_suspicions(found), *_counts(counted)]
        for split, body in counted.items():
            estimates += [*_gaps(split, body), *_classes(split, body)]
        return Evidence(
            self.name,
            self.version,
            threat,
            (*estimates, *_groups(job.opened)),
            rows=sum(body["rows"] for body in counted.values()),
            assumptions=tuple(_remarks(counted, found)),
            untested=tuple(_untested(counted, found)),
        )


def adjusted(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the p-values of `leak` and `shift` by column, Holm-adjusted over all of both together."""
    from veriward.core.judge import holm

    pairs = [(kind, name, p) for kind in ("leak", "shift") for name, p in found[kind]]
    values = holm([p for _, _, p in pairs])
    out: dict[str, dict[str, float]] = {"leak": {}, "shift": {}}
    for (kind, name, _), p in zip(pairs, values, strict=True):
        out[kind][name] = p
    return out


def _suspicions(found: Mapping[str, Any]) -> list[Estimate]:
    p_values, n, unit = adjusted(found), found["rows"], "columns"
    if not p_values["leak"]:
        return [not_estimable("leaking_columns", note("profile.no_columns"), unit=unit)]
    family = len(found["leak"]) + len(found["shift"])
    power = 1.0 if found["copy"] * family <= LEVEL else 0.0  # of seeing a copy of the label
    estimates = [flagged("leaking_columns", list(p_values["leak"].values()), n, unit=unit, power=power)]
    if p_values["shift"]:
        estimates.append(flagged("shifted_columns", list(p_values["shift"].values()), n, unit=unit))
    return estimates


def _counts(counted: Mapping[str, Any]) -> list[Estimate]:
    first = next(iter(counted.values()))
    columns = first["columns"]
    n = sum(column["distinct"] if column["kind"] == "array" else 1 for column in columns)
    constant = sum(column["constant"] for column in columns)
    every = [column for body in counted.values() for column in body["columns"]]
    return [
        census("constant_columns", constant, max(n, 1), "columns"),
        census("mixed_columns", len({c["name"] for c in every if _is_mixed(c)}), max(n, 1), "columns"),
        census("infinite_columns", len({c["name"] for c in every if c["infinite"]}), max(n, 1), "columns"),
        *(
            proportion("outside_share", c["outside"], c["rows"], at={"split": split, "column": c["name"]})
            for split, body in counted.items()
            for c in body["columns"]
            if c["outside"]
        ),
    ]


def _is_mixed(column: Counted) -> bool:
    words = column["rows"] - column["missing"] - column["gaps"] - column["numbers"]
    return words > 0 and column["numbers"] >= MIXED * (words + column["numbers"])


def _gaps(split: str, body: Mapping[str, Any]) -> list[Estimate]:
    """Return the share of missing values of the columns that have most of them."""
    ranked = sorted(body["columns"], key=lambda c: -(c["missing"] + c["gaps"]))[:TOLD]
    return [
        proportion("missing_share", c["missing"] + c["gaps"], c["rows"], at={"split": split, "column": c["name"]})
        for c in ranked
    ]


def _classes(split: str, body: Mapping[str, Any]) -> list[Estimate]:
    sizes = body["classes"]
    if not sizes or len(sizes) >= CLASSES:
        return []
    return [worst_share("smallest_class_share", [[k, body["rows"]] for k in sizes], body["rows"], at={"split": split})]


def _groups(opened: Opened) -> list[Estimate]:
    from veriward.core.table_domain import group_values

    estimates = []
    for name, values in opened.test.groups.items():
        texts, _ = group_values(values)
        _, sizes = np.unique(texts, return_counts=True)
        n, at = len(texts), {"attribute": name, "split": "test"}
        estimates.append(worst_share("smallest_group_share", [[int(k), n] for k in sizes], n, at=at))
    return estimates


def _named(names: Iterable[str]) -> str:
    """Return names of columns, the first of many."""
    from veriward.core.errors import some

    return some(list(dict.fromkeys(names)))


def _remarks(counted: Mapping[str, Any], found: Mapping[str, Any]) -> list[Note]:
    p_values, every = adjusted(found), [c for body in counted.values() for c in body["columns"]]
    leaking = [name for name, p in p_values["leak"].items() if p <= LEVEL]
    shifted = [name for name, p in p_values["shift"].items() if p <= LEVEL]
    notes = [note("profile.rows", rows=found["rows"], columns=len(found["leak"]))]
    notes += [note("profile.leaking", columns=_named(leaking))] if leaking else []
    by_gaps = [name for name in found["gaps"] if name in leaking]
    notes += [note("profile.by_gaps", columns=_named(by_gaps))] if by_gaps else []
    notes += [note("profile.shifted", columns=_named(shifted))] if shifted else []
    notes += [note("profile.nearly", columns=_named(found["nearly"]))] if found["nearly"] else []
    return notes + _counted_remarks(every)


def _counted_remarks(every: Sequence[Counted]) -> list[Note]:
    constant = [c["name"] for c in every if c["constant"] and c["kind"] != "array"]
    mixed = [c["name"] for c in every if _is_mixed(c)]
    words = [c["name"] for c in every if c["gaps"]]
    infinite = [c["name"] for c in every if c["infinite"]]
    notes = [note("profile.constant", columns=_named(constant))] if constant else []
    notes += [note("profile.mixed", columns=_named(mixed))] if mixed else []
    notes += [note("profile.words", columns=_named(words))] if words else []
    notes += [note("profile.infinite", columns=_named(infinite))] if infinite else []
    return notes


def _untested(counted: Mapping[str, Any], found: Mapping[str, Any]) -> list[Note]:
    notes = [note("profile.not_seen")]
    broken = {name for body in counted.values() for name in body["broken"]} | set(found["broken"])
    notes += [note("profile.broken", columns=_named(sorted(broken)))] if broken else []
    more = max(len(body["columns"]) for body in counted.values()) - TOLD
    return notes + ([note("profile.more_columns", told=TOLD, more=more)] if more > 0 else [])
