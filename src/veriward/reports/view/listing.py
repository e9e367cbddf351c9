"""The list of dossiers: filtered by verdict and words, sorted by a column."""

from collections.abc import Callable
from typing import Any

from veriward.core.finding import WORST_FIRST, Verdict
from veriward.reports.page import verdict
from veriward.reports.view.shelf import Entry, Line, Shelf
from veriward.reports.view.site import Site

UNREADABLE = "unreadable"
NEWEST = "-time"
NOTHING = Line("", "", "", "", (), 0, False, False)


def _by(of: Callable[[Entry, Line], Any]) -> Callable[[Entry], Any]:
    return lambda entry: (of(entry, entry.line or NOTHING), entry.path.name)


SORTS: dict[str, Callable[[Entry], Any]] = {
    "name": _by(lambda entry, _: entry.path.name.casefold()),
    "subject": _by(lambda _, line: line.subject.casefold()),
    "verdict": _by(
        lambda entry, line: (-1 if entry.damage else WORST_FIRST.index(line.verdict), -_count(line)["fail"])
    ),
    "time": _by(lambda _, line: line.time),
    "state": _by(lambda entry, line: (entry.written, line.finished, line.sealed)),
}


def listing(site: Site, shelf: Shelf) -> str:
    """Return the page of all dossiers."""
    entries, cut = shelf.entries()
    sort = site.query.get("sort", NEWEST)
    sort = sort if sort.removeprefix("-") in SORTS else NEWEST
    shown = sorted(_asked(entries, site), key=SORTS[sort.removeprefix("-")], reverse=sort.startswith("-"))
    return site.fill(
        "list.html.j2",
        lines=[_line(entry, site) for entry in shown],
        total=len(entries),
        cut=cut,
        sort=sort,
        columns=list(SORTS),
        verdicts=[*WORST_FIRST, UNREADABLE],
        asked={name: site.query.get(name, "") for name in ("verdict", "words")},
        comparable=sum(_readable(entry) for entry in entries) > 1,
    )


def _readable(entry: Entry) -> bool:
    return entry.line is not None and not entry.damage


def _asked(entries: list[Entry], site: Site) -> list[Entry]:
    wanted, words = site.query.get("verdict", ""), site.query.get("words", "").casefold().split()
    told = {id(entry): f"{entry.path} {entry.line.subject if entry.line else ''}".casefold() for entry in entries}
    named = [entry for entry in entries if all(word in told[id(entry)] for word in words)]
    return [entry for entry in named if not wanted or wanted == _standing(entry)]


def _standing(entry: Entry) -> str:
    return entry.line.verdict if entry.line and not entry.damage else UNREADABLE


def _count(line: Line) -> dict[Verdict, int]:
    return {name: line.verdicts.count(name) for name in WORST_FIRST}


def _line(entry: Entry, site: Site) -> dict[str, Any]:
    """Return what the template shows of a dossier."""
    words, line = site.words, entry.line
    told: dict[str, Any] = {
        "key": entry.key,
        "name": entry.path.name,
        "folder": str(entry.path.parent),
        "damage": list(entry.damage)[:3],
        "readable": _readable(entry),
        "line": line,
    }
    if line is None:
        return told
    counts = [(verdict(name, words), n) for name, n in _count(line).items() if n]
    kinds = [words.term("task", line.task), words.term("kind", line.kind)]
    return {
        **told,
        "counts": counts,
        "kinds": " · ".join(kind for kind in kinds if kind),
        "time": moment(line.time),
        "state": words.text(_state(entry, line)),
        "progress": words.text("view.progress", done=len(line.verdicts), all=len(line.verdicts) + line.waiting),
        "seal": seal(entry, site),
    }


def _state(entry: Entry, line: Line) -> str:
    if entry.written:
        return "view.written"
    return "view.finished" if line.finished else "view.stopped"


def seal(entry: Entry, site: Site) -> str:
    """Return what is known of the seal and the chain, in a few words."""
    if entry.checked is None:
        return site.words.text("view.seal_unchecked" if entry.line and entry.line.sealed else "view.unchecked")
    if entry.checked.sealed_rows is None:
        return site.words.text("view.intact")
    return site.words.text("view.sealed", rows=entry.checked.sealed_rows, all=entry.checked.rows)


def moment(text: str) -> str:
    """Return an ISO time to the minute.

    >>> moment("2026-01-15T09:30:59+00:00")
    '2026-01-15 09:30 UTC'
    """
    return text[:16].replace("T", " ") + (" UTC" if text.endswith(("Z", "+00:00")) else text[19:25])
