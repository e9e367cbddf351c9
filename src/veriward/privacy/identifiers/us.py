"""Numbers of the United States: social security numbers, and telephones by the rules of the North American plan."""

import re
from collections.abc import Iterator

from veriward.privacy.identifiers.context import in_code, near
from veriward.privacy.identifiers.identifier import Identifier

# 20 CFR 422.103 and ssa.gov/employer/randomization.html: no area 000, 666 or 900-999, no group 00, no serial 0000.
_SOCIAL = re.compile(r"[0-8](?<![0-9].)(?<![0-9]-.)[0-9]{2}([ -]?)(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![0-9])(?!-[0-9])")
_SOCIAL_WORDS = re.compile(r"(?i:\bssn|social.?sec|社会安全号|社安号|社保号)")
ADVERTISED = frozenset({"078051120", "219099999", "457555462"})  # printed in advertisements, void since
# NANP: area and exchange begin with 2-9; neither is N11; areas N9X are kept for growth and N00 are services.
_PHONE = re.compile(
    r"[2-9](?:(?<![0-9].)|(?<=\+1.))(?<![0-9][.-].)(?!00|11)[0-8][0-9](?:\)[ -]?|[ .-]?)[2-9](?!11)[0-9]{2}[ .-]?[0-9]{4}"
    r"(?![0-9])(?![.-][0-9])"
)
_COUNTRY = re.compile(r"(?:(?<![0-9])\+?1[ .-]?)?\(?\Z")
_PHONE_WORDS = re.compile(r"(?i:phone|mobile|\bcell|\btel|\bcall|\bfax|电话|手机|联系)")


def find(text: str, hint: str = "") -> Iterator[Identifier]:
    """Yield the numbers of a normalised text.

    >>> [found.kind for found in find("SSN 536-90-4399, call (415) 555-2671")]
    ['us_ssn', 'us_phone']
    """
    yield from _socials(text, hint)
    yield from _phones(text, hint)


def _socials(text: str, hint: str) -> Iterator[Identifier]:
    for found in _SOCIAL.finditer(text):
        if not is_social(re.sub("[ -]", "", found[0])):
            continue
        named = near(_SOCIAL_WORDS, text, *found.span(), hint)
        if named or found[1] == "-":  # nine digits, or groups apart by spaces, are anything
            yield Identifier("us_ssn", *found.span(), "context" if named else "format")


def is_social(number: str) -> bool:
    """Return whether nine digits may be somebody's social security number.

    >>> is_social("536904399"), is_social("666904399")
    (True, False)
    """
    area, group, serial = number[:3], number[3:5], number[5:]
    void = area in {"000", "666"} or area[0] == "9" or group == "00" or serial == "0000"
    return not void and number not in ADVERTISED


def _phones(text: str, hint: str) -> Iterator[Identifier]:
    for found in _PHONE.finditer(text):
        country = _COUNTRY.search(text, max(0, found.start() - 4), found.start())
        start = country.start() if country else found.start()
        if text[start - 1 : start].isdecimal() or ("(" in text[start : found.start()]) != (")" in found[0]):
            continue
        if in_code(text, start):
            continue
        grouped = re.search("[ .)-]", found[0]) is not None
        named = near(_PHONE_WORDS, text, start, found.end(), hint)
        if named or grouped or text.startswith("+", start):  # ten digits alone are anything
            yield Identifier("us_phone", start, found.end(), "context" if named else "format")
