"""`veriward convert FILE --to safetensors`: the weights of a pickled checkpoint, without running it."""

from pathlib import Path

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language
from veriward.core.errors import SettingsError

TARGETS = ("safetensors",)
SHOWN = 8


@app.command()
def convert(
    file: Path = typer.Argument(..., help="A checkpoint of torch.save, or a pickle of arrays.", metavar="FILE"),
    to: str = typer.Option("safetensors", "--to", help="The format to write: safetensors."),
    out: Path | None = typer.Option(None, help="The file to write; default: FILE with the ending .safetensors."),
    key: str | None = typer.Option(None, help="The part to take, e.g. state_dict; '' takes all.", metavar="NAME"),
    force: bool = typer.Option(False, "--force", help="Overwrite OUT."),
    lang: str | None = lang_option(),
) -> int:
    """Write the tensors of a checkpoint as safetensors; unknown classes become stand-ins, dangerous files are refused."""
    from veriward.adapters.convert import convert as run
    from veriward.core.errors import some
    from veriward.reports.catalogue import Catalogue

    if to not in TARGETS:
        raise SettingsError(f"--to {to}: want one of {', '.join(TARGETS)}")
    words = Catalogue.load(language(lang))
    done = run(file, out, key=key, force=force)
    typer.echo(words.text("convert.done", n=done.tensors, size=done.size_bytes, path=str(done.path)))
    if done.taken:
        typer.echo(words.text("convert.taken", key=done.taken))
    if done.replaced:
        typer.echo(words.text("convert.replaced", names=some(done.replaced, SHOWN)))
    if done.left_out:
        typer.echo(words.text("convert.left_out", names=some(done.left_out, SHOWN)))
    if "seccomp" not in done.walls:
        typer.echo(words.text("convert.no_seccomp"), err=True)
    return 0
