"""`veriward verify`: a dossier (chain, blobs, end of the run, seals, a re-executed sample) or a signed folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language
from veriward.core.errors import DossierError, SettingsError
from veriward.reports.error_words import error_text, verified_text


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

    words = Words(language(lang))
    if dossier.is_dir():
        if reexecute or subject:
            raise SettingsError(f"{dossier}: is a folder; --reexecute and --subject are for dossiers")
        return _folder(dossier, key, words.language)
    try:
        found = check(dossier, key)
    except DossierError as error:
        if not dossier.is_file():
            raise
        if dossier.suffix != ".ward" and not _begins_like_one(dossier):
            wanted = "want a .ward file, or a folder that veriward sign signed"
            raise SettingsError(f"{dossier}: is no dossier; {wanted}") from None
        words.say("verify.damage", what=error_text(str(error), words.language))
        return 1
    for line in found.damage:
        words.say("verify.damage", what=verified_text(line, words.language))
    for line in found.notes:
        typer.echo(verified_text(line, words.language))
    code = found.code
    if reexecute and not found.damage:
        code = max(_reexecute(dossier, subject, reexecute, words), code, key=(0, 3, 1).index)
    if not found.damage:
        words.say("verify.sealed" if found.sealed_rows else "verify.chain", rows=found.rows, sealed=found.sealed_rows)
    return code


@dataclass(frozen=True)
class Words:
    """What is said, in one language."""

    language: str

    def say(self, key: str, **values: Any) -> None:
        """Print a sentence of the catalogue."""
        from veriward.reports.catalogue import Catalogue

        typer.echo(Catalogue.load(self.language).text(key, **values))


def _begins_like_one(path: Path) -> bool:
    """Whether a file is a data base at all: what is not, and is not called a dossier, was never one that was altered."""
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _reexecute(dossier: Path, subject: Path | None, count: int, words: Words) -> int:
    from veriward.run.reexecute import reexecute

    different = reexecute(dossier, subject or dossier.parent, count)
    for line in different.differences:
        words.say("verify.damage", what=verified_text(line, words.language))
    words.say("verify.reexecuted", items=different.items, differ=len(different.differences))
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
