"""Which attacks a budget buys, cheapest first, the black-box guard last."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veriward.checks.contract import ROWS

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.evasion.attack import Attack
    from veriward.core.ball import Norm


@dataclass(frozen=True)
class Effort:
    """What a budget buys."""

    rows: int | None
    steps: int
    restarts: int
    queries: int  # of the black-box guard behind gradients
    queries_alone: int  # of black-box attacks, where there are no gradients

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Effort":
        """Return the effort that a check's settings describe."""
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__})


EFFORTS: Mapping[str, Effort] = {
    "quick": Effort(ROWS["quick"], 20, 2, 100, 300),
    "standard": Effort(ROWS["standard"], 40, 4, 300, 1000),
    "thorough": Effort(ROWS["thorough"], 100, 10, 2000, 5000),
}


def plan(opened: "Opened", norm: "Norm", effort: Effort) -> "tuple[Attack, ...]":
    """Return the attacks on a model as far as the attacker may reach it."""
    from veriward.checks.evasion.adaptive import adaptive
    from veriward.checks.evasion.ascent import PGD
    from veriward.checks.evasion.constrained import needs_search, table_attacks
    from veriward.checks.evasion.square import Square

    if needs_search(opened):
        queries = effort.queries if hasattr(opened.model, "forward") else effort.queries_alone
        search = table_attacks(opened, effort.steps, effort.restarts, queries)
        return *search, *adaptive(opened, effort), Square(effort.queries)
    if hasattr(opened.model, "forward"):
        return PGD(effort.steps, effort.restarts), *adaptive(opened, effort), Square(effort.queries)
    if hasattr(opened.model, "trees"):
        from veriward.checks.evasion.leaves import LeafSearch

        return LeafSearch(climbs=effort.restarts), Square(effort.queries)
    return *adaptive(opened, effort), Square(effort.queries_alone)
