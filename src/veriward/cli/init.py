"""`veriward init MODEL [DATA]`: look at the artefact and write a first subject.toml."""

from pathlib import Path

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language


@app.command()
def init(
    model: str = typer.Argument(..., help="The model's file, or the address of a served one.", metavar="MODEL"),
    data: Path | None = typer.Argument(None, help="A file, or a folder with train.* and test.*.", metavar="[DATA]"),
    label: str | None = typer.Option(None, help="The target column."),
    factory: str | None = typer.Option(None, help="For weights alone: 'module:function' that builds the module."),
    out: Path = typer.Option(Path("subject.toml"), help="Where to write."),
    force: bool = typer.Option(False, "--force", help="Overwrite."),
    trust: bool = typer.Option(False, "--trust", help="Load a model that the scanner calls unknown."),
    lang: str | None = lang_option(),
) -> int:
    """Write a first subject.toml; every line that was inferred says why."""
    from veriward.core.endpoint import is_address
    from veriward.reports.catalogue import Catalogue
    from veriward.reports.error_words import drafted_text
    from veriward.run.draft import check_free, draft, write_draft

    tongue = language(lang)
    check_free(out, force=force)
    source = model if is_address(model) else Path(model)
    text = draft(source, data, label=label, factory=factory, folder=out.parent, trust=trust)
    write_draft(out, drafted_text(text, tongue), force=force)
    typer.echo(Catalogue.load(tongue).text("init.done", path=str(out)))
    return 0
