"""The rows an attack is still after. A row leaves at its first success; what counts as one is decided here, not there."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.checks.evasion.exactly import Twin
from veriward.checks.evasion.goals import Answer, Goal, Loss, Misclassify
from veriward.checks.evasion.pieces import Pieces
from veriward.checks.evasion.votes import confirmed
from veriward.core.ball import Ball
from veriward.core.threat import Threat

NOBODY = -1
THIN = 1e-4  # of the clean row's margin: successes below it are asked again in float64


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
    contradicted: int = 0  # successes by rounding alone: float64 decides otherwise

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
        model = self.opened.model
        call = next(getattr(model, name) for name in ("scores", "values", "labels") if hasattr(model, name))
        decode = self.opened.domain.decode
        told = self._asked.over(len(z), lambda part: torch.as_tensor(call(decode(z[part]))).to(z.device))
        return torch.cat(told) if len(told) > 1 else told[0]

    @cached_property
    def _asked(self) -> Pieces:
        return Pieces(self.opened.model.backend)

    @cached_property
    def _differentiated(self) -> Pieces:
        return Pieces.of(self.opened.model.backend, self.clean)

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

    @cached_property
    def start(self) -> Tensor:
        """The margins of the clean rows, (n,) float64: how far there is to go."""
        return self.ask(self.clean, torch.arange(len(self.clean), device=self.clean.device)).margin.double()

    def slope(
        self, z: Tensor, where: Tensor, kind: Loss = "margin", aim: Tensor | None = None
    ) -> tuple[Answer, Tensor]:
        """Return what the model says to z and the gradient of the loss by z; parameters stay out of it."""
        answer, _, gradient = self.rise(z, where, kind, aim)
        return answer, gradient

    def rise(
        self, z: Tensor, where: Tensor, kind: Loss = "margin", aim: Tensor | None = None
    ) -> tuple[Answer, Tensor, Tensor]:
        """Return what `slope` does and, between, the loss itself, (n,): step rules compare it."""

        def piece(part: slice) -> tuple[Tensor, Tensor, Tensor]:
            return self._risen(z[part], self.goal[where[part]], kind, None if aim is None else aim[part])

        parts = self._differentiated.over(len(z), piece)
        raw, loss, gradient = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
        answer = self.goal[where].answer(raw)
        return self._sure(answer, z, where) if self._coarse else answer, loss, gradient

    def _risen(self, z: Tensor, goal: Goal, kind: Loss, aim: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            x = z.detach().requires_grad_()
            with torch.autocast(self.opened.device.type, torch.bfloat16, enabled=self._coarse):
                raw = self.opened.model.forward(x)  # type: ignore[union-attr]  # planned only for gradients
            raw = raw.to(z.dtype) if self._coarse else raw
            loss = goal.loss(raw, kind, aim)
            (gradient,) = torch.autograd.grad(loss.sum(), x)
        return raw.detach(), loss.detach(), gradient

    @property
    def _coarse(self) -> bool:
        """Whether slopes may be coarse; how far a prediction moves is measured along the way, and is not."""
        return isinstance(self.goal, Misclassify) and self.opened.subject.threat.evasion.search == "bfloat16"

    def _sure(self, answer: Answer, z: Tensor, where: Tensor) -> Answer:
        """Return answers of which the successes are the model's own, not those of coarser numbers."""
        hits = answer.fooled.nonzero().squeeze(1)
        if len(hits):
            own = self.goal[where[hits]].answer(self.raw(z[hits]))
            answer.margin[hits], answer.fooled[hits] = own.margin.to(answer.margin.dtype), own.fooled
        return answer

    def observe(self, where: Tensor, z: Tensor, answer: Answer) -> Tensor:
        """Take note of candidates z for the rows `where`, each row once; return which are new successes, (n,).

        A candidate counts only inside the threat and the domain, judged apart from the projection that made it. Rows that
        were broken before may still be among `where`: nothing of theirs is new.
        """
        self.best[where] = torch.maximum(self.best[where], answer.margin.double())
        hits = answer.fooled & ~self.done[where]
        if not bool(hits.any()):
            return hits
        hits = hits & self.opened.domain.allowed(z, self.clean[where], self.threat)
        new = where[hits]
        self.found[new], self.done[new], self.by[new] = z[hits], True, self.attack
        return hits

    def gap(self, where: Tensor) -> Tensor:
        """Return how much of the way is left to rows, (n,): 1 where nothing was gained, 0 at the decision's edge.

        Both ends are the row's own margins, so that it is free of the scores' scale and of other rows.
        """
        start = self.start[where]
        best = torch.maximum(self.best[where], start)
        return (
            best / torch.where(start < 0, start, -1.0) if isinstance(self.goal, Misclassify) else torch.zeros_like(best)
        )

    def verify(self) -> None:
        """Ask again about every success, all of them together; what does not hold is a success no more."""
        where = self.done.nonzero().squeeze(1)
        if len(where):
            z = self.found[where]
            first = self.goal[where].answer(self.raw(z))
            answer = self._voted(first, z, where, torch.ones_like(first.fooled))
            still = answer.fooled & self.opened.domain.allowed(z, self.clean[where], self.threat)
            self.rejected += int((~still).sum())
            rounding = still & self._contradicted(z, where, answer)
            self.contradicted += int(rounding.sum())
            lost = where[~still | rounding]
            self.done[lost], self.by[lost], self.found[lost] = False, NOBODY, self.clean[lost]

    def _contradicted(self, z: Tensor, where: Tensor, answer: Answer) -> Tensor:
        """Return which successes are so thin that float64 decides otherwise, (n,)."""
        thin = answer.fooled & (answer.margin.double() <= THIN * self.start[where].abs())
        scores = self._twin.scores(z[thin]) if bool(thin.any()) and self.votes == 1 else None
        if scores is None:
            return torch.zeros_like(thin)
        thin[thin.clone()] = ~self.goal[where[thin]].answer(scores.to(z.device)).fooled
        return thin

    @cached_property
    def _twin(self) -> Twin:
        return Twin(self.opened)
