"""The evidence of attacks on models that predict numbers: how many predictions move beyond the tolerance, and how far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.evasion.alarms import alarms
from veriward.checks.reliability.residuals import error_increase
from veriward.core.basis.quantiles import quantile_basis
from veriward.core.estimate import Estimate, from_basis, not_estimable, proportion
from veriward.core.evidence import MAX_WITNESSES, Evidence, Witness
from veriward.core.note import note

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.contract import Check
    from veriward.checks.evasion.attack import Attack
    from veriward.core.note import Note
    from veriward.core.threat import Threat

HIGH = 0.95  # the quantile of relative changes that is told
FEWEST = 72  # rows below which the upper end of a 95 % quantile is not known
Array = np.ndarray[Any, Any]


def moved_evidence(
    check: Check,
    threat: Threat,
    opened: Opened,
    rows: Array,
    items: Sequence[Mapping[str, Any]],
    attacks: Sequence[Attack],
    notes: tuple[tuple[Note, ...], tuple[Note, ...]],
) -> Evidence:
    """Return the evidence of blocks of rows; `notes` are (assumptions, untested)."""
    names = ("by", "spent", "start", "up", "down", "far", "correct")
    joined = {name: np.concatenate([item[name] for item in items]) for name in names}
    examples = sorted((Witness(**w) for item in items for w in item["witnesses"]), key=lambda w: w.size)
    tolerance = opened.subject.threat.evasion.tolerance or "10%"
    return Evidence(
        check.name,
        check.version,
        threat,
        _estimates(opened, rows, joined, {**threat.knobs, "tolerance": tolerance}),
        outcomes=_outcomes(opened, rows, joined),
        rows=len(rows),
        alarms=alarms(joined["correct"], joined["by"], items, attacks),
        witnesses=tuple(examples[:MAX_WITNESSES]),
        assumptions=(note("evasion.tolerance", tolerance=tolerance), *notes[0]),
        untested=notes[1],
    )


def _estimates(opened: Opened, rows: Array, joined: Mapping[str, Array], at: Mapping[str, Any]) -> tuple[Estimate, ...]:
    moved, n = int((joined["by"] >= 0).sum()), len(rows)
    return (
        proportion("moved_share", moved, n, at=at, bound="lower"),
        _relative(joined, at),
        _error(opened.targets["test"][rows].cpu().numpy(), joined, at),
    )


def _relative(joined: Mapping[str, Array], at: Mapping[str, Any]) -> Estimate:
    """Return the 95th percentile of |change| / |prediction|; predictions of zero have no relative change."""
    start = np.abs(joined["start"])
    known = start > 1e-12 * max(float(start.max(initial=0.0)), 1e-300)
    name, unit = "relative_change_p95", "share of the prediction"
    if known.sum() < FEWEST:
        return not_estimable(name, note("evasion.few_rows", rows=int(known.sum()), wanted=FEWEST), at=at, bound="lower")
    basis = quantile_basis(joined["far"][known] / start[known], HIGH, least=0.0, most=np.inf)
    return from_basis(name, basis, unit=unit, method="order statistics", at=at, bound="lower")


def _error(y: Array, joined: Mapping[str, Array], at: Mapping[str, Any]) -> Estimate:
    """Return by how much the mean absolute error grows where each row moves to its worse side."""
    before = np.abs(joined["start"] - y)
    sides = [np.abs(joined["start"] + joined[side] - y) for side in ("up", "down")]
    found = error_increase(np.maximum(before, np.maximum(*sides)), before, at=at)
    return found if found.value is None else _lower(found)


def _lower(estimate: Estimate) -> Estimate:
    from dataclasses import replace

    return replace(estimate, bound="lower")


def _outcomes(opened: Opened, rows: Array, joined: Mapping[str, Array]) -> dict[str, Any]:
    """Return arrays over the whole test split: `moved` 1, 0 and -1 for rows that were not attacked; change and budget."""
    where, total = opened.test.index[rows], opened.test.total
    moved, change, spent = np.full(total, -1, np.int8), *(np.full(total, np.nan, np.float32) for _ in range(2))
    moved[where], change[where], spent[where] = joined["by"] >= 0, joined["far"], joined["spent"]
    return {"moved": moved, "change": change, "spent": spent}
