"""The groups where two or three protected attributes cross.

Whoever looks at one attribute at a time may see two fair halves of an unfair whole (Kearns et al., 2018,
arXiv:1711.05144, section 1): so every pair is compared, and the triple where there are three attributes.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from veriward.core.groups import Attribute
from veriward.core.note import Note, note

MOST_CROSSED = 6  # intersections that are compared: each takes a share of the error that is allowed
MOST_CELLS = 48  # groups of an intersection: with more, each is too small to show anything
TRIPLE = 3


def crossed(attributes: Sequence[Attribute]) -> tuple[list[Attribute], list[Note]]:
    """Return the intersections that are compared, and a note that names those that are not."""
    found: list[Attribute] = []
    left: list[str] = []
    for parts in _choices(attributes):
        cells = _cross(parts)
        if len(found) < MOST_CROSSED and len(cells.groups) <= MOST_CELLS:
            found.append(cells)
        else:
            left.append(cells.name)
    if not left:
        return found, []
    return found, [note("fairness.crossed_left", attributes=left, most=MOST_CROSSED, groups=MOST_CELLS)]


def _choices(attributes: Sequence[Attribute]) -> Iterator[tuple[Attribute, ...]]:
    """Yield the pairs in the order in which the attributes were declared, then the triple where there is just one."""
    telling = [attribute for attribute in attributes if len(attribute.groups) > 1]
    yield from combinations(telling, 2)
    if len(telling) == TRIPLE:
        yield tuple(telling)


def _cross(parts: Sequence[Attribute]) -> Attribute:
    """Return the groups that occur; a combination that no row has is no group."""
    number = np.zeros_like(parts[0].number)
    for part in parts:
        number = number * len(part.groups) + part.number
    kept, number = np.unique(number, return_inverse=True)
    sizes = [len(part.groups) for part in parts]
    places = np.stack(np.unravel_index(kept, sizes), axis=1).tolist()
    names = (" × ".join(part.groups[place] for part, place in zip(parts, row, strict=True)) for row in places)
    return Attribute(" × ".join(part.name for part in parts), tuple(names), number.reshape(-1), crossed=True)
