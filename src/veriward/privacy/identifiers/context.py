"""Words beside a number that say what it is."""

import re

BEFORE, AFTER = 24, 10  # code points that are looked at on each side
STOP = "\x00"  # between texts that are scanned together


def before(text: str, start: int, most: int = BEFORE) -> str:
    """Return what stands before a place, in the same text."""
    return text[max(0, start - most) : start].rpartition(STOP)[2]


def after(text: str, end: int, most: int = AFTER) -> str:
    """Return what stands behind a place, in the same text."""
    return text[end : end + most].partition(STOP)[0]


def near(words: re.Pattern[str], text: str, start: int, end: int, hint: str) -> bool:
    """Return whether one of the words stands near `text[start:end]`, or in the hint.

    >>> near(re.compile("护照"), "护照号E12345678", 3, 12, "")
    True
    """
    return any(words.search(part) for part in (hint, before(text, start), after(text, end)))
