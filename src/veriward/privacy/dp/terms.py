"""What was agreed before a private training, and the record of what was done: public, but for what the data holder sees."""

from dataclasses import asdict, dataclass, field
from typing import Any

from veriward.core.errors import SettingsError
from veriward.privacy.clipping import Adaptive, PerRow, Rule
from veriward.privacy.dp.accounting import composed
from veriward.privacy.dp.bounds import check_count, check_positive
from veriward.privacy.dp.event_json import to_dict
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.pure import pure_epsilon
from veriward.privacy.dp.sampling import Sampler
from veriward.privacy.dp.step_noise import GaussianNoise, LaplaceNoise, StepNoise


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
    noise: StepNoise = field(default_factory=GaussianNoise)

    @classmethod
    def of(
        cls,
        sampler: Sampler,
        rule: Rule,
        noise_multiplier: float,
        divisor: float | None = None,
        count_noise: float | None = None,
        noise: StepNoise | None = None,
    ) -> "Terms":
        """Return checked terms; SettingsError for values out of range or missing, and for noise of another clip.

        `noise` is Gaussian for a rule of order 2 and Laplace for one of order 1 unless given. `count_noise` of an adaptive
        rule is divisor / 20 unless given, as its paper recommends.
        """
        sigma, size = check_positive("noise_multiplier", noise_multiplier), _divisor(sampler, divisor)
        kind = noise or (GaussianNoise() if rule.order == 2 else LaplaceNoise())
        _check_noise(kind, rule)
        kind.event(sampler, sigma, 1)  # refused here where no bound is known
        if not isinstance(rule, Adaptive):
            if count_noise is not None:
                raise SettingsError("count_noise: only an Adaptive rule counts rows; leave it out")
            return cls(sampler, sigma, size, noise=kind)
        return cls(sampler, sigma, size, _count_noise(count_noise, size, sigma), kind)

    @property
    def span(self) -> int:
        """How many steps one charge covers."""
        return self.noise.span(self.sampler)

    def event(self, steps: int) -> Event:
        """Return what `steps` steps cost."""
        return self.noise.event(self.sampler, self.noise_multiplier, steps)

    @property
    def gradient_multiplier(self) -> float:
        """Noise multiplier of the gradients alone."""
        if self.count_noise is None:
            return self.noise_multiplier
        return float((self.noise_multiplier**-2 - (2 * self.count_noise) ** -2) ** -0.5)

    def std(self, rule: Rule) -> float:
        """Return the standard deviation of the noise on each entry of the sums, for Laplace noise its scale.

        Float32 rounding of norms is paid for.
        """
        return self.gradient_multiplier * rule.sensitivity * (1 + PerRow.slack)

    def plain(self) -> dict[str, Any]:
        """Return the terms as plain data for JSON."""
        return {
            "sampler": described(self.sampler),
            "noise_multiplier": self.noise_multiplier,
            "divisor": self.divisor,
            "count_noise": self.count_noise,
            "noise": described(self.noise),
        }


def described(setting: Any) -> dict[str, Any]:
    """Return a sampler, rule or noise as plain data: its kind and its fields."""
    fields = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(setting).items()}
    return {"kind": type(setting).__name__, **fields}


def _check_noise(noise: StepNoise, rule: Rule) -> None:
    """Raise SettingsError for noise that does not cover what the rule bounds."""
    name = type(noise).__name__
    if noise.order != rule.order:
        raise SettingsError(f"noise: {name} covers rows clipped at order {noise.order}; the clip's is {rule.order}")
    if isinstance(rule, Adaptive) and not isinstance(noise, GaussianNoise):
        raise SettingsError(f"noise: {name} needs a clip that stays; want another rule than Adaptive, or GaussianNoise")


def _count_noise(given: float | None, divisor: float, sigma: float) -> float:
    """Return the standard deviation of the noise on an adaptive rule's count; SettingsError if it is too small."""
    noise = check_positive("count_noise", divisor / 20 if given is None else given)
    if 2 * noise <= sigma:
        raise SettingsError(
            f"count_noise = {noise:g}: so exact a count spends all of noise_multiplier = {sigma:g}; want more than "
            f"half of that, or larger batches"
        )
    return noise


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
        return self.terms.event(check_count("steps", self.paid))

    def epsilon(self, delta: float) -> float:
        """Return the epsilon of all steps at delta, an upper bound: by PLD, or by RDP where that alone is proved.

        delta may be 0 for Laplace noise. Raises SettingsError for Gaussian noise, which has no epsilon there.
        """
        if delta == 0:
            return pure_epsilon(self.event)
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
