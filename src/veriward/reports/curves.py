"""Drawings of a metric over the size of the change: of checks that ran under several sizes, and of the curve of sizes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from veriward.core.dossier import Dossier
from veriward.core.estimate import Estimate
from veriward.core.finding import Finding, Judged
from veriward.reports import charts
from veriward.reports.catalogue import Catalogue
from veriward.reports.headline import estimate_of, threshold
from veriward.reports.numbers import condition
from veriward.reports.wording import harmless, label

CURVE = "accuracy_at"
Points = Sequence[tuple[float, Estimate]]


@dataclass(frozen=True)
class Drawn:
    """One drawing: its name, the chart, what it says aloud, and the sentence under it."""

    name: str
    spec: charts.Spec
    spoken: str
    told: str = ""


def curves(dossier: Dossier, words: Catalogue) -> Iterator[Drawn]:
    """Yield a drawing per check under several sizes, and per curve of sizes."""
    for check in dict.fromkeys(finding.check for finding in dossier):
        found = [p for finding in dossier if finding.check == check for p in _judged(finding)]
        if len({eps for eps, _, _ in found}) > 1:
            yield _drawn(check, [(eps, e) for eps, e, _ in found], found[0][2], words)
    for finding in dossier:
        points = [(float(e.at["eps"]), e) for e in finding.estimates if e.metric == CURVE and "eps" in e.at]
        if points:
            norm = finding.evidence.threat.knobs.get("norm") if finding.evidence else None
            yield _drawn(finding.id, points, _limit(dossier, norm), words)


def _judged(finding: Finding) -> list[tuple[float, Estimate, Judged]]:
    eps = finding.evidence.threat.knobs.get("eps") if finding.evidence else None
    judged = [(limit, estimate_of(finding, limit)) for limit in finding.limits]
    return [(float(eps), e, limit) for limit, e in judged[:1] if e is not None and eps is not None]


def _limit(dossier: Dossier, norm: str | None) -> Judged | None:
    """Return the policy's limit on robust accuracy, as it was judged under the same norm."""
    under = [f for f in dossier if f.evidence is not None and f.evidence.threat.knobs.get("norm") == norm]
    return next((limit for f in under for limit in f.limits if limit.metric == "robust_accuracy"), None)


def _drawn(name: str, points: Points, limit: Judged | None, words: Catalogue) -> Drawn:
    named = label(points[0][1].metric, {}, words)
    spec = charts.curve(points, limit, (words.term("knob", "eps"), named))
    told = _told(points, limit, words) if points[0][1].metric == CURVE and limit else ""
    return Drawn(harmless(name), spec, f"{harmless(name)}: {named}", told)


def _told(points: Points, limit: Judged, words: Catalogue) -> str:
    """Return up to which size the curve keeps the limit."""
    wanted = threshold(limit.pass_if)
    kept = [eps for eps, e in sorted(points) if e.value is not None and e.value >= wanted]
    told = {"limit": condition(limit.pass_if)}
    return words.text("curve.kept", eps=max(kept), **told) if kept else words.text("curve.never", **told)
