"""Release one number, or a statistic of a column, privately: sensitivities follow from the bounds the user gives.

Values outside the bounds are clamped and missing ones left out, silently: how many there were is itself private, and
`outside` tells it to whoever holds the data, not to whoever reads the result. Sums are taken over whole grid steps, so
neither the order of the rows nor float addition adds to the sensitivity (Casacuberta et al., 2022, arXiv:2207.10635).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from veriward.core.errors import DataError, SettingsError
from veriward.privacy.dp.discrete import below
from veriward.privacy.dp.events import Event, compose
from veriward.privacy.dp.mechanisms import DiscreteLaplace, Gaussian, Laplace, Mechanism
from veriward.privacy.dp.noise import SecureSource, Source
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.released import (
    FINE_BITS,
    Released,
    check_epsilon,
    numbers_in,
    power_of_two_below,
)
from veriward.privacy.dp.selection import Exponential

# A ledger's: called with the event, which names its relation and unit, and the sampler's distance before any noise is drawn;
# raising stops the release
Charge = Callable[[Event, float], object]
Numbers = NDArray[np.float64]
QUANTILE_BITS = 24  # candidates between the bounds


@dataclass(frozen=True)
class Outside:
    """How many rows a release clamps or leaves out. Private: for the holder of the data, not for publication."""

    below: int
    above: int
    missing: int


def outside(values: ArrayLike, *, low: float, high: float) -> Outside:
    """Count rows below low, above high, and missing (NaN), before any release. Not private: keep it to yourself.

    >>> outside([1.0, 7.0, float("nan")], low=0, high=5)
    Outside(below=0, above=1, missing=1)
    """
    column = _column(values)
    _check_bounds(low, high)
    return Outside(int((column < low).sum()), int((column > high).sum()), int(np.isnan(column).sum()))


def laplace(
    value: ArrayLike,
    *,
    sensitivity: float,
    epsilon: float,
    neighbouring: Relation = Relation.ADD_OR_REMOVE,
    source: Source | None = None,
    charge: Charge | None = None,
) -> Released:
    """Return value, a number or an array of them, plus Laplace noise; `sensitivity`: L1 over all numbers together,
    under the neighbouring relation that you name.

    Raises SettingsError for a sensitivity or an epsilon out of range, DataError for NaN. See `mechanisms.Laplace`.

    >>> laplace(3.0, sensitivity=1.0, epsilon=1.0).source
    'cryptographic'
    """
    mechanism = Laplace(sensitivity, epsilon, len(numbers_in(value)), neighbouring)
    return mechanism.release(value, _charged(source, charge, mechanism))


def gaussian(
    value: ArrayLike,
    *,
    sensitivity: float,
    epsilon: float,
    delta: float,
    neighbouring: Relation = Relation.ADD_OR_REMOVE,
    source: Source | None = None,
    charge: Charge | None = None,
) -> Released:
    """Return value, a number or an array of them, plus Gaussian noise; `sensitivity`: L2 over all numbers together,
    under the neighbouring relation that you name.

    Raises SettingsError for a sensitivity, epsilon or delta out of range, DataError for NaN. See `mechanisms.Gaussian`.

    >>> gaussian([1.0, 2.0], sensitivity=1.0, epsilon=1.0, delta=1e-6).delta
    1e-06
    """
    mechanism = Gaussian(sensitivity, epsilon, delta, len(numbers_in(value)), neighbouring)
    return mechanism.release(value, _charged(source, charge, mechanism))


def count(
    values: ArrayLike,
    *,
    epsilon: float,
    neighbouring: Relation = Relation.ADD_OR_REMOVE,
    source: Source | None = None,
    charge: Charge | None = None,
) -> Released:
    """Return how many rows hold a value, a whole number; it may be negative, which averages out: do not cut it.

    Sensitivity 1 under both relations (a replaced row may turn missing).

    >>> isinstance(count([1.0, 2.0], epsilon=1.0).value, int)
    True
    """
    mechanism = DiscreteLaplace(1, epsilon, neighbouring=neighbouring)
    column = np.asarray(values)
    if column.ndim != 1:
        raise DataError(f"values: have {column.ndim} dimensions; want one column")
    source = _charged(source, charge, mechanism)
    missing = np.isnan(column).sum() if column.dtype.kind == "f" else 0
    return mechanism.release(len(column) - int(missing), source)


def sum(
    values: ArrayLike,
    *,
    low: float,
    high: float,
    epsilon: float,
    neighbouring: Relation = Relation.ADD_OR_REMOVE,
    source: Source | None = None,
    charge: Charge | None = None,
) -> Released:
    """Return the sum of the values clamped to [low, high]; missing rows count as zero.

    Sensitivity max(|low|, |high|) for a row added or removed; max(high, 0) - min(low, 0) for one replaced.

    >>> sum([1.0, 2.0], low=0, high=5, epsilon=1.0).neighbouring.value
    'add-or-remove-one'
    """
    _check_bounds(low, high)
    column = _column(values)
    reach = max(high, 0.0) - min(low, 0.0) if neighbouring == Relation.REPLACE else max(abs(low), abs(high))
    steps = _Steps.of(low, high, reach, epsilon)
    mechanism = DiscreteLaplace(steps.reach(0, neighbouring), epsilon, grid=steps.grid, neighbouring=neighbouring)
    source = _charged(source, charge, mechanism)
    return mechanism.release_units(steps.total(column, 0), source)


def mean(
    values: ArrayLike,
    *,
    low: float,
    high: float,
    epsilon: float,
    neighbouring: Relation = Relation.ADD_OR_REMOVE,
    source: Source | None = None,
    charge: Charge | None = None,
) -> Released:
    """Return the mean of the values clamped to [low, high], itself within them.

    The sum around the middle of the bounds has sensitivity (high - low) / 2 for a row added or removed, high - low for
    one replaced. With add-or-remove the number of rows is private: half of epsilon counts them, missing ones left out.
    With replace-one it is public; there missing rows count as the middle.
    """
    _check_bounds(low, high)
    check_epsilon(epsilon)
    public = neighbouring == Relation.REPLACE  # the number of rows
    share = epsilon if public else epsilon / 2
    column = _column(values)
    if public and not len(column):
        raise DataError("mean: no rows came, and with replace-one their number is public; want at least one row")
    steps = _Steps.of(low, high, high - low, share)
    middle = (steps.low + steps.high) // 2
    total = DiscreteLaplace(steps.reach(middle, neighbouring), share, grid=steps.grid, neighbouring=neighbouring)
    rows = None if public else DiscreteLaplace(1, share, neighbouring=neighbouring)
    source = _charged(source, charge, *([total] if rows is None else [total, rows]))
    summed = total.release_units(steps.total(column, middle), source)
    n = len(column) if rows is None else rows.release(int((~np.isnan(column)).sum()), source).value
    value = min(max(middle * steps.grid + summed.value / max(n, 1), low), high)
    delta = summed.delta * (1 if public else 2)  # the epsilons of the two add up, and so do the deltas
    return Released(value, epsilon, delta, "row", neighbouring, source.name)


def histogram(
    values: ArrayLike,
    *,
    edges: Sequence[float],
    epsilon: float,
    neighbouring: Relation = Relation.ADD_OR_REMOVE,
    source: Source | None = None,
    charge: Charge | None = None,
) -> Released:
    """Return counts (len(edges) - 1,) per [edge, next edge), the last one closed; values outside fall into the ends.

    The edges must not come from the data. L1 sensitivity 1 for a row added or removed, 2 for one replaced. Missing rows
    are in no bin.
    """
    bins = np.asarray(edges, np.float64).reshape(-1)
    if len(bins) < 2 or not (np.isfinite(bins).all() and bool((np.diff(bins) > 0).all())):
        raise SettingsError("edges: want at least two finite numbers, each larger than the one before")
    moved = 2 if neighbouring == Relation.REPLACE else 1
    mechanism = DiscreteLaplace(moved, epsilon, len(bins) - 1, neighbouring=neighbouring)
    column = _column(values)
    source = _charged(source, charge, mechanism)
    counts, _ = np.histogram(np.clip(column[~np.isnan(column)], bins[0], bins[-1]), bins)
    return mechanism.release(counts, source)


def quantile(
    values: ArrayLike,
    *,
    q: float,
    low: float,
    high: float,
    epsilon: float,
    neighbouring: Relation = Relation.ADD_OR_REMOVE,
    source: Source | None = None,
    charge: Charge | None = None,
) -> Released:
    """Return a value near the q-quantile within [low, high], 0 <= q <= 1: one of 2^24 or more points between the bounds.

    Exponential mechanism with utility -|rows below r - q n| (Smith, 2011, "Privacy-preserving statistical estimation
    with optimal convergence rates", algorithm 2). One row added moves it by max(q, 1 - q), one replaced by 1. Missing
    rows are left out.
    """
    _check_bounds(low, high)
    if not 0 <= q <= 1:
        raise SettingsError(f"q = {q}; want a number between 0 and 1, 0.5 for the median")
    moved = 1.0 if neighbouring == Relation.REPLACE else max(q, 1 - q)
    mechanism = Exponential(moved * (1 + 1e-6), epsilon, neighbouring)  # the rounding of q n in float64
    column = _column(values)
    source = _charged(source, charge, mechanism)
    grid = power_of_two_below(high - low) * 2.0**-QUANTILE_BITS
    first, last = math.ceil(low / grid), math.floor(high / grid)
    rows = np.sort(np.clip(np.rint(np.clip(column[~np.isnan(column)], low, high) / grid), first, last)).astype(np.int64)
    ends = np.concatenate([[first - 1], rows, [last]])  # candidates in (ends[j], ends[j + 1]] have j rows below them
    held = np.flatnonzero(np.diff(ends) > 0)
    utilities, counts = -np.abs(held - q * len(rows)), np.diff(ends)[held]
    chosen = mechanism.release(utilities, source, counts=counts)
    point = ends[held[chosen.value]] + 1 + below(int(counts[chosen.value]), 1, source)[0]
    return replace(chosen, value=float(point * grid))


@dataclass(frozen=True)
class _Steps:
    """Bounds in whole steps of a grid that depends on bounds and epsilon alone."""

    grid: float
    low: int
    high: int

    @classmethod
    def of(cls, low: float, high: float, reach: float, epsilon: float) -> "_Steps":
        check_epsilon(epsilon)
        grid = power_of_two_below(min(reach, reach / epsilon)) * 2.0**-FINE_BITS
        return cls(grid, round(low / grid), round(high / grid))

    def reach(self, middle: int, neighbouring: Relation) -> int:
        """Return the most that one row moves the total around `middle`; a missing row adds nothing to it."""
        up, down = max(self.high - middle, 0), max(middle - self.low, 0)
        return up + down if neighbouring == Relation.REPLACE else max(up, down)

    def total(self, column: Numbers, middle: int) -> NDArray[np.int64]:
        """Return the sum over rows of (value - middle), clamped, in steps, shape ()."""
        present = np.clip(column[~np.isnan(column)] / self.grid, self.low, self.high)
        return np.asarray((np.rint(present).astype(np.int64) - middle).sum(), np.int64)


def _column(values: ArrayLike) -> Numbers:
    try:
        column = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("values: cannot be read as numbers; want one column of numbers, NaN where missing") from error
    if column.ndim != 1:
        raise DataError(f"values: have {column.ndim} dimensions; want one column")
    return column


def _check_bounds(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SettingsError(f"bounds [{low}, {high}]; want finite ones, known without looking at the data")
    if low >= high:
        raise SettingsError(f"bounds [{low}, {high}]; want low below high")
    if high - low < max(abs(low), abs(high)) * 2.0**-28:
        raise SettingsError(
            f"bounds [{low}, {high}]; too near each other for where they lie: subtract low from the values"
        )


def _charged(source: Source | None, charge: Charge | None, *mechanisms: Mechanism) -> Source:
    """Charge the mechanisms before anything is drawn, and return the source to draw from."""
    if charge is not None:
        events = [Event(each.event(), (each.neighbouring,), "release", each.unit) for each in mechanisms]
        distance = math.fsum(mechanism.distance for mechanism in mechanisms)
        charge(events[0] if len(events) == 1 else compose(events), distance)
    return SecureSource() if source is None else source
