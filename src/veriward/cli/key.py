"""`veriward key new`: the only place where keys come from."""

from pathlib import Path

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language

keys = typer.Typer(help="Make keys for sealing dossiers and signing folders.", no_args_is_help=True)
app.add_typer(keys, name="key")


@keys.command()
def new(
    out: Path = typer.Option(Path("veriward.key"), help="The private key; the public one gets .pub."),
    lang: str | None = lang_option(),
) -> int:
    """Make an Ed25519 key: the file --out names (keep it secret), and one with the ending .pub (hand it out)."""
    from veriward.core.keys import new_key
    from veriward.reports.catalogue import Catalogue

    words = Catalogue.load(language(lang))
    public = new_key(out)
    typer.echo(words.text("key.private", path=str(out)))
    typer.echo(words.text("key.public", path=str(public)))
    return 0


@keys.callback()
def _keys() -> None:
    """Make keys for sealing dossiers and signing folders."""
