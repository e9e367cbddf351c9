"""The standards map of one dossier in words: per list and clause, what is evidence for it and what was not tested."""

from collections.abc import Iterable
from typing import Any

from veriward.core.dossier import Dossier
from veriward.reports.catalogue import Catalogue
from veriward.reports.headline import MARKERS
from veriward.reports.standards import Clause, Standard, coverage
from veriward.reports.wording import harmless

MOST_NAMES = 8  # of findings or checks in one cell


def standards_told(dossier: Dossier, words: Catalogue) -> list[dict[str, Any]]:
    """Return each list with its clauses as plain values for the templates."""
    anchors = {finding.id: f"f{i}" for i, finding in enumerate(dossier)}
    return [_standard(standard, anchors, words) for standard in coverage(dossier)]


def _standard(standard: Standard, anchors: dict[str, str], words: Catalogue) -> dict[str, Any]:
    spoken = sum(bool(clause.findings) for clause in standard.clauses)
    return {
        "name": standard.said("name", words.language),
        "version": standard.said("version", words.language),
        "tally": words.text("standards.tally", spoken=spoken, clauses=len(standard.clauses)),
        "clauses": [_clause(clause, anchors, words) for clause in standard.clauses],
    }


def _clause(clause: Clause, anchors: dict[str, str], words: Catalogue) -> dict[str, Any]:
    shown = clause.findings[:MOST_NAMES]
    return {
        "code": clause.code,
        "title": clause.said("title", words.language),
        "findings": [
            {
                "id": harmless(finding.id),
                "anchor": anchors[finding.id],
                "name": finding.verdict,
                "marker": MARKERS[finding.verdict],
                "word": words.term("verdict", finding.verdict),
            }
            for finding in shown
        ],
        "more": len(clause.findings) - len(shown),
        "gaps": gaps(clause, words),
    }


def gaps(clause: Clause, words: Catalogue) -> list[str]:
    """Return what was not tested under a clause: checks that did not run, what those that ran left out, or all of it."""
    if not clause.covered:
        return [clause.said("remark", words.language) or words.text("standards.nothing")]
    skipped = _together((harmless(words.note(s["reason"])), harmless(s["check"])) for s in clause.not_run)
    between = words.text("list.semicolon")
    left = _together(
        (between.join(harmless(words.note(note)) for note in notes), harmless(name)) for name, notes in clause.untested
    )
    told = [words.text("standards.not_run", checks=_some(names, words), reason=why) for why, names in skipped]
    told += [words.text("standards.untested", findings=_some(names, words), what=what) for what, names in left]
    return told or [words.text("standards.nothing_said")]


def _together(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Return each text once, with the names that share it."""
    found: dict[str, list[str]] = {}
    for text, name in pairs:
        names = found.setdefault(text, [])
        if name not in names:
            names.append(name)
    return list(found.items())


def _some(names: list[str], words: Catalogue) -> str:
    shown = words.text("list.comma").join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else words.text("list.more", shown=shown, n=len(names) - MOST_NAMES)
