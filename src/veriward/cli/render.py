"""A dossier on the screen, and its HTML reports beside it."""

import json as json_module
from typing import TYPE_CHECKING

import typer

from veriward.cli.options import LANGUAGES, painted, width

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from veriward.core.dossier import Dossier
    from veriward.core.errors import NothingApplies
    from veriward.reports.catalogue import Catalogue

DECISIVE = ("evasion.default_eps", "evasion.default_budget")


def announce_code(files: "Sequence[Mapping[str, str]]", words: "Catalogue") -> None:
    """Name the files of the user's that are about to run, with their hashes, before they do."""
    if files:
        told = [f"{item['file']}@{item['hash'][:4]}" for item in files]
        typer.echo(words.text("summary.code", code=told), err=True)


def show(dossier: "Dossier", lang: str, *, json: bool = False) -> int:
    """Write the HTML reports in every language, print the summary or the JSON, and return the exit code."""
    from veriward.core.finding import exit_code
    from veriward.reports.terminal import summary
    from veriward.reports.write import html_path, write_html

    for line in assumed(dossier, lang):
        typer.echo(line, err=True)
    paths = {tongue: write_html(dossier, html_path(dossier, tongue), tongue) for tongue in LANGUAGES}
    if json:
        typer.echo(dump(dossier))
    else:
        typer.echo(summary(dossier, lang, width(), report_path=paths[lang], paint=painted()))
    return exit_code([finding.verdict for finding in dossier])


def assumed(dossier: "Dossier", lang: str) -> list[str]:
    """Return one line for everything that subject.toml left open and that was inferred, the attacker's budget too."""
    from veriward.reports.catalogue import Catalogue

    words = Catalogue.load(lang)
    notes = list(dossier.plan["assumptions"])
    for finding in dossier:
        found = finding.evidence.assumptions if finding.evidence else ()
        notes += [note for note in found if note.code in DECISIVE and note not in notes]
    return [words.text("summary.assumed", what=words.note(note)) for note in notes]


def refusals(error: "NothingApplies", lang: str) -> str:
    """Return why no check can run, with the sentences of the reports."""
    from veriward.reports.catalogue import Catalogue

    words = Catalogue.load(lang)
    reasons = [f"{name}: {words.note(reason)}" for name, reason in error.refused]
    return words.text("summary.nothing_applies", reasons=" · ".join(reasons))


def dump(dossier: "Dossier") -> str:
    """Return the JSON report as text."""
    from veriward.reports.json_report import build

    return json_module.dumps(build(dossier), ensure_ascii=False, indent=2, allow_nan=False)
