"""PATE: teachers on disjoint parts of private data vote on public data, noise hides each vote, a student learns the labels.

Papernot et al., 2017 (arXiv:1610.05755) and 2018 (arXiv:1802.08908). This is the sound form of "noise on outputs": whatever
the teachers are, a unit of the private data moves one vote of each query. The student sees public data and noisy labels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from veriward.core.errors import DataError, ModelError, SettingsError
from veriward.core.streams import Stream
from veriward.privacy.dp.bounds import check_count, check_delta
from veriward.privacy.dp.discrete import Integers, below
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.released import slack
from veriward.privacy.dp.votes import UNANSWERED, Aggregator

if TYPE_CHECKING:
    from veriward.privacy.dp.ledger import Ledger

RELATIONS = (Relation.ADD_OR_REMOVE, Relation.REPLACE, Relation.ZERO_OUT)
Predict = Callable[[Any], ArrayLike]  # rows (n, ...) -> labels (n,)
Fit = Callable[[Any, Integers, int], Predict]  # rows (n, ...), labels (n,), seed


@dataclass(frozen=True, repr=False)
class Votes:
    """For the data holder only: votes (queries, classes), and what they cost by the bound that looks at them."""

    counts: Integers
    aggregator: Aggregator
    labels: Integers

    def epsilon(self, delta: float) -> float:
        """Return the data-dependent epsilon at delta. It is computed from private votes: to publish it is a leak.

        Papernot et al., 2018, theorem 6; publishing it takes the smooth sensitivity of their section 4.3, which is not here.
        """
        from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon

        from veriward.privacy.dp.accountants import ORDERS

        orders = np.array([order for order in ORDERS if order > 1.01])
        spent = self.aggregator.dependent(self.counts, self.labels, orders)
        return max(0.0, float(compute_epsilon(orders, spent, check_delta(delta))[0]))

    @property
    def agreement(self) -> float:
        """The mean share of the teachers that the first class of a query has; 0 without queries."""
        return float((self.counts.max(1) / self.counts.sum(1)).mean()) if len(self.counts) else 0.0

    def __repr__(self) -> str:
        return f"Votes(for the data holder only, {len(self.counts)} queries)"


@dataclass(frozen=True, repr=False)
class Answers:
    """Labels (queries,) int64 for public rows, -1 where the teachers were not asked or not sure enough.

    `event`: what is claimed: a bound for all queries and all answers that were allowed, which depends on no vote.
    `distance`: of the noise from its law. `source`: "cryptographic", or "simulation", which protects nothing.
    """

    labels: Integers
    event: Event
    distance: float
    source: str
    holder: Votes

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which queries have a label, (queries,)."""
        known: NDArray[np.bool_] = self.labels != UNANSWERED
        return known

    def epsilon(self, delta: float) -> float:
        """Return the data-independent epsilon at delta, which may be published: an upper bound, noise's distance included.

        Raises SettingsError for a delta that the noise's distance alone may exceed.
        """
        from veriward.privacy.dp.accountants import epsilon_at

        share = check_delta(delta) / 2
        lost = slack(epsilon_at(self.event, share, "pld"), self.distance)  # at most: epsilon falls as delta grows
        if lost > share:
            raise SettingsError(
                f"delta = {delta}: the noise's distance from its law may cost {lost:.3g}; want a larger one"
            )
        return epsilon_at(self.event, delta - lost, "pld")

    def __repr__(self) -> str:
        kind = "Answers" if self.source == "cryptographic" else f"NotPrivate({self.source})"
        return f"{kind}({int(self.answered.sum())} of {len(self.labels)} answered, unit={self.event.unit})"


@dataclass(frozen=True)
class Distilled:
    """A student that may be published with its answers' epsilon; None where no query was answered."""

    student: Predict | None
    answers: Answers


def parts(rows: int, count: int, source: Source, ids: ArrayLike | None = None) -> Integers:
    """Return the part of each row, (rows,) in [0, count): each unit's is drawn by itself, uniformly.

    Never cut from a shuffled list: there a row more would push others into other parts, and move many votes. ids (rows,):
    rows of the same id are one unit and stay together. Raises DataError for another number of ids.

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> a, b, c = parts(3, 1000, SecureSource(), ids=["ann", "bob", "ann"])
    >>> bool(a == c)
    True
    """
    if ids is None:
        return below(count, rows, source)
    if len(np.asarray(ids)) != rows:
        raise DataError(f"ids: {len(np.asarray(ids))} came for {rows} rows; want one for each row")
    units, unit = np.unique(np.asarray(ids), return_inverse=True)
    return below(count, len(units), source)[unit.reshape(-1)]


