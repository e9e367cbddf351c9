"""Which rows got worse and which better between two dossiers over the same test rows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veriward.core.compare import SHARES
from veriward.core.finding import Finding
from veriward.reports.view.table import Column, columns

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

GOOD = {
    **dict.fromkeys(SHARES, 1),
    "broken": 0,
    "moved": 0,
}  # which answer one wants of a row; others have no better side


@dataclass(frozen=True)
class Paired:
    """One yes-or-no outcome of the rows that both dossiers looked at. Without a better side, worse is 0 → 1."""

    outcome: str
    sided: bool
    rows: int
    worse: "Array"  # row numbers
    better: "Array"

    @property
    def p(self) -> float:
        """McNemar's exact test, one-sided where the outcome has a better side: that no row tends to get worse."""
        from veriward.core.intervals import upper_tail

        worse, disagree = len(self.worse), len(self.worse) + len(self.better)
        if self.sided:
            return upper_tail(worse, disagree, 0.5)
        return min(2 * upper_tail(max(worse, disagree - worse), disagree, 0.5), 1.0)

    @property
    def drop(self) -> tuple[float, float, float]:
        """By how much the share of good rows fell, with its exact 95 % interval (Berger & Boos)."""
        from veriward.core.estimate import drop

        found = drop("drop", len(self.worse), len(self.better), self.rows)
        assert found.value is not None and found.low is not None and found.high is not None
        return found.value, found.low, found.high


def paired(a: Finding, b: Finding) -> list[Paired]:
    """Return every yes-or-no outcome that both findings have for equally many rows; the caller asks `same_rows`."""
    second = {column.name: column for column in columns(b)}
    both = [(column, second[column.name]) for column in columns(a) if column.name in second]
    return [_pair(x, y) for x, y in both if x.yes_no and y.yes_no and len(x.values) == len(y.values)]


def _pair(a: Column, b: Column) -> Paired:
    import numpy as np

    seen = a.seen & b.seen
    worse, better = (np.flatnonzero(seen & (a.values == x) & (b.values == 1 - x)) for x in (0, 1))
    if GOOD.get(a.name) == 1:
        worse, better = better, worse
    return Paired(a.name, a.name in GOOD, int(seen.sum()), worse, better)
