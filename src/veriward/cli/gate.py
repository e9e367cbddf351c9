"""`veriward gate DOSSIER [--baseline OLD]`: the exit code for a pipeline."""

import json as json_module
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language, painted, width
from veriward.core.errors import DossierError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from veriward.core.compare import Comparison
    from veriward.core.dossier import Dossier
    from veriward.core.waivers import Waiver

MARGIN = 0.02


@app.command()
def gate(
    dossier: Path = typer.Argument(..., help="A .ward file.", metavar="DOSSIER"),
    baseline: Path | None = typer.Option(
        None, help="The pinned reference: an older dossier on the same test rows.", metavar="OLD.ward"
    ),
    pin: str | None = typer.Option(None, help="The baseline's chain head, or its beginning.", metavar="HASH"),
    margin: float = typer.Option(MARGIN, help="How far a share may drop below the baseline's, row by row."),
    waivers: Path | None = typer.Option(None, help="Findings that somebody answers for until a day.", metavar="FILE"),
    key: Path | None = typer.Option(None, help="Want both dossiers sealed with this public key.", metavar="PUB"),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
    lang: str | None = lang_option(),
) -> int:
    """Decide for a pipeline: exit 0 go on, 1 a limit is broken or a drop is shown, 3 undecided."""
    from veriward.core.dossier import Dossier
    from veriward.core.gate import decide
    from veriward.reports.gate import document, text

    tongue = language(lang)
    accepted = _accepted(waivers) if waivers else ()
    for path in (dossier, *([baseline] if baseline else [])):
        _check_intact(path, key)
    with ExitStack() as open_files:
        new = open_files.enter_context(Dossier.open(dossier))
        old = open_files.enter_context(Dossier.open(baseline)) if baseline else None
        _check_pin(old, pin)
        decision = decide(new, _compared(new, old, margin) if old else None, waivers=accepted)
        if json:
            typer.echo(json_module.dumps(document(decision, new, old), ensure_ascii=False, indent=2))
        else:
            typer.echo(text(decision, new, old, tongue, width(), paint=painted()))
    return decision.code


def _accepted(path: Path) -> "Sequence[Waiver]":
    from veriward.core.waivers import load_waivers

    return load_waivers(path)


def _compared(new: "Dossier", old: "Dossier", margin: float) -> "Comparison":
    from veriward.core.compare import compare

    return compare(new, old, margin=margin)


def _check_intact(path: Path, key: Path | None) -> None:
    """Raise DossierError for a file that was altered, or that the wanted key did not seal to its end."""
    from veriward.core.seal import verify

    found = verify(path, key)
    if found.damage:
        raise DossierError(f"{path}: altered: {found.damage[0]}; veriward verify names everything")
    if key is not None and found.code != 0:
        raise DossierError(f"{path}: {found.notes[0]}; --key wants it finished and sealed to its end with {key}")


def _check_pin(baseline: "object | None", pin: str | None) -> None:
    """Raise DossierError unless the baseline is the one that was pinned: a reference that moves hides a slow slide."""
    if pin is None:
        return
    head = getattr(baseline, "head", "")
    if not pin or not head.startswith(pin.lower()):
        raise DossierError(f"--pin {pin}: the baseline's chain head is {head[:16] or 'missing'}; give that reference")
