"""AutoAttack as its paper has it, for comparison with published figures. Croce & Hein, 2020 (arXiv:2003.01690).

APGD on the cross-entropy, APGD towards nine classes on the DLR, FAB towards nine classes, Square. The DLR needs four
classes: with fewer the original ends with an error, and here the margin itself is climbed. (A spread over three classes
would not do: while the target is the last of them, the ratio is minus one wherever one goes.)
"""

from typing import TYPE_CHECKING

from veriward.checks.evasion.apgd import APGD
from veriward.checks.evasion.fab import FAB
from veriward.checks.evasion.square import Square

if TYPE_CHECKING:
    from veriward.checks.evasion.attack import Attack
    from veriward.core.ball import Norm

STEPS, TARGETS, QUERIES = 100, 9, 5000  # the version "standard"
FEWEST = 4  # classes that the DLR needs


def strict_plan(norm: "Norm", classes: int) -> "tuple[Attack, ...]":
    """Return the four attacks in their order; under L1 the climbs begin in larger balls (arXiv:2103.01208)."""
    targets, wide = max(1, min(TARGETS, classes - 1)), norm == "l1"
    return (
        APGD("ce", steps=STEPS, wide=wide),
        APGD("dlr" if classes >= FEWEST else "margin", targets, STEPS, wide=wide),
        FAB(targets, STEPS),
        Square(QUERIES),
    )
