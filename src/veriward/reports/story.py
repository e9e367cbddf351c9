"""The one sentence that a reader takes home, in the user's units: what the worst finding means."""

from collections.abc import Mapping
from typing import Any

from veriward.core.dossier import Dossier
from veriward.core.estimate import Estimate
from veriward.core.finding import Finding
from veriward.reports.catalogue import Catalogue
from veriward.reports.headline import headline, worst_first
from veriward.reports.numbers import SPACE, condition, point
from veriward.reports.wording import family, harmless, label

RATES = {
    "demographic_parity_difference": ("selection_rate",),
    "equal_opportunity_difference": ("true_positive_rate",),
    "equalized_odds_difference": ("true_positive_rate", "false_positive_rate"),
    "calibration_difference": ("calibration_gap",),
    "residual_difference": ("mean_residual",),
    "absolute_error_difference": ("mean_absolute_residual",),
    "prediction_difference": ("mean_prediction",),
}


def story(dossier: Dossier, words: Catalogue) -> str:
    """Return what the worst finding means; without a broken limit, what that does and does not say."""
    ordered = worst_first(dossier)
    if not ordered:
        return words.text("story.nothing")
    if ordered[0].verdict == "fail":
        return told(ordered[0], dossier.subject, words)
    return words.text({"pass": "story.pass", "not_applicable": "story.no_limit"}.get(ordered[0].verdict, "story.open"))


def told(finding: Finding, subject: Mapping[str, Any], words: Catalogue) -> str:
    """Return what a broken finding means, from its counts and its cheapest witness."""
    tellers = {"evasion": _evasion, "leakage": _leakage, "fairness": _fairness, "data": _data}
    teller = tellers.get(family(finding.check))
    sentence = teller(finding, subject, words) if teller else None
    return sentence or _plain(finding, words)


def turned(finding: Finding) -> tuple[int, int] | None:
    """Return how many of the correct decisions an attack turned around, and how many there were."""
    found = {e.metric: e.basis for e in finding.estimates if e.basis.get("kind") == "binomial"}
    success = found.get("attack_success_rate")
    if success and success["n"]:
        return int(success["k"]), int(success["n"])
    clean, robust = found.get("clean_accuracy"), found.get("robust_accuracy")
    if clean and robust and clean["n"] == robust["n"] and clean["k"]:
        return int(clean["k"] - robust["k"]), int(clean["k"])
    return None


def _evasion(finding: Finding, subject: Mapping[str, Any], words: Catalogue) -> str | None:
    counted = turned(finding)
    if counted is None or finding.evidence is None:
        return None
    broken, correct = counted
    knobs = finding.evidence.threat.knobs
    witnesses = finding.evidence.witnesses
    if knobs.get("eps") is not None and subject.get("kind") == "image" and knobs.get("norm") == "linf":
        return words.text("story.pixels", eps=knobs["eps"], broken=broken, correct=correct)
    if witnesses and witnesses[0].text:
        text, row = harmless(witnesses[0].text).replace(" %", f"{SPACE}%"), str(witnesses[0].row)
        return words.text("story.change", text=text, row=row, broken=broken, correct=correct)
    return words.text("story.budget", broken=broken, correct=correct)


def _leakage(finding: Finding, _: Mapping[str, Any], words: Catalogue) -> str | None:
    top = headline(finding)
    if top is None or top.estimate.metric != "tpr_at_fpr" or top.estimate.value is None:
        return None
    return words.text("story.members", fpr=top.estimate.at["fpr"], tpr=top.estimate.value)


def _fairness(finding: Finding, _: Mapping[str, Any], words: Catalogue) -> str | None:
    top = headline(finding)
    if top is None:
        return None
    attribute = top.estimate.at.get("attribute")
    spans = [_span(finding, rate, top.estimate.at) for rate in RATES.get(top.estimate.metric, ())]
    widest = max((s for s in spans if s), key=lambda s: (s[1].value or 0) - (s[0].value or 0), default=None)
    if widest is None:
        return None
    low, high = widest
    groups = {"low": harmless(low.at["group"]), "high": harmless(high.at["group"])}
    shares = {"low_share": low.value, "high_share": high.value, "low_value": point(low), "high_value": point(high)}
    return words.text(f"story.{low.metric}", attribute=harmless(attribute), **groups, **shares)


def _span(finding: Finding, metric: str, at: Mapping[str, Any]) -> tuple[Estimate, Estimate] | None:
    """Return the rates of the groups at either end, of the same attribute and outcome."""
    rates = [e for e in finding.estimates if e.metric == metric and all(e.at.get(k) == v for k, v in at.items())]
    known = sorted((e for e in rates if e.value is not None and "group" in e.at), key=lambda e: e.value or 0)
    return (known[0], known[-1]) if len(known) > 1 else None


def _data(finding: Finding, subject: Mapping[str, Any], words: Catalogue) -> str | None:
    """Return which identifiers stand where, for the split that holds most."""
    rows = max((e for e in finding.estimates if e.metric == "pii_rows" and e.value), key=_value, default=None)
    if rows is None:
        return None
    split = rows.at.get("split")
    cells = [e for e in finding.estimates if e.metric == "pii_cells" and e.at.get("split") == split]
    if not cells:
        return None
    most = max(cells, key=_value)
    place = {"split": words.term("at_split", str(split)), "column": harmless(most.at["column"])}
    return words.text("story.pii", share=rows.value, kind=words.term("pii_kind", str(most.at["kind"])), **place)


def _value(estimate: Estimate) -> float:
    return estimate.value or 0.0


def _plain(finding: Finding, words: Catalogue) -> str:
    top = headline(finding)
    if top is None or top.limit is None:
        return words.text("story.open")
    name = label(top.estimate.metric, top.estimate.at, words)
    values = {"value": point(top.estimate), "limit": condition(top.limit.pass_if)}
    return words.text("story.limit", check=finding.id, metric=name, **values)
