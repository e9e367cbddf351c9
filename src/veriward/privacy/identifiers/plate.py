"""Chinese vehicle plates: GA 36-2018. Province, letter, five characters; six with an energy letter for electric cars."""

import re
from collections.abc import Iterator

from veriward.privacy.identifiers.context import before, near
from veriward.privacy.identifiers.identifier import Identifier

PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_LETTERS = "A-HJ-NP-Z"  # I and O would be read as 1 and 0
# Five characters, or four and a word: trailer, learner, police, Hong Kong, Macau, consulate, embassy.
_ORDINARY = rf"(?:[{_LETTERS}0-9]{{5}}|[{_LETTERS}0-9]{{4}}[挂学警港澳领使])"
_ELECTRIC = rf"(?:[A-HJK][{_LETTERS}0-9][0-9]{{4}}|[0-9]{{5}}[A-HJK])"
_PLATE = re.compile(rf"[{PROVINCES}][{_LETTERS}][ ·•・‧∙-]?(?:{_ELECTRIC}|{_ORDINARY})(?![0-9A-Za-z])")
_WORDS = re.compile(r"(?i:车|牌|司机|违章|停|plate|licen[cs]e)")
FEWEST_DIGITS = 3  # of the five characters at most two are letters
COMMON = frozenset("新黑青云宁贵川")  # that are words by themselves: 新E52680 is as likely a new model


def find(text: str, hint: str = "") -> Iterator[Identifier]:
    """Yield the plates of a normalised text.

    >>> [(found.start, found.end) for found in find("停着一辆京A12345和粤B·D12345")]
    [(4, 11), (12, 21)]
    """
    for found in _PLATE.finditer(text):
        named = near(_WORDS, text, *found.span(), hint)
        alone = not before(text, found.start(), 1).isalnum()
        digits = sum(sign.isdecimal() for sign in found[0])
        if digits >= FEWEST_DIGITS and (named or alone or found[0][0] not in COMMON):
            yield Identifier("plate", *found.span(), "context" if named else "format")
