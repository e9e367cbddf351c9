"""The report that people read: one HTML file without scripts and without a network, in English or Chinese."""

from functools import cache
from typing import TYPE_CHECKING

from veriward.core.dossier import Dossier
from veriward.reports import charts, pictures
from veriward.reports.catalogue import Catalogue
from veriward.reports.page import overview
from veriward.reports.section import section

if TYPE_CHECKING:
    import jinja2

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def render(dossier: Dossier, lang: str = "en") -> str:
    """Return the whole page. All texts of the subject are escaped; nothing of it is executed or fetched."""
    words = Catalogue.load(lang)
    draw = charts.drawer()
    side = pictures.side(sum(_has_pictures(dossier)))
    sections = [section(dossier, finding, i, side, words, draw) for i, finding in enumerate(dossier)]
    template = _environment().get_template("report.html.j2")
    return template.render(page=overview(dossier, words, draw), sections=sections, words=words, csp=POLICY)


def _has_pictures(dossier: Dossier) -> list[bool]:
    found = [finding.evidence.witnesses if finding.evidence else () for finding in dossier]
    return [any(pictures.is_image(witness.details) for witness in witnesses) for witnesses in found]


@cache
def _environment() -> "jinja2.Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("veriward.reports", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
