"""All our recognisers in one pass over many texts.

Texts without a digit and without an @ are passed over by one search each; the others are joined, with a character between
them that no identifier holds, so that a recogniser starts once per megabyte and not once per text.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from veriward.privacy.identifiers import bank_card, documents, iban, ip, mail, mobile, plate, resident_id, us, uscc
from veriward.privacy.identifiers.context import STOP
from veriward.privacy.identifiers.fold import fold
from veriward.privacy.identifiers.identifier import KINDS, Identifier

Finder = Callable[[str, str], Iterator[Identifier]]
FINDERS: tuple[Finder, ...] = tuple(
    module.find for module in (resident_id, mobile, bank_card, uscc, iban, mail, ip, us, plate, documents)
)
LARGEST = 1 << 20  # code points that are joined
_WORTH = re.compile(r"[\d@＠﹫]")
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}


@dataclass(frozen=True)
class Patterns:
    """The recognisers of this package, as one."""

    name: str = "patterns"

    def find(self, texts: Sequence[str], hint: str = "") -> Iterator[tuple[int, Identifier]]:
        """Yield (number of the text, what was found in it); nothing overlaps.

        >>> [(number, one.kind) for number, one in Patterns().find(["好评", "手机１３８１２３４５６７８"])]
        [(1, 'cn_mobile')]
        """
        worth = _WORTH.search
        for numbers in _blocks([(number, text) for number, text in enumerate(texts) if worth(text)]):
            yield from _scan([number for number, _ in numbers], [text for _, text in numbers], hint)


def _blocks(texts: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    block, size = [], 0
    for number, text in texts:
        block.append((number, text))
        size += len(text) + 1
        if size > LARGEST:
            yield block
            block, size = [], 0
    if block:
        yield block


def _scan(numbers: Sequence[int], texts: Sequence[str], hint: str) -> Iterator[tuple[int, Identifier]]:
    folded = fold(STOP.join(texts))
    found = resolve(one for finder in FINDERS for one in finder(folded.text, hint))
    if not found:
        return
    starts, place = [], 0
    for text in texts:
        starts.append(place)
        place += len(text) + 1
    for one in found:
        start, end = folded.span(one.start, one.end)
        at = bisect_right(starts, start) - 1
        yield numbers[at], replace(one, start=start - starts[at], end=end - starts[at])


def resolve(found: Iterable[Identifier]) -> list[Identifier]:
    """Return what stays where identifiers overlap, in the order of the text: an identity number is no bank card.

    The kind that stands first in KINDS wins; of kinds that are not there, which plug-ins bring, the longer span.
    """
    kept: list[Identifier] = []
    starts: list[int] = []
    for one in sorted(found, key=_strength):
        at = bisect_right(starts, one.start)
        if (at == 0 or kept[at - 1].end <= one.start) and (at == len(kept) or kept[at].start >= one.end):
            kept.insert(at, one)
            starts.insert(at, one.start)
    return kept


def _strength(one: Identifier) -> tuple[int, int, int]:
    return _RANK.get(one.kind, len(_RANK)), one.start - one.end, one.start
