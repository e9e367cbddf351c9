"""One dossier: its report, as `veriward report` writes it, under a bar that leads to the rows and back to the list."""

from urllib.parse import quote

from veriward.core.dossier import Dossier
from veriward.reports.page import SUFFIX, verdict
from veriward.reports.view.shelf import Shelf, is_written
from veriward.reports.view.site import Site
from veriward.reports.view.there import NotThere

BODY = "<body>\n"


def opened(site: Site, shelf: Shelf, key: str) -> str:
    """Return the report of a dossier as it is now, under the bar."""
    path = shelf.path(key)
    if path is None:
        raise NotThere("view.no_dossier")
    dossier = shelf.open(path)
    report = shelf.report(path, site.lang)
    bar = site.fill("bar.html.j2", key=key, name=path.name, written=is_written(path), findings=_findings(dossier, site))
    # the report links to the file in the other language beside it, which need not exist: the page makes it
    other = f'href="{quote(path.stem + SUFFIX[site.other])}"'
    there = site.url(f"d/{key}", lang=site.other)
    return report.replace(other, f'href="{there}"', 1).replace(BODY, BODY + bar, 1)


def _findings(dossier: Dossier, site: Site) -> list[dict[str, object]]:
    """Return the findings, and whether the explorer has rows of each."""
    return [
        {"number": i, "id": finding.id, "verdict": verdict(finding.verdict, site.words), "rows": bool(finding.outcomes)}
        for i, finding in enumerate(dossier)
    ]
