"""Chinese resident identity numbers: 18 characters with a check character (GB 11643-1999), 15 digits before 1999.

18: region (6), date of birth (8), order (3), check character. 15: region (6), date without the century (6), order (3).
"""

import datetime
import re
from collections.abc import Iterator

from veriward.privacy.identifiers.identifier import Identifier
from veriward.privacy.identifiers.regions import is_foreigners, is_region

OLDEST = 1890  # year of birth of the oldest person alive when the numbers got 18 characters
# A look-behind that comes after the first digit keeps the search for that digit at the speed of C. Spaces and dashes may
# stand anywhere inside a number, but then no further group of digits may stand beside it.
_LONG = re.compile(
    r"[0-9](?<![0-9]{2})(?:[0-9]{16}[0-9Xx](?![0-9Xx])"
    r"|(?<![0-9][ -][0-9])(?:[ -]?[0-9]){16}[ -]?[0-9Xx](?![0-9Xx])(?![ -][0-9]))"
)
_SHORT = re.compile(
    r"[0-9](?<![0-9]{2})(?<![0-9]\.[0-9])(?:[0-9]{14}|[0-9]{5}([ -])[0-9]{6}\1[0-9]{3})(?![0-9])(?!\.[0-9])"
)
_SEPARATORS = str.maketrans("", "", " -")


def find(text: str, hint: str = "") -> Iterator[Identifier]:
    """Yield the identity numbers of a normalised text.

    >>> [found.kind for found in find("身份证11010119900307888x1，身份证110101199003078881号")]
    ['cn_id']
    """
    for found in _LONG.finditer(text):
        if is_valid(found[0].translate(_SEPARATORS)):
            yield Identifier("cn_id", *found.span(), "checksum")
    for found in _SHORT.finditer(text):
        if is_valid_short(found[0].translate(_SEPARATORS)):
            yield Identifier("cn_id_15", *found.span(), "format")


def is_valid(number: str) -> bool:
    """Return whether 17 digits and a digit or X have a region, a date of birth in the past and the right check character.

    >>> is_valid("110101199003078881"), is_valid("110101199002308881")
    (True, False)
    """
    if not (is_region(number[:6]) or is_foreigners(number[:6])):
        return False
    return _born(number[6:10], number[10:14]) and number[17].upper() == check_character(number[:17])


def is_dated(number: str) -> bool:
    """Return whether 18 digits are an identity number but for a wrong check digit: a slip of the pen is no bank card."""
    return len(number) == 18 and is_region(number[:6]) and _born(number[6:10], number[10:14])


def is_valid_short(number: str) -> bool:
    """Return whether 15 digits have a region and a date of birth; nothing else can be checked.

    >>> is_valid_short("110101900307888"), is_valid_short("110101900230888")
    (True, False)
    """
    return is_region(number[:6]) and _born("19" + number[6:8], number[8:12])


def check_character(digits: str) -> str:
    """Return the check character of ISO 7064 MOD 11-2, in its recursive form (section 7.1).

    >>> check_character("11010519491231002")
    'X'
    """
    rest = 0
    for digit in digits:
        rest = (rest + int(digit)) * 2 % 11
    return "0123456789X"[(12 - rest) % 11]


def _born(year: str, day: str) -> bool:
    if not int(year) >= OLDEST:
        return False
    try:
        born = datetime.date(int(year), int(day[:2]), int(day[2:]))
    except ValueError:
        return False
    return born <= datetime.date.today()
