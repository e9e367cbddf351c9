"""What the gate decided, on the screen and for programs (`veriward.gate/1`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from veriward.core.dossier import Dossier
from veriward.core.gate import Gate, Point
from veriward.reports.catalogue import Catalogue
from veriward.reports.headline import MARKERS, estimate_of
from veriward.reports.numbers import SPACE, condition, interval, point
from veriward.reports.terminal import COLOURS, Line, folded, table
from veriward.reports.wording import harmless, label

if TYPE_CHECKING:
    from veriward.core.compare import Comparison, Moved
    from veriward.core.waivers import Waiver

SCHEMA = "veriward.gate/1"
STATES = {"waived": "not_applicable", "expired": "fail"}
CODES = {0: "pass", 1: "fail", 3: "inconclusive"}
SHOWN_HASH = 12


def text(gate: Gate, dossier: Dossier, baseline: Dossier | None, lang: str, width: int, *, paint: bool = False) -> str:
    """Return the decision, worst first, and one line for everything that led to it."""
    words = Catalogue.load(lang)
    lines = [folded(words.text("gate.head", **_identity(dossier)), width)]
    lines.append(table([_limit(dossier, item, words) for item in gate.points], width, paint))
    if baseline is not None and gate.comparison is not None:
        lines.append(folded(words.text("gate.against", margin=gate.comparison.margin, **_identity(baseline)), width))
        lines.append(table([_moved(item, words) for item in gate.comparison.moved], width, paint))
        lines += [folded(line, width) for line in _compared(gate.comparison, words)]
    if not gate.finished:
        lines.append(folded(words.text("gate.unfinished"), width))
    lines += [folded(words.text("gate.unused", finding=harmless(w.finding)), width) for w in gate.unused]
    lines.append([words.text("gate.decision", verdict=words.term("verdict_loud", CODES[gate.code]), code=gate.code)])
    return "\n".join(line for part in lines for line in part).replace(SPACE, " ")


def _identity(dossier: Dossier) -> dict[str, str]:
    return {
        "subject": harmless(dossier.subject["name"]),
        "head": dossier.head[:SHOWN_HASH],
        "time": harmless(str(dossier.plan.get("time", ""))[:10]),
        "path": harmless(dossier.path.name),
    }


def _limit(dossier: Dossier, item: Point, words: Catalogue) -> Line:
    finding, limit = dossier.findings[item.finding], item.limit
    shown = STATES.get(item.state, item.verdict)
    estimate = estimate_of(finding, limit) if limit else None
    numbers = f"{point(estimate)} {interval(estimate)}".strip() if estimate else ""
    cells = (
        harmless(finding.id),
        label(limit.metric, limit.at, words, short=True) if limit else "",
        numbers,
        words.text("summary.limit", limit=condition(limit.pass_if)) if limit else "",
    )
    verdict = words.term("verdict_loud", item.verdict)
    told = words.text(f"gate.{item.state}", verdict=verdict, **_waiver(item.waiver)) if item.waiver else verdict
    return Line(COLOURS[shown], MARKERS[shown], cells, verdict, told)


def _waiver(waiver: Waiver | None) -> dict[str, str]:
    if waiver is None:
        return {}
    return {
        "owner": harmless(waiver.owner),
        "reason": harmless(waiver.reason),
        "expires": waiver.expires.isoformat(),
    }


def _moved(item: Moved, words: Catalogue) -> Line:
    name = words.text("gate.drop", metric=label(item.metric, {}, words, short=True))
    numbers = f"{point(item.estimate)} {interval(item.estimate)}"
    rows = words.text("gate.rows", n=item.estimate.n)
    verdict = words.term("verdict_loud", item.verdict)
    return Line(
        COLOURS[item.verdict], MARKERS[item.verdict], (harmless(item.finding), name, numbers, rows), verdict, verdict
    )


def _compared(comparison: Comparison, words: Catalogue) -> list[str]:
    """Return the findings that are new, fixed or gone, and what could not be compared."""
    lines = []
    for kind in ("new", "fixed", "gone"):
        for change in getattr(comparison, kind):
            before, after = (words.term("verdict", v or "not_run") for v in (change.before, change.after))
            lines.append(words.text(f"gate.{kind}", finding=harmless(change.finding), before=before, after=after))
    for name, reason in comparison.refused:
        lines.append(words.text("gate.refused", finding=harmless(name), reason=harmless(words.note(reason))))
    return lines


def document(gate: Gate, dossier: Dossier, baseline: Dossier | None) -> dict[str, Any]:
    """Return the decision as plain data, sentences in English."""
    comparison = gate.comparison
    return {
        "schema": SCHEMA,
        "code": gate.code,
        "verdict": CODES[gate.code],
        "finished": gate.finished,
        "subject": dossier.subject["name"],
        "head": dossier.head,
        "baseline": None if baseline is None else {"subject": baseline.subject["name"], "head": baseline.head},
        "points": [_point(item) for item in gate.points],
        "unused_waivers": [waiver.model_dump(mode="json") for waiver in gate.unused],
        "comparison": None if comparison is None else _comparison(comparison),
    }


def _point(item: Point) -> dict[str, Any]:
    return {
        "finding": item.finding,
        "limit": item.limit.to_dict() if item.limit else None,
        "verdict": item.verdict,
        "state": item.state,
        "waiver": item.waiver.model_dump(mode="json") if item.waiver else None,
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    words = Catalogue.load("en")
    moved = [
        {"finding": m.finding, "metric": m.metric, "p": m.p, "verdict": m.verdict, "drop": m.estimate.to_dict()}
        for m in comparison.moved
    ]
    changes = {kind: [vars(change) for change in getattr(comparison, kind)] for kind in ("new", "fixed", "gone")}
    refused = [{"finding": name, "reason": words.note(reason)} for name, reason in comparison.refused]
    return {"margin": comparison.margin, "moved": moved, **changes, "refused": refused}
