"""Which single inputs stand in for a protected attribute: they tell it, and they move the model's decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from veriward.checks.fairness.telling import Array, Target, by_rates, power_to_tell
from veriward.core.basis import p_above
from veriward.core.delong import area
from veriward.core.estimate import Estimate, flagged
from veriward.core.judge import holm

TELLS = 0.6  # an input whose area is larger tells the attribute
MATTERS = 0.7  # an area that these rows should show
DRIVES = 0.01  # share of decisions (or standard deviations) beyond which an input moves the model
MOST_TOLD = 5
MOST_INPUTS = 500  # that are looked at one by one
LEVEL = 0.05
Effect = Callable[[int, Mapping[str, Any]], Estimate]


@dataclass(frozen=True)
class Inputs:
    """The model's inputs as numbers, (rows, columns), on the rows to fit and those held out."""

    names: tuple[str, ...]
    fit: Array
    held: Array

    def without(self, name: str) -> Inputs:
        """Return the inputs without one of them."""
        kept = [i for i, other in enumerate(self.names) if other != name]
        return Inputs(tuple(self.names[i] for i in kept), self.fit[:, kept], self.held[:, kept])


def stand_ins(attribute: str, inputs: Inputs, target: Target, effect: Effect) -> list[Estimate]:
    """Return how many inputs both tell the attribute and move the model, and the strongest of those that tell it.

    Both must be shown: an input's p-value is the larger of the two, each adjusted after Holm (1979). What an input does to
    the model is asked only of the strongest, so the count is a lower bound. `effect(place, at)` measures it.
    """
    looked = min(len(inputs.names), MOST_INPUTS)
    areas = [_area(attribute, inputs, target, place) for place in range(looked)]
    telling = holm([p_above(a.basis, TELLS) for a in areas])
    strongest = sorted(range(looked), key=lambda i: -(areas[i].value or 0.0))
    strongest = [i for i in strongest if telling[i] <= LEVEL][:MOST_TOLD]
    effects = [effect(i, {"attribute": attribute, "input": inputs.names[i]}) for i in strongest]
    driving = holm([1.0 if e.value is None else p_above(e.basis, DRIVES) for e in effects])
    p_values = [1.0] * looked
    for i, p in zip(strongest, driving, strict=True):
        p_values[i] = max(p, telling[i])
    sides = int(target.held.sum()), int((~target.held).sum())
    power = power_to_tell(*sides, looked, truth=MATTERS, limit=TELLS)
    count = flagged("stand_ins", p_values, len(target.held), unit="inputs", power=power, at={"attribute": attribute})
    return [count, *(e for i, found in zip(strongest, effects, strict=True) for e in (areas[i], found))]


def _area(attribute: str, inputs: Inputs, target: Target, place: int) -> Estimate:
    score = by_rates(inputs.fit[:, place], target.fit, inputs.held[:, place])
    at = {"attribute": attribute, "input": inputs.names[place]}
    return area("stand_in_auc", score[target.held], score[~target.held], at=at)
