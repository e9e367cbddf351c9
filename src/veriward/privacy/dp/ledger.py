"""The privacy budget of one data set, in one SQLite file: everything is charged before its noise is drawn.

A charge is one transaction: `BEGIN IMMEDIATE` takes the file's only write lock, the sums are read, the filter decides, the
entry is written and synced to disk; then the caller may draw noise. So two processes never overspend together, a refusal
spends nothing, and whatever happens after the charge, also `kill -9`, leaves the charge standing. A step that was charged
and not executed stays charged: nobody can prove that its noise was never seen.
"""

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from veriward.core.errors import BudgetExceeded, LedgerError, SettingsError
from veriward.privacy.dp.bounds import check_count
from veriward.privacy.dp.event_json import from_dict, to_dict
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.filter import Filter, orders_for
from veriward.privacy.dp.ledger_file import insert, open_file, told
from veriward.privacy.dp.relation import Relation

if TYPE_CHECKING:
    from dp_accounting import DpEvent

INTERVAL = 50  # steps that a training charges ahead


@dataclass(frozen=True)
class Receipt:
    """A charge that stands: its number in the ledger, what it was for, and what is spent with it."""

    number: int
    what: str
    epsilon: float  # of everything charged so far, at the ledger's delta


@dataclass(frozen=True)
class Entry:
    """One line of a ledger: `count` times `event`, for `what`, charged at `time` (seconds since 1970)."""

    number: int
    what: str
    event: Event
    count: int
    distance: float
    time: float


