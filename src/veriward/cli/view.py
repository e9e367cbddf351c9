"""`veriward view DOSSIER…`: a page on this machine that lists dossiers, opens and compares them, and shows their rows."""

from pathlib import Path

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language
from veriward.core.errors import SettingsError


@app.command()
def view(
    dossiers: list[Path] = typer.Argument(..., help="Dossiers, or folders that hold some.", metavar="DOSSIER..."),
    port: int = typer.Option(0, min=0, max=65535, help="Of 127.0.0.1; 0 takes a free one.", metavar="N"),
    open: bool = typer.Option(False, "--open/--no-open", help="Also open the page in your browser."),
    lang: str | None = lang_option(),
) -> int:
    """Show dossiers in a browser on this machine alone, until Ctrl-C. Reads them, also while a run writes them."""
    from veriward.adapters.doors import door

    for package in ("starlette", "uvicorn"):
        door(package, "serve", "veriward view")
    from veriward.reports.view.serve import serve

    for path in dossiers:
        if not path.exists():
            raise SettingsError(f"{path}: no such file or folder; veriward assess writes dossiers")

    def ready(address: str) -> None:
        typer.echo(address)
        typer.echo("Ctrl-C ends it; the address is for you alone: it opens every dossier named", err=True)
        if open:
            import webbrowser

            webbrowser.open(address)

    serve(dossiers, port=port, lang=language(lang), ready=ready)
    return 0
