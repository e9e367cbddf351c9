"""The command line: one file per verb, each parse → plan → call the library → render. Loading it imports no torch."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import typer

from veriward import __version__
from veriward.cli.help import speaking, translated
from veriward.cli.options import spoken
from veriward.core.errors import DangerousArtefact, UnknownArtefact, VeriwardError

if TYPE_CHECKING:
    import click

VERBS = (
    *("demo", "init", "assess", "train", "report", "gate", "view", "checks", "policy"),
    *("scan", "sign", "verify", "convert", "key", "epsilon"),
)
CRASH, INTERRUPTED, WRONG = 70, 130, 2
NOBODY_READS = 141  # what shells say of a program whose reader (head, a pager) went away: 128 + SIGPIPE
CODES: dict[type[VeriwardError], int] = {DangerousArtefact: 1, UnknownArtefact: 3}

app = typer.Typer(
    name="veriward",
    help="veriward (验盾): how a trained model can be attacked, what it leaks, whom it treats unfairly - with evidence.",
    epilog="Exit codes: 0 fine, 1 a limit is broken, 2 wrong usage or unreadable input, 3 undecided, 70 a crash of ours.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"veriward {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show the stack trace of an error (works after any verb)."),
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the code that PRODUCT promises."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    for verb in VERBS:
        import_module(f"veriward.cli.{verb}")
    language = spoken(given)
    with speaking(language):
        sys.exit(_run(given, language, debug=debug))


def _run(given: list[str], language: str, *, debug: bool) -> int:
    import click

    try:
        code = command(language)(given, standalone_mode=False, prog_name="veriward")
    except VeriwardError as error:
        return _told(error, CODES.get(type(error), WRONG), language, debug)
    except click.ClickException as error:
        error.show()
        return WRONG
    except (KeyboardInterrupt, click.Abort):
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        if not _lost_its_reader(error):
            return _crashed(error, language, debug)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to flush at the end
        return NOBODY_READS
    except Exception as error:
        return _crashed(error, language, debug)
    if code == INTERRUPTED:  # typer answers Ctrl-C with this code
        typer.echo(_words(language, "cli.interrupted", "interrupted"), err=True)
    return code if isinstance(code, int) else 0


def command(language: str) -> "click.Command":
    """Return all verbs as one command, with its help in a language."""
    return translated(typer.main.get_command(app), language)


def _lost_its_reader(error: BaseException) -> bool:
    """Whether somebody closed the pipe that we write to; click turns that into an exit of its own."""
    return isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError)


def _crashed(error: BaseException, language: str, debug: bool) -> int:
    """Tell a crash, or code of somebody's that wanted to leave: the exit codes are ours."""
    if not debug:
        typer.echo(_words(language, "cli.crash", "a crash of ours"), err=True)
    return _told(error, CRASH, language, debug)


def _told(error: BaseException, code: int, language: str, debug: bool) -> int:
    from veriward.reports.error_words import error_text

    if debug:
        import traceback

        typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    is_ours = isinstance(error, VeriwardError)
    text = error_text(str(error), language) if is_ours else f"{type(error).__name__}: {error}"
    typer.echo(f"veriward: {text}", err=True)
    return code


def _words(language: str, key: str, otherwise: str) -> str:
    """Return a sentence of the catalogue; what went wrong may be the catalogue itself, and the exit code stays ours."""
    try:
        from veriward.reports.catalogue import Catalogue

        return Catalogue.load(language).text(key)
    except Exception:
        return otherwise