class Ledger:
    """The budget of one data set. Use it as a context, or close it.

    `Ledger(path, (epsilon, delta))` makes the file or opens it; budget, neighbouring relation, unit, fingerprint of the data
    and Rényi orders are fixed by the first call for ever, and later calls may leave them out. `plan`: the event that most of
    the budget is meant for; without it the orders suit most spending (see `filter`).

    The guarantee is the budget: (epsilon, delta) for everything together, also where each charge depends on earlier results
    (Feldman & Zrnic, 2021, arXiv:2008.11193). It holds if every release and every training on the data is charged.
    Raises LedgerError for a file that is corrupt, foreign, read-only, held by another process, or of other data;
    SettingsError for values out of range or other than the file's.

    >>> import tempfile
    >>> from veriward.privacy.dp.events import full_batch
    >>> with tempfile.TemporaryDirectory() as folder, Ledger(f"{folder}/shop.ledger", (1.0, 1e-5)) as ledger:
    ...     receipt = ledger.charge(full_batch(sigma=20.0, steps=1), "mean basket")
    ...     receipt.number, round(receipt.epsilon, 2), len(ledger.entries())
    (1, 0.28, 1)
    """

    def __init__(
        self,
        path: str | Path,
        budget: tuple[float, float] | None = None,
        *,
        data: str | None = None,
        relation: Relation | str | None = None,
        unit: str | None = None,
        plan: Event | None = None,
        wait_seconds: float = 10.0,
    ) -> None:
        self.path = Path(path)
        made = _terms(budget, data, relation, unit, plan) if budget is not None else None
        self._connection, self._turn = open_file(self.path, made, wait_seconds), threading.Lock()
        try:
            self._read_terms(budget, data, relation, unit)
        except BaseException:
            self._connection.close()
            raise

    def _read_terms(
        self, budget: tuple[float, float] | None, data: str | None, relation: Relation | str | None, unit: str | None
    ) -> None:
        with told(self.path):
            terms = json.loads(self._connection.execute("SELECT body FROM terms").fetchone()[0])
        self._filter = Filter(terms["epsilon"], terms["delta"], tuple(terms["orders"]))
        self.relation, self.unit, self.data = Relation(terms["relation"]), str(terms["unit"]), str(terms["data"])
        if data is not None and data != self.data:
            raise LedgerError(
                f"{self.path}: keeps the budget of other data ({self.data[:12] or '–'}), not of {data[:12]}; "
                "want one ledger for each data set"
            )
        _same("budget", budget and tuple(budget), self.budget)
        _same("relation", _relation(relation), self.relation)
        _same("unit", unit, self.unit)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was charged stays charged."""
        self._connection.close()

    @property
    def budget(self) -> tuple[float, float]:
        """(epsilon, delta) for everything together."""
        return self._filter.epsilon, self._filter.delta

    @property
    def spent(self) -> float:
        """The epsilon of what was charged, at the ledger's delta. The guarantee to state is the budget, not this: how much
        was spent when one stopped may itself depend on results (Rogers et al., 2016, arXiv:1605.08294: odometers)."""
        return self._filter.epsilon_of(self._sums()[0])

    @property
    def remaining(self) -> float:
        """The budget's epsilon less `spent`: not a sum of epsilons, for costs add up in divergences. See `fits`."""
        return max(0.0, self._filter.epsilon - self.spent)

    def entries(self) -> list[Entry]:
        """Return all charges, oldest first; LedgerError if one of them cannot be read."""
        with told(self.path):
            rows = self._connection.execute(
                "SELECT number, what, event, count, distance, time FROM entry ORDER BY number"
            )
            try:
                return [Entry(n, what, from_dict(json.loads(event)), *rest) for n, what, event, *rest in rows]
            except SettingsError as error:
                raise LedgerError(f"{self.path}: {error}; restore a copy of the ledger") from error

    def fits(self, event: "Event | DpEvent", *, distance: float = 0.0) -> int:
        """Return how many times an event could be charged now, at most a thousand million; nothing is spent."""
        spent, far = self._sums()
        cost = self._cost(self._own(event))
        least, most = 0, 10**9
        while least < most:
            middle = (least + most + 1) // 2
            after = [s + middle * c for s, c in zip(spent, cost, strict=True)]
            least, most = (middle, most) if self._filter.allows(after, far + middle * distance) else (least, middle - 1)
        return least

    def charge(self, event: "Event | DpEvent", what: str, *, count: int = 1, distance: float = 0.0) -> Receipt:
        """Charge `count` times an event, durably, before its noise is drawn; return the receipt.

        A bare `DpEvent` is taken to hold under the ledger's relation and unit. `distance`: total variation of the noise
        drawn from the exact one. Raises BudgetExceeded if it does not fit (nothing is spent), SettingsError for an event of
        another relation or unit, LedgerError if the file cannot be written.
        """
        own, count = self._own(event), check_count("count", count)
        if not (math.isfinite(distance) and distance >= 0):
            raise SettingsError(f"distance = {distance}: want a total variation distance, 0 or above")
        cost = self._cost(own)
        text = json.dumps(to_dict(own))
        with self._writing():
            spent, far = self._sums()
            after = [s + count * c for s, c in zip(spent, cost, strict=True)]
            if not self._filter.allows(after, far + count * distance):
                raise self._refusal(what, spent, after, far + count * distance)
            number = insert(self._connection, self.path, what, text, count, count * distance, after, time.time())
        return Receipt(number, what, self._filter.epsilon_of(after))

    def charging(self, what: str) -> "Callable[[Event | DpEvent, float], Receipt]":
        """Return what the releases of `privacy.dp` take as `charge=`: they call it with their event before they draw."""
        return lambda event, distance: self.charge(event, what, distance=distance)

    def open(self, step: "Event | DpEvent", what: str, *, interval: int = INTERVAL) -> "Meter":
        """Return the meter of a training whose every step costs `step`; it charges `interval` steps ahead."""
        return Meter(self, self._own(step), what, check_count("interval", interval))

    def _own(self, event: "Event | DpEvent") -> Event:
        """Return an event that holds under the ledger's relation, for its unit."""
        if not isinstance(event, Event):
            return Event(event, (self.relation,), "release", self.unit)
        if self.relation not in event.relations:
            raise SettingsError(
                f"{self.path}: keeps a {self.relation.value} budget, and the event holds under {event.relation.value}; "
                "use the sampler of that relation, or another ledger with a budget of its own"
            )
        if event.unit != self.unit:
            raise SettingsError(
                f"{self.path}: protects one {self.unit}, and the event one {event.unit}; account for that unit"
            )
        return event

    def _cost(self, event: Event) -> Sequence[float]:
        from veriward.privacy.dp.accountants import curve

        return [float(value) for value in curve(event, self.relation, self._filter.orders)]

    def _sums(self) -> tuple[Sequence[float], float]:
        """Return what is spent at each order, and the sum of distances: the last entry carries both."""
        with told(self.path):
            row = self._connection.execute("SELECT sums FROM entry ORDER BY number DESC LIMIT 1").fetchone()
            sums = json.loads(row[0]) if row else [0.0] * len(self._filter.orders)
            far = self._connection.execute("SELECT total(distance) FROM entry").fetchone()[0]
        return [float(value) for value in sums], float(far)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the file's only write lock, and our threads' turn; nothing is kept unless everything within succeeds."""
        with self._turn:
            with told(self.path):
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                with told(self.path):
                    self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _refusal(self, what: str, spent: Sequence[float], after: Sequence[float], far: float) -> BudgetExceeded:
        epsilon, delta = self.budget
        if self._filter.allows(after, 0.0):
            most = self._filter.distance_budget
            return BudgetExceeded(
                f"{self.path}: {what} would bring the distance of drawn noise from its law to {far:.3g}, over the "
                f"{most:.3g} that delta {delta:g} has for it; nothing was spent: a new ledger with a larger delta has more"
            )
        now, then = self._filter.epsilon_of(spent), self._filter.epsilon_of(after)
        return BudgetExceeded(
            f"{self.path}: {what} would bring epsilon from {now:.4g} to {then:.4g}, over the budget of {epsilon:g} at delta "
            f"{delta:g}; nothing was spent: use more noise or fewer steps, or stop here"
        )


class Meter:
    """Steps of one training, charged ahead in blocks: call `step()` before the noise of each step is drawn.

    After `kill -9` the ledger holds at least every executed step, and at most one interval more. A resumed training opens
    a new meter: the lost steps stay charged.
    """

    def __init__(self, ledger: Ledger, event: Event, what: str, interval: int) -> None:
        self._ledger, self._event, self._what, self._interval = ledger, event, what, interval
        self.charged = 0
        self.taken = 0

    def step(self, count: int = 1) -> None:
        """Count steps that are about to be executed; charges the next block first where it is needed.

        Near the end of the budget blocks shrink to what still fits; BudgetExceeded if the steps themselves do not.
        """
        missing = self.taken + check_count("count", count) - self.charged
        if missing > 0:
            self.charged += self._charge(missing)
        self.taken += count

    def _charge(self, missing: int) -> int:
        block = max(missing, min(self._interval, self._ledger.fits(self._event)))
        try:
            self._ledger.charge(self._event, self._what, count=block)
        except BudgetExceeded:  # somebody spent between the look and the charge
            if block == missing:
                raise
            block = missing
            self._ledger.charge(self._event, self._what, count=block)
        return block


def _terms(
    budget: tuple[float, float], data: str | None, relation: Relation | str | None, unit: str | None, plan: Event | None
) -> dict[str, Any]:
    """Return what a new ledger fixes for ever; SettingsError for values out of range."""
    epsilon, delta = budget
    own = _relation(relation) or (plan.relation if plan else Relation.ADD_OR_REMOVE)
    made = Filter(float(epsilon), float(delta), orders_for(epsilon, delta, plan, own))
    return {
        "epsilon": made.epsilon,
        "delta": made.delta,
        "orders": list(made.orders),
        "relation": own.value,
        "unit": unit or (plan.unit if plan else "row"),
        "data": data or "",
    }


def _relation(given: Relation | str | None) -> Relation | None:
    known = [each.value for each in Relation]
    if given is not None and given not in known:
        raise SettingsError(f"relation = {given!r}: want one of {', '.join(known)}")
    return None if given is None else Relation(given)


def _same(name: str, given: Any, kept: Any) -> None:
    if given is not None and given != kept:
        raise SettingsError(
            f"{name} = {given}: the ledger was made with {kept}, and that stays; leave it out, or open a new one"
        )
