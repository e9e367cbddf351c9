"""International bank account numbers (ISO 13616): check digits of ISO 7064 MOD 97-10, and the length of each country."""

import re
from collections.abc import Iterator
from functools import cache

from veriward.privacy.identifiers.identifier import Identifier

# Country and length: the IBAN registry of SWIFT (ISO 13616-2), as python-stdnum 2.2 carries it.
_REGISTRY = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18
FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20
LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24
SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
LENGTHS = {entry[:2]: int(entry[2:]) for entry in _REGISTRY.split()}
_START = re.compile(r"[A-Za-z]{2}[0-9]{2} ?[0-9A-Za-z]")
_PREFIX = re.compile(r"(?<![0-9A-Za-z])(?:IBAN)?\Z", re.IGNORECASE)


def find(text: str, hint: str = "") -> Iterator[Identifier]:
    """Yield the account numbers of a normalised text.

    >>> [found.end for found in find("IBAN DE89 3704 0044 0532 0130 00 und")]
    [32]
    """
    for start in _START.finditer(text):
        at, country = start.start(), start[0][:2].upper()
        if country not in LENGTHS or not _PREFIX.search(text[max(0, at - 5) : at]):
            continue
        whole = _form(country).match(text, at)
        if whole and is_valid(whole[0].replace(" ", "").upper()):
            yield Identifier("iban", *whole.span(), "checksum")


@cache
def _form(country: str) -> re.Pattern[str]:
    return re.compile(rf"[A-Za-z]{{2}}[0-9]{{2}}(?: ?[0-9A-Za-z]){{{LENGTHS[country] - 4}}}(?![0-9A-Za-z])")


def is_valid(number: str) -> bool:
    """Return whether the length is the country's and the number, its head moved to its end, is 1 modulo 97.

    >>> is_valid("DE89370400440532013000"), is_valid("DE89370400440532013001")
    (True, False)
    """
    if LENGTHS.get(number[:2]) != len(number):
        return False
    return int("".join(str(int(sign, 36)) for sign in number[4:] + number[:4])) % 97 == 1
