"""The regions that identity numbers begin with: GB/T 2260, provinces and prefectures, all that were in use since 1980.

The codes of the provinces and, under each, of its prefectures and cities (third and fourth digit) as listed at
zh.wikipedia.org/wiki/中华人民共和国行政区划代码 (zones 1 to 8), abolished ones included: numbers keep the region in which
they were issued. Counties (fifth and sixth digit) are not checked: there were some 6900, and many more for farms and zones.
"""

from functools import cache

PREFECTURES = {
    11: "00-02",
    12: "00-02",
    13: "00-11 21-30 90",
    14: "00-11 21-27 90",
    15: "00-09 21-29",
    21: "00-14 21-22 90",
    22: "00-08 21-26 90",
    23: "00-12 21-27 90",
    31: "00-02",
    32: "00-13 21-27 90",
    33: "00-11 21-28 90",
    34: "00-18 21-29",
    35: "00-09 21-27 90",
    36: "00-11 21-26",
    37: "00-17 21-29 90",
    41: "00-17 21-30 90",
    42: "00-13 21-29 90",
    43: "00-13 21-31 90",
    44: "00-29 51-53 90",
    45: "00-14 21-28",
    46: "00-04 90",
    50: "00-03",
    51: "00-39 90",
    52: "00-06 21-27",
    53: "00-09 21-35",
    54: "00-06 21-27",
    61: "00-10 21-27",
    62: "00-12 21-30",
    63: "00-02 21-28",
    64: "00-05 21-22",
    65: "00-05 21-32 40-43 90",
    71: "00",
    81: "00",  # with 82 and 83 also the first digits of residence permits for people of Hong Kong, Macau and Taiwan
    82: "00",
    83: "00",
}
PROVINCES = frozenset(PREFECTURES)


@cache
def prefectures() -> frozenset[int]:
    """Return the first four digits of all regions.

    >>> 1101 in prefectures(), 9901 in prefectures()
    (True, False)
    """
    found: set[int] = set()
    for province, ranges in PREFECTURES.items():
        for text in ranges.split():
            first, _, last = text.partition("-")
            found.update(100 * province + city for city in range(int(first), int(last or first) + 1))
    return frozenset(found)


def is_region(code: str) -> bool:
    """Return whether six digits begin as a region's code does."""
    return int(code[:4]) in prefectures()


def is_foreigners(code: str) -> bool:
    """Return whether six digits begin a foreigner's permanent residence number: 9, province, country (ISO 3166-1)."""
    return code[0] == "9" and int(code[1:3]) in PROVINCES and code[3:] != "000"
