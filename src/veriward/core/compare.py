"""Two dossiers of one subject, side by side: verdicts that changed, and what became of the same test rows.

Rows are paired by their place in the test split, which must be the same data; of those, the rows that both runs looked at
count. A drop is judged by an exact paired test (`basis/paired.py`), errors of a regression by Student's t on the pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veriward.core.basis import p_above
from veriward.core.dossier import Dossier
from veriward.core.errors import SettingsError
from veriward.core.estimate import Estimate, drop, from_basis
from veriward.core.finding import Finding, Verdict
from veriward.core.judge import holm
from veriward.core.note import Note, note

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.05
MARGIN = 0.02
# outcomes per row, and the metric that is their share: 1 is good, -1 was not looked at
SHARES = {"correct": "clean_accuracy", "robust": "robust_accuracy", "certified": "certified_accuracy"}
AMOUNTS = {"absolute_error": "mean_absolute_error"}  # per row, smaller is better, NaN was not looked at
BROKEN: tuple[Verdict, ...] = ("fail", "error")


@dataclass(frozen=True)
class Moved:
    """What became of one outcome on the rows that both runs looked at. `estimate`: the drop, larger is worse."""

    finding: str
    metric: str
    estimate: Estimate
    p: float  # against "the drop is at most the margin", Holm-adjusted over all outcomes
    verdict: Verdict


@dataclass(frozen=True)
class Change:
    """A finding whose verdict differs; None where one of the dossiers lacks it."""

    finding: str
    before: Verdict | None
    after: Verdict | None


@dataclass(frozen=True)
class Comparison:
    """`refused` says what could not be compared by rows, and why."""

    margin: float
    moved: tuple[Moved, ...]
    changes: tuple[Change, ...]
    refused: tuple[tuple[str, Note], ...]

    @property
    def new(self) -> tuple[Change, ...]:
        """Findings that are broken now and were not."""
        return tuple(c for c in self.changes if c.after in BROKEN and c.before not in BROKEN)

    @property
    def fixed(self) -> tuple[Change, ...]:
        """Findings that were broken and are decided well now."""
        return tuple(c for c in self.changes if c.before in BROKEN and c.after in ("pass", "not_applicable"))

    @property
    def gone(self) -> tuple[Change, ...]:
        """Findings that the baseline has and the new dossier lacks: silence is no improvement."""
        return tuple(c for c in self.changes if c.after is None)


def compare(new: Dossier, old: Dossier, *, margin: float = MARGIN) -> Comparison:
    """Return how a dossier differs from an older one, the baseline.

    A drop fails where it exceeds `margin` beyond chance (Holm-adjusted p <= .05), passes where the upper end of its 95 %
    interval is at most `margin`, and is undecided else. Raises SettingsError for a margin outside [0, 1) and for a
    baseline that shares neither its name nor its test rows with the dossier.
    """
    if not 0 <= margin < 1:
        raise SettingsError(f"--margin {margin}: want a share, at least 0 and less than 1, e.g. 0.02")
    pairable = same_rows(new, old)
    if not pairable and new.subject["name"] != old.subject["name"]:
        raise SettingsError(
            f"--baseline {old.path}: holds the subject {old.subject['name']!r} on other test rows, "
            f"not {new.subject['name']!r}; give an older dossier of the same subject"
        )
    refused: list[tuple[str, Note]] = []
    drops: list[tuple[str, str, Estimate]] = []
    for name in new.findings:
        reason = _incomparable(new.findings[name], old.findings.get(name), pairable)
        if reason is None:
            drops += [(name, metric, found) for metric, found in _drops(new.findings[name], old.findings[name])]
        elif _graded(new.findings[name]):
            refused.append((name, reason))
    adjusted = holm([p_above(found.basis, margin) for _, _, found in drops])
    moved = [
        Moved(name, metric, found, p, _verdict(found, p, margin))
        for (name, metric, found), p in zip(drops, adjusted, strict=True)
    ]
    return Comparison(margin, tuple(moved), tuple(_changes(new, old)), tuple(refused))


def same_rows(new: Dossier, old: Dossier) -> bool:
    """Return whether two dossiers speak about the same test rows, by the fingerprint of the data."""
    rows = [dossier.subject["fingerprints"].get("test") for dossier in (new, old)]
    return rows[0] is not None and rows[0] == rows[1]


def _verdict(found: Estimate, p: float, margin: float) -> Verdict:
    if p <= LEVEL:
        return "fail"
    assert found.high is not None
    return "pass" if found.high <= margin else "inconclusive"


def _graded(finding: Finding) -> bool:
    return any(name in finding.outcomes for name in (*SHARES, *AMOUNTS))


def _incomparable(new: Finding, old: Finding | None, pairable: bool) -> Note | None:
    """Return why the rows of two findings cannot be paired, None where they can."""
    if old is None:
        return note("compare.no_baseline")
    if new.evidence is None or old.evidence is None:
        return note("compare.no_evidence")
    if not pairable:
        return note("compare.other_rows")
    if new.evidence.version != old.evidence.version:
        return note("compare.other_version", old=old.evidence.version, new=new.evidence.version)
    if new.evidence.threat.to_dict() != old.evidence.threat.to_dict():
        return note("compare.other_threat")
    if dict(new.settings) != dict(old.settings):
        return note("compare.other_settings")
    return None


def _drops(new: Finding, old: Finding) -> Iterator[tuple[str, Estimate]]:
    """Yield each graded outcome's metric and drop over the rows that both looked at."""
    for name, metric in SHARES.items():
        if name in new.outcomes and name in old.outcomes:
            yield metric, _share_drop(metric, old.outcomes[name], new.outcomes[name])
    for name, metric in AMOUNTS.items():
        if name in new.outcomes and name in old.outcomes:
            found = _amount_rise(metric, old.outcomes[name], new.outcomes[name])
            if found is not None:
                yield metric, found


def paired(old: "np.ndarray[Any, Any]", new: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Return which rows both runs looked at, (n,) of booleans; arrays of -1, 0 and 1, one element per test row."""
    return (old >= 0) & (new >= 0)


def _share_drop(metric: str, old: "np.ndarray[Any, Any]", new: "np.ndarray[Any, Any]") -> Estimate:
    both = paired(old, new)
    worse, better = (int((both & (a > b)).sum()) for a, b in ((old, new), (new, old)))
    return drop(metric, worse, better, int(both.sum()))


def _amount_rise(metric: str, old: "np.ndarray[Any, Any]", new: "np.ndarray[Any, Any]") -> Estimate | None:
    """Return how much larger the errors are, as a share of the baseline's mean; None where nothing can be told."""
    import numpy as np

    both = np.isfinite(old) & np.isfinite(new)
    before, after = old[both].astype(np.float64), new[both].astype(np.float64)
    if len(before) < 2 or not before.mean() > 0:
        return None
    rise = (after - before) / before.mean()
    se = float(rise.std(ddof=1)) / len(rise) ** 0.5
    basis = {"kind": "mean", "value": float(rise.mean()), "se": se, "n": len(rise)}
    return from_basis(metric, basis, unit="share of the baseline's mean", method="Student's t")


def _changes(new: Dossier, old: Dossier) -> Iterator[Change]:
    for name in dict.fromkeys([*new.findings, *old.findings]):
        before, after = (d.findings[name].verdict if name in d.findings else None for d in (old, new))
        if before != after:
            yield Change(name, before, after)
