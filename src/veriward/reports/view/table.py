"""The rows of a finding as a table: which columns it has, which rows are asked for, in which order, on which page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veriward.core.finding import Finding

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

PAGE = 50  # rows
MOST_CHOICES = 12  # distinct values that are offered to choose from; columns with more are filtered by a range
UNSEEN = "none"  # what an address says for rows that were not looked at


@dataclass(frozen=True)
class Column:
    """One outcome of every row: whole numbers have -1, others NaN, where a row was not looked at."""

    name: str
    values: "Array"  # (n,)
    seen: "Array"  # (n,) bool
    choices: tuple[int, ...]  # the distinct values of whole numbers that have few; else empty

    @property
    def yes_no(self) -> bool:
        """Whether the column answers a question."""
        return bool(self.choices) and set(self.choices) <= {0, 1}


@dataclass(frozen=True)
class Asked:
    """What an address asks for; whatever cannot be read as such is not asked for."""

    choices: Mapping[int, str]  # by the number of a column: a value, or UNSEEN
    low: Mapping[int, float]
    high: Mapping[int, float]
    examples: bool  # only rows with a witness
    sort: int | None
    falling: bool
    page: int

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Asked":
        """Return what is asked: `is3=1`, `min2=0.5`, `max2=1`, `examples=1`, `sort=-2`, `page=4`."""
        sort = whole(query.get("sort", "").removeprefix("-"))
        choices = dict(_numbered(query, "is"))
        low, high = ({i: x for i, v in _numbered(query, end) if (x := _real(v)) is not None} for end in ("min", "max"))
        falling, page = query.get("sort", "").startswith("-"), whole(query.get("page", ""))
        return cls(choices, low, high, query.get("examples") == "1", sort, falling, page or 1)


@dataclass(frozen=True)
class Selected:
    """The rows of one page, and how many there are in all."""

    rows: "Array"  # row numbers of this page
    total: int
    page: int
    pages: int


def columns(finding: Finding) -> list[Column]:
    """Return the outcomes that have one number per row, those of the most common length."""
    import numpy as np

    found = {name: np.asarray(a) for name, a in finding.outcomes.items()}
    flat = {name: a for name, a in found.items() if a.ndim == 1 and a.dtype.kind in "biuf"}
    lengths = [len(a) for a in flat.values()]
    n = max(lengths, key=lambda length: (lengths.count(length), length), default=0)
    return [_column(name, a) for name, a in flat.items() if len(a) == n]


def _column(name: str, values: "Array") -> Column:
    import numpy as np

    if values.dtype.kind == "f":
        return Column(name, values, ~np.isnan(values), ())
    seen = values != -1 if values.dtype.kind == "i" else np.ones(len(values), bool)
    distinct = np.unique(values[seen])
    return Column(name, values, seen, tuple(int(v) for v in distinct) if len(distinct) <= MOST_CHOICES else ())


def select(found: list[Column], asked: Asked, examples: Iterable[int] = ()) -> Selected:
    """Return the rows of the page that is asked for; a page beyond the last is the last."""
    import numpy as np

    n = len(found[0].values) if found else 0
    keep = np.ones(n, bool)
    if asked.examples:
        keep[:] = False
        keep[[row for row in examples if 0 <= row < n]] = True
    for i, column in enumerate(found):
        keep &= _kept(column, asked.choices.get(i, ""), asked.low.get(i), asked.high.get(i))
    rows = np.flatnonzero(keep)
    if asked.sort is not None and 0 <= asked.sort < len(found):
        rows = rows[_order(found[asked.sort], rows, falling=asked.falling)]
    pages = max(-(-len(rows) // PAGE), 1)
    page = min(max(asked.page, 1), pages)
    return Selected(rows[(page - 1) * PAGE : page * PAGE], len(rows), page, pages)


def _kept(column: Column, choice: str, low: float | None, high: float | None) -> "Array":
    import numpy as np

    keep = np.ones(len(column.values), bool)
    if choice == UNSEEN:
        return ~column.seen
    if choice and (value := whole(choice)) is not None:
        keep &= column.seen & (column.values == value)
    if low is not None:
        keep &= column.seen & (column.values >= low)
    if high is not None:
        keep &= column.seen & (column.values <= high)
    return keep


def _order(column: Column, rows: "Array", *, falling: bool) -> "Array":
    """Return the order of rows by a column; those not looked at come last either way."""
    import numpy as np

    values = column.values[rows].astype(np.float64)
    return np.lexsort((-values if falling else values, ~column.seen[rows]))


def _numbered(query: Mapping[str, str], prefix: str) -> list[tuple[int, str]]:
    named = ((whole(name.removeprefix(prefix)), value) for name, value in query.items() if name.startswith(prefix))
    return [(i, value) for i, value in named if i is not None and value]


def whole(text: str) -> int | None:
    """Return a whole number of few digits (an address may hold anything), or None.

    >>> whole("12"), whole("-1"), whole("x"), whole("9" * 5000)
    (12, -1, None, None)
    """
    try:
        return int(text) if len(text) < 12 else None
    except ValueError:
        return None


def _real(text: str) -> float | None:
    """Return a number, or None; NaN compares with nothing."""
    try:
        value = float(text)
    except ValueError:
        return None
    return None if value != value else value  # noqa: PLR0124 -- NaN
