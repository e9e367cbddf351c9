"""`veriward verify X.ward`: chain, blobs, the end of the run, seals; and a re-execution of a random sample."""

from pathlib import Path

import typer

from veriward.cli.app import app
from veriward.core.errors import DossierError


@app.command()
def verify(
    dossier: Path = typer.Argument(..., help="A .ward file.", metavar="DOSSIER"),
    key: Path | None = typer.Option(None, help="The public key that you trust.", metavar="PUB"),
    reexecute: int = typer.Option(0, min=0, help="Also run this many finished items again and compare.", metavar="N"),
    subject: Path | None = typer.Option(None, help="For --reexecute; default: subject.toml beside the dossier."),
) -> int:
    """Say whether a dossier is as it was written: 0 intact, 1 altered, 3 unfinished or no trusted key."""
    from veriward.core.seal import verify as check

    try:
        found = check(dossier, key)
    except DossierError as error:
        if not dossier.is_file():
            raise
        typer.echo(f"altered: {error}")
        return 1
    for line in found.damage:
        typer.echo(f"altered: {line}")
    for line in found.notes:
        typer.echo(line)
    code = found.code
    if reexecute and not found.damage:
        code = max(_reexecute(dossier, subject, reexecute), code, key=(0, 3, 1).index)
    if not found.damage:
        sealed = f", sealed up to row {found.sealed_rows}" if found.sealed_rows else ""
        typer.echo(f"chain intact: {found.rows} rows{sealed}")
    return code


def _reexecute(dossier: Path, subject: Path | None, count: int) -> int:
    from veriward.run.reexecute import reexecute

    different = reexecute(dossier, subject or dossier.parent, count)
    for line in different.differences:
        typer.echo(f"altered: {line}")
    typer.echo(f"re-executed {different.items} items, {len(different.differences)} differ")
    return 1 if different.differences else 0
