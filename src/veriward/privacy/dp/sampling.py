"""Which rows a step of private training sees: a sampler draws batches, and says which event they are accounted as.

What a sampler holds is public: rates, batch sizes, and, where the neighbouring relation keeps it fixed, the number of rows.
Under add-or-remove-one the number of rows is private, so neither a rate nor a divisor may be computed from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from veriward.core.errors import SettingsError
from veriward.privacy.dp import events
from veriward.privacy.dp.bounds import check_count, check_rate
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.noise import Source


class Sampler(Protocol):
    """What private training asks of a sampler."""

    @property
    def divisor(self) -> float | None:
        """The public size of a batch, or None where the user has to state what size is expected."""

    @property
    def span(self) -> int:
        """How many steps one charge covers: those of an epoch where each row is seen once an epoch, else 1."""

    def batches(self, rows: int, source: Source) -> Iterator[Tensor]:
        """Yield the row numbers (batch,) int64 of one step after the other, without end; a batch may be empty."""

    def event(self, sigma: float, steps: int) -> Event:
        """Return what `steps` steps cost at noise multiplier `sigma`."""


@dataclass(frozen=True)
class Poisson:
    """An independent coin for every row. Add-or-remove-one: `rate` is a public constant, never batch / number of rows.

    Mironov, Talwar & Zhang, 2019 (arXiv:1908.10530). `rows` of a data set only says how many coins are thrown. A batch may
    come out empty. The divisor has to be stated: rate times the number of rows that anybody may know to be *about* right.
    Raises SettingsError for a rate outside (0, 1].

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> len(next(Poisson(1.0).batches(5, SecureSource()))), Poisson(0.01).event(1.0, 100).relation.value
    (5, 'add-or-remove-one')
    """

    rate: float

    divisor = None
    span = 1

    def __post_init__(self) -> None:
        check_rate("rate", self.rate)

    def batches(self, rows: int, source: Source) -> Iterator[Tensor]:
        """Yield batches, see `Sampler`. A coin is 64 bits below rate * 2**64, rounded down: never above the rate."""
        least = int(self.rate * 2**64)
        while True:
            coins = source.bits(rows)
            yield torch.from_numpy(np.flatnonzero(coins < np.uint64(least)) if self.rate < 1 else np.arange(rows))

    def event(self, sigma: float, steps: int) -> Event:
        """Return the event of Poisson sampling."""
        return events.poisson(self.rate, sigma, steps)


@dataclass(frozen=True)
class Fixed:
    """`batch` of `rows` rows, drawn without replacement for every step anew. Replace-one: the number of rows is public.

    Raises SettingsError for a batch that is not between 1 and rows, and for data of another number of rows.

    >>> Fixed(10, rows=1000).event(2.0, 50).relation.value
    'replace-one'
    """

    batch: int
    rows: int

    span = 1

    def __post_init__(self) -> None:
        _check_batch(self.batch, self.rows)

    @property
    def divisor(self) -> float:
        """The batch."""
        return float(self.batch)

    def batches(self, rows: int, source: Source) -> Iterator[Tensor]:
        """Yield batches, see `Sampler`."""
        _check_rows(self.rows, rows)
        while True:
            yield torch.from_numpy(_order(rows, self.batch, source)[: self.batch].copy())

    def event(self, sigma: float, steps: int) -> Event:
        """Return the event of sampling without replacement; for the accountant "rdp"."""
        return events.fixed(self.batch, self.rows, sigma, steps)


@dataclass(frozen=True)
class _Epochs:
    """Whole batches of epochs in which each row comes at most once."""

    batch: int
    rows: int

    def __post_init__(self) -> None:
        _check_batch(self.batch, self.rows)

    @property
    def divisor(self) -> float:
        """The batch."""
        return float(self.batch)

    @property
    def span(self) -> int:
        """Steps of an epoch."""
        return self.rows // self.batch


@dataclass(frozen=True)
class Shuffled(_Epochs):
    """Whole batches of a newly shuffled epoch; what is left over sits the epoch out. Zero-out: the number of rows is public.

    An epoch, also one that was broken off, costs one Gaussian without amplification: see `events.shuffled`.
    Raises SettingsError for a batch that is not between 1 and rows, and for data of another number of rows.

    >>> Shuffled(100, rows=1050).span, Shuffled(100, rows=1050).event(4.0, 21).dp.count  # 10 steps an epoch: 3 epochs
    (10, 3)
    """

    def batches(self, rows: int, source: Source) -> Iterator[Tensor]:
        """Yield batches, see `Sampler`; starts with a new epoch."""
        _check_rows(self.rows, rows)
        while True:
            order = torch.from_numpy(_order(rows, rows, source))
            yield from order[: self.span * self.batch].split(self.batch)

    def event(self, sigma: float, steps: int) -> Event:
        """Return the event of the epochs that `steps` steps touch."""
        return events.shuffled(-(-check_count("steps", steps) // self.span), sigma)


@dataclass(frozen=True)
class Cyclic(_Epochs):
    """Whole batches in one order, shuffled once: a row comes back after exactly `span` steps. Zero-out, rows are public.

    For noise that is correlated over steps (`ftrl`), whose cost depends on how far apart a row's steps lie. What is left
    over never takes part. With other noise an epoch costs one Gaussian without amplification, as for `Shuffled`.
    Raises SettingsError for a batch that is not between 1 and rows, and for data of another number of rows.

    >>> Cyclic(100, rows=1000).span, Cyclic(100, rows=1000).event(4.0, 21).dp.count  # 10 steps an epoch: 3 epochs
    (10, 3)
    """

    def batches(self, rows: int, source: Source) -> Iterator[Tensor]:
        """Yield batches, see `Sampler`; draws once."""
        _check_rows(self.rows, rows)
        order = torch.from_numpy(_order(rows, rows, source))
        while True:
            yield from order[: self.span * self.batch].split(self.batch)

    def event(self, sigma: float, steps: int) -> Event:
        """Return the event of the epochs that `steps` steps touch."""
        return replace(events.shuffled(-(-check_count("steps", steps) // self.span), sigma), sampling="cyclic")


@dataclass(frozen=True)
class Full:
    """All rows in every step. Add-or-remove-one: the number of rows is private, so the divisor has to be stated.

    >>> Full().event(20.0, 10).sampling
    'full'
    """

    divisor = None
    span = 1

    def batches(self, rows: int, source: Source) -> Iterator[Tensor]:
        """Yield all rows, see `Sampler`; draws nothing."""
        while True:
            yield torch.arange(rows)

    def event(self, sigma: float, steps: int) -> Event:
        """Return the event of steps on all rows."""
        return events.full_batch(sigma, steps)


def _order(rows: int, batch: int, source: Source) -> NDArray[np.int64]:
    """Return rows in random order, of which the first `batch` are an exactly uniform subset.

    Rows are sorted by 64 random bits each. Ties would favour low numbers; only one across the border of the batch changes
    the set, and then all is drawn again.
    """
    while True:
        words = source.bits(rows)
        order: NDArray[Any] = np.argsort(words, kind="stable")
        if batch == rows or words[order[batch - 1]] != words[order[batch]]:
            return order


def _check_batch(batch: int, rows: int) -> None:
    if check_count("batch", batch) > check_count("rows", rows):
        raise SettingsError(f"batch = {batch}: more than the {rows} rows; want at most as many")


def _check_rows(declared: int, rows: int) -> None:
    if declared != rows:
        raise SettingsError(
            f"rows = {declared}: the data have {rows}; this sampler's number of rows is public, and exact"
        )
