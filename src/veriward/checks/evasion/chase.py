"""The rows an attack is still after. A row leaves at its first success; what counts as one is decided here, not there."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.checks.evasion.goals import Answer, Goal, Loss
from veriward.checks.evasion.votes import confirmed
from veriward.core.ball import Ball
from veriward.core.threat import Threat

NOBODY = -1


@dataclass
class Chase:
    """Rows under attack: `clean` (n, ...), what is wanted of them, their numbers `rows` (n,)."""

    opened: Opened
    threat: Threat
    clean: Tensor
    goal: Goal
    rows: Tensor
    found: Tensor = field(init=False)  # the successful candidates, or the clean rows
    done: Tensor = field(init=False)  # (n,) whether a row is broken
    by: Tensor = field(init=False)  # (n,) the number of the attack that broke a row
    best: Tensor = field(init=False)  # (n,) the largest margin seen
    attack: int = 0  # the number of the attack that runs
    votes: int = 1  # calls of which the majority decides: several where the model answers by chance
    rejected: int = 0  # successes that did not hold when asked again, in other company

    def __post_init__(self) -> None:
        n, where = len(self.clean), self.clean.device
        self.found = self.clean.clone()
        self.done = torch.zeros(n, dtype=torch.bool, device=where)
        self.by = torch.full((n,), NOBODY, dtype=torch.int8, device=where)
        self.best = torch.full((n,), -torch.inf, dtype=torch.float64, device=where)

    @property
    def active(self) -> Tensor:
        """The positions of the rows that are not broken yet."""
        return (~self.done).nonzero().squeeze(1)

    @cached_property
    def whole_ball(self) -> Ball:
        """What may be reached from each row."""
        return self.opened.domain.ball(self.clean, self.threat)

    def ball(self, where: Tensor) -> Ball:
        """Return what may be reached from the rows `where`."""
        return self.whole_ball[where]

    def raw(self, z: Tensor) -> Tensor:
        """Ask the model about encoded rows: scores (n, classes), labels (n,) or values (n,), as far as it may be reached."""
        model, x = self.opened.model, self.opened.domain.decode(z)
        for name in ("scores", "values", "labels"):
            if hasattr(model, name):
                return torch.as_tensor(getattr(model, name)(x)).to(z.device)
        raise AssertionError("planned only for models that answer")

    def ask(self, z: Tensor, where: Tensor) -> Answer:
        """Return what the model says to candidates z for the rows `where`, or what it mostly says."""
        first = self.goal[where].answer(self.raw(z))
        return self._voted(first, z, where, first.fooled)  # who is not fooled at once is not asked again

    def _voted(self, first: Answer, z: Tensor, where: Tensor, doubtful: Tensor) -> Answer:
        """Return the first answer, the doubtful rows of which are asked until each has its votes."""
        again = doubtful.nonzero().squeeze(1) if self.votes > 1 else where[:0]
        if not len(again):
            return first
        goal = self.goal[where[again]]
        return confirmed(first, again, [goal.answer(self.raw(z[again])) for _ in range(self.votes - 1)])

    def slope(
        self, z: Tensor, where: Tensor, kind: Loss = "margin", aim: Tensor | None = None
    ) -> tuple[Answer, Tensor]:
        """Return what the model says to z and the gradient of the loss by z; parameters stay out of it."""
        goal = self.goal[where]
        with torch.enable_grad():
            x = z.detach().requires_grad_()
            raw = self.opened.model.forward(x)  # type: ignore[union-attr]  # planned only for gradients
            (gradient,) = torch.autograd.grad(goal.loss(raw, kind, aim).sum(), x)
        return goal.answer(raw.detach()), gradient

    def observe(self, where: Tensor, z: Tensor, answer: Answer) -> Tensor:
        """Take note of candidates z for the rows `where`; return which of them are new successes, (n,).

        A candidate counts only inside the threat and the domain, judged apart from the projection that made it.
        """
        self.best[where] = torch.maximum(self.best[where], answer.margin.double())
        hits = answer.fooled
        if bool(hits.any()):
            hits = hits & self.opened.domain.allowed(z, self.clean[where], self.threat)
        new = where[hits]
        self.found[new], self.done[new], self.by[new] = z[hits], True, self.attack
        return hits

    def verify(self) -> None:
        """Ask again about every success, all of them together; what does not hold is a success no more."""
        where = self.done.nonzero().squeeze(1)
        if len(where):
            z = self.found[where]
            answer = self.goal[where].answer(self.raw(z))
            fooled = self._voted(answer, z, where, torch.ones_like(answer.fooled)).fooled
            still = fooled & self.opened.domain.allowed(z, self.clean[where], self.threat)
            self.rejected += int((~still).sum())
            lost = where[~still]
            self.done[lost], self.by[lost], self.found[lost] = False, NOBODY, self.clean[lost]
