"""The report that programs read, `veriward.report/1`. Its schema is `schema/report-1.schema.json`; sentences are English."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from veriward.core.bracket import brackets
from veriward.core.dossier import Dossier
from veriward.core.estimate import Estimate
from veriward.core.evidence import Cost, Evidence
from veriward.core.finding import Finding
from veriward.core.note import Note
from veriward.reports.advice import advise, first
from veriward.reports.bracket import plain
from veriward.reports.catalogue import Catalogue
from veriward.reports.clauses import gaps
from veriward.reports.numbers import SPACE
from veriward.reports.standards import Clause, coverage, standards

SCHEMA = "veriward.report/1"
KEPT_OF_PLAN = ("budget", "seed", "device", "time")


def build(dossier: Dossier) -> dict[str, Any]:
    """Return a dossier as plain data: every number and every sentence, without the arrays per row."""
    words = Catalogue.load("en")
    items = {item["id"]: item for item in dossier.plan["checks"]}
    return {
        "schema": SCHEMA,
        "verdict": dossier.verdict,
        "finished": dossier.finished,
        "subject": dossier.subject,
        "policy": dossier.policy,
        "environment": dossier.environment,
        **{name: dossier.plan[name] for name in KEPT_OF_PLAN if name in dossier.plan},
        "code": list(dossier.plan.get("code", ())),
        "assumptions": _sentences(dossier.plan.get("assumptions", ()), words),
        "findings": [_finding(dossier, finding, items[finding.id], words) for finding in dossier],
        "brackets": [plain(bracket) for bracket in brackets(dossier.evidence())],
        "not_run": [{"check": item["check"], "reason": _plain(words.note(item["reason"]))} for item in dossier.not_run],
        "standards": _standards(dossier, words),
        "advice": _plain(first(dossier).line(words)),
        "head": dossier.head,
        "seal": dossier.seal,
    }


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that every report of `build` meets."""
    source = resources.files("veriward") / "reports" / "schema" / "report-1.schema.json"
    data: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return data


def _finding(dossier: Dossier, finding: Finding, item: Mapping[str, Any], words: Catalogue) -> dict[str, Any]:
    return {
        "id": finding.id,
        "check": finding.check,
        "version": finding.evidence.version if finding.evidence else item["version"],
        "question": finding.question,
        "threat": finding.evidence.threat.to_dict() if finding.evidence else item["threat"],
        "estimates": [_estimate(estimate, words) for estimate in finding.estimates],
        "limits": [limit.to_dict() for limit in finding.limits],
        "verdict": finding.verdict,
        "severity": finding.severity,
        "preregistered": finding.preregistered,
        "seed": finding.seed,
        "settings": dict(finding.settings),
        **_evidence(finding.evidence, words),
        "standards": standards(finding),
        "advice": [_plain(advice.line(words)) for advice in advise(dossier, finding)],
        "error": finding.error,
    }


def _evidence(evidence: Evidence | None, words: Catalogue) -> dict[str, Any]:
    """Return what the check reported; empty lists and no cost where it raised."""
    return {
        "rows": evidence.rows if evidence else 0,
        "cost": vars(evidence.cost if evidence else Cost()).copy(),
        "controls": [{**vars(c), "holds": c.holds} for c in (evidence.controls if evidence else ())],
        "alarms": _sentences(evidence.alarms if evidence else (), words),
        "assumptions": _sentences(evidence.assumptions if evidence else (), words),
        "untested": _sentences(evidence.untested if evidence else (), words),
        "witnesses": [
            {"row": w.row, "text": w.text, "size": w.size, "details": without_arrays(w.details)}
            for w in (evidence.witnesses if evidence else ())
        ],
    }


def _standards(dossier: Dossier, words: Catalogue) -> dict[str, Any]:
    """Return every list with every clause: which findings are evidence for it, and what was not tested under it."""
    lists = [
        {
            "list": standard.entry["name"],
            "version": standard.entry["version"],
            "clauses": [_clause(clause, words) for clause in standard.clauses],
        }
        for standard in coverage(dossier)
    ]
    return {"caveat": words.text("standards.caveat"), "lists": lists}


def _clause(clause: Clause, words: Catalogue) -> dict[str, Any]:
    return {
        "code": clause.code,
        "version": clause.version,
        "title": clause.entry["title"],
        "title_zh": clause.entry["title_zh"],
        "covered": clause.covered,
        "findings": [{"id": finding.id, "verdict": finding.verdict} for finding in clause.findings],
        "not_run": [{"check": s["check"], "reason": _plain(words.note(s["reason"]))} for s in clause.not_run],
        "untested": [_plain(text) for text in gaps(clause, words)],
    }


def _estimate(estimate: Estimate, words: Catalogue) -> dict[str, Any]:
    return {**estimate.to_dict(), "why": _plain(words.note(estimate.why)) if estimate.why else None}


def _sentences(notes: Iterable[Note | Mapping[str, Any]], words: Catalogue) -> list[str]:
    return [_plain(words.note(note)) for note in notes]


def _plain(text: str) -> str:
    """Return a sentence that programs can search: print's unbreakable spaces become plain ones."""
    return text.replace(SPACE, " ")


def without_arrays(value: Any) -> Any:
    """Return plain data without the arrays inside it: pictures and rows do not belong into JSON."""
    if isinstance(value, Mapping):
        return {key: without_arrays(item) for key, item in value.items() if not hasattr(item, "dtype")}
    return [without_arrays(item) for item in value] if isinstance(value, list | tuple) else value
