"""Options that several verbs share."""

import os
import shutil
import sys
from typing import Any

import typer

from veriward.core.errors import SettingsError

LANGUAGES = ("en", "zh")


def language(given: str | None) -> str:
    """Return the language asked for, else the one of the user's locale, else English.

    >>> language("zh")
    'zh'
    """
    if given is None:
        locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
        return "zh" if locale.lower().startswith("zh") else "en"
    if given not in LANGUAGES:
        raise SettingsError(f"--lang {given}: want one of {', '.join(LANGUAGES)}")
    return given


def lang_option() -> Any:
    """Return the declaration of --lang."""
    return typer.Option(None, "--lang", help="en or zh; default: the language of your locale.", metavar="en|zh")


def width() -> int:
    """Return how wide the terminal is, at most 110 columns."""
    return min(shutil.get_terminal_size((100, 20)).columns, 110)


def painted() -> bool:
    """Return whether results may be coloured: on a terminal, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def comma_separated(text: str | None) -> list[str] | None:
    """Return the parts of "a,b"; None stays None.

    >>> comma_separated("evasion/*, leakage/loss")
    ['evasion/*', 'leakage/loss']
    """
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
