"""The rows an attack is still after. A row leaves at its first success; what counts as one is decided here, not there."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.core.threat import Threat


def margins(scores: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Return the best wrong score (or the target's) minus the right one, (n,): positive means the attack succeeded.

    >>> margins(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0])).item()
    -1.0
    """
    right = scores.gather(1, y[:, None]).squeeze(1)
    if target is not None:
        return scores.gather(1, target[:, None]).squeeze(1) - right
    others = scores.scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - right


def comparable(scores: Tensor, output: str) -> Tensor:
    """Return scores whose differences are those of logits: probabilities become logarithms, which do not saturate."""
    if output == "probabilities":
        return scores.clamp(min=torch.finfo(scores.dtype).tiny).log()
    return scores


@dataclass(frozen=True)
class Answer:
    """What the model says to candidates: `margin` (n,) steers the search, `fooled` (n,) is the change of its decision.

    They differ where scores tie: the margin is zero, and the decision is that of the first class.
    """

    margin: Tensor
    fooled: Tensor

    @classmethod
    def of(cls, raw: Tensor, y: Tensor, output: str) -> "Answer":
        """Return the answer that raw scores (n, classes) give for rows of the classes y."""
        return cls(margins(comparable(raw, output), y), raw.argmax(1) != y)


@dataclass
class Chase:
    """Correctly classified rows under attack: `clean` (n, ...), `y` (n,), their numbers `rows` (n,)."""

    opened: Opened
    threat: Threat
    clean: Tensor
    y: Tensor
    rows: Tensor
    found: Tensor = field(init=False)  # the successful candidates, or the clean rows
    done: Tensor = field(init=False)  # (n,) whether a row is broken
    rejected: int = 0  # successes that did not hold when asked again, in other company

    def __post_init__(self) -> None:
        self.found = self.clean.clone()
        self.done = torch.zeros(len(self.clean), dtype=torch.bool, device=self.clean.device)

    @property
    def active(self) -> Tensor:
        """The positions of the rows that are not broken yet."""
        return (~self.done).nonzero().squeeze(1)

    @property
    def can_move(self) -> bool:
        """Whether the budget lets any number of any row move at all."""
        low, high = self.opened.domain.box(self.clean, self.threat)
        return bool((high > low).any())

    def scores(self, z: Tensor) -> Tensor:
        """Ask the model about encoded rows; (n, classes) as the model gives them."""
        model = self.opened.model
        return model.scores(self.opened.domain.decode(z)).to(z.device)  # type: ignore[union-attr]  # planned for scores

    def ask(self, z: Tensor, where: Tensor) -> Answer:
        """Return what the model says to candidates z for the rows `where`."""
        return Answer.of(self.scores(z), self.y[where], self.opened.output)

    def observe(self, where: Tensor, z: Tensor, fooled: Tensor) -> Tensor:
        """Take note of candidates z for the rows `where`; return which of them are new successes.

        A candidate counts only inside the threat and the domain, judged apart from the projection that made it.
        """
        hits = fooled
        if bool(hits.any()):
            hits = hits & self.opened.domain.allowed(z, self.clean[where], self.threat)
        self.found[where[hits]] = z[hits]
        self.done[where[hits]] = True
        return hits

    def verify(self) -> None:
        """Ask again about every success, all of them together; what does not hold is a success no more."""
        where = self.done.nonzero().squeeze(1)
        if len(where):
            z = self.found[where]
            still = self.ask(z, where).fooled & self.opened.domain.allowed(z, self.clean[where], self.threat)
            self.rejected += int((~still).sum())
            self.done[where[~still]] = False
            self.found[where[~still]] = self.clean[where[~still]]
