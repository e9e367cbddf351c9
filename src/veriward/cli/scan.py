"""`veriward scan FILE…`: what is in model files, before anybody loads them."""

import json as json_module
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language, padded, painted

if TYPE_CHECKING:
    from veriward.adapters.scan import Outcome, Scanned
    from veriward.reports.catalogue import Catalogue

SCHEMA = "veriward.scan/1"
CODES: dict["Outcome", int] = {"dangerous": 1, "unknown": 3, "clean": 0}  # dangerous beats unknown
CONVERTED = ("torch-zip", "torch-legacy", "pickle")
HINTED = (*CONVERTED, "joblib")
COLOURS = {"dangerous": "red", "unknown": "yellow", "clean": "green"}


@app.command()
def scan(
    paths: list[Path] = typer.Argument(..., help="Files, or folders with all that lies below them.", metavar="FILE…"),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
    lang: str | None = lang_option(),
) -> int:
    """Read model files without loading them: exit 0 clean, 1 dangerous, 3 unknown or unreadable."""
    from veriward.adapters.scan import scan_all
    from veriward.reports.catalogue import Catalogue

    words = Catalogue.load(language(lang))
    found: list[Scanned] = []
    for item in scan_all(paths):
        found.append(item)
        if not json:
            _show(item, words)
    if json:
        typer.echo(json_module.dumps(_document(found), ensure_ascii=False, indent=2))
    else:
        typer.echo(_summary(found, words))
    return exit_code(found)


def exit_code(found: "list[Scanned]") -> int:
    """Return the code of the worst file; files that hold no model do not count, but nothing scanned is undecided."""
    outcomes = {item.outcome for item in found if item.outcome is not None}
    return next((code for outcome, code in CODES.items() if outcome in outcomes), 3)


def _show(item: "Scanned", words: "Catalogue") -> None:
    """Print one file as soon as it is scanned: a folder of large models takes its time."""
    if item.outcome is None:
        return
    label = typer.style(
        padded(words.term("scanned", item.outcome), 10), fg=COLOURS[item.outcome] if painted() else None
    )
    kind = f"  {item.result.kind}" if item.result else ""
    typer.echo(f"{label} {_path(item)}{kind}")
    for reason in item.result.reasons if item.result else ():
        what, why = words.scanned(reason.what, "what"), words.scanned(reason.why)
        typer.echo(f"           {what}  {why}  [{reason.where}]")
    if item.outcome == "unknown" and item.result and item.result.kind in HINTED:
        typer.echo("           " + words.text("scan.convert" if item.result.kind in CONVERTED else "scan.estimator"))
    if item.error:
        typer.echo(f"           {words.scanned(item.error, 'error')}")


def _path(item: "Scanned") -> str:
    """Return a path as it may be printed: names of files are written by whoever made the archive."""
    return str(item.path) if str(item.path).isprintable() else ascii(str(item.path))


def _summary(found: "list[Scanned]", words: "Catalogue") -> str:
    if not found:
        return words.text("scan.nothing")
    counts = Counter(item.outcome for item in found)
    parts = [words.text("scan.count", n=counts[outcome], outcome=outcome) for outcome in CODES]
    if counts[None]:
        parts.append(words.text("scan.beside", n=counts[None]))
    return " · ".join(parts)


def _document(found: "list[Scanned]") -> dict[str, Any]:
    counts = Counter(item.outcome for item in found)
    return {
        "schema": SCHEMA,
        "files": [_record(item) for item in found],
        "summary": {**{outcome: counts[outcome] for outcome in CODES}, "beside": counts[None]},
    }


def _record(item: "Scanned") -> dict[str, Any]:
    result = item.result
    return {
        "path": _path(item),
        "outcome": item.outcome or "beside",
        "kind": result.kind if result else None,
        "sha256": result.sha256 if result else None,
        "reasons": [vars(reason) for reason in result.reasons] if result else [],
        "error": item.error,
    }
