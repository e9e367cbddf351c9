"""`veriward verify`: a dossier (chain, blobs, end of the run, seals, a re-executed sample) or a signed folder."""

from pathlib import Path

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language
from veriward.core.errors import DossierError, SettingsError


@app.command()
def verify(
    dossier: Path = typer.Argument(..., help="A .ward file, or a folder that veriward sign signed.", metavar="PATH"),
    key: Path | None = typer.Option(None, help="The public key that you trust.", metavar="PUB"),
    reexecute: int = typer.Option(0, min=0, help="Also run this many finished items again and compare.", metavar="N"),
    subject: Path | None = typer.Option(None, help="For --reexecute; default: subject.toml beside the dossier."),
    lang: str | None = lang_option(),
) -> int:
    """Say whether a dossier or a signed folder is as it was: 0 intact, 1 altered, 3 unfinished or no trusted key."""
    from veriward.core.seal import verify as check

    if dossier.is_dir():
        if reexecute or subject:
            raise SettingsError(f"{dossier}: is a folder; --reexecute and --subject are for dossiers")
        return _folder(dossier, key, language(lang))
    try:
        found = check(dossier, key)
    except DossierError as error:
        if not dossier.is_file():
            raise
        if dossier.suffix != ".ward" and not _begins_like_one(dossier):
            wanted = "want a .ward file, or a folder that veriward sign signed"
            raise SettingsError(f"{dossier}: is no dossier; {wanted}") from None
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


def _begins_like_one(path: Path) -> bool:
    """Whether a file is a data base at all: what is not, and is not called a dossier, was never one that was altered."""
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _reexecute(dossier: Path, subject: Path | None, count: int) -> int:
    from veriward.run.reexecute import reexecute

    different = reexecute(dossier, subject or dossier.parent, count)
    for line in different.differences:
        typer.echo(f"altered: {line}")
    typer.echo(f"re-executed {different.items} items, {len(different.differences)} differ")
    return 1 if different.differences else 0


def _folder(folder: Path, key: Path | None, lang: str) -> int:
    from veriward.core.manifest import verify_folder
    from veriward.reports.catalogue import Catalogue

    words = Catalogue.load(lang)
    found = verify_folder(folder, key)
    for line in found.damage:
        typer.echo(words.text("verify.altered", what=words.note(line)))
    if found.damage:
        return found.code
    typer.echo(words.text("verify.intact", n=found.files, key=(found.public_key or "")[:16]))
    typer.echo(words.text("verify.trusted" if found.trusted else "verify.not_trusted"))
    return found.code
