"""`veriward key new`: the only place where keys come from."""

from pathlib import Path

import typer

from veriward.cli.app import app

keys = typer.Typer(help="Make keys for sealing dossiers and signing folders.", no_args_is_help=True)
app.add_typer(keys, name="key")


@keys.command()
def new(out: Path = typer.Option(Path("veriward.key"), help="The private key; the public one gets .pub.")) -> int:
    """Make an Ed25519 key: the file --out names (keep it secret), and one with the ending .pub (hand it out)."""
    from veriward.core.keys import new_key

    public = new_key(out)
    typer.echo(f"private key  {out}\npublic key   {public}")
    return 0


@keys.callback()
def _keys() -> None:
    """Make keys for sealing dossiers and signing folders."""
