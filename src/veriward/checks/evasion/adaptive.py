"""The part of a plan that answers to the model: each of these acts only where a symptom asks for it."""

from typing import TYPE_CHECKING

from veriward.checks.evasion.again import Again, OneStep
from veriward.checks.evasion.ascent import PGD
from veriward.checks.evasion.bpda import SmoothedPGD
from veriward.checks.evasion.eot import EOTPGD
from veriward.checks.evasion.symptoms import detached

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.evasion.attack import Attack
    from veriward.checks.evasion.plans import Effort


def adaptive(opened: "Opened", effort: "Effort") -> "tuple[Attack, ...]":
    """Return what runs between the gradients and the black-box guard."""
    if opened.task == "regression":  # predictions have no end that a second look could reach first
        return (SmoothedPGD(effort.steps),) if hasattr(opened.model, "forward") or detached(opened) else ()
    if hasattr(opened.model, "forward"):
        return OneStep(), Again(PGD(2 * effort.steps, 1)), EOTPGD(effort.steps), SmoothedPGD(effort.steps)
    return (SmoothedPGD(effort.steps),) if detached(opened) else ()
