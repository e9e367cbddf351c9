"""What the emulator puts on its stack instead of objects: enough to judge a call, never enough to be one.

Small constants stand for themselves (None, bool, int, str, bytes, tuples of values); the rest is one of four marks.
"""

from dataclasses import dataclass
from typing import TypeAlias

from .result import Outcome

KEPT_BYTES = 4096  # longer texts and bytes are only measured
KEPT_ITEMS = 64  # longer tuples too


@dataclass(frozen=True, slots=True)
class Data:
    """Plain content that need not be kept: a float, a list, a dict, a set, a long text; where it lies in the stream.

    >>> Data("list").kind
    'list'
    """

    kind: str
    at: int = 0
    size: int = 0
    depth: int = 0  # of a tuple of tuples


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that the stream names, and what the name lists say about it.

    >>> Global("collections", "OrderedDict", "clean").path
    'collections.OrderedDict'
    """

    module: str
    name: str
    outcome: Outcome

    @property
    def path(self) -> str:
        """The dotted name.

        >>> Global("os", "system", "dangerous").path
        'os.system'
        """
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class Made:
    """What a harmless call returned: a tensor, an array, a dtype (its letters in `detail`), a storage (its key, and
    its number of elements in `count`).

    >>> Made("dtype", "f8").detail
    'f8'
    """

    kind: str
    detail: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True)
class Unknown:
    """The result of something already noted; whatever is done with it adds no news."""


UNKNOWN = Unknown()

Value: TypeAlias = "bool | int | str | bytes | Data | Global | Made | Unknown | tuple[Value, ...] | None"


def name_of(value: Value) -> str:
    """What to call a value in a finding.

    >>> name_of(Data("list")), name_of(3)
    ('list', 'int')
    """
    match value:
        case Global():
            return value.path
        case Data() | Made():
            return value.kind
    return type(value).__name__
