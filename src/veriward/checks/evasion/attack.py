"""What an attack is: it proposes, and the chase decides what counts. A wrong attack can be weak, never dishonest."""

from typing import ClassVar, Literal, Protocol

from veriward.checks.evasion.chase import Chase
from veriward.core.streams import Stream

Reads = Literal["structure", "gradients", "scores", "labels"]  # what of the model an attack looks at


class Attack(Protocol):
    """A frozen, picklable dataclass of settings."""

    name: ClassVar[str]
    reads: ClassVar[Reads]

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; propose candidates to `chase.observe`, which takes note of successes."""


def run_plan(attacks: tuple[Attack, ...], chase: Chase, stream: Stream) -> None:
    """Run attacks one after the other on the rows that are left; each one's successes are verified before the next."""
    for number, attack in enumerate(attacks):
        if not len(chase.active):
            return
        chase.attack = number
        attack.run(chase, stream.child(attack.name))
        chase.verify()
