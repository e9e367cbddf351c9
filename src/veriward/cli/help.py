"""Help in Chinese. Verbs say theirs in English where they are declared; `catalogues/help.zh.toml` has the Chinese for each
text, put in before the command line runs. What click says itself goes the same way: it asks gettext, without a catalogue.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

SPEAKING = ("click.core", "click.decorators", "click.exceptions", "click.formatting", "click.parser", "click.types")
ASKED = ("_", "gettext", "ngettext")
PANELS = {  # constants of typer.rich_utils, which draws the help
    "ARGUMENTS_PANEL_TITLE": "Arguments",
    "OPTIONS_PANEL_TITLE": "Options",
    "COMMANDS_PANEL_TITLE": "Commands",
    "DEFAULT_STRING": "[default: {}]",
    "REQUIRED_LONG_STRING": "[required]",
}


def translated(command: "click.Command", language: str) -> "click.Command":
    """Return the command with every help text of its own and below in the language; changed in place."""
    for each in below(command):
        _tell_arguments(each)
    if language != "zh":
        return command
    said = _texts("help")
    for each in below(command):
        each.help, each.epilog = said.get(each.help or "", each.help), said.get(each.epilog or "", each.epilog)
        for parameter in each.params:
            text = getattr(parameter, "help", None)
            if text:
                parameter.help = said.get(text, text)
    return command


def _tell_arguments(command: "click.Command") -> None:
    """Give arguments their help again: click 8.5 has a field of that name, which typer 0.20 leaves empty."""
    declared = inspect.signature(command.callback).parameters if command.callback else {}
    for parameter in command.params:
        if parameter.name in declared and getattr(parameter, "help", "") is None:
            parameter.help = getattr(declared[parameter.name].default, "help", None)


def below(command: "click.Command") -> "Iterator[click.Command]":
    """Yield a command and all commands within it."""
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from below(inner)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Let click and typer say their own words in a language: usage, choices, wrong options. Undone at the end."""
    if language != "zh":
        yield
        return
    said = _texts("click")
    before = [(module, name, getattr(module, name)) for module in _asking() for name in ASKED if hasattr(module, name)]
    ours = {"ngettext": lambda single, plural, n: _one(said, single if n == 1 else plural)}
    try:
        for module, name, _ in before:
            setattr(module, name, ours.get(name, lambda text: _one(said, text)))
        _set_panels(said)
        yield
    finally:
        for module, name, theirs in before:
            setattr(module, name, theirs)
        _set_panels({})


def _asking() -> list[ModuleType]:
    """Return who asks for translations: gettext itself, too, for what typer imports only when it draws the help."""
    return [import_module(name) for name in (*SPEAKING, "typer.core", "gettext")]


def _set_panels(said: Mapping[str, str]) -> None:
    """Set what typer asked for once, at its import; that takes a third of a second, so it is not forced."""
    panels = sys.modules.get("typer.rich_utils")
    if panels is not None:
        for name, text in PANELS.items():
            setattr(panels, name, _one(said, text))


def _one(said: Mapping[str, str], text: str) -> str:
    return said.get(text, text)


def _texts(section: str) -> Mapping[str, str]:
    from veriward.reports.phrase_book import templates

    return templates("help")[section]
