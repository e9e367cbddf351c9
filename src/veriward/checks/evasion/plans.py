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
    if opened.subject.threat.evasion.plan == "strict-autoattack":
        return _strict(opened, norm)
    if not any(hasattr(opened.model, way) for way in ("scores", "values")):
        return _by_labels(opened, norm, effort)
    return (*_by_structure(opened, effort), *_by_gradients(opened, effort), *_by_scores(opened, effort))


def _strict(opened: "Opened", norm: "Norm") -> "tuple[Attack, ...]":
    from veriward.checks.evasion.strict import strict_plan

    attacks = strict_plan(norm, len(opened.classes) or 3)  # a prediction moves two ways, as one of three classes does
    return attacks if hasattr(opened.model, "forward") else tuple(a for a in attacks if a.reads != "gradients")


def _by_labels(opened: "Opened", norm: "Norm", effort: Effort) -> "tuple[Attack, ...]":
    """Return rays and a short walk on the boundary where numbers move freely under L-infinity; else a long walk.

    With 1000 questions rays broke 1.7 to 3.7 times what the walk broke on four digits networks. The random
    search goes before the long walk alone: margins of plus and minus one do not steer it.
    """
    from veriward.checks.evasion.boundary import Boundary
    from veriward.checks.evasion.rays import RayS
    from veriward.checks.evasion.square import Square

    columns = getattr(opened.domain, "columns", ())
    if norm == "linf" and all(c.kind == "numeric" for c in columns if c.movable):
        return *_imitation(effort), RayS(effort.queries_alone), Boundary(effort.queries)
    return *_imitation(effort), Square(effort.queries), Boundary(effort.queries_alone)


def _imitation(effort: Effort) -> "tuple[Attack, ...]":
    """Return transfer from an imitation of the model, for a thorough budget."""
    from veriward.checks.evasion.transfer import Transfer

    return (Transfer(),) if effort.rows is None else ()


def _by_structure(opened: "Opened", effort: Effort) -> "tuple[Attack, ...]":
    if not hasattr(opened.model, "trees"):
        return ()
    from veriward.checks.evasion.leaves import LeafSearch

    return (LeafSearch(climbs=effort.restarts),)


def _by_gradients(opened: "Opened", effort: Effort) -> "tuple[Attack, ...]":
    from veriward.checks.evasion.adaptive import adaptive
    from veriward.checks.evasion.constrained import CAPGD, needs_search
    from veriward.checks.evasion.search import Search, rounds

    if not hasattr(opened.model, "forward"):
        return adaptive(opened, effort)
    if needs_search(opened):
        return CAPGD(effort.steps, effort.restarts), *adaptive(opened, effort)
    turns = rounds(effort.steps, effort.restarts)
    # a prediction has no edge: all its rows count as near, and the round for a hair's breadth would climb with every one
    turns = turns[:-1] if opened.task == "regression" else turns
    return Search(turns), *adaptive(opened, effort)


def _by_scores(opened: "Opened", effort: Effort) -> "tuple[Attack, ...]":
    """Return the guard behind what reads more of the model, or all there is."""
    from veriward.checks.evasion.constrained import needs_search
    from veriward.checks.evasion.moeva import MOEVA
    from veriward.checks.evasion.square import Square

    white = hasattr(opened.model, "forward") or hasattr(opened.model, "trees")
    queries = effort.queries if white else effort.queries_alone
    if needs_search(opened):
        return MOEVA.of(queries), Square(effort.queries)
    return (Square(queries),) if white else (*_imitation(effort), Square(queries))
