"""`veriward epsilon`: what-if questions on the privacy budget of a training. Trains nothing and reads no data."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language
from veriward.core.errors import SettingsError

if TYPE_CHECKING:
    from veriward.privacy.dp.whatif import Setting
    from veriward.reports.catalogue import Catalogue


@app.command()
def epsilon(
    noise: float | None = typer.Option(None, help="Noise multiplier: std of the noise / clipping norm."),
    epsilon: float | None = typer.Option(None, help="The budget: asks for the noise, or for the steps that fit."),
    delta: float = typer.Option(1e-5, help="Below 1/rows, by far."),
    rows: int | None = typer.Option(None, help="Rows of the data set: a public number."),
    batch: int | None = typer.Option(None, help="Rows of a batch, on average; default: all rows."),
    epochs: float | None = typer.Option(None, help="Passes over the data; or --steps."),
    steps: int | None = typer.Option(None, help="Steps of the training; or --epochs."),
    sampling: str = typer.Option("poisson", help="How batches are drawn: poisson, fixed, shuffled or full."),
    accountant: str | None = typer.Option(None, help="pld (tight) or rdp; default: pld, and rdp for fixed."),
    group: int = typer.Option(1, help="Rows of one person, protected together."),
    ledger: Path | None = typer.Option(None, help="Show what a ledger has spent and has left.", metavar="FILE"),
    out: Path | None = typer.Option(None, help="Write the curve over the noise.", metavar="X.html|.json|.csv"),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
    lang: str | None = lang_option(),
) -> int:
    """Answer what a private training costs: give two of noise, epsilon and steps, and get the third."""
    if ledger is not None:
        return _show_ledger(ledger, language(lang), json=json)
    from veriward.privacy.dp.bounds import check_delta
    from veriward.privacy.dp.whatif import answer, rate_of, steps_of, table
    from veriward.reports.catalogue import Catalogue
    from veriward.reports.whatif import document, lines

    words, rate = Catalogue.load(language(lang)), rate_of(rows, batch)
    setting = answer(
        noise_multiplier=noise,
        epsilon=epsilon,
        steps=steps_of(steps, epochs, rate, sampling),
        sampling_rate=rate,
        delta=check_delta(delta),
        sampling=sampling,
        accountant=accountant or ("rdp" if sampling == "fixed" else "pld"),
        group=group,
    )
    doubts = [words.text("epsilon.large_delta", delta=f"{delta:g}", rows=rows)] if rows and delta * rows >= 1 else []
    if out is not None:
        _write(out, setting, rows, doubts, words)
    if json:
        flat = [cell for row in table(setting) for cell in row]
        typer.echo(json_module.dumps(document(setting, flat, rows, doubts), ensure_ascii=False, indent=2))
        return 0
    for line in lines(setting, table(setting), rows, words):
        typer.echo(line)
    for doubt in doubts:
        typer.echo(doubt, err=True)
    return 0


def _show_ledger(path: Path, tongue: str, *, json: bool) -> int:
    from veriward.privacy.dp.ledger import Ledger
    from veriward.reports.catalogue import Catalogue
    from veriward.reports.ledger import document, lines

    with Ledger(path) as ledger:
        found = document(ledger)
    if json:
        typer.echo(json_module.dumps(found, ensure_ascii=False, indent=2))
        return 0
    for line in lines(found, Catalogue.load(tongue)):
        typer.echo(line)
    return 0


def _write(out: Path, setting: "Setting", rows: int | None, doubts: list[str], words: "Catalogue") -> None:
    from veriward.privacy.dp.whatif import curve
    from veriward.reports.whatif import document, written
    from veriward.reports.write import write_text

    if out.suffix.lower() not in (".html", ".htm", ".json", ".csv"):
        raise SettingsError(f"--out {out}: want a name that ends with .html, .json or .csv")
    text = written(out.suffix.lower(), document(setting, list(curve(setting)), rows, doubts), words)
    assert text is not None
    write_text(text, out)
    typer.echo(words.text("epsilon.written", path=str(out)), err=True)
