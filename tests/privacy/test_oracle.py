"""python-stdnum as a second opinion, on thousands of random and mutated numbers; every difference has its reason."""

import datetime
from collections.abc import Callable, Iterator
from random import Random

import pytest

from veriward.privacy.identifiers import bank_card, iban, resident_id, us, uscc
from veriward.privacy.identifiers.regions import is_region

pytest.importorskip("stdnum")
from stdnum import iban as std_iban
from stdnum import luhn as std_luhn
from stdnum import numdb
from stdnum.cn import ric as std_ric
from stdnum.cn import uscc as std_uscc
from stdnum.us import ssn as std_ssn

COUNT = 4000


def digits(draw: Random, count: int) -> str:
    return "".join(draw.choices("0123456789", k=count))


def mutations(draw: Random, make: Callable[[Random], str]) -> Iterator[str]:
    """Valid numbers, and the same with one character that is another."""
    for _ in range(COUNT):
        number = make(draw)
        yield number
        place = draw.randrange(len(number))
        yield number[:place] + draw.choice("0123456789") + number[place + 1 :]


def counties() -> list[str]:
    return [f + low for _, f, _, _, below in numdb.get("cn/loc").prefixes for _, low, *_ in below]


def test_every_region_of_the_list_is_one() -> None:
    assert all(is_region(code) for code in counties())
    assert not any(
        is_region(f"{province}0101") for province in (10, 16, 20, 24, 30, 38, 40, 47, 55, 60, 66, 70, 90, 99)
    )


def test_identity_numbers() -> None:
    codes = counties()

    def make(draw: Random) -> str:
        day = f"{draw.randint(1880, 2060)}{draw.randint(1, 12):02}{draw.randint(1, 30):02}"
        head = f"{draw.choice(codes)}{day}{digits(draw, 3)}"
        return head + std_ric.calc_check_digit(head + "0")

    today, reasons = datetime.date.today(), set()
    for number in mutations(Random(0), make):
        ours, theirs = resident_id.is_valid(number), std_ric.is_valid(number)
        if ours == theirs:
            continue
        if theirs:  # it takes birthdays to come, and of before anybody alive
            assert not 1890 <= int(number[6:10]) <= today.year or number[6:14] > today.strftime("%Y%m%d")
            reasons.add("date")
        else:  # it wants the county to have existed in the year of birth; we look at the prefecture
            assert std_ric.calc_check_digit(number) == number[17].upper()
            reasons.add("county")
    assert reasons == {"date", "county"}


def test_unified_social_credit_codes() -> None:
    codes = [code for code in counties() if is_region(code)]

    def make(draw: Random) -> str:
        body = "".join(draw.choices(uscc.ALPHABET, k=9))
        head = f"{draw.choice(['91', '92', '93', '51', '12', '35', 'A1', 'N2', '99'])}{draw.choice(codes)}{body}"
        return head + std_uscc.calc_check_digit(head + "0")

    reasons = set()
    for number in mutations(Random(1), make):
        ours = all(c in uscc.ALPHABET for c in number) and number[2:8].isdigit() and uscc.is_valid(number)
        theirs = std_uscc.is_valid(number)
        if ours and not theirs:
            assert not number[0].isdigit()  # it knows no authority with a letter
            reasons.add("letter")
        elif theirs and not ours:  # it asks neither who registers what, nor where
            wrong = number[1] not in uscc.AUTHORITIES.get(number[0], "") or not is_region(number[2:8])
            assert wrong
            reasons.add("authority")
    assert reasons == {"letter", "authority"}


@pytest.mark.parametrize("length", [13, 15, 16, 19])
def test_luhn(length: int) -> None:
    draw = Random(length)
    numbers = [digits(draw, length) for _ in range(COUNT)]
    assert [bank_card.luhn(number) for number in numbers] == [std_luhn.is_valid(number) for number in numbers]
    assert sum(map(bank_card.luhn, numbers)) > COUNT / 20


def test_account_numbers() -> None:
    forms = {"DE": "18", "AE": "19", "AT": "16", "FR": "23", "CH": "17", "GB": "NWBK14", "NL": "ABNA10", "SE": "20"}

    def make(draw: Random) -> str:
        country = draw.choice(list(forms))
        bank = forms[country].rstrip("0123456789")
        bban = bank + digits(draw, int(forms[country].removeprefix(bank)))
        return country + std_iban.calc_check_digits(f"{country}00{bban}") + bban

    different = 0
    for number in mutations(Random(2), make):
        ours, theirs = iban.is_valid(number), std_iban.is_valid(number, check_country=False)
        different += (
            ours != theirs
        )  # a letter of GB or NL that became a digit: it knows each country's form of the rest
        assert ours >= theirs
    assert different <= COUNT / 100
    assert set(iban.LENGTHS) == {p for _, p, *_ in numdb.get("iban").prefixes}


def test_social_security_numbers() -> None:
    draw = Random(3)
    numbers = [digits(draw, 9) for _ in range(COUNT)]
    numbers += [f"{area}{digits(draw, 6)}" for area in ("000", "666", "900", "078") for _ in range(50)]
    numbers += ["078051120", "219099999", "457555462", "123000000", "123450000"]
    assert [us.is_social(number) for number in numbers] == [std_ssn.is_valid(number) for number in numbers]
