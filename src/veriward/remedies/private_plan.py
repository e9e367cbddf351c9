"""The terms of a private training, all of them public and fixed before the first row is read by the loop."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from veriward.adapters.recipe import BATCH, EPOCHS
from veriward.core.errors import SettingsError
from veriward.core.subject import PrivateRecipe, Recipe
from veriward.privacy.clipping.rules import Adaptive, Automatic, Flat, Rule
from veriward.privacy.dp import accounting
from veriward.privacy.dp.bounds import check_delta, check_positive
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.sampling import Fixed, Full, Poisson, Sampler, Shuffled

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
    def interval(self) -> int:
        """Steps from one checkpoint to the next: whole epochs where those are what is charged."""
        span = self.sampler.span
        return max(span, min(self.steps // CHECKPOINTS, MOST_LOST) // span * span)

    @property
    def sampler(self) -> Sampler:
        """What draws the batches."""
        if self.sampling == "poisson":
            return Poisson(self.rate)
        if self.sampling == "full":
            return Full()
        return (Shuffled if self.sampling == "shuffled" else Fixed)(self.batch_size, rows=self.rows)

    @property
    def rule(self) -> Rule:
        """How rows are clipped."""
        if self.clip == "automatic":
            return Automatic()
        return Adaptive(1.0) if self.clip == "adaptive" else Flat(float(self.clip))

    def event(self, steps: int) -> Event:
        """Return what `steps` steps cost, under the plan's relation alone."""
        found = accounting.training(
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.rate,
            steps=steps,
            sampling=self.sampling,
            group=self.group,
        )
        return replace(found, relations=(self.relation,))

    def spent(self, steps: int) -> float:
        """Return the epsilon of `steps` steps at the plan's delta; 0 for none."""
        return accounting.composed([self.event(steps)], delta=self.delta, accountant=self.accountant) if steps else 0.0

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
    draft = PrivatePlan(
        sampling=said.sampling,
        rows=public,
        batch_size=public if said.sampling == "full" else batch,
        epochs=epochs,
        steps=_steps(said.sampling, public, batch, epochs),
        clip=said.clip or "automatic",
        noise_multiplier=said.noise_multiplier or 1.0,
        epsilon=epsilon,
        delta=delta,
        relation=_relation(said),
        group=said.group,
        compute=compute,
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


def _steps(sampling: str, rows: int, batch: int, epochs: float) -> int:
    if sampling == "full":
        return math.ceil(epochs)
    if sampling == "shuffled":
        return math.ceil(epochs) * (rows // batch)
    return max(1, math.ceil(epochs * rows / batch))


def _relation(said: PrivateRecipe) -> Relation:
    if said.sampling == "fixed":
        return Relation.REPLACE
    declared = said.rows is not None and said.sampling in ("poisson", "full")
    return Relation.ADD_OR_REMOVE if declared else Relation.ZERO_OUT


def _calibrated(draft: PrivatePlan, given: float | None) -> PrivatePlan:
    """Return the plan with its noise: the one given, if it keeps epsilon, else the smallest that does."""
    sigma = given or accounting.noise_multiplier(
        epsilon=draft.epsilon,
        sampling_rate=draft.rate,
        steps=draft.steps,
        delta=draft.delta,
        sampling=draft.sampling,
        accountant=draft.accountant,
        group=draft.group,
    )
    made = replace(draft, noise_multiplier=sigma)
    spent = made.spent(made.steps)
    if spent > draft.epsilon:
        raise SettingsError(
            f"noise_multiplier = {sigma:g}: {draft.steps} steps cost epsilon {spent:.4g}, more than {draft.epsilon:g}; "
            f"want more noise, fewer epochs, or leave it out"
        )
    return made if given is None else replace(made, epsilon=spent)
