"""What was agreed before a private training, and the record of what was done: public, but for what the data holder sees."""

from dataclasses import asdict, dataclass
from typing import Any

from veriward.core.errors import SettingsError
from veriward.privacy.clipping import Adaptive, PerRow, Rule
from veriward.privacy.dp.accounting import composed
from veriward.privacy.dp.bounds import check_count, check_positive
from veriward.privacy.dp.event_json import to_dict
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.sampling import Sampler


@dataclass(frozen=True)
class Seen:
    """For the data holder only: exact counts over private rows, summed over the steps. Publishing them is a leak."""

    rows: int = 0
    bad: int = 0  # zeroed: gradient or loss not finite
    clipped: int = 0  # scaled down, bad ones among them

    def __add__(self, other: "Seen") -> "Seen":
        return Seen(self.rows + other.rows, self.bad + other.bad, self.clipped + other.clipped)

    @property
    def clip_fraction(self) -> float:
        """Share of the rows that were scaled down; 0 if there was none."""
        return self.clipped / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Terms:
    """Public constants of a private training; `noise_multiplier` is that of the whole step, whatever it is split into.

    An adaptive rule spends a part of it on its count: with `count_noise` = b, the gradients get multiplier
    (z**-2 - (2 b)**-2)**-1/2, and both together are one Gaussian of multiplier z (Andrew et al., 2021, arXiv:1905.03871,
    theorem 1).

    >>> from veriward.privacy.dp.sampling import Full
    >>> terms = Terms.of(Full(), Adaptive(1.0), noise_multiplier=1.0, divisor=100.0)
    >>> terms.count_noise, round(terms.gradient_multiplier, 4)
    (5.0, 1.005)
    """

    sampler: Sampler
    noise_multiplier: float
    divisor: float
    count_noise: float | None = None

    @classmethod
    def of(
        cls,
        sampler: Sampler,
        rule: Rule,
        noise_multiplier: float,
        divisor: float | None = None,
        count_noise: float | None = None,
    ) -> "Terms":
        """Return checked terms; SettingsError for values out of range or missing.

        `count_noise` of an adaptive rule is divisor / 20 unless given, as its paper recommends.
        """
        sigma, size = check_positive("noise_multiplier", noise_multiplier), _divisor(sampler, divisor)
        if rule.order != 2:
            raise SettingsError(
                f"clip: a rule of order {rule.order} is for Laplace noise; want order 2, noise is Gaussian"
            )
        if not isinstance(rule, Adaptive):
            if count_noise is not None:
                raise SettingsError("count_noise: only an Adaptive rule counts rows; leave it out")
            return cls(sampler, sigma, size)
        noise = check_positive("count_noise", size / 20 if count_noise is None else count_noise)
        if 2 * noise <= sigma:
            raise SettingsError(
                f"count_noise = {noise:g}: so exact a count spends all of noise_multiplier = {sigma:g}; want more than "
                f"half of that, or larger batches"
            )
        return cls(sampler, sigma, size, noise)

    @property
    def gradient_multiplier(self) -> float:
        """Noise multiplier of the gradients alone."""
        if self.count_noise is None:
            return self.noise_multiplier
        return float((self.noise_multiplier**-2 - (2 * self.count_noise) ** -2) ** -0.5)

    def std(self, rule: Rule) -> float:
        """Return the standard deviation of the noise on each entry of the sums; float32 rounding of norms is paid for."""
        return self.gradient_multiplier * rule.sensitivity * (1 + PerRow.slack)

    def plain(self) -> dict[str, Any]:
        """Return the terms as plain data for JSON."""
        return {
            "sampler": described(self.sampler),
            "noise_multiplier": self.noise_multiplier,
            "divisor": self.divisor,
            "count_noise": self.count_noise,
        }


def described(setting: Any) -> dict[str, Any]:
    """Return a sampler or rule as plain data: its kind and its fields."""
    fields = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(setting).items()}
    return {"kind": type(setting).__name__, **fields}


def _divisor(sampler: Sampler, given: float | None) -> float:
    """Return the divisor; SettingsError if it is missing or out of range."""
    size = sampler.divisor if given is None else given
    if size is None:
        raise SettingsError(
            f"divisor: none given; want the expected batch size of {type(sampler).__name__} as a public constant, not "
            f"computed from the number of rows"
        )
    return check_positive("divisor", size)


@dataclass(frozen=True, repr=False)
class Trained:
    """The record of a private training.

    `rule`: as the last step left it. `steps` were executed, `paid` are accounted for: more where an epoch was broken off.
    `source`: "cryptographic"; "simulation" protects nothing, and stands if any part was simulated. `holder`: private.
    """

    terms: Terms
    rule: Rule
    steps: int
    paid: int
    source: str
    holder: Seen

    @property
    def event(self) -> Event:
        """What was spent, with its neighbouring relation and unit. Raises SettingsError before the first step."""
        return self.terms.sampler.event(self.terms.noise_multiplier, check_count("steps", self.paid))

    def epsilon(self, delta: float) -> float:
        """Return the epsilon of all steps at delta, an upper bound: by PLD, or by RDP where that alone is proved."""
        rows = getattr(self.terms.sampler, "rows", None)  # only where it is public
        accountant = "rdp" if self.event.sampling == "fixed" else "pld"
        return composed([self.event], delta=delta, accountant=accountant, rows=rows)

    def plain(self) -> dict[str, Any]:
        """Return the public part as plain data for JSON: everything but `holder`."""
        return {
            **self.terms.plain(),
            "clip": described(self.rule),
            "steps": self.steps,
            "event": to_dict(self.event),
            "source": self.source,
        }

    def __repr__(self) -> str:
        kind = "Trained" if self.source == "cryptographic" else f"NotPrivate({self.source})"
        return f"{kind}(steps={self.steps}, {self.terms}, clip={self.rule}, source={self.source})"
