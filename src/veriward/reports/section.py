"""All that a dossier holds about one finding, as plain values for the template."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from veriward.core.dossier import Dossier
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence, Witness
from veriward.core.finding import WORST_FIRST, Finding, Judged
from veriward.core.threat import Threat
from veriward.reports import charts, pictures
from veriward.reports.advice import advise
from veriward.reports.bracket import bracket_of, shown
from veriward.reports.catalogue import Catalogue
from veriward.reports.headline import estimate_of
from veriward.reports.numbers import condition, interval, listed, number, p_value, point, settings
from veriward.reports.page import Draw, verdict
from veriward.reports.standards import standards
from veriward.reports.wording import about, harmless, label, not_estimable, question, raised, witness_text, would_decide

MOST_ROWS, FEWEST_ROWS = 150, 15  # of one table; the JSON report has them all
PAGE_ROWS = 600  # of all tables of one page together: it must open at once, on a telephone too
MOST_WITNESSES = 10
MOST_GROUPS = 12  # of one drawing
OPEN = ("fail", "error")
TITLES = {"en": "", "zh": "_zh"}


def section(dossier: Dossier, finding: Finding, place: int, side: int, words: Catalogue, draw: Draw) -> dict[str, Any]:
    """Return the values of one finding's section."""
    item = dossier.plan["checks"][place]
    most = min(max(PAGE_ROWS // (2 * len(dossier.findings)), FEWEST_ROWS), MOST_ROWS)
    limits, estimates = _worst(finding.limits)[:most], _telling(finding)[:most]
    threat = finding.evidence.threat if finding.evidence else Threat.from_dict(item["threat"])
    return {
        "id": harmless(finding.id),
        "anchor": f"f{place}",
        "open": finding.verdict in OPEN,
        "verdict": verdict(finding.verdict, words),
        "severity": finding.severity,
        "preregistered": finding.preregistered,
        "question": question(finding, words),
        "error": raised(finding.error, words) if finding.error else None,
        "advice": advise(dossier, finding),
        "threat": _threat(threat, words),
        "estimates": [_estimate(e, words) for e in estimates],
        "more_estimates": len(finding.estimates) - len(estimates),
        "groups": list(_groups(finding.estimates, words, draw)),
        "limits": [_limit(dossier, finding, limit, words) for limit in limits],
        "more_limits": len(finding.limits) - len(limits),
        "reasons": list(dict.fromkeys(reason(j, words) for j in finding.limits if j.reason)),
        "settings": [_setting(name, value, words) for name, value in settings(finding.settings)],
        "seed": finding.seed,
        "version": harmless(finding.evidence.version if finding.evidence else item["version"]),
        "standards": [_standard(entry, words) for entry in standards(finding)],
        "bracket": _bracket(dossier, finding, words, draw),
        **_evidence(finding.evidence, side, words),
    }


def _bracket(dossier: Dossier, finding: Finding, words: Catalogue, draw: Draw) -> dict[str, Any] | None:
    """Return what is proved beside what was broken, in words and as a bar of rows."""
    pair = bracket_of(dossier, finding)
    if pair is None:
        return None
    told = shown(pair, words)
    drawing = draw(charts.stack(told.parts), words.text("bracket.drawing", counts=told.counts))
    return {"sentence": told.sentence, "counts": words.text("bracket.rows", counts=told.counts), "drawing": drawing}


def _worst(limits: Sequence[Judged]) -> list[Judged]:
    """Return the limits with the worst verdict in front: a table that is cut keeps what matters."""
    return sorted(limits, key=lambda limit: WORST_FIRST.index(limit.verdict))


def _telling(finding: Finding) -> list[Estimate]:
    """Return the estimates, those under limits in front where there are more than a table holds."""
    if len(finding.estimates) <= FEWEST_ROWS:
        return list(finding.estimates)
    judged = {id(estimate_of(finding, limit)) for limit in finding.limits}
    return sorted(finding.estimates, key=lambda estimate: id(estimate) not in judged)


def _setting(name: str, value: str, words: Catalogue) -> tuple[str, str]:
    return words.term("setting", harmless(name)), words.term(name if name == "budget" else "setting", harmless(value))


def reason(limit: Judged, words: Catalogue) -> tuple[str, str]:
    """Return why the policy has the limit, and its source, in the reader's language if the policy says them there."""
    own, source = (limit.reason_zh, limit.source_zh) if words.language == "zh" else ("", "")
    return harmless(own or limit.reason), harmless(source or limit.source)


def _threat(threat: Threat, words: Catalogue) -> list[tuple[str, str]]:
    rows = [(words.text("page.goal"), words.term("goal", harmless(threat.goal)))]
    rows.append((words.text("page.access"), words.term("access", threat.access)))
    for knob, value in threat.knobs.items():
        unit = threat.units.get(knob)
        shown = words.term("norm", str(value)) if knob == "norm" else listed(value)
        told = f"{shown} {words.term('unit', unit)}" if unit else shown
        rows.append((words.term("knob", harmless(knob)), harmless(told)))
    allowed = words.text("page.unlimited") if threat.queries is None else number(threat.queries)
    return [*rows, (words.text("page.queries"), allowed)]


def _estimate(estimate: Estimate, words: Catalogue) -> dict[str, str]:
    return {
        "metric": label(estimate.metric, estimate.at, words),
        "value": point(estimate),
        "interval": interval(estimate),
        "confidence": words.percent(estimate.confidence),
        "n": number(estimate.n),
        "unit": words.term("unit", harmless(estimate.unit)),
        "method": words.term("method", harmless(estimate.method)),
        "bound": words.term("bound", estimate.bound),
        "why": not_estimable(estimate, words),
    }


def _limit(dossier: Dossier, finding: Finding, limit: Judged, words: Catalogue) -> dict[str, Any]:
    estimate = estimate_of(finding, limit)
    return {
        "metric": label(limit.metric, limit.at, words),
        "measured": f"{point(estimate)} {interval(estimate)}" if estimate else "–",
        "pass_if": condition(limit.pass_if),
        "fail_if": condition(limit.fail_if),
        "verdict": verdict(limit.verdict, words),
        "p": p_value(limit.p),
        "p_adjusted": p_value(limit.p_adjusted),
        "decides": _decides(dossier, finding, limit, words),
    }


def _decides(dossier: Dossier, finding: Finding, limit: Judged, words: Catalogue) -> list[str]:
    """Return why the limit came out as it did, and what the rows could have shown."""
    told = [words.term("why", limit.why)]
    if limit.verdict == "inconclusive" and limit.why != "interval":
        told = [would_decide(finding, limit, words, dossier.policy)]
    if limit.needs_n is not None:
        told.append(words.text("page.needs", rows=about(limit.needs_n)))
    if limit.verdict == "pass":
        power = limit.detectable
        told.append(words.text("page.no_power") if power is None else words.text("page.power", value=f"{power:.3g}"))
    return told


def _groups(estimates: Sequence[Estimate], words: Catalogue, draw: Draw) -> Any:
    """Yield a drawing of the rates of the groups of each attribute."""
    grouped = [e for e in estimates if {"attribute", "group"} <= set(e.at) and e.unit.startswith("share")]
    ordered = sorted(grouped, key=lambda e: str(e.at["attribute"]))
    for attribute, found in groupby(ordered, key=lambda e: str(e.at["attribute"])):
        rates = [(label(e.metric, {}, words), harmless(e.at["group"]), e) for e in found]
        if 1 < len({group for _, group, _ in rates}) <= MOST_GROUPS:
            yield harmless(attribute), draw(charts.groups(rates), harmless(attribute))


def _evidence(evidence: Evidence | None, side: int, words: Catalogue) -> dict[str, Any]:
    """Return what the check handed over beside its numbers; None where it raised."""
    if evidence is None:
        return {"evidence": None}
    notes = {
        name: [harmless(words.note(n)) for n in getattr(evidence, name)]
        for name in ("alarms", "assumptions", "untested")
    }
    cost = {name: number(value) for name, value in vars(evidence.cost).items()}
    found = {
        **notes,
        "attack": evidence.check.startswith("evasion/"),
        "pictures": [_harmless_triple(t) for t in pictures.triples(evidence.witnesses, side)],
        "side": side,
        "witnesses": [_witness(witness, words) for witness in evidence.witnesses[:MOST_WITNESSES]],
        "more_witnesses": max(len(evidence.witnesses) - MOST_WITNESSES, 0),
        "controls": [_control(vars(c) | {"holds": c.holds}, words) for c in evidence.controls],
        "cost": {**cost, "seconds": f"{evidence.cost.seconds:.1f}"},
    }
    return {"evidence": found}


def _harmless_triple(triple: pictures.Triple) -> dict[str, Any]:
    return {**vars(triple), **{name: harmless(getattr(triple, name)) for name in ("text", "was", "became")}}


def _witness(witness: Witness, words: Catalogue) -> dict[str, Any]:
    details = witness.details
    became = ""
    if "was" in details and "became" in details:
        became = words.text("page.became", was=harmless(details["was"]), became=harmless(details["became"]))
    share = words.percent(witness.size) if 0 <= witness.size <= 1 else number(witness.size)
    return {"row": str(witness.row), "text": witness_text(witness, words), "size": share, "became": became}


def _control(control: Mapping[str, Any], words: Catalogue) -> dict[str, Any]:
    low, high = control["low"], control["high"]
    measured = control["measured"]
    return {
        "name": words.term("control", harmless(control["name"])),
        "metric": label(control["metric"], {}, words),
        "truth": _rounded(low) if _rounded(low) == _rounded(high) else f"{_rounded(low)} – {_rounded(high)}",
        "measured": "–" if measured is None else _rounded(measured),
        "holds": control["holds"],
    }


def _rounded(value: float) -> str:
    """Return a number without what binary fractions add to it; adding 0 turns -0 into 0."""
    return number(round(value, 6) + 0.0)


def _standard(entry: Mapping[str, str], words: Catalogue) -> dict[str, str]:
    """Return list and code: the lists with their versions and titles stand at the end of the report."""
    ending = TITLES[words.language]
    return {"list": entry[f"list{ending}"], "code": entry["code"], "title": entry[f"title{ending}"]}
