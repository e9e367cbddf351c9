"""What a pipeline should do with a dossier: 0 go on, 1 a limit is broken or a drop is shown, 3 undecided."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from veriward.core.dossier import Dossier
from veriward.core.finding import Finding, Judged, Verdict, exit_code

if TYPE_CHECKING:  # scipy and pydantic, which a gate without a baseline and waivers does not need
    from veriward.core.compare import Comparison
    from veriward.core.waivers import Waiver

State = Literal["open", "waived", "expired"]
BLOCKING: tuple[Verdict, ...] = ("fail", "error", "inconclusive")


@dataclass(frozen=True)
class Point:
    """One limit that is not kept (or a check that raised), and the waiver that covers it, if any."""

    finding: str
    limit: Judged | None
    verdict: Verdict
    waiver: Waiver | None = None
    state: State = "open"


@dataclass(frozen=True)
class Gate:
    """The decision with everything that led to it."""

    code: int
    finished: bool
    points: tuple[Point, ...]
    unused: tuple[Waiver, ...]  # they cover nothing: delete them
    comparison: Comparison | None = None


def decide(
    dossier: Dossier,
    comparison: Comparison | None = None,
    *,
    waivers: Sequence[Waiver] = (),
    today: datetime.date | None = None,
) -> Gate:
    """Return the decision. Fail beats undecided; an expired waiver fails as long as what it covered is still there.

    Waived points count as decided. A dossier that was not finished, a finding that the baseline had and this dossier
    lacks, and rows that could not be paired are undecided: nothing passes unseen.
    """
    day = today or datetime.datetime.now(datetime.UTC).date()
    points = tuple(_point(finding, limit, waivers, day) for finding, limit in _blocking(dossier))
    verdicts = [verdict for point in points for verdict in _counted(point)]
    verdicts += [finding.verdict for finding in dossier if finding.verdict in ("pass", "not_applicable")]
    verdicts += ["pass" for point in points if point.state == "waived"]
    if comparison is not None:
        verdicts += [moved.verdict for moved in comparison.moved]
        verdicts += ["inconclusive" for _ in (*comparison.refused, *comparison.gone)]
    if not dossier.finished:
        verdicts.append("inconclusive")
    used = {point.waiver for point in points}
    unused = tuple(waiver for waiver in waivers if waiver not in used)
    return Gate(exit_code(verdicts), dossier.finished, points, unused, comparison)


def _counted(point: Point) -> tuple[Verdict, ...]:
    if point.state == "waived":
        return ()
    return ("fail",) if point.state == "expired" else (point.verdict,)


def _blocking(dossier: Dossier) -> Iterator[tuple[Finding, Judged | None]]:
    """Yield every limit that is not kept, and every finding without limits that is not decided well."""
    for finding in dossier:
        if not finding.limits and finding.verdict in BLOCKING:
            yield finding, None
        for limit in finding.limits:
            if limit.verdict in BLOCKING:
                yield finding, limit


def _point(finding: Finding, limit: Judged | None, waivers: Sequence[Waiver], today: datetime.date) -> Point:
    verdict = finding.verdict if limit is None else limit.verdict
    covering = [waiver for waiver in waivers if waiver.covers(finding, limit)]
    if not covering:
        return Point(finding.id, limit, verdict)
    latest = max(covering, key=lambda waiver: waiver.expires)
    return Point(finding.id, limit, verdict, latest, "expired" if latest.expired(today) else "waived")
