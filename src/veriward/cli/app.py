"""The command line: one file per verb, each parse → plan → call the library → render. Loading it imports no torch."""

import os
import sys
from importlib import import_module

import typer

from veriward import __version__
from veriward.core.errors import DangerousArtefact, UnknownArtefact, VeriwardError

VERBS = ("demo", "init", "assess", "report", "gate", "view", "checks", "scan", "sign", "verify", "convert", "key")
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
    sys.exit(_run(given, debug=debug))


def _run(given: list[str], *, debug: bool) -> int:
    import click

    try:
        code = app(given, standalone_mode=False, prog_name="veriward")
    except VeriwardError as error:
        return _told(error, CODES.get(type(error), WRONG), debug)
    except click.ClickException as error:
        error.show()
        return WRONG
    except (KeyboardInterrupt, click.Abort):
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        if not _lost_its_reader(error):
            return _crashed(error, debug)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to flush at the end
        return NOBODY_READS
    except Exception as error:
        return _crashed(error, debug)
    if code == INTERRUPTED:  # typer answers Ctrl-C with this code
        typer.echo("interrupted: what is finished is kept; the same command goes on from there", err=True)
    return code if isinstance(code, int) else 0


def _lost_its_reader(error: BaseException) -> bool:
    """Whether somebody closed the pipe that we write to; click turns that into an exit of its own."""
    return isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError)


def _crashed(error: BaseException, debug: bool) -> int:
    """Tell a crash, or code of somebody's that wanted to leave: the exit codes are ours."""
    if not debug:
        typer.echo("a crash of ours; --debug shows where, and an issue with it helps us", err=True)
    return _told(error, CRASH, debug)


def _told(error: BaseException, code: int, debug: bool) -> int:
    if debug:
        import traceback

        typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    text = str(error) if isinstance(error, VeriwardError) else f"{type(error).__name__}: {error}"
    typer.echo(f"veriward: {text}", err=True)
    return code
