"""A second look at what survived the gradients: one great step, and twice as many small ones.

What breaks rows that the attack before did not shows that it was too weak to be believed: Carlini et al. 2019
(arXiv:1902.06705), section 5; Zimmermann et al. 2022 (arXiv:2206.13991). Its successes count as any others.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from veriward.checks.evasion.attack import Attack, Reads
from veriward.checks.evasion.chase import Chase
from veriward.core.streams import Stream

SHARE = 0.2  # of the survivors, chosen row by row: never by their company


@dataclass(frozen=True)
class OneStep:
    """The whole budget at once, up the slope of the cross-entropy: Goodfellow et al. 2015 (arXiv:1412.6572)."""

    name: ClassVar[str] = "one-step"
    reads: ClassVar[Reads] = "gradients"

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows from where they are, and from a random place."""
        self._step(chase, chase.clean[chase.active], 1.0)
        where = chase.active
        noise = stream.normal(chase.rows[where], chase.clean.shape[1:]).to(chase.clean.dtype)
        self._step(chase, chase.ball(where).draw(noise), 2.0)

    def _step(self, chase: Chase, z: Tensor, size: float) -> None:
        where = chase.active
        if len(where):
            ball = chase.ball(where)
            _, gradient = chase.slope(ball.project(z), where, "ce")
            candidate = ball.project(ball.step(z, gradient, size))
            chase.observe(where, candidate, chase.ask(candidate, where))


@dataclass(frozen=True)
class Again:
    """The same attack with more steps, on a fixed random share of the rows; random models are left to EOT."""

    name: ClassVar[str] = "again"
    reads: ClassVar[Reads] = "gradients"

    attack: Attack

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the chosen rows among the active ones."""
        where = chase.active
        where = where[chosen(chase.rows[where], stream)] if chase.votes == 1 else where[:0]
        if not len(where):
            return
        trial = Chase(chase.opened, chase.threat, chase.clean[where], chase.goal[where], chase.rows[where])
        self.attack.run(trial, stream)
        z, where = trial.found[trial.done], where[trial.done]
        if len(where):
            chase.observe(where, z, chase.ask(z, where))


def chosen(rows: Tensor, stream: Stream) -> Tensor:
    """Return which rows get a second look, (n,)."""
    return stream.child("chosen").uniform(rows) < SHARE
