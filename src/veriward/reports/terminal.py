"""The summary that `veriward assess` prints: one line per finding, in columns, Chinese as wide as two letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veriward.core.dossier import Dossier
from veriward.core.evidence import Cost
from veriward.core.finding import WORST_FIRST, Finding, Verdict
from veriward.reports.advice import first
from veriward.reports.bracket import bracket_of, shown
from veriward.reports.catalogue import Catalogue
from veriward.reports.headline import MARKERS, Headline, counts, headline, preregistered
from veriward.reports.numbers import SPACE, condition, interval, point, thousands
from veriward.reports.wording import family, harmless, label, why_open, witness_text

COLOURS = {"fail": "31", "error": "35", "inconclusive": "33", "pass": "32", "not_applicable": "2", "not_run": "2"}
GAP = "  "
INDENT = "  "
NARROWEST = 40
NARROWEST_NAME = 16  # cells that the name of a number needs
SHORTEST = 9  # cells that a verdict needs beside the columns
BETWEEN = " · "


@dataclass(frozen=True)
class Line:
    """One row of the table: its cells, the verdict, what it waits for, and the lines under it."""

    colour: str
    marker: str
    cells: tuple[str, ...]
    verdict: str = ""
    told: str = ""  # the verdict with its reason
    reason: str = ""
    below: tuple[str, ...] = ()


def summary(
    dossier: Dossier, lang: str = "en", width: int = 100, *, report_path: str | Path | None = None, paint: bool = False
) -> str:
    """Return what a dossier says, as plain text, its table no wider than `width`; `paint` adds ANSI colours."""
    words = Catalogue.load(lang)
    width = max(width, NARROWEST)
    lines = [*_head(dossier, words, width), *table(_lines(dossier, words), width, paint)]
    lines += _foot(dossier, words, report_path, width)
    return "\n".join(lines).replace(SPACE, " ")


def _head(dossier: Dossier, words: Catalogue, width: int) -> list[str]:
    subject, policy = dossier.subject, dossier.policy
    rows = words.text("summary.test_rows", rows=subject["rows"]["test"], shape=harmless(subject.get("shape") or "?"))
    fixed = words.text("summary.before" if preregistered(dossier) else "summary.after")
    parts = [
        harmless(subject["name"]),
        f"{harmless(subject.get('format') or subject['kind'])}, {words.term('access', subject['access'])}",
        rows,
        words.text("summary.policy", name=harmless(policy["name"]), hash=policy["hash"][:4], fixed=fixed),
        words.text("summary.seed", seed=dossier.plan["seed"]),
    ]
    lines = _packed(parts, width)
    code = [f"{harmless(item['file'])}@{item['hash'][:4]}" for item in dossier.plan.get("code", ())]
    return [*lines, *folded(words.text("summary.code", code=code), width)] if code else lines


def _packed(parts: Sequence[str], width: int) -> list[str]:
    """Return the parts in as few lines as hold them; a part breaks only where it alone is too wide."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = lines[-1] + BETWEEN + part
        lines = [*lines[:-1], longer] if _cells(longer) <= width else [*lines, part]
    return [line for packed in lines for line in folded(packed, width)]


def _lines(dossier: Dossier, words: Catalogue) -> list[Line]:
    found = [_line(dossier, finding, words) for finding in dossier]
    skipped = []
    for item in dossier.not_run:
        reason = words.text("summary.not_run", reason=harmless(words.note(item["reason"])))
        skipped.append(Line(COLOURS["not_run"], MARKERS["not_applicable"], (harmless(item["check"]),), told=reason))
    return found + skipped


def _line(dossier: Dossier, finding: Finding, words: Catalogue) -> Line:
    top = headline(finding)
    reason = why_open(finding, top.limit if top else None, words, dossier.policy)
    verdict = words.term("verdict_loud", finding.verdict)
    return Line(
        COLOURS[finding.verdict],
        MARKERS[finding.verdict],
        (harmless(finding.id), *(_numbers(top, words) if top else ())),
        verdict,
        words.text("summary.verdict", verdict=verdict, why=reason) if reason else verdict,
        reason,
        tuple(_below(dossier, finding, top, words)),
    )


def _numbers(top: Headline, words: Catalogue) -> tuple[str, ...]:
    name = label(top.estimate.metric, top.estimate.at, words, short=True)
    limit = words.text("summary.limit", limit=condition(top.limit.pass_if)) if top.limit else ""
    return name, f"{point(top.estimate)} {interval(top.estimate)}".strip(), limit


def _below(dossier: Dossier, finding: Finding, top: Headline | None, words: Catalogue) -> list[str]:
    pair = bracket_of(dossier, finding) if family(finding.check) == "evasion" else None
    lines = [shown(pair, words).sentence] if pair else []
    witnesses = finding.evidence.witnesses if finding.evidence else ()
    if finding.verdict == "fail" and witnesses and witnesses[0].text:
        key = "summary.cheapest" if family(finding.check) == "evasion" else "summary.example"
        lines.append(words.text(key, text=witness_text(witnesses[0], words), row=str(witnesses[0].row)))
    if top and top.others:
        verdicts = [limit.verdict for limit in top.others]
        told = [_count(verdicts.count(v), v, words) for v in WORST_FIRST if v in verdicts]
        lines.append(words.text("summary.others", counts=told))
    return lines


