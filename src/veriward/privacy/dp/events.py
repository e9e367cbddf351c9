"""Events of private training: what an accountant reads, with the neighbouring relation that goes with the sampler.

The sampler decides the event. There is no way to build the event of a Poisson sampler for a shuffled training: amplification
by Poisson sampling, claimed for shuffled batches, understates epsilon by up to four times (Chua et al., 2024, "How private
are DP-SGD implementations?", arXiv:2403.17673; Annamalai et al., 2024, "To shuffle or not to shuffle", arXiv:2411.10614).

Every multiplier here is the standard deviation of the noise on the *sum* of the clipped rows, divided by the clipping norm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from veriward.core.errors import SettingsError
from veriward.privacy.dp.bounds import check_count, check_positive, check_rate
from veriward.privacy.dp.relation import Relation

if TYPE_CHECKING:
    from dp_accounting import DpEvent


BOTH = (Relation.ADD_OR_REMOVE, Relation.ZERO_OUT)


@dataclass(frozen=True)
class Event:
    """What is spent: `dp` for the accountant, under any one of `relations` (the first is the one to state)."""

    dp: "DpEvent"
    relations: tuple[Relation, ...]
    sampling: str  # poisson | fixed | shuffled | cyclic | full | release
    unit: str = "row"

    @property
    def relation(self) -> Relation:
        """The neighbouring relation to state with any epsilon of this event."""
        return self.relations[0]

    def times(self, count: int) -> "Event":
        """Return the event of `count` such trainings or steps, chosen one after the other."""
        from dp_accounting import SelfComposedDpEvent

        return replace(self, dp=SelfComposedDpEvent(self.dp, check_count("count", count)))


def poisson(rate: float, sigma: float, steps: int, *, group: int = 1, unit: str = "row") -> Event:
    """Return the event of `steps` steps, each on rows that are drawn independently with probability `rate`.

    `rate` in (0, 1] is a public constant, never derived from a private number of rows; a batch that came out empty adds
    noise and counts as a step. `group` > 1: what `group` rows of one person lose together: of them a binomial number is
    drawn, and the sum moves by at most as many clipping norms (Ganesh, 2024, arXiv:2401.10294, theorem 3.1).
    `unit="user"` with group 1 is user-level *sampling*: persons are drawn, and each person's sum is clipped.
    Raises SettingsError for values out of range.

    >>> event = poisson(0.01, 1.0, 1000)
    >>> event.relation.value, event.unit
    ('add-or-remove-one', 'row')
    """
    from dp_accounting import PoissonSampledDpEvent

    check_rate("rate", rate)
    if rate == 1.0:
        return full_batch(sigma, steps, group=group, unit=unit)
    step = _mixture(rate, sigma, group) if group > 1 else PoissonSampledDpEvent(float(rate), _gaussian(sigma))
    return Event(step, BOTH, "poisson", _unit(unit, group)).times(steps)


def fixed(batch: int, rows: int, sigma: float, steps: int, *, unit: str = "row") -> Event:
    """Return the event of `steps` steps, each on `batch` of `rows` rows, drawn without replacement; replace-one.

    Replacing a row moves the sum of clipped rows by up to *two* clipping norms, and the accountant's multiplier is noise per
    sensitivity: the event therefore holds sigma / 2. The bound is theorem 27 of Wang, Balle & Kasiviswanathan (2019,
    arXiv:1808.00087). Raises SettingsError for values out of range.

    >>> event = fixed(100, 10_000, 2.0, 500)
    >>> event.relation.value, event.dp.event.event.noise_multiplier
    ('replace-one', 1.0)
    """
    from dp_accounting import SampledWithoutReplacementDpEvent

    check_count("rows", rows)
    if check_count("batch", batch) > rows:
        raise SettingsError(f"batch = {batch}: more than the {rows} rows; want at most as many")
    step = SampledWithoutReplacementDpEvent(rows, batch, _gaussian(check_positive("sigma", sigma) / 2))
    return Event(step, (Relation.REPLACE,), "fixed", unit).times(steps)


def shuffled(epochs: int, sigma: float, *, group: int = 1, unit: str = "row") -> Event:
    """Return the event of `epochs` passes over batches of a fixed size in shuffled order; zero-out.

    Each row stands in exactly one batch of an epoch, so an epoch costs one *unamplified* Gaussian (parallel composition);
    no gain by the shuffling is claimed. `group` rows of a person may share a batch: sensitivity grows by `group`.

    >>> event = shuffled(10, 4.0)
    >>> event.relation.value, event.dp.count
    ('zero-out', 10)
    """
    sigma = check_positive("sigma", sigma) / check_count("group", group)
    return Event(_gaussian(sigma), (Relation.ZERO_OUT,), "shuffled", _unit(unit, group)).times(epochs)


def full_batch(sigma: float, steps: int, *, group: int = 1, unit: str = "row") -> Event:
    """Return the event of `steps` steps on all rows; add-or-remove-one, and zero-out as well.

    >>> full_batch(5.0, 20).dp.event.noise_multiplier
    5.0
    """
    sigma = check_positive("sigma", sigma) / check_count("group", group)
    return Event(_gaussian(sigma), BOTH, "full", _unit(unit, group)).times(steps)


def compose(events: Sequence[Event]) -> Event:
    """Return one event of several on the same data; they may be chosen one after the other, their sizes beforehand.

    Raises SettingsError where no neighbouring relation holds for all: epsilons of different relations do not add up.

    >>> compose([poisson(0.1, 2.0, 10), shuffled(1, 4.0)]).relation.value
    'zero-out'
    """
    from dp_accounting import ComposedDpEvent

    if not events:
        raise SettingsError("no events to compose; want at least one")
    shared = tuple(r for r in events[0].relations if all(r in event.relations for event in events))
    if not shared:
        said = ", ".join(sorted({event.relation.value for event in events}))
        raise SettingsError(
            f"events of different neighbouring relations ({said}) do not compose; train with one sampler"
        )
    units = sorted({event.unit for event in events})
    if len(units) > 1:
        raise SettingsError(f"events of different units ({', '.join(units)}) do not compose; account all for one unit")
    kinds = {event.sampling for event in events}
    return Event(ComposedDpEvent([e.dp for e in events]), shared, kinds.pop() if len(kinds) == 1 else "mixed", units[0])


def search(trainings: Sequence[Event], selection: Event | None) -> Event:
    """Return what a search of hyper-parameters costs: *all* candidate trainings, and the private choice among them.

    `selection` is the event of the choice (report-noisy-max, or a noisy accuracy per candidate); None only where the choice
    looked at public data alone.

    >>> search([poisson(0.1, 2.0, 10)] * 3, full_batch(10.0, 3)).sampling
    'mixed'
    """
    return compose([*trainings, *([selection] if selection else [])])


def random_stopping(training: Event, *, mean: float, shape: float) -> Event:
    """Return the cost of training a random number of times and keeping the best (Papernot & Steinke, 2022,
    arXiv:2110.03620, theorems 2 and 6); the number is drawn first, and the training includes its own private score.

    `mean` number of trainings; `shape`: inf Poisson, 1 geometric, 0 logarithmic, else truncated negative binomial.
    For the accountant "rdp" alone. Raises SettingsError for values out of range.

    >>> random_stopping(poisson(0.1, 2.0, 10), mean=20, shape=1).dp.mean
    20.0
    """
    from dp_accounting.dp_event import RepeatAndSelectDpEvent

    if not (shape >= 0):
        raise SettingsError(f"shape = {shape}: want 0 (logarithmic), 1 (geometric), inf (Poisson), or between")
    if not (math.isfinite(mean) and mean >= 1):
        raise SettingsError(f"mean = {mean}: want the expected number of trainings, at least 1")
    return replace(training, dp=RepeatAndSelectDpEvent(training.dp, float(mean), float(shape)))


def _gaussian(sigma: float) -> "DpEvent":
    from dp_accounting import GaussianDpEvent

    return GaussianDpEvent(check_positive("sigma", sigma))


def _mixture(rate: float, sigma: float, group: int) -> "DpEvent":
    """Return a step of which `group` rows are one person's: a binomial number of them is drawn."""
    from dp_accounting.dp_event import MixtureOfGaussiansDpEvent

    weights = [math.comb(group, i) * rate**i * (1 - rate) ** (group - i) for i in range(group + 1)]
    total = math.fsum(weights)
    sensitivities = [float(i) for i in range(group + 1)]
    return MixtureOfGaussiansDpEvent(check_positive("sigma", sigma), sensitivities, [w / total for w in weights])


def _unit(unit: str, group: int) -> str:
    check_count("group", group)
    return unit if group == 1 else f"{group} {unit}s together"
