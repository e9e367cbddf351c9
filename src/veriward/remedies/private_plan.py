"""The terms of a private training, all of them public and fixed before the first row is read by the loop."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from veriward.adapters.recipe import BATCH, EPOCHS
from veriward.core.errors import SettingsError
from veriward.core.subject import PrivateRecipe, Recipe
from veriward.privacy.clipping.rules import Adaptive, Automatic, Flat, Rule
from veriward.privacy.dp import accounting
from veriward.privacy.dp.accountants import epsilon_at
from veriward.privacy.dp.bounds import check_delta, check_positive
from veriward.privacy.dp.calibrate import smallest
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.ftrl import BandedNoise, TreeNoise
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.sampling import Cyclic, Fixed, Full, Poisson, Sampler, Shuffled
from veriward.privacy.dp.step_noise import GaussianNoise, LaplaceNoise, StepNoise

CORRELATED = ("tree", "banded")  # noise whose steps cancel each other: all of them are one charge
MOST_BANDS = 64  # copies of the parameters that banded noise may keep
COMPUTE = ("exact", "bfloat16")
CHECKPOINTS = 50  # of a training, about: what a killed one may lose is a fiftieth
MOST_LOST = 50  # steps between two checkpoints at most


@dataclass(frozen=True)
class PrivatePlan:
    """What a private training does and costs: (epsilon, delta) of `steps` steps, for `group` rows under `relation`.

    `rows`: the public number of rows, on which rate, divisor and steps rest. Under "add-or-remove-one" it is a constant that
    was declared; under "zero-out" and "replace-one" the data's own number, which those relations do not hide.
    """

    sampling: str
    rows: int
    batch_size: int
    epochs: float
    steps: int
    clip: float | str
    noise_multiplier: float
    epsilon: float  # what all steps may cost: as asked, or less where a given noise multiplier costs less
    delta: float
    relation: Relation
    group: int = 1
    compute: str = "exact"
    mechanism: str = "gaussian"

    @property
    def rate(self) -> float:
        """The share of the rows in a batch."""
        return 1.0 if self.sampling == "full" else self.batch_size / self.rows

    @property
    def accountant(self) -> str:
        """PLD, or RDP where that alone is proved."""
        return "rdp" if self.sampling == "fixed" else "pld"

    @property
    def divisor(self) -> float:
        """What sums are divided by: a public constant."""
        return float(self.rows if self.sampling == "full" else self.batch_size)

    @property
    def unit(self) -> str:
        """What is protected."""
        return "row" if self.group == 1 else f"{self.group} rows together"

    @property
    def span(self) -> int:
        """Steps that one charge covers: an epoch of shuffled batches, the whole of noise that is correlated over steps."""
        return self.noise.span(self.sampler)

    @property
    def interval(self) -> int:
        """Steps from one checkpoint to the next: whole epochs where those are what is charged."""
        least = 1 if self.mechanism in CORRELATED else self.span
        return max(least, min(self.steps // CHECKPOINTS, MOST_LOST) // least * least)

    @property
    def sampler(self) -> Sampler:
        """What draws the batches."""
        if self.sampling == "poisson":
            return Poisson(self.rate)
        if self.sampling == "full":
            return Full()
        kinds: dict[str, type[Shuffled | Fixed | Cyclic]] = {"shuffled": Shuffled, "fixed": Fixed, "cyclic": Cyclic}
        return kinds[self.sampling](self.batch_size, rows=self.rows)

    @property
    def noise(self) -> StepNoise:
        """What a step adds."""
        if self.mechanism == "banded":
            return BandedNoise(self.steps, bands=min(self.steps, self.sampler.span, MOST_BANDS))
        if self.mechanism == "tree":
            return TreeNoise(self.steps)
        return LaplaceNoise() if self.mechanism == "laplace" else GaussianNoise()

    @property
    def rule(self) -> Rule:
        """How rows are clipped."""
        order = self.noise.order
        if self.clip == "automatic":
            return Automatic(order=order)
        return Adaptive(1.0) if self.clip == "adaptive" else Flat(float(self.clip), order=order)

    def event(self, steps: int) -> Event:
        """Return what `steps` steps cost, under the plan's relation alone."""
        if self.mechanism == "gaussian":
            found = accounting.training(
                noise_multiplier=self.noise_multiplier,
                sampling_rate=self.rate,
                steps=steps,
                sampling=self.sampling,
                group=self.group,
            )
        else:
            found = self.noise.event(self.sampler, self.noise_multiplier, steps)
        return replace(found, relations=(self.relation,))

    def spent(self, steps: int, *, coarse: int = 1) -> float:
        """Return the epsilon of `steps` steps at the plan's delta, 0 for none; `coarse` is quicker and looser."""
        return epsilon_at(self.event(steps), self.delta, self.accountant, coarse=coarse) if steps else 0.0

    def plain(self) -> dict[str, Any]:
        """Return the plan as plain data for JSON."""
        return {**asdict(self), "relation": self.relation.value}


