"""AutoAttack as its paper has it, for comparison with published figures. Croce & Hein, 2020 (arXiv:2003.01690).

APGD on the cross-entropy, APGD towards nine classes on the DLR, FAB towards nine classes, Square. The DLR needs four
classes: with fewer its spread is taken over those there are, and with two the margin itself is climbed, where the
original ends with an error.
"""

from typing import TYPE_CHECKING

from veriward.checks.evasion.apgd import APGD
from veriward.checks.evasion.fab import FAB
from veriward.checks.evasion.square import Square

if TYPE_CHECKING:
    from veriward.checks.evasion.attack import Attack
    from veriward.core.ball import Norm

STEPS, TARGETS, QUERIES = 100, 9, 5000  # the version "standard"


def strict_plan(norm: "Norm", classes: int) -> "tuple[Attack, ...]":
    """Return the four attacks in their order; under L1 the climbs begin in larger balls (arXiv:2103.01208)."""
    targets, wide = max(1, min(TARGETS, classes - 1)), norm == "l1"
    return (
        APGD("ce", steps=STEPS, wide=wide),
        APGD("dlr", targets, STEPS, wide=wide),
        FAB(targets, STEPS),
        Square(QUERIES),
    )
