"""What stands on the first screen of the HTML report: plain values for the template, no markup."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from veriward.core.dossier import Dossier
from veriward.core.estimate import Estimate
from veriward.core.finding import Finding
from veriward.reports import charts
from veriward.reports.advice import first
from veriward.reports.bracket import bracket_of
from veriward.reports.bracket import shown as bracketed
from veriward.reports.catalogue import Catalogue
from veriward.reports.clauses import standards_told
from veriward.reports.curves import curves
from veriward.reports.executive import by_family, executive, tally
from veriward.reports.headline import MARKERS, headline, limits_broken, preregistered
from veriward.reports.numbers import condition, interval, number, point
from veriward.reports.story import story
from veriward.reports.terminal import duration, total_cost
from veriward.reports.wording import family, harmless, label, question, raised, why_open

Draw = Callable[[charts.Spec, str], str]
PARTS = ("model", "train", "test")
SUFFIX = {"en": ".html", "zh": ".zh.html"}
OTHER = {"en": "zh", "zh": "en"}


@dataclass(frozen=True)
class Verdict:
    """A verdict as its name (for the style), its marker and its word: never colour alone."""

    name: str
    marker: str
    word: str


@dataclass(frozen=True)
class Line:
    """One finding in the overview."""

    id: str
    anchor: str
    family: str
    question: str
    metric: str
    value: str
    interval: str
    limit: str
    verdict: Verdict
    why: str
    others: int
    strip: str
    ends: tuple[str, str]
    bracket: str = ""  # what is proved of the same truth, in words


@dataclass(frozen=True)
class FamilyLine:
    """One family on the first page: the line of its worst finding, and what came out of all of them."""

    name: str
    line: Line
    tally: str


def overview(dossier: Dossier, words: Catalogue, draw: Draw) -> dict[str, Any]:
    """Return the values of the first screen."""
    other = OTHER[words.language]
    lines = {finding.id: _line(dossier, finding, i, words, draw) for i, finding in enumerate(dossier)}
    families = list(_families(dossier, lines, words))
    return {
        "lang": words.language,
        "other": {"lang": other, "href": quote(dossier.path.stem + SUFFIX[other])},
        "subject": _subject(dossier.subject, words),
        "facts": facts(dossier, words),
        "verdict": verdict(dossier.verdict, words),
        "count": count(dossier, words),
        "story": story(dossier, words),
        "finished": dossier.finished,
        "families": families,
        "lines": list(lines.values()) if len(lines) > len(families) else [],  # else they stand there already
        **executive(dossier, words),
        "curves": [(c.name, draw(c.spec, c.spoken), c.told) for c in curves(dossier, words)],
        "not_run": [(harmless(item["check"]), harmless(words.note(item["reason"]))) for item in dossier.not_run],
        "raised": [(harmless(f.id), raised(f.error, words)) for f in dossier if f.error],
        "error": verdict("error", words),
        "untested": [(harmless(f.id), _untested(f, words)) for f in dossier if f.evidence and f.evidence.untested],
        "first": first(dossier),
        "identity": identity(dossier),
        "preregistered": preregistered(dossier),
        "seal": seal(dossier, words),
        "assumptions": [harmless(words.note(item)) for item in dossier.plan.get("assumptions", ())],
        "environment": [_environment(name, value, words) for name, value in dossier.environment.items()],
        "standards": standards_told(dossier, words),
        "dossier": harmless(dossier.path.name),
    }


def _families(dossier: Dossier, lines: Mapping[str, Line], words: Catalogue) -> Iterator[FamilyLine]:
    for name, findings in by_family(dossier).items():
        counted = tally(findings, words) if len(findings) > 1 else ""
        yield FamilyLine(words.term("family", harmless(name)), lines[findings[0].id], counted)


def _environment(name: str, value: str, words: Catalogue) -> tuple[str, str]:
    return words.term("environment", harmless(name)), words.term("environment", harmless(value))


def verdict(name: str, words: Catalogue) -> Verdict:
    """Return a verdict with marker and word."""
    return Verdict(name, MARKERS[name], words.term("verdict", name))


def _subject(subject: Mapping[str, Any], words: Catalogue) -> dict[str, str]:
    return {
        "name": harmless(subject["name"]),
        "task": words.term("task", subject["task"]),
        "kind": words.term("kind", subject["kind"]),
        "format": harmless(subject.get("format") or ""),
        "access": words.term("access", subject["access"]),
    }


def facts(dossier: Dossier, words: Catalogue) -> list[str]:
    """Return what was run, in short texts: rows, budget, seed, cost, time."""
    subject, plan = dossier.subject, dossier.plan
    cost = total_cost(dossier)
    shape = harmless(subject.get("shape") or "?")
    return [
        words.text("summary.test_rows", rows=subject["rows"]["test"], shape=shape),
        words.text("summary.budget", budget=plan["budget"]),
        words.text("summary.seed", seed=plan["seed"]),
        duration(cost.seconds, words),
        words.text("summary.queries", queries=cost.queries),
        words.text("page.written", time=_time(plan.get("time", ""))),
    ]


def _time(text: str) -> str:
    """Return an ISO time to the minute."""
    return harmless(text[:16].replace("T", " ") + (" UTC" if text.endswith(("Z", "+00:00")) else text[19:]))


def count(dossier: Dossier, words: Catalogue) -> str:
    """Return how many limits are broken, in words."""
    broken, limits = limits_broken(dossier)
    waiting = sum(limit.verdict == "inconclusive" for finding in dossier for limit in finding.limits)
    if not limits:
        return words.text("page.no_limits")
    if broken:
        return words.text("page.broken", broken=broken, limits=limits)
    return (
        words.text("page.none_broken", limits=limits, open=waiting)
        if waiting
        else words.text("page.kept", limits=limits)
    )


def _line(dossier: Dossier, finding: Finding, place: int, words: Catalogue, draw: Draw) -> Line:
    top = headline(finding)
    limit = top.limit if top else None
    shown = top.estimate if top else None
    name = family(finding.check)
    ends = charts.extent(shown, [limit] if limit else []) if shown else (0.0, 1.0)
    pair = bracket_of(dossier, finding) if name == "evasion" else None
    floor = pair.certified if pair and shown and shown.metric == "robust_accuracy" else None
    return Line(
        id=harmless(finding.id),
        anchor=f"f{place}",
        family=words.term("family", harmless(name)),
        question=question(finding, words),
        metric=label(shown.metric, shown.at, words) if shown else "",
        value=point(shown) if shown else "–",
        interval=interval(shown) if shown else "",
        limit=condition(limit.pass_if) if limit else "",
        verdict=verdict(finding.verdict, words),
        why=why_open(finding, limit, words, dossier.policy),
        others=len(top.others) if top else 0,
        strip=draw(charts.strip(shown, limit, ends, floor), _spoken(shown, limit, words)) if shown and limit else "",
        ends=(number(ends[0]), number(ends[1])),
        bracket=bracketed(pair, words).sentence if pair else "",
    )


def _spoken(estimate: Estimate, limit: Any, words: Catalogue) -> str:
    name = label(estimate.metric, estimate.at, words)
    values = {"value": point(estimate), "interval": interval(estimate), "limit": condition(limit.pass_if)}
    return words.text("page.drawing", metric=name, **values)


def _untested(finding: Finding, words: Catalogue) -> list[str]:
    return [harmless(words.note(item)) for item in (finding.evidence.untested if finding.evidence else ())]


def identity(dossier: Dossier) -> list[tuple[str, str, str]]:
    """Return (key of the part's name, file, hash) of what the verdicts speak about."""
    subject = dossier.subject
    files, hashes = subject.get("files") or {}, subject["fingerprints"]
    parts = [(f"page.{part}", harmless(files.get(part) or ""), hashes[part]) for part in PARTS if part in hashes]
    parts.append(("page.policy", harmless(dossier.policy["name"]), dossier.policy["hash"]))
    code = [("page.code", harmless(item["file"]), item["hash"]) for item in dossier.plan.get("code", ())]
    return [*parts, *code, ("page.head", "", dossier.head)]


def seal(dossier: Dossier, words: Catalogue) -> str:
    """Return who sealed the dossier, as it says itself, or that nobody did."""
    latest = dossier.seal
    if latest is None:
        return words.text("page.not_sealed")
    key = harmless(str(latest.get("public_key", ""))[:16])
    return words.text("page.sealed", time=harmless(latest.get("time", "")), key=key, rows=int(latest.get("seq", 0)))
