"""Made-up identifiers and near misses, put into the user's own rows: what the scan must find, and what it must leave.

The check digits are computed here by other formulas than the recognisers use (the tables of the standards), so that an
error there cannot hide behind the same error here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import Control
from veriward.core.subject import Subject

if TYPE_CHECKING:
    from veriward.core.threat import Threat

Draw = np.random.Generator
FEWEST_CAUGHT = 0.98  # of the planted rows: below, the control fails
MOST_MISTAKEN = 0.01  # of the rows with a near miss
SIGNS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
CARD_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999, section 4.2
CODE_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)  # GB 32100-2015, table 2
REGIONS = ("110101", "310115", "440106", "320102", "510107", "420111", "610113", "230103")


def digits(draw: Draw, count: int) -> str:
    """Return random digits."""
    return "".join(str(digit) for digit in draw.integers(0, 10, count))


def identity(draw: Draw) -> str:
    """Return an identity number of nobody."""
    region = REGIONS[draw.integers(len(REGIONS))]
    head = f"{region}{draw.integers(1940, 2010)}{draw.integers(1, 13):02}{draw.integers(1, 29):02}{digits(draw, 3)}"
    rest = sum(weight * int(digit) for weight, digit in zip(CARD_WEIGHTS, head, strict=True)) % 11
    return head + "10X98765432"[rest]


def card(draw: Draw) -> str:
    """Return a UnionPay card: the check digit makes the sum of Luhn a multiple of ten."""
    head = "62" + digits(draw, 14 if draw.random() < 0.5 else 16)
    doubled = [int(d) * (2 if (len(head) - place) % 2 else 1) for place, d in enumerate(head)]
    return head + str(-sum(d // 10 + d % 10 for d in doubled) % 10)


def code(draw: Draw) -> str:
    """Return a unified social credit code."""
    body = "".join(SIGNS[place] for place in draw.integers(0, len(SIGNS), 9))
    head = f"91{REGIONS[draw.integers(len(REGIONS))]}{body}"
    rest = sum(weight * SIGNS.index(sign) for weight, sign in zip(CODE_WEIGHTS, head, strict=True)) % 31
    return head + SIGNS[(31 - rest) % 31]


def account(draw: Draw) -> str:
    """Return a German IBAN: 98 minus the rest of the number with "DE00" (131400) behind it."""
    body = digits(draw, 18)
    return f"DE{98 - int(body + '131400') % 97:02}{body}"


def mobile(draw: Draw) -> str:
    """Return a mobile number."""
    return f"{draw.choice(['138', '159', '186', '199', '173'])}{digits(draw, 8)}"


def mail(draw: Draw) -> str:
    """Return an address at a domain that is kept for examples."""
    return f"user{digits(draw, 5)}@example.com"


PLANTED: tuple[tuple[str, Callable[[Draw], str]], ...] = (
    ("身份证{}号", identity),
    ("电话{}，", mobile),
    ("卡号{}。", card),
    ("税号{}，", code),
    (" IBAN {} ", account),
    ("邮箱{}谢谢", mail),
)


def wide(text: str) -> str:
    """Return a text in full-width digits.

    >>> wide("138")
    '１３８'
    """
    return text.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"})


def plant(texts: Sequence[str], draw: Draw) -> list[str]:
    """Return each text with an identifier in its middle, every fourth in full-width digits."""
    found = []
    for number, text in enumerate(texts):
        sentence, make = PLANTED[number % len(PLANTED)]
        value = wide(make(draw)) if draw.random() < 0.25 else make(draw)
        found.append(_put(text, sentence.format(value)))
    return found


def plant_near_misses(texts: Sequence[str], draw: Draw) -> list[str]:
    """Return each text with something that is no identifier: one digit off, a day that does not exist, glued to digits."""
    found = []
    for number, text in enumerate(texts):
        sentence, make = PLANTED[number % 5]  # an address has no check digit
        value = make(draw)
        turn = number // 5 % 3
        if make is mobile or turn == 2:
            value = f"{value}{digits(draw, 3)}" if make in (mobile, account) else f"{digits(draw, 8)}{value}"
        elif make is identity and turn == 1:
            value = f"{value[:10]}0230{value[14:]}"
        else:
            value = value[:-5] + str((int(value[-5], 36) + 1) % 10) + value[-4:]
        found.append(_put(text, sentence.format(value)))
    return found


def _put(text: str, sentence: str) -> str:
    half = len(text) // 2
    return f"{text[:half]} {sentence} {text[half:]}"


def decisions(x: object) -> np.ndarray[Any, Any]:
    """Return the same two scores for every row: the model is not asked."""
    return np.full((len(np.asarray(x)), 2), 0.5)


def planted_controls(texts: Sequence[str], threat: Threat) -> tuple[Control, ...]:
    """Return texts with an identifier in every second one, and the same texts with near misses."""
    draw, at = np.random.default_rng(0), {"split": "test"}
    half = len(texts) // 2
    mixed = [*plant(texts[:half], draw), *texts[half:]]
    share = half / len(texts)
    return (
        Control("planted identifiers", _subject(mixed), threat, {"pii_rows": (FEWEST_CAUGHT * share, share)}, at),
        Control(
            "near misses", _subject(plant_near_misses(texts, draw)), threat, {"pii_rows": (0.0, MOST_MISTAKEN)}, at
        ),
    )


def _subject(texts: Sequence[str]) -> Subject:
    rows = {"x": np.zeros((len(texts), 1)), "y": np.arange(len(texts)) % 2, "text": np.array(texts, dtype=object)}
    return Subject.model_validate(
        {
            "name": "planted",
            "task": "classification",
            "model": {"live": decisions, "output": "probabilities"},
            "data": {"test": rows},
            "input": {"kind": "tabular", "bounds": (0.0, 1.0)},
        }
    )
