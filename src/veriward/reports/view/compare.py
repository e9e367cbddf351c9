"""Two dossiers side by side: what is new, what is fixed, how the numbers moved, and which rows changed."""

from collections.abc import Mapping
from typing import Any

from veriward.core.compare import same_rows
from veriward.core.dossier import Dossier
from veriward.core.estimate import Estimate
from veriward.core.finding import Finding
from veriward.reports.numbers import interval, number, p_value, point
from veriward.reports.page import verdict
from veriward.reports.view.explore import outcome
from veriward.reports.view.listing import moment
from veriward.reports.view.paired import Paired, paired
from veriward.reports.view.shelf import Shelf
from veriward.reports.view.site import Site
from veriward.reports.view.there import NotThere
from veriward.reports.wording import label

PARTS = ("model", "train", "test")
MOST_ESTIMATES = 150  # of one finding
MOST_ROWS = 100  # listed of those that got worse, and of those that got better


def compare(site: Site, shelf: Shelf) -> str:
    """Return the page on which A is the baseline and B is new; without two dossiers, the form to choose them."""
    keys = tuple(site.query.get(side, "") for side in "ab")
    offered = [(key, path.name, str(path.parent)) for key, path in shelf.found().paths.items()]
    if not all(keys):
        return site.fill("compare.html.j2", offered=offered, keys=keys, both=None)
    a, b = (_open(shelf, key) for key in keys)
    return site.fill("compare.html.j2", offered=offered, keys=keys, both=both(a, b, site))


def _open(shelf: Shelf, key: str) -> Dossier:
    path = shelf.path(key)
    if path is None:
        raise NotThere("view.no_dossier")
    return shelf.open(path)


def both(a: Dossier, b: Dossier, site: Site) -> dict[str, Any]:
    """Return the values of the page."""
    pairable = same_rows(a, b)
    names = list(dict.fromkeys([*b.findings, *a.findings]))
    found = [_finding(name, a, b, pairable, site) for name in names]
    return {
        "sides": [_side(dossier, site) for dossier in (a, b)],
        "same_subject": a.subject["name"] == b.subject["name"],
        "parts": _parts(a, b, site),
        "findings": found,
        "new": [item["id"] for item in found if item["change"] == "new"],
        "fixed": [item["id"] for item in found if item["change"] == "fixed"],
        "pairable": pairable,
    }


def _side(dossier: Dossier, site: Site) -> dict[str, Any]:
    return {
        "name": dossier.path.name,
        "subject": str(dossier.subject["name"]),
        "time": moment(str(dossier.plan.get("time", ""))),
        "verdict": verdict(dossier.verdict, site.words),
        "finished": dossier.finished,
    }


def _parts(a: Dossier, b: Dossier, site: Site) -> list[tuple[str, str, str, bool]]:
    """Return (what, in A, in B, whether it is the same) of what the verdicts speak about."""
    first, second = ({**_prints(d), "policy": str(d.policy["hash"])} for d in (a, b))
    named = [name for name in (*PARTS, "policy") if name in first or name in second]
    told = [(site.words.text(f"page.{name}"), first.get(name, ""), second.get(name, "")) for name in named]
    told.append((site.words.text("page.seed"), str(a.plan["seed"]), str(b.plan["seed"])))
    return [(name, x[:12], y[:12], x == y) for name, x, y in told]


def _prints(dossier: Dossier) -> dict[str, str]:
    found = dossier.subject.get("fingerprints")
    return {name: str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def _finding(name: str, a: Dossier, b: Dossier, pairable: bool, site: Site) -> dict[str, Any]:
    first, second = a.findings.get(name), b.findings.get(name)
    numbers = [list(dossier.findings).index(name) if name in dossier else None for dossier in (a, b)]
    pairs = paired(first, second) if pairable and first and second else []
    lines = _estimates(first, second, site)
    return {
        "id": name,
        "numbers": numbers,
        "verdicts": [verdict(finding.verdict, site.words) if finding else None for finding in (first, second)],
        "change": change(first, second),
        "estimates": lines[:MOST_ESTIMATES],
        "more": max(len(lines) - MOST_ESTIMATES, 0),
        "pairs": [_pair(pair, site) for pair in pairs],
    }


def change(a: Finding | None, b: Finding | None) -> str:
    """Return what became of a finding: new and fixed speak of failures; what is undecided now is not fixed."""
    if a is None or b is None:
        return "only_b" if a is None else "only_a"
    if a.verdict == b.verdict:
        return "same"
    if b.verdict == "fail":
        return "new"
    return "fixed" if (a.verdict, b.verdict) == ("fail", "pass") else "changed"


def _estimates(a: Finding | None, b: Finding | None, site: Site) -> list[dict[str, Any]]:
    """Return every number of either side, next to its counterpart."""
    first, second = ({_name(e): e for e in (side.estimates if side else ())} for side in (a, b))
    return [_estimate(first.get(name), second.get(name), site) for name in dict.fromkeys([*second, *first])]


def _name(estimate: Estimate) -> tuple[str, str]:
    return estimate.metric, repr(sorted((str(k), str(v)) for k, v in estimate.at.items()))


def _estimate(a: Estimate | None, b: Estimate | None, site: Site) -> dict[str, Any]:
    shown = b or a
    assert shown is not None
    sides = [(point(e), interval(e), number(e.n)) if e else ("", "", "") for e in (a, b)]
    moved = b.value - a.value if a and b and a.value is not None and b.value is not None else None
    apart = bool(a and b and moved is not None and (_above(a, b) or _above(b, a)))
    told = "" if moved is None else f"{moved:+.3g}" if moved else "0"
    return {"metric": label(shown.metric, shown.at, site.words), "sides": sides, "moved": told, "apart": apart}


def _above(a: Estimate, b: Estimate) -> bool:
    return a.low is not None and b.high is not None and a.low > b.high


def _pair(pair: Paired, site: Site) -> dict[str, Any]:
    value, low, high = pair.drop if pair.rows else (0.0, 0.0, 0.0)
    return {
        "outcome": outcome(pair.outcome, site),
        "sided": pair.sided,
        "rows": number(pair.rows),
        "worse": _listed(pair.worse),
        "better": _listed(pair.better),
        "drop": f"{value:+.4f} [{low:+.4f}, {high:+.4f}]" if pair.rows else "",
        "p": p_value(pair.p) if pair.rows else "",
    }


def _listed(rows: Any) -> dict[str, Any]:
    return {"count": len(rows), "first": [int(row) for row in rows[:MOST_ROWS]], "more": max(len(rows) - MOST_ROWS, 0)}
