"""Passports and travel permits. Their numbers are a letter or two and digits: a word near them must say what they are.

Chinese passports (E, G, D, S, P), those of Hong Kong and Macau (H, K, M), passports of other states; permits to Hong Kong,
Macau and Taiwan (C, W, L, T) and home-return permits (H, M), by GA/T 704 and the notices of the exit-entry administration.
"""

import re
from collections.abc import Iterator

from veriward.privacy.identifiers.context import after, before
from veriward.privacy.identifiers.identifier import Identifier

_WITH_LETTERS = re.compile(r"[A-Za-z](?<![0-9A-Za-z].)[A-Za-z]?[0-9]{7,10}(?![0-9A-Za-z])")
_DIGITS = re.compile(r"[0-9](?<![0-9A-Za-z].)[0-9]{7,8}(?![0-9A-Za-z])(?![.-][0-9])")
_WORDS = {
    "passport": re.compile(r"(?i:护照|passport)"),
    "travel_permit": re.compile(r"(?i:通行证|回乡证|台胞证|travel.?permit)"),
}
_CLOSE = 16  # digits alone must follow the word at once
_DIGITS_ALONE = {"passport": 9, "travel_permit": 8}


def find(text: str, hint: str = "") -> Iterator[Identifier]:
    """Yield the document numbers of a normalised text.

    >>> [found.kind for found in find("护照号E12345678，" + "另有一台洗衣机" * 4 + "型号G12345678")]
    ['passport']
    """
    for found in _WITH_LETTERS.finditer(text):
        kind = _named(before(text, found.start()), hint) or _named("", after(text, found.end()))
        if kind:
            yield Identifier(kind, *found.span(), "context")
    for found in _DIGITS.finditer(text):
        kind = _named(before(text, found.start(), _CLOSE), hint)
        if kind and len(found[0]) == _DIGITS_ALONE[kind]:
            yield Identifier(kind, *found.span(), "context")


def _named(text: str, hint: str) -> str | None:
    """Return the document whose word comes last before a number; else the one of the hint."""
    last = {kind: max((m.end() for m in words.finditer(text)), default=-1) for kind, words in _WORDS.items()}
    kind = max(last, key=lambda name: last[name])
    if last[kind] >= 0:
        return kind
    return next((name for name, words in _WORDS.items() if words.search(hint)), None)
