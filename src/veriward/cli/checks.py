"""`veriward checks`: the registry."""

import json as json_module

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language


@app.command()
def checks(json: bool = typer.Option(False, "--json", help="Print JSON."), lang: str | None = lang_option()) -> int:
    """List the checks: their names, what they need of a model, and the question each one answers."""
    from veriward.checks.registry import registry
    from veriward.reports.catalogue import Catalogue

    catalogue = Catalogue.load(language(lang))
    rows = [
        {
            "check": name,
            "version": check.version,
            "question": catalogue.term("question", name),
            "needs": list(check.needs),
            "tasks": list(check.tasks),
        }
        for name, check in registry().items()
    ]
    if json:
        typer.echo(json_module.dumps(rows, ensure_ascii=False, indent=2))
        return 0
    for row in rows:
        typer.echo(f"{row['check']:<18} {', '.join(row['needs']):<10} {row['question']}")
    return 0
