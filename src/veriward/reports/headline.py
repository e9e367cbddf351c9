"""The one number that speaks for a finding: that of its worst limit."""

from collections.abc import Iterable
from dataclasses import dataclass

from veriward.core.dossier import Dossier
from veriward.core.estimate import Estimate
from veriward.core.finding import WORST_FIRST, Finding, Judged, Verdict

SEVERITIES = ("critical", "high", "medium", "low")
MARKERS = {"fail": "✗", "error": "!", "inconclusive": "?", "pass": "✓", "not_applicable": "–"}


@dataclass(frozen=True)
class Headline:
    """An estimate, the limit it is held against (if any), and the other limits of the same finding."""

    estimate: Estimate
    limit: Judged | None
    others: tuple[Judged, ...] = ()


def headline(finding: Finding) -> Headline | None:
    """Return the estimate of the worst limit; without limits the first estimate that has a value; None without any."""
    limits = sorted(finding.limits, key=lambda limit: _rank(finding, limit))
    for limit in limits:
        estimate = estimate_of(finding, limit)
        if estimate is not None:
            return Headline(estimate, limit, tuple(other for other in limits if other is not limit))
    estimates = sorted(finding.estimates, key=lambda e: e.value is None)
    return Headline(estimates[0], None) if estimates else None


def estimate_of(finding: Finding, limit: Judged) -> Estimate | None:
    """Return the estimate that a limit judged."""
    return finding.judged_by(limit)


def threshold(condition: str) -> float:
    """Return the number of a condition.

    >>> threshold(">= 0.5")
    0.5
    """
    return float(condition.split()[1])


def wants_large(limit: Judged) -> bool:
    """Return whether large values keep the limit."""
    return limit.pass_if.startswith(">")


def _rank(finding: Finding, limit: Judged) -> tuple[int, int, float]:
    """Worst verdict first, then the gravest, then the one furthest on the wrong side of its limit."""
    estimate = estimate_of(finding, limit)
    if estimate is None or estimate.value is None:
        over = float("-inf")
    else:
        over = (estimate.value - threshold(limit.pass_if)) * (-1 if wants_large(limit) else 1)
    return WORST_FIRST.index(limit.verdict), SEVERITIES.index(limit.severity), -over


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with the worst verdict, then the gravest, in front; otherwise in the plan's order."""
    return sorted(findings, key=lambda f: (WORST_FIRST.index(f.verdict), SEVERITIES.index(f.severity)))


def counts(dossier: Dossier) -> dict[Verdict, int]:
    """Return how many findings have each verdict, without those that no finding has."""
    verdicts = [finding.verdict for finding in dossier]
    return {verdict: verdicts.count(verdict) for verdict in WORST_FIRST if verdict in verdicts}


def limits_broken(dossier: Dossier) -> tuple[int, int]:
    """Return how many limits are broken, and how many there are."""
    limits = [limit for finding in dossier for limit in finding.limits]
    return sum(limit.verdict == "fail" for limit in limits), len(limits)


def preregistered(dossier: Dossier) -> bool:
    """Return whether the policy stood in the file before every piece of evidence there is."""
    return all(finding.preregistered for finding in dossier if finding.evidence is not None)