def _count(n: int, verdict: Verdict | str, words: Catalogue) -> str:
    return words.text("summary.count", n=n, verdict=words.term("verdict", verdict))


def table(lines: Sequence[Line], width: int, paint: bool) -> list[str]:
    """Return the lines in columns, or each finding as a small paragraph where the columns are wider than the screen."""
    columns = max((len(line.cells) for line in lines), default=0)
    widths = [max(_cells(line.cells[i]) for line in lines if i < len(line.cells)) for i in range(columns)]
    taken = len(INDENT) + 2 + sum(widths) + len(GAP) * len(widths) + SHORTEST
    if columns > 1 and taken > width:  # names of numbers may take several lines
        widths[1] = max(widths[1] - (taken - width), min(widths[1], NARROWEST_NAME))
    wide = len(INDENT) + 2 + sum(widths) + len(GAP) * len(widths) + SHORTEST > width
    return [row for line in lines for row in (_paragraph if wide else _row)(line, widths, width, paint)]


def _row(line: Line, widths: Sequence[int], width: int, paint: bool) -> list[str]:
    """Return a line in columns; a reason that does not fit beside the verdict moves below."""
    margin = len(INDENT) + 2 + widths[0] + len(GAP)
    name, *more = folded(line.cells[1], widths[1]) if len(line.cells) > 1 else [""]
    shown = (*line.cells[:1], name, *line.cells[2:]) if len(line.cells) > 1 else line.cells
    cells = GAP.join(_pad(cell, size) for cell, size in zip(shown, widths, strict=False)) + GAP
    free = width - len(INDENT) - 2 - _cells(cells)
    below = [part for text in line.below for part in folded(text, width - margin)]
    beside = line.told
    if _cells(line.told) > free:
        beside = line.verdict
        below = folded(line.reason or line.told, width - margin) + below
    row = f"{INDENT}{_tint(line.marker, line.colour, paint)} {cells}{_tinted(beside, line, paint)}"
    return [row.rstrip(), *(" " * margin + text for text in (*more, *below))]


def _paragraph(line: Line, _: Sequence[int], width: int, paint: bool) -> list[str]:
    margin = len(INDENT) + 2
    texts = [GAP.join(cell for cell in line.cells[1:] if cell), line.told, *line.below]
    head, *rest = folded(line.cells[0], width - margin)
    parts = rest + [part for text in texts if text for part in folded(text, width - margin)]
    marked = f"{INDENT}{_tint(line.marker, line.colour, paint)} {head}"
    return [marked, *(" " * margin + _tinted(part, line, paint) for part in parts)]


def _tinted(text: str, line: Line, paint: bool) -> str:
    """Return the text with the verdict it starts with in colour."""
    if not line.verdict or not text.startswith(line.verdict):
        return text
    return _tint(line.verdict, line.colour, paint) + text.removeprefix(line.verdict)


def _foot(dossier: Dossier, words: Catalogue, report_path: str | Path | None, width: int) -> list[str]:
    tally = [_count(n, verdict, words) for verdict, n in counts(dossier).items()]
    if dossier.not_run:
        tally.append(_count(len(dossier.not_run), "not_run", words))
    lines = [BETWEEN.join(tally or [words.text("summary.none")]) + "     " + _spent(total_cost(dossier), words)]
    if not dossier.finished:
        lines.append(words.text("summary.unfinished"))
    lines = [part for line in lines for part in folded(line, width)]
    heads = {"report": words.text("summary.report"), "next": words.text("summary.next")}
    size = max(_cells(head) for head in heads.values())
    if report_path is not None:  # a path and a command are there to be copied: they are never folded
        lines.append(f"{_pad(heads['report'], size)}{GAP}{harmless(report_path)}")
    action = first(dossier, Path.cwd())  # what stands on a terminal is typed where one stands
    if action.command:
        return [*lines, f"{_pad(heads['next'], size)}{GAP}{action.command}"]
    return [*lines, *folded(f"{_pad(heads['next'], size)}{GAP}{action.text(words)}", width)]


def total_cost(dossier: Dossier) -> Cost:
    """Return what all findings cost together."""
    return sum((f.evidence.cost for f in dossier if f.evidence), Cost())


def _spent(cost: Cost, words: Catalogue) -> str:
    asked: dict[str, Any] = {"queries": cost.queries} if cost.queries else {"forwards": cost.forwards}
    return BETWEEN.join([duration(cost.seconds, words), words.text(f"summary.{next(iter(asked))}", **asked)])


def duration(seconds: float, words: Catalogue) -> str:
    """Return a time in the units that people use."""
    if seconds < 60:
        return words.text("summary.seconds", seconds=f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return words.text("summary.minutes", minutes=minutes, seconds=rest)
    return words.text("summary.hours", hours=thousands(minutes // 60), minutes=minutes % 60)


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _pad(text: str, width: int) -> str:
    return text + " " * max(width - _cells(text), 0)


def folded(text: str, width: int) -> list[str]:
    """Return the text in lines of at most `width` cells."""
    from rich.console import Console
    from rich.text import Text

    console = Console(width=max(width, 10), color_system=None)
    return [line.plain.rstrip() for line in Text(text).wrap(console, max(width, 10))]


def _tint(text: str, colour: str, paint: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if paint and text else text
