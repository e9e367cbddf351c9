"""What-if questions on a private training: from what is known to what is asked, and the same for neighbouring settings."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from veriward.core.errors import SettingsError
from veriward.privacy.dp import accounting
from veriward.privacy.dp.bounds import check_count, check_positive, check_rate
from veriward.privacy.dp.events import Event

NOISES = (0.75, 1.0, 1.5, 2.0)  # times the noise multiplier: rows of the table
LENGTHS = (0.5, 1.0, 2.0)  # times the steps: its columns
COARSE = 4  # of neighbours: some ten-thousandths above the tight bound
POINTS = 25  # of the curve


@dataclass(frozen=True)
class Setting:
    """A private training: what `veriward epsilon` is asked about, and what it answers for."""

    noise_multiplier: float
    sampling_rate: float
    steps: int
    delta: float
    sampling: str
    accountant: str
    group: int = 1
    coarse: int = 1  # above 1: a quicker and looser bound, for the neighbours

    @property
    def epsilon(self) -> float:
        """Epsilon at delta, an upper bound."""
        from veriward.privacy.dp.accountants import epsilon_at

        return epsilon_at(self._event, self.delta, self.accountant, coarse=self.coarse)

    @property
    def relation(self) -> str:
        """The neighbouring relation of the sampler."""
        return self._event.relation.value

    @property
    def unit(self) -> str:
        """What is protected."""
        return self._event.unit

    @property
    def _event(self) -> Event:
        return accounting.training(
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.sampling_rate,
            steps=self.steps,
            sampling=self.sampling,
            group=self.group,
        )


def rate_of(rows: int | None, batch: int | None) -> float:
    """Return the sampling rate of a batch of rows; without a batch all rows are in each. SettingsError for other mixes.

    >>> rate_of(60_000, 600)
    0.01
    """
    if batch is None:
        return 1.0
    if rows is None:
        raise SettingsError(f"--batch {batch}: of how many rows? add --rows N, the public size of the data set")
    return check_rate("--batch / --rows", check_count("--batch", batch) / check_count("--rows", rows))


def steps_of(steps: int | None, epochs: float | None, rate: float, sampling: str) -> int | None:
    """Return the steps of so many epochs, or the steps themselves; None where neither is given.

    >>> steps_of(None, 2, 0.01, "poisson")
    200
    """
    if steps is not None and epochs is not None:
        raise SettingsError("--steps and --epochs: give one of the two")
    if epochs is None:
        return None if steps is None else check_count("--steps", steps)
    batches = accounting.whole_batches(rate) if sampling == "shuffled" else 1 / rate
    return max(1, math.ceil(check_positive("--epochs", epochs) * batches - 1e-9))


def answer(
    *,
    noise_multiplier: float | None,
    epsilon: float | None,
    steps: int | None,
    sampling_rate: float,
    delta: float,
    sampling: str,
    accountant: str,
    group: int = 1,
) -> Setting:
    """Return the setting with what was left out filled in: epsilon and steps ask for the noise, epsilon and noise for the
    steps, noise and steps for epsilon. SettingsError unless exactly two of the three are given.
    """
    given = [noise_multiplier, epsilon, steps]
    if sum(value is not None for value in given) != 2:
        raise SettingsError("want two of --noise, --epsilon and --steps (or --epochs): the third is the answer")
    if noise_multiplier is None:
        assert epsilon is not None
        assert steps is not None
        noise_multiplier = accounting.noise_multiplier(
            epsilon=epsilon,
            sampling_rate=sampling_rate,
            steps=steps,
            delta=delta,
            sampling=sampling,
            accountant=accountant,
            group=group,
        )
    if steps is None:
        assert epsilon is not None
        steps = accounting.steps(
            epsilon=epsilon,
            noise_multiplier=noise_multiplier,
            sampling_rate=sampling_rate,
            delta=delta,
            sampling=sampling,
            accountant=accountant,
            group=group,
        )
        if steps == 0:
            raise SettingsError(
                f"--epsilon {epsilon}: not one step fits with noise {noise_multiplier}; want more noise"
            )
    return Setting(noise_multiplier, sampling_rate, steps, delta, sampling, accountant, group)


def table(setting: Setting) -> list[list[Setting]]:
    """Return neighbouring settings, one row per noise multiplier and one column per number of steps."""
    lengths = sorted({max(1, round(setting.steps * factor)) for factor in LENGTHS})
    noises = [setting.noise_multiplier * factor for factor in NOISES]
    return [[_near(setting, noise, length) for length in lengths] for noise in noises]


def _near(setting: Setting, noise: float, length: int) -> Setting:
    near = replace(setting, noise_multiplier=noise, steps=length)
    return near if near == setting else replace(near, coarse=COARSE)


def curve(setting: Setting) -> Iterator[Setting]:
    """Yield settings along the noise, from half of it to four times: what `--out` draws."""
    for point in range(POINTS):
        factor = 0.5 * 8 ** (point / (POINTS - 1))
        yield _near(setting, setting.noise_multiplier * factor, setting.steps)
