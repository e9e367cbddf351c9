"""Identifiers in columns of numbers: identity cards, mobiles and bank cards that were stored as int64 or float64.

Arithmetic on whole columns. A double holds 15 digits: what a float column says of an identity card is its region and its
date of birth, so there the check digit is not asked for; cards beyond 2^53 are not recognised in floats.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from veriward.privacy.identifiers.bank_card import ISSUERS
from veriward.privacy.identifiers.identifier import Confidence
from veriward.privacy.identifiers.mobile import SEGMENTS
from veriward.privacy.identifiers.regions import prefectures
from veriward.privacy.identifiers.resident_id import OLDEST

Array = np.ndarray[Any, Any]
SMALLEST = 10**10  # no identifier of these kinds is a smaller number
EXACT = 2**53
LARGEST = 2**63 - 1024  # the largest double below 2^63
DAYS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
LONGEST_CARD, SHORTEST_CARD = 19, 14


@dataclass(frozen=True)
class Marked:
    """Where a kind stands in a column: `at` (k,) are places, in ascending order."""

    kind: str
    at: Array
    confidence: Confidence


def present(values: Array) -> Array:
    """Return which numbers are there at all: (n,) booleans."""
    return np.isfinite(values) if values.dtype.kind == "f" else np.ones(len(values), bool)


def find_numbers(values: Array) -> Iterator[Marked]:
    """Yield what numbers (n,) of any type may be. Columns with fractions and types of less than 64 bits hold none.

    >>> [(m.kind, m.at.tolist()) for m in find_numbers(np.array([7, 13812345678, 110101199003078881]))]
    [('cn_id', [2]), ('cn_mobile', [1])]
    """
    if values.dtype.kind not in "iuf" or values.dtype.itemsize < 8:
        return
    with np.errstate(invalid="ignore"):
        at = np.flatnonzero((values >= SMALLEST) & (values <= LARGEST))
    is_float = values.dtype.kind == "f"
    if not len(at) or (is_float and _has_fractions(values)):
        return
    numbers = values[at].astype(np.int64)
    taken = np.zeros(len(at), bool)
    for kind, mask, confidence in _kinds(numbers, is_float):
        if (mask & ~taken).any():
            yield Marked(kind, at[mask & ~taken], confidence)
        taken |= mask


def _has_fractions(values: Array) -> bool:
    there = values[np.isfinite(values)]
    return bool((there != np.trunc(there)).any())


def _kinds(numbers: Array, is_float: bool) -> Iterator[tuple[str, Array, Confidence]]:
    yield "cn_id", _identity(numbers, checked=not is_float), "format" if is_float else "checksum"
    yield "cn_id_15", _short_identity(numbers), "format"
    yield "bank_card", _cards(numbers) & (numbers < EXACT if is_float else True), "checksum"
    bare = np.where(numbers // 10**11 == 86, numbers % 10**11, numbers)
    yield "cn_mobile", _member(bare // 10**8, [int(segment) for segment in SEGMENTS], 1000), "format"


def _member(codes: Array, known: Any, size: int) -> Array:
    """Return which codes are among the known ones, all below `size`."""
    table = np.zeros(size + 1, bool)
    table[list(known)] = True
    return table[np.minimum(codes, size)]


def _identity(numbers: Array, *, checked: bool) -> Array:
    """ISO 7064 MOD 11-2: the digits times powers of two, the check digit once, are 1 modulo 11."""
    found = (numbers >= 10**17) & (numbers < 10**18) & _member(numbers // 10**14, prefectures(), 10_000)
    found &= _born(numbers // 10**4 % 10**8)
    if checked and found.any():
        digits = _digits(numbers[found], 18)
        found[found] = (digits * [pow(2, 17 - place, 11) for place in range(18)]).sum(axis=1) % 11 == 1
    return found


def _short_identity(numbers: Array) -> Array:
    found = (numbers >= 10**14) & (numbers < 10**15) & _member(numbers // 10**11, prefectures(), 10_000)
    return found & _born(19_000_000 + numbers // 1000 % 10**6)


def _born(dates: Array) -> Array:
    """Return which numbers YYYYMMDD are dates of the past on which somebody alive may have been born."""
    today = datetime.date.today()
    year, month, day = dates // 10_000, dates // 100 % 100, dates % 100
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    last = DAYS[np.where(month <= 12, month, 0)] - ((month == 2) & ~leap)
    until = today.year * 10_000 + today.month * 100 + today.day
    return np.asarray((year >= OLDEST) & (dates <= until) & (day >= 1) & (day <= last))


def _cards(numbers: Array) -> Array:
    found = np.zeros(len(numbers), bool)
    for length in range(SHORTEST_CARD, LONGEST_CARD + 1):
        low, high = 10 ** (length - 1), min(10**length - 1, LARGEST)
        of_length = (numbers >= low) & (numbers <= high)
        if not of_length.any():
            continue
        chosen = numbers[of_length]
        first = chosen // 10 ** (length - 6)
        issued = np.zeros(len(chosen), bool)
        for start, end, lengths in ISSUERS:
            if length in lengths:
                issued |= (first >= start) & (first <= end)
        digits = _digits(chosen, length)[:, ::-1]
        digits[:, 1::2] = digits[:, 1::2] * 2 - 9 * (digits[:, 1::2] > 4)
        found[of_length] = issued & (digits.sum(axis=1) % 10 == 0)
    return found


def _digits(numbers: Array, length: int) -> Array:
    """Return (n, length) digits."""
    powers = np.array([10**place for place in range(length - 1, -1, -1)], dtype=np.int64)
    return numbers[:, None] // powers % 10
