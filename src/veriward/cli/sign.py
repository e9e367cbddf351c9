"""`veriward sign FOLDER`: a signed list of everything in a model's folder."""

import datetime
from pathlib import Path

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language


@app.command()
def sign(
    folder: Path = typer.Argument(..., help="The folder to hand out.", metavar="FOLDER"),
    key: Path = typer.Option(..., help="Your private key; veriward key new makes one.", metavar="KEY"),
    force: bool = typer.Option(False, "--force", help="Replace an older list."),
    lang: str | None = lang_option(),
) -> int:
    """Write FOLDER/veriward.manifest.json: SHA-256 of every file, signed. veriward verify FOLDER checks it."""
    from veriward.core.manifest import sign_folder
    from veriward.reports.catalogue import Catalogue

    words = Catalogue.load(language(lang))
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    path, count = sign_folder(folder, key, time=now, force=force)
    typer.echo(words.text("sign.done", n=count, path=str(path)))
    typer.echo(words.text("sign.meaning", public=str(key.with_suffix(".pub"))))
    return 0
