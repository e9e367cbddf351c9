"""The groups of a protected attribute as numbers: who belongs together, and what each group is called."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from veriward.core.table_domain import group_values

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Attribute:
    """A way to cut the rows into groups. `number` (n,) holds each row's place among `groups`."""

    name: str
    groups: tuple[str, ...]
    number: Array
    crossed: bool = False  # an intersection: we chose it, the subject did not declare it
    bands: str | None = None  # how many numbers became few groups

    @property
    def sizes(self) -> Array:
        """The rows of each group, (groups,)."""
        return np.bincount(self.number, minlength=len(self.groups))


def cut(name: str, values: Array, *, private: bool = False) -> Attribute:
    """Return the attribute that cuts rows by their value; many distinct numbers become quarters of their range.

    Groups of private columns are told by number, since a report must not quote what they hold.

    >>> cut("sex", np.array(["m", "f", "m"], dtype=object)).number.tolist()
    [1, 0, 1]
    """
    found, bands = group_values(values)
    texts = found.tolist()
    names = sorted(set(texts))
    place = {text: number for number, text in enumerate(names)}
    told = tuple(f"#{number + 1}" for number in range(len(names))) if private else tuple(names)
    number = np.fromiter((place[text] for text in texts), np.int64, len(texts))
    return Attribute(name, told, number, bands=None if private else bands)


def attributes_of(groups: Mapping[str, Array], private: Collection[str] = ()) -> list[Attribute]:
    """Return the attribute of each named column of a split's `groups`."""
    return [cut(name, values, private=name in private) for name, values in groups.items()]
