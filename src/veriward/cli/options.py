"""Options that several verbs share."""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from typing import Any
from unicodedata import east_asian_width

import typer

from veriward.core.errors import SettingsError

LANGUAGES = ("en", "zh")


def language(given: str | None) -> str:
    """Return the language asked for, else the one of the user's locale, else English.

    A region or script after it does not count: "zh-CN", "zh_Hant" and "ZH" are "zh". SettingsError names the choices.

    >>> language("zh"), language("en-US")
    ('zh', 'en')
    """
    if given is None:
        locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
        return "zh" if _bare(locale) == "zh" else "en"
    if _bare(given) not in LANGUAGES:
        raise SettingsError(f"--lang {given}: want one of {', '.join(LANGUAGES)}")
    return _bare(given)


def _bare(code: str) -> str:
    """Return a code or a locale without region, script and encoding: "zh_CN.UTF-8" is "zh"."""
    return re.split(r"[-_.@]", code, maxsplit=1)[0].lower()


def spoken(given: Sequence[str]) -> str:
    """Return the language of a whole command line, before it is parsed: help and errors need one, too.

    >>> spoken(["assess", ".", "--lang", "zh"]), spoken(["assess", "--lang=en"])
    ('zh', 'en')
    """
    for word, after in zip(given, [*given[1:], ""], strict=False):
        option, _, value = word.partition("=")
        if option == "--lang" and _bare(value or after) in LANGUAGES:
            return _bare(value or after)
    return language(None)


def lang_option() -> Any:
    """Return the declaration of --lang."""
    text = "en or zh (zh-CN, en_US and the like, too); default: the language of your locale."
    return typer.Option(None, "--lang", help=text, metavar="en|zh")


def width() -> int:
    """Return how wide the terminal is, at most 110 columns."""
    return min(shutil.get_terminal_size((100, 20)).columns, 110)


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes; a Chinese character takes two.

    >>> cells("案卷.ward")
    9
    """
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def padded(text: str, width: int) -> str:
    """Return a text with blanks up to a width in cells."""
    return text + " " * max(width - cells(text), 0)


def painted() -> bool:
    """Return whether results may be coloured: on a terminal, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def comma_separated(texts: list[str] | None) -> list[str] | None:
    """Return the parts of "a,b" and of every further text, as an option may be given more than once; None stays None.

    >>> comma_separated(["evasion/*, leakage/loss", "data/pii"])
    ['evasion/*', 'leakage/loss', 'data/pii']
    """
    return None if texts is None else [part.strip() for text in texts for part in text.split(",") if part.strip()]
