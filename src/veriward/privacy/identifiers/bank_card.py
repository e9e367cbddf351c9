"""Bank cards: a known issuer (ISO/IEC 7812), a length that it uses, and the check digit of Luhn (US patent 2,950,048)."""

import re
from collections.abc import Iterator

from veriward.privacy.identifiers.context import in_code
from veriward.privacy.identifiers.identifier import Identifier
from veriward.privacy.identifiers.resident_id import is_dated

# First six digits from, to; the lengths in use. As the networks publish them, see en.wikipedia.org/wiki/Payment_card_number;
# lengths that ISO/IEC 7812 would allow but nobody prints are left out: one number in ten has a right check digit by chance.
ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (220000, 220499, frozenset({16})),  # Mir
    (222100, 272099, frozenset({16})),  # Mastercard
    (300000, 305999, frozenset({14, 16})),  # Diners Club
    (309500, 309599, frozenset({14, 16})),
    (340000, 349999, frozenset({15})),  # American Express
    (352800, 358999, frozenset({16})),  # JCB
    (360000, 369999, frozenset({14, 16})),  # Diners Club
    (370000, 379999, frozenset({15})),  # American Express
    (380000, 399999, frozenset({14, 16})),  # Diners Club
    (400000, 499999, frozenset({16})),  # Visa
    (500000, 509999, frozenset({16})),  # Maestro
    (510000, 559999, frozenset({16})),  # Mastercard
    (560000, 589999, frozenset({16})),  # Maestro
    (601100, 601199, frozenset({16})),  # Discover
    (620000, 629999, frozenset({16, 17, 18, 19})),  # UnionPay
    (639000, 639099, frozenset({16})),  # Maestro
    (644000, 659999, frozenset({16})),  # Discover
    (670000, 679999, frozenset({16, 18, 19})),  # Maestro
    (810000, 817199, frozenset({16, 17, 18, 19})),  # UnionPay
    (817200, 829999, frozenset({16})),  # RuPay
    (955880, 955889, frozenset({19})),  # ICBC, before UnionPay
    (979200, 979289, frozenset({16})),  # Troy
)
# Groups as cards are printed: fours, 4-6-5 (American Express), 6-13. Any other grouping is a list of numbers.
_NUMBER = re.compile(
    r"[0-9](?<![0-9]{2})(?<![0-9]\.[0-9])(?:[0-9]{13,18}(?![0-9Xx])|(?<![0-9][ -][0-9])(?:"
    r"[0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{1,3})?|[0-9]{3}([ -])[0-9]{6}\2[0-9]{5}|[0-9]{5}[ -][0-9]{10,13}"
    r")(?![0-9])(?![ -][0-9]))(?!\.[0-9]{0,6}[1-9])"
)
_SEPARATORS = str.maketrans("", "", " -")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # twice the digit, its own digits added


def find(text: str, hint: str = "") -> Iterator[Identifier]:
    """Yield the card numbers of a normalised text.

    >>> [found.kind for found in find("卡号4111 1111 1111 1111，不是4111111111111112")]
    ['bank_card']
    """
    for found in _NUMBER.finditer(text):
        number = found[0].translate(_SEPARATORS)
        if is_issued(number) and luhn(number) and not (in_code(text, found.start()) or is_dated(number)):
            yield Identifier("bank_card", *found.span(), "checksum")


def is_issued(number: str) -> bool:
    """Return whether a network gives out numbers that begin so, in this length."""
    first, length = int(number[:6]), len(number)
    return any(low <= first <= high and length in lengths for low, high, lengths in ISSUERS)


def luhn(number: str) -> bool:
    """Return whether the last digit is the check digit of the others.

    >>> luhn("79927398713"), luhn("79927398710")
    (True, False)
    """
    digits = [int(digit) for digit in reversed(number)]
    return (sum(digits[::2]) + sum(_DOUBLED[digit] for digit in digits[1::2])) % 10 == 0