def teach(fit: Fit, x: Any, y: ArrayLike, part: Integers, count: int, seed: int) -> list[Predict]:
    """Return `count` teachers, the i-th fitted to the rows of part i. x (n, ...), y (n,) whole, part (n,) in [0, count).

    A teacher's answers depend on its own part alone: parts with no row or a single class get a constant answer.
    """
    labels, stream = np.asarray(y), Stream.of(seed, "pate")
    return [
        _teacher(fit, x[rows], labels[rows], _seed(stream, number))
        for number, rows in ((i, np.flatnonzero(part == i)) for i in range(count))
    ]


def _teacher(fit: Fit, x: Any, y: Integers, seed: int) -> Predict:
    known = np.unique(y)
    if len(known) > 1:
        return fit(x, y, seed)
    answer = int(known[0]) if len(known) else 0
    return lambda rows: np.full(len(rows), answer)


def _seed(stream: Stream, number: int) -> int:
    return stream.child(f"teacher {number}").key % (1 << 32)


def count_votes(teachers: list[Predict], public: Any, classes: int) -> Integers:
    """Return votes (n, classes) of teachers on public rows (n, ...); ModelError for answers that are no classes.

    >>> count_votes([lambda rows: [0, 1], lambda rows: [0, 0]], [[7.0], [8.0]], classes=3).tolist()
    [[2, 0, 0], [1, 1, 0]]
    """
    votes = np.zeros((len(public), classes), np.int64)
    for number, teacher in enumerate(teachers):
        answers = np.asarray(teacher(public))
        if answers.shape != (len(public),) or not _classes(answers, classes):
            raise ModelError(
                f"teacher {number}: answered {answers.dtype} of shape {answers.shape}; want ({len(public)},) whole numbers "
                f"from 0 to {classes - 1}"
            )
        votes[np.arange(len(public)), answers.astype(np.int64)] += 1
    return votes


def _classes(labels: NDArray[Any], classes: int) -> bool:
    return bool(np.issubdtype(labels.dtype, np.number) and np.isin(labels, np.arange(classes)).all())


def ask(
    votes: Integers,
    aggregator: Aggregator,
    source: Source,
    *,
    most: int | None = None,
    ledger: "Ledger | None" = None,
    what: str = "PATE",
    unit: str = "row",
) -> Answers:
    """Return noisy labels for votes (queries, classes); `most` answers at most, all unless given.

    A ledger is charged before each draw, for what is asked and answered; the claim covers all that was allowed. Raises
    BudgetExceeded before anything is drawn that does not fit.

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> from veriward.privacy.dp.votes import GNMax
    >>> answers = ask(np.array([[90, 10], [20, 80]]), GNMax(5.0), SecureSource())
    >>> answers.labels.tolist(), round(answers.epsilon(1e-5), 2)
    ([0, 1], 1.55)
    """
    queries, classes = votes.shape
    allowed = queries if most is None else min(check_count("most", most), queries)

    def charge(dp: Any, distance: float) -> None:
        if ledger:
            ledger.charge(Event(dp, RELATIONS, "release", unit), what, distance=distance)

    labels = aggregator.answer(votes, allowed, source, charge)
    event = Event(aggregator.event(queries, allowed), RELATIONS, "release", unit)
    distance = aggregator.distance(queries, allowed, classes)
    return Answers(labels, event, distance, source.name, Votes(votes, aggregator, labels))


def distil(
    fit: Fit,
    x: Any,
    y: ArrayLike,
    public: Any,
    *,
    teachers: int,
    classes: int,
    aggregator: Aggregator,
    source: Source,
    seed: int = 0,
    ids: ArrayLike | None = None,
    most: int | None = None,
    ledger: "Ledger | None" = None,
    what: str = "PATE",
) -> Distilled:
    """Return a student that learned private labels of public rows.

    fit(x, y, seed) -> predict, for teachers and student alike; e.g. `lambda x, y, seed: LogisticRegression().fit(x,
    y).predict`. x (n, ...) and y (n,) are private, classes 0 to classes - 1; public (m, ...) is not. ids (n,): whose row it
    is; the unit protected is then a user, else a row. More teachers carry more noise, and each learns from fewer rows.
    Raises SettingsError and DataError for values out of range, ModelError for a teacher that answers otherwise.
    """
    count, truth = check_count("teachers", teachers), np.asarray(y)
    if check_count("classes", classes) < 2 or count < 2:
        raise SettingsError(f"classes = {classes}, teachers = {teachers}: want at least 2 of either")
    if truth.shape != (len(x),) or not _classes(truth, classes):
        raise DataError(f"y: want one whole number from 0 to {classes - 1} for each of the {len(x)} rows of x")
    part = parts(len(x), count, source, ids)
    votes = count_votes(teach(fit, x, truth.astype(np.int64), part, count, seed), public, classes)
    unit = "row" if ids is None else "user"
    answers = ask(votes, aggregator, source, most=most, ledger=ledger, what=what, unit=unit)
    rows = np.flatnonzero(answers.answered)
    student = _teacher(fit, public[rows], answers.labels[rows], _seed(Stream.of(seed, "student"), 0))
    return Distilled(student if len(rows) else None, answers)
