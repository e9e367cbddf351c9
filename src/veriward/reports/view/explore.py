"""The rows of one finding, filtered, sorted and paged; and all that is known about one row."""

from collections.abc import Mapping
from typing import Any

from veriward.core.dossier import Dossier
from veriward.core.evidence import Witness
from veriward.core.finding import Finding
from veriward.reports import pictures
from veriward.reports.numbers import listed, number
from veriward.reports.page import verdict
from veriward.reports.view.shelf import Shelf
from veriward.reports.view.site import Site
from veriward.reports.view.table import UNSEEN, Asked, Column, columns, select, whole
from veriward.reports.view.there import NotThere
from veriward.reports.wording import question, witness_text

ABSENT = "–"
SHOWN_APART = frozenset({"clean", "adversarial", "bounds", "was", "became"})
MOST_DETAILS = 30


def rows(site: Site, shelf: Shelf, key: str, number_of_finding: str) -> str:
    """Return the table of a finding's rows."""
    dossier = _dossier(shelf, key)
    place, finding = _finding(dossier, number_of_finding)
    found, asked = columns(finding), Asked.of(site.query)
    examples = {witness.row for witness in _witnesses(finding)}
    selected = select(found, asked, examples)
    return site.fill(
        "rows.html.j2",
        key=key,
        place=place,
        dossier=_named(dossier),
        finding=_told(finding, site),
        findings=[(i, other.id) for i, other in enumerate(dossier) if other.outcomes or i == place],
        columns=[_column(i, column, asked, site) for i, column in enumerate(found)],
        left_out=[name for name in finding.outcomes if name not in {column.name for column in found}],
        rows=[(int(row), int(row) in examples, [_cell(c, row, site) for c in found]) for row in selected.rows],
        selected=selected,
        asked=asked,
        examples=bool(examples),
        n=len(found[0].values) if found else 0,
    )


def row(site: Site, shelf: Shelf, key: str, number_of_row: str) -> str:
    """Return all that every finding says about one row of the test split."""
    dossier, place = _dossier(shelf, key), whole(number_of_row)
    tables = [(i, finding, columns(finding)) for i, finding in enumerate(dossier)]
    n = max((len(found[0].values) for _, _, found in tables if found), default=0)
    if place is None or not 0 <= place < n:
        raise NotThere("view.no_row")
    told = [_row_of(i, finding, found, place, site) for i, finding, found in tables]
    return site.fill(
        "row.html.j2", key=key, place=place, n=n, dossier=_named(dossier), findings=[item for item in told if item]
    )


def _dossier(shelf: Shelf, key: str) -> Dossier:
    path = shelf.path(key)
    if path is None:
        raise NotThere("view.no_dossier")
    return shelf.open(path)


def _finding(dossier: Dossier, number_of_finding: str) -> tuple[int, Finding]:
    found, place = list(dossier), whole(number_of_finding)
    if place is None or not 0 <= place < len(found):
        raise NotThere("view.no_finding")
    return place, found[place]


def _named(dossier: Dossier) -> dict[str, str]:
    return {"name": dossier.path.name, "subject": str(dossier.subject["name"])}


def _told(finding: Finding, site: Site) -> dict[str, Any]:
    return {
        "id": finding.id,
        "question": question(finding, site.words),
        "verdict": verdict(finding.verdict, site.words),
        "error": finding.error,
    }


def _witnesses(finding: Finding) -> tuple[Witness, ...]:
    return finding.evidence.witnesses if finding.evidence else ()


def _column(i: int, column: Column, asked: Asked, site: Site) -> dict[str, Any]:
    """Return a column's head: its word, its filter with what is asked for now, and how sorting it would go on."""
    yes = {0: site.words.text("page.no"), 1: site.words.text("page.yes")} if column.yes_no else {}
    offered = [(str(value), yes.get(value, number(value))) for value in column.choices]
    if not column.seen.all():
        offered.append((UNSEEN, site.words.text("view.unseen")))
    sorted_now = asked.sort == i
    return {
        "number": i,
        "name": outcome(column.name, site),
        "choices": offered if column.choices or column.values.dtype.kind != "f" else [],
        "asked": asked.choices.get(i, ""),
        "low": _shown(asked.low.get(i)),
        "high": _shown(asked.high.get(i)),
        "sort": f"-{i}" if sorted_now and not asked.falling else str(i),
        "sorted": ("descending" if asked.falling else "ascending") if sorted_now else None,
    }


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def outcome(name: str, site: Site) -> str:
    """Return the word for an outcome."""
    return site.words.term("outcome", name)


def _cell(column: Column, place: Any, site: Site) -> dict[str, str]:
    """Return what stands in a cell, and the name of its look."""
    if not column.seen[place]:
        return {"text": ABSENT, "look": "soft"}
    value = column.values[place].item()
    if column.yes_no:
        return {"text": site.words.text("page.yes" if value else "page.no"), "look": "yes" if value else "no"}
    return {"text": number(value), "look": "num"}


def _row_of(i: int, finding: Finding, found: list[Column], place: int, site: Site) -> dict[str, Any] | None:
    """Return what a finding says about a row; None where it says nothing."""
    witnesses = [witness for witness in _witnesses(finding) if witness.row == place]
    known = [column for column in found if place < len(column.values)]
    if not witnesses and not known:
        return None
    return {
        **_told(finding, site),
        "number": i,
        "outcomes": [(outcome(column.name, site), _cell(column, place, site)) for column in known],
        "witnesses": [_witness(witness, site) for witness in witnesses],
    }


def _witness(witness: Witness, site: Site) -> dict[str, Any]:
    details = witness.details
    told = {name: str(details[name]) for name in ("was", "became") if name in details}
    share = site.words.percent(witness.size) if 0 <= witness.size <= 1 else number(witness.size)
    return {
        "text": witness_text(witness, site.words),
        "size": share,
        "became": site.words.text("page.became", **told) if len(told) == 2 else "",
        "pictures": next(iter(pictures.triples([witness], pictures.LARGEST)), None),
        "details": _details(details),
    }


def _details(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what stands beside a witness, without its pictures and what is told apart."""
    plain = {name: value for name, value in details.items() if name not in SHOWN_APART and not hasattr(value, "dtype")}
    return [(str(name), listed(value)) for name, value in plain.items()][:MOST_DETAILS]