def plan(
    recipe: Recipe,
    *,
    data_rows: int,
    epsilon: float,
    delta: float,
    compute: str = "exact",
    **options: Any,
) -> PrivatePlan:
    """Return the plan for data of `data_rows` rows; `options` overrule [recipe.private], which overrules [recipe].

    Without a declared number of rows, Poisson sampling and full batches take the data's own, and the relation is "zero-out",
    which keeps it. Raises SettingsError for values out of range, and where the noise asked for does not keep epsilon.

    >>> found = plan(Recipe(build="net:build", epochs=5, batch_size=50), data_rows=1000, epsilon=3.0, delta=1e-5)
    >>> found.steps, found.rate, found.relation.value, found.epsilon <= 3.0
    (100, 0.05, 'zero-out', True)
    """
    said = _said(recipe, options)
    if compute not in COMPUTE:
        raise SettingsError(f"compute = {compute!r}: want one of {', '.join(COMPUTE)}")
    check_positive("epsilon", epsilon)
    check_delta(delta)
    public = said.rows or data_rows
    if said.sampling in ("shuffled", "fixed") and said.rows not in (None, data_rows):
        raise SettingsError(
            f"rows = {said.rows}: the data have {data_rows}, and {said.sampling} sampling takes their number as public and "
            f"exact; leave rows out, or sample by poisson"
        )
    batch = min(said.batch_size or recipe.batch_size or BATCH, public)
    epochs = said.epochs or recipe.epochs or EPOCHS
    _check_mechanism(said)
    draft = PrivatePlan(
        sampling="cyclic" if said.mechanism in CORRELATED else said.sampling,
        rows=public,
        batch_size=public if said.sampling == "full" else batch,
        epochs=epochs,
        steps=_steps("shuffled" if said.mechanism in CORRELATED else said.sampling, public, batch, epochs),
        clip=said.clip or "automatic",
        noise_multiplier=said.noise_multiplier or 1.0,
        epsilon=epsilon,
        delta=delta,
        relation=_relation(said),
        group=said.group,
        compute=compute,
        mechanism=said.mechanism,
    )
    if draft.steps > accounting.MOST_STEPS:
        raise SettingsError(
            f"{draft.steps:.3g} steps: {epochs} epochs of {public} rows in batches of {draft.batch_size}; want at most "
            f"{accounting.MOST_STEPS:.0e}: fewer epochs, larger batches"
        )
    return _calibrated(draft, said.noise_multiplier)


def _said(recipe: Recipe, options: dict[str, Any]) -> PrivateRecipe:
    """Return [recipe.private] with the options that were given put over it, checked again."""
    from pydantic import ValidationError

    from veriward.core.explain_validation import explain

    given = {key: value for key, value in options.items() if value is not None}
    try:
        return PrivateRecipe.model_validate({**(recipe.private or PrivateRecipe()).model_dump(), **given})
    except ValidationError as error:
        raise SettingsError(explain("recipe.private", error, PrivateRecipe)) from None


def _check_mechanism(said: PrivateRecipe) -> None:
    """Raise SettingsError for settings that a mechanism has no use for."""
    name = said.mechanism
    if name in CORRELATED and (said.sampling != "poisson" or said.rows is not None):
        raise SettingsError(
            f"mechanism = {name!r}: takes batches in one order, and their rows as public; leave sampling and rows out"
        )
    if name != "gaussian" and said.group > 1:
        raise SettingsError(
            f"mechanism = {name!r} with group = {said.group}: no bound for groups is known; use gaussian"
        )
    if name != "gaussian" and said.clip == "adaptive":
        raise SettingsError(f"mechanism = {name!r}: needs a clip that stays; want a norm, or automatic")


def _steps(sampling: str, rows: int, batch: int, epochs: float) -> int:
    if sampling == "full":
        return math.ceil(epochs)
    if sampling == "shuffled":
        return math.ceil(epochs) * (rows // batch)
    return max(1, math.ceil(epochs * rows / batch))


def _relation(said: PrivateRecipe) -> Relation:
    if said.mechanism in CORRELATED:
        return Relation.ZERO_OUT
    if said.sampling == "fixed":
        return Relation.REPLACE
    declared = said.rows is not None and said.sampling in ("poisson", "full")
    return Relation.ADD_OR_REMOVE if declared else Relation.ZERO_OUT


def _calibrated(draft: PrivatePlan, given: float | None) -> PrivatePlan:
    """Return the plan with its noise: the one given, if it keeps epsilon, else the smallest that does."""
    sigma = given or smallest(
        draft.epsilon,
        rough=lambda sigma: replace(draft, noise_multiplier=sigma).spent(draft.steps, coarse=8),
        exact=lambda sigma: replace(draft, noise_multiplier=sigma).spent(draft.steps),
    )
    made = replace(draft, noise_multiplier=sigma)
    spent = made.spent(made.steps)
    if spent > draft.epsilon:
        raise SettingsError(
            f"noise_multiplier = {sigma:g}: {draft.steps} steps cost epsilon {spent:.4g}, more than {draft.epsilon:g}; "
            f"want more noise, fewer epochs, or leave it out"
        )
    return made if given is None else replace(made, epsilon=spent)
