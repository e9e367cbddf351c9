"""统一社会信用代码, the unified social credit code of organisations and sole traders: GB 32100-2015.

Authority (1), kind (1), region (6), organisation (9), check character, in an alphabet without I, O, S, V, Z.
"""

import re
from collections.abc import Iterator

from veriward.privacy.identifiers.identifier import Identifier
from veriward.privacy.identifiers.regions import is_region

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
NATIONAL = "100000"  # the region of organisations that are registered with a ministry
AUTHORITIES = {
    "1": "1239",
    "2": "19",
    "3": "123459",
    "4": "19",
    "5": "1239",
    "6": "129",
    "7": "129",
    "8": "19",
    "9": "123",
}
AUTHORITIES |= {"A": "19", "N": "1239", "Y": "1"}  # and the kinds that each registers: GB 32100-2015, table 1
_LETTERS = "0-9A-HJ-NP-RTUW-Ya-hj-np-rtuw-y"
_CODE = re.compile(
    rf"[1-9ANYany](?<![0-9A-Za-z].)(?:[1-59Aa][0-9]{{6}}[{_LETTERS}]{{10}}(?![0-9A-Za-z])"
    rf"|(?<![0-9A-Za-z][ -].)[ -]?[1-59Aa](?:[ -]?[0-9]){{6}}(?:[ -]?[{_LETTERS}]){{10}}(?![0-9A-Za-z])(?![ -][0-9]))"
)
_SEPARATORS = str.maketrans("", "", " -")


def find(text: str, hint: str = "") -> Iterator[Identifier]:
    """Yield the codes of a normalised text.

    >>> [found.kind for found in find("税号91110000600037341L，错的是91110000600037341M")]
    ['uscc']
    """
    for found in _CODE.finditer(text):
        if is_valid(found[0].translate(_SEPARATORS).upper()):
            yield Identifier("uscc", *found.span(), "checksum")


def is_valid(code: str) -> bool:
    """Return whether 18 characters have an authority, a kind that it registers, a region and the right check character."""
    if code[1] not in AUTHORITIES.get(code[0], "") or not (code[2:8] == NATIONAL or is_region(code[2:8])):
        return False
    return code[17] == check_character(code[:17])


def check_character(code: str) -> str:
    """Return the check character: weights are the powers of 3 modulo 31 (GB 32100-2015, annex A).

    >>> check_character("91110000600037341")
    'L'
    """
    total = sum(ALPHABET.index(sign) * pow(3, place, 31) for place, sign in enumerate(code))
    return ALPHABET[-total % 31]
