"""`veriward assess SUBJECT`: the main job."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from veriward.cli.app import app
from veriward.cli.bar import Bar
from veriward.cli.options import comma_separated, lang_option, language
from veriward.cli.render import announce_code, refusals, show

if TYPE_CHECKING:
    from veriward.core.dossier import Dossier
    from veriward.core.subject import Subject


@app.command()
def assess(
    subject: Path = typer.Argument(..., help="A subject.toml, or its folder.", metavar="SUBJECT"),
    out: Path | None = typer.Option(
        None, help="The dossier; default: NAME.ward beside subject.toml.", metavar="FILE.ward"
    ),
    checks: list[str] | None = typer.Option(
        None, metavar="TEXT", help="Patterns of checks, e.g. 'evasion/*,leakage/loss'; default: all."
    ),
    policy: str | None = typer.Option(
        None, help="The name of a policy (veriward policy list), or a file.", metavar="NAME|FILE.toml"
    ),
    budget: str = typer.Option("standard", help="quick: at most 200 attacked rows; standard: 1000; thorough: all."),
    seed: int = typer.Option(0, help="Of everything that is drawn."),
    device: str = typer.Option("auto", help="auto, cpu or cuda."),
    batch_size: int | None = typer.Option(None, help="Rows at a time; rounded up to whole tiles. Changes no result."),
    workers: int | None = typer.Option(None, help="Processes; default: as many as pay. Changes no result."),
    engine: str = typer.Option("local", help="Where work runs."),
    fresh: bool = typer.Option(False, "--fresh", help="Start anew; an old dossier is renamed, never deleted."),
    trust: bool = typer.Option(
        False, "--trust", help="Load a model that the scanner calls unknown (never a dangerous one)."
    ),
    no_code: bool = typer.Option(False, "--no-code", help="Refuse to run Python files that the subject names."),
    seal: Path | None = typer.Option(None, help="Sign the dossier with this private key.", metavar="KEY"),
    json: bool = typer.Option(False, "--json", help="Print the JSON report instead of the table."),
    lang: str | None = lang_option(),
) -> int:
    """Say how a model can be attacked, what it leaks and whom it treats unfairly. Run it again to resume."""
    from veriward.core.subject import Subject

    tongue = language(lang)
    described = Subject.load(subject)
    _announce_code(described, tongue, allowed=not no_code)
    with Bar(tongue) as bar:
        dossier = _assess(
            described,
            tongue,
            out=out,
            checks=comma_separated(checks),
            policy=policy,
            budget=budget,
            seed=seed,
            device=device,
            batch_size=batch_size,
            workers=workers,
            engine=engine,
            fresh=fresh,
            trust=trust,
            code=not no_code,
            seal=seal,
            progress=bar,
        )
    with dossier:
        return show(dossier, tongue, json=json)


def _assess(subject: "Subject", language: str, **options: Any) -> "Dossier":
    from veriward.core.errors import NothingApplies, SettingsError
    from veriward.run.assess import assess as run

    try:
        return run(subject, **options)
    except NothingApplies as error:
        raise SettingsError(refusals(error, language)) from None


def _announce_code(subject: Any, language: str, *, allowed: bool) -> None:
    """Name the files of the user's that are about to run, with their hashes, before they do."""
    if allowed and (subject.model.factory or subject.threat.evasion.backward):
        from veriward.adapters.code import listed
        from veriward.reports.catalogue import Catalogue

        announce_code(listed(subject), Catalogue.load(language))
