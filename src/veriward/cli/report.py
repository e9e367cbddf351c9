"""`veriward report DOSSIER`: the same evidence for other readers."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language
from veriward.core.errors import DossierError, SettingsError

if TYPE_CHECKING:
    from veriward.core.dossier import Dossier

FORMATS = ("html", "json", "md", "sarif", "junit")


@app.command()
def report(
    dossier: Path = typer.Argument(..., help="A .ward file.", metavar="DOSSIER"),
    format: str = typer.Option(
        "html", help="html writes NAME[.zh].html beside the dossier; json, md, sarif and junit go to stdout."
    ),
    out: Path | None = typer.Option(None, help="Write there instead."),
    lang: str | None = lang_option(),
) -> int:
    """Render a dossier. Reads the file alone: no model, no data, nobody's code."""
    from veriward.core.dossier import Dossier
    from veriward.core.seal import verify
    from veriward.reports.write import html_path, write_html, write_text

    if format not in FORMATS:
        raise SettingsError(f"--format {format}: this version writes {', '.join(FORMATS)}")
    tongue = language(lang)
    damage = verify(dossier).damage
    if damage:
        raise DossierError(f"{dossier}: altered: {damage[0]}; veriward verify names everything")
    with Dossier.open(dossier) as opened:
        if format == "html":
            typer.echo(str(write_html(opened, out or html_path(opened, tongue), tongue)))
            return 0
        text = _text(opened, format, tongue)
        if out is None:
            typer.echo(text.removesuffix("\n"))
        else:
            write_text(text, out)
    return 0


def _text(dossier: "Dossier", format: str, lang: str) -> str:
    """Return the report in one of the formats that are text; file names in SARIF start in the folder one stands in."""
    import json

    from veriward.cli.render import dump
    from veriward.reports import junit, markdown, sarif

    if format == "json":
        return dump(dossier)
    if format == "sarif":
        return json.dumps(sarif.build(dossier, lang, Path.cwd()), ensure_ascii=False, indent=2, allow_nan=False)
    return junit.build(dossier, lang) if format == "junit" else markdown.build(dossier, lang)
