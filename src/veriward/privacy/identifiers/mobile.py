"""Chinese mobile numbers: eleven digits in the segments that the ministry (MIIT) had given out by 2024, +86 before them.

Segments of machines (140, 141, 144: thirteen digits) and of satellites (174) are no person's; 154, 160, 161, 163, 164, 168,
169, 179 and 194 are not given out. Numbers that a word calls those of an order or a parcel are left out.
"""

import re
from collections.abc import Iterator

from veriward.privacy.identifiers.context import before, in_code
from veriward.privacy.identifiers.identifier import Identifier

SEGMENTS = frozenset(
    [f"13{d}" for d in range(10)]
    + [f"14{d}" for d in (5, 6, 7, 8, 9)]
    + [f"15{d}" for d in (0, 1, 2, 3, 5, 6, 7, 8, 9)]
    + [f"16{d}" for d in (2, 5, 6, 7)]
    + [f"17{d}" for d in (0, 1, 2, 3, 5, 6, 7, 8)]
    + [f"18{d}" for d in range(10)]
    + [f"19{d}" for d in (0, 1, 2, 3, 5, 6, 7, 8, 9)]
)
_NUMBER = re.compile(
    r"1[3-9][0-9](?:[0-9]{8}|([ -])[0-9]{4}\1[0-9]{4}|[0-9]([ -])[0-9]{3}\2[0-9]{4})"
    r"(?![0-9]|[A-Z]{1,5}[0-9])(?!\.[0-9]{0,6}[1-9])"
)
_COUNTRY = re.compile(r"(?<![0-9+])(?:\+|00|\(\+?)?86\)?[ -]?$")
_ORDER = re.compile(r"(?:订单|单号|流水|运单|货号|快递单)号?(?:码)?(?:是|为)?[：:# ]{0,2}\Z")
LONGEST_PREFIX = 8


def find(text: str, hint: str = "") -> Iterator[Identifier]:
    """Yield the mobile numbers of a normalised text, the country's code with them.

    >>> [(found.start, found.end) for found in find("打+86 138-1234-5678，不要打1138123456780")]
    [(1, 18)]
    """
    for found in _NUMBER.finditer(text):
        start = found.start()
        country = _COUNTRY.search(before(text, start, LONGEST_PREFIX))
        if country:
            start -= len(country[0])
        if found[0][:3] in SEGMENTS and not _continues(text, start) and not _ORDER.search(before(text, start, 10)):
            yield Identifier("cn_mobile", start, found.end(), "format")


def _continues(text: str, start: int) -> bool:
    """Return whether the digits are the rest of a longer number or code, or the decimals of one; +1 is not China."""
    one, two = text[start - 1 : start], text[max(start - 2, 0) : start]
    return one.isdecimal() or one == "+" or (one == "." and two[:1].isdecimal()) or in_code(text, start)
