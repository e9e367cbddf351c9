"""`veriward report DOSSIER`: the same evidence for other readers."""

from pathlib import Path

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language
from veriward.core.errors import DossierError, SettingsError

FORMATS = ("html", "json")


@app.command()
def report(
    dossier: Path = typer.Argument(..., help="A .ward file.", metavar="DOSSIER"),
    format: str = typer.Option("html", help="html writes NAME[.zh].html beside the dossier; json goes to stdout."),
    out: Path | None = typer.Option(None, help="Write there instead."),
    lang: str | None = lang_option(),
) -> int:
    """Render a dossier. Reads the file alone: no model, no data, nobody's code."""
    from veriward.cli.render import dump
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
        elif out is None:
            typer.echo(dump(opened))
        else:
            write_text(dump(opened), out)
    return 0
