"""What a private training costs, and what noise a budget asks for. Every answer is an upper bound; the sampler decides the
event, and the event the neighbouring relation: see `events`.
"""

import math
from collections.abc import Callable, Sequence

from veriward.core.errors import SettingsError
from veriward.privacy.dp import events
from veriward.privacy.dp.bounds import check_count, check_delta, check_positive, check_rate
from veriward.privacy.dp.events import Event

SAMPLINGS = ("poisson", "fixed", "shuffled", "full")
MOST_STEPS = 10**9


def training(
    *, noise_multiplier: float, sampling_rate: float = 1.0, steps: int, sampling: str = "poisson", group: int = 1
) -> Event:
    """Return the event of a private training, with its relation and unit.

    `noise_multiplier` is std of the noise ÷ clipping norm, `sampling_rate` the public share of rows in a batch. `sampling`:
    "poisson", "fixed" (without replacement; replace-one), "shuffled" (fixed batches of a shuffled epoch; zero-out; an epoch
    has floor(1 / rate) whole batches) or "full". `group`: rows of one person, protected together (not for "fixed").
    Raises SettingsError for values out of range.

    >>> training(noise_multiplier=1.0, sampling_rate=0.01, steps=250, sampling="shuffled").dp.count
    3
    """
    sigma, rate = check_positive("noise_multiplier", noise_multiplier), check_rate("sampling_rate", sampling_rate)
    steps, group = check_count("steps", steps), check_count("group", group)
    if sampling not in SAMPLINGS:
        raise SettingsError(f"sampling = {sampling!r}: want one of {', '.join(SAMPLINGS)}")
    if sampling == "full" and rate != 1:
        raise SettingsError(f"sampling = 'full' with sampling_rate = {rate}: all rows are in every batch; want 1")
    if sampling == "fixed":
        if group > 1:
            raise SettingsError(
                f"sampling = 'fixed' with group = {group}: no bound for groups is known here; use poisson"
            )
        batch, rows = rate.as_integer_ratio()  # the bound depends on the ratio alone, and this one is exact
        return events.fixed(batch, rows, sigma, steps)
    if sampling == "shuffled":
        return events.shuffled(-(-steps // whole_batches(rate)), sigma, group=group)
    return events.poisson(rate, sigma, steps, group=group)


def whole_batches(rate: float) -> int:
    """Return how many whole batches an epoch has: floor(1 / rate), where the division's own rounding does not count.

    >>> whole_batches(1 / 49), whole_batches(0.3)
    (49, 3)
    """
    return int(1 / rate * (1 + 2.0**-51))


def epsilon(
    *,
    noise_multiplier: float,
    sampling_rate: float = 1.0,
    steps: int,
    delta: float,
    sampling: str = "poisson",
    accountant: str = "pld",
    group: int = 1,
    rows: int | None = None,
) -> float:
    """Return the epsilon of a private training at delta, an upper bound.

    Accountants: "pld" (privacy loss distributions: the tight one) and "rdp" (Rényi; the only one for "fixed"). Unsampled
    Gaussians are solved in closed form (Balle & Wang, 2018, arXiv:1805.06530). Above 500, or for a delta below 1e-11, "pld"
    answers with the Rényi bound, as for sums that reach too far for a grid; rounding is charged to delta, 2**-50 a step.
    `rows`, where it is public, lets a delta of 1/rows or more warn (DeltaWarning).
    Other arguments as in `training`. Raises SettingsError for values out of range and for "fixed" with "pld".

    >>> round(epsilon(noise_multiplier=0.7, sampling_rate=0.01, steps=120, delta=1e-5), 4)
    2.4612
    """
    from veriward.privacy.dp.accountants import epsilon_at

    delta = check_delta(delta, rows)
    event = training(
        noise_multiplier=noise_multiplier, sampling_rate=sampling_rate, steps=steps, sampling=sampling, group=group
    )
    return epsilon_at(event, delta, _known(accountant))


def delta(
    *,
    epsilon: float,
    noise_multiplier: float,
    sampling_rate: float = 1.0,
    steps: int,
    sampling: str = "poisson",
    accountant: str = "pld",
    group: int = 1,
) -> float:
    """Return the delta of a private training at epsilon, an upper bound; arguments as in `epsilon`.

    >>> 0.9e-6 < delta(epsilon=1.0, noise_multiplier=4.224679, steps=1) < 1.1e-6
    True
    """
    from veriward.privacy.dp.accountants import delta_at

    event = training(
        noise_multiplier=noise_multiplier, sampling_rate=sampling_rate, steps=steps, sampling=sampling, group=group
    )
    return delta_at(event, check_positive("epsilon", epsilon), _known(accountant))


def noise_multiplier(
    *,
    epsilon: float,
    sampling_rate: float = 1.0,
    steps: int,
    delta: float,
    sampling: str = "poisson",
    accountant: str = "pld",
    group: int = 1,
    rows: int | None = None,
) -> float:
    """Return the smallest noise multiplier, to a millionth, whose training spends at most epsilon at delta.

    What is returned was accounted again with the full accountant: it never overspends. Arguments as in `epsilon`.

    >>> round(noise_multiplier(epsilon=1.0, steps=1, delta=1e-6), 5)
    4.22468
    """
    from veriward.privacy.dp.accountants import epsilon_at
    from veriward.privacy.dp.calibrate import smallest

    delta, target, accountant = check_delta(delta, rows), check_positive("epsilon", epsilon), _known(accountant)

    def event(sigma: float) -> Event:
        return training(
            noise_multiplier=sigma, sampling_rate=sampling_rate, steps=steps, sampling=sampling, group=group
        )

    def spent(sigma: float, coarse: int = 1) -> float:
        return epsilon_at(event(sigma), delta, accountant, coarse=coarse)

    return smallest(target, rough=lambda sigma: spent(sigma, 8), exact=spent)


def steps(
    *,
    epsilon: float,
    noise_multiplier: float,
    sampling_rate: float = 1.0,
    delta: float,
    sampling: str = "poisson",
    accountant: str = "pld",
    group: int = 1,
) -> int:
    """Return how many steps fit into epsilon at delta, at most a thousand million; 0 if not even one does.

    >>> steps(epsilon=2.4613, noise_multiplier=0.7, sampling_rate=0.01, delta=1e-5)
    120
    """
    from veriward.privacy.dp.accountants import epsilon_at

    target, delta, accountant = check_positive("epsilon", epsilon), check_delta(delta), _known(accountant)

    def excess(count: int) -> float:
        event = training(
            noise_multiplier=noise_multiplier, sampling_rate=sampling_rate, steps=count, sampling=sampling, group=group
        )
        ratio = epsilon_at(event, delta, accountant) / target
        return math.log(min(max(ratio, 0.1), 10.0))

    return _most(excess)


def composed(spent: Sequence[Event], *, delta: float, accountant: str = "pld", rows: int | None = None) -> float:
    """Return the epsilon of several events on the same data together, whose parameters were fixed beforehand.

    Where later ones depend on earlier results, PLD composition is no theorem: charge a `Ledger`.

    >>> one = training(noise_multiplier=0.7, sampling_rate=0.01, steps=120)
    >>> round(composed([one, training(noise_multiplier=0.7, steps=2)], delta=1e-5), 4)
    10.2657
    """
    from veriward.privacy.dp.accountants import epsilon_at

    return epsilon_at(events.compose(spent), check_delta(delta, rows), _known(accountant))


def _known(accountant: str) -> str:
    if accountant not in ("pld", "rdp"):
        raise SettingsError(
            f"accountant = {accountant!r}: want 'pld' or 'rdp'; Gaussian DP (CLT) understates epsilon and is not offered"
        )
    return accountant


def _most(excess: Callable[[int], float]) -> int:
    """Return the largest count up to MOST_STEPS whose excess, rising with it, is at most 0; 0 if there is none.

    Illinois (Dowell & Jarratt, 1971) in the count's logarithm; every fourth turn halves, so that nothing makes it long.
    """
    (low, left), (high, right), side = (1, excess(1)), (MOST_STEPS, excess(MOST_STEPS)), 0
    if left > 0 or right <= 0:
        return 0 if left > 0 else MOST_STEPS
    for turn in range(200):
        if high - low <= 1:
            break
        guess = round(low * (high / low) ** (left / (left - right))) if turn % 4 < 3 else (low + high) // 2
        middle = min(max(guess, low + 1), high - 1)
        found = excess(middle)
        if found > 0:
            high, right, left, side = middle, found, left / 2 if side == 1 else left, 1
        else:
            low, left, right, side = middle, found, right / 2 if side == -1 else right, -1
    return low
