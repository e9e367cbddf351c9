"""Words beside a number that say what it is."""

import re

BEFORE, AFTER = 24, 10  # code points that are looked at on each side
_CODE = re.compile(r"[0-9][A-Za-z]+\Z")
STOP = "\x00"  # between texts that are scanned together


def before(text: str, start: int, most: int = BEFORE) -> str:
    """Return what stands before a place, in the same text."""
    return text[max(0, start - most) : start].rpartition(STOP)[2]


def after(text: str, end: int, most: int = AFTER) -> str:
    """Return what stands behind a place, in the same text."""
    return text[end : end + most].partition(STOP)[0]


def in_code(text: str, start: int) -> bool:
    """Return whether digits go on a code of letters and digits, as in GB29NWBK6016; a word may be glued to them (tel138).

    >>> in_code("GB29NWBK6016", 8), in_code("tel138", 3)
    (True, False)
    """
    return bool(_CODE.search(before(text, start)))


def near(words: re.Pattern[str], text: str, start: int, end: int, hint: str) -> bool:
    """Return whether one of the words stands near `text[start:end]`, or in the hint.

    >>> near(re.compile("护照"), "护照号E12345678", 3, 12, "")
    True
    """
    return any(words.search(part) for part in (hint, before(text, start), after(text, end)))
