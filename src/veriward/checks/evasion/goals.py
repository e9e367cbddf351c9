"""What an attacker wants: another decision, or a prediction that moves. Losses are differentiable and are to be raised."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened

Loss = Literal["margin", "ce", "dlr"]
DEFAULT_TOLERANCE = "10%"  # of the prediction


@dataclass(frozen=True)
class Answer:
    """What the model says to candidates: `margin` (n,) steers the search, `fooled` (n,) is the attacker's success.

    They differ where scores tie: the margin is zero, and the decision is that of the first class.
    """

    margin: Tensor
    fooled: Tensor
    moved: Tensor | None = None  # of predictions: by how much, with its sign

    def __getitem__(self, where: Tensor | slice) -> "Answer":
        moved = self.moved[where] if self.moved is not None else None
        return Answer(self.margin[where], self.fooled[where], moved)


class Goal(Protocol):
    """The aim of an attack on n rows."""

    @property
    def aims(self) -> int:
        """How many directions a targeted search can take."""

    def __getitem__(self, where: Tensor) -> "Goal":
        """Return the goal for some of the rows."""

    def answer(self, raw: Tensor) -> Answer:
        """Return what raw outputs mean for the attacker."""

    def loss(self, raw: Tensor, kind: Loss = "margin", aim: Tensor | None = None) -> Tensor:
        """Return what the attacker raises, (n,), with gradients where raw has them."""

    def aim(self, raw: Tensor, rank: int) -> Tensor:
        """Return the direction of a rank for each row, (n,), by the answers to the clean rows; 1 is the best."""


@dataclass(frozen=True)
class Misclassify:
    """Any class but `y` (n,); `output` says whether scores are logits or probabilities."""

    y: Tensor
    output: str
    classes: int

    @property
    def aims(self) -> int:
        """Every other class."""
        return self.classes - 1

    def __getitem__(self, where: Tensor) -> "Misclassify":
        return Misclassify(self.y[where], self.output, self.classes)

    def answer(self, raw: Tensor) -> Answer:
        """Return margins of scores (n, classes), or plus and minus one for bare labels (n,)."""
        if raw.ndim == 1:
            fooled = raw != self.y
            return Answer(fooled.float() * 2 - 1, fooled)
        return Answer(margins(comparable(raw, self.output), self.y), raw.argmax(1) != self.y)

    def loss(self, raw: Tensor, kind: Loss = "margin", aim: Tensor | None = None) -> Tensor:
        """Return the margin, the cross-entropy or the DLR of scores; towards the class `aim` if it is given."""
        scores = comparable(raw, self.output)
        if kind == "ce":
            return cross_entropy(scores, self.y, aim)
        return dlr(scores, self.y, aim) if kind == "dlr" else margins(scores, self.y, aim)

    def aim(self, raw: Tensor, rank: int) -> Tensor:
        """Return the wrong class of a rank, (n,); ranks beyond the last begin again."""
        order = raw.scatter(1, self.y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
        return order[:, (rank - 1) % self.aims]


@dataclass(frozen=True)
class Move:
    """A prediction farther than `tolerance` (n,) from `start` (n,), upwards or downwards; both float64."""

    start: Tensor
    tolerance: Tensor
    aims: int = 2

    @classmethod
    def of(cls, opened: "Opened", start: Tensor) -> "Move":
        """Return the goal for predictions of clean rows, with the subject's tolerance."""
        text = opened.subject.threat.evasion.tolerance or DEFAULT_TOLERANCE
        amount = float(text.removesuffix("%"))
        tolerance = start.abs() * (amount / 100) if text.endswith("%") else torch.full_like(start, amount)
        return cls(start, tolerance)

    def __getitem__(self, where: Tensor) -> "Move":
        return Move(self.start[where], self.tolerance[where])

    def answer(self, raw: Tensor) -> Answer:
        """Return how far beyond the tolerance predictions (n,) are."""
        moved = raw.double() - self.start
        margin = moved.abs() - self.tolerance
        return Answer(margin, margin > 0, moved)

    def loss(self, raw: Tensor, kind: Loss = "margin", aim: Tensor | None = None) -> Tensor:
        """Return the error, signed by `aim` or its size; at the start itself its slope is that of moving up."""
        moved = raw.double() - self.start
        return moved * aim if aim is not None else torch.where(moved >= 0, moved, -moved)

    def aim(self, raw: Tensor, rank: int) -> Tensor:
        """Return -1 for odd ranks and +1 for even ones, (n,): the first search has gone up."""
        return torch.full_like(self.start, -1.0 if rank % 2 else 1.0)


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


def cross_entropy(scores: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of the right class, (n,), or minus that of the target."""
    if target is not None:
        return -torch.nn.functional.cross_entropy(scores, target, reduction="none")
    return torch.nn.functional.cross_entropy(scores, y, reduction="none")


def dlr(scores: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Return the difference-of-logits ratio, (n,): the margin over a spread that scaling of the logits cannot hide.

    Croce & Hein 2020 (arXiv:2003.01690), equations 6 and 7. With fewer classes than those need, the spread is taken over
    the classes there are; with two there is none, and the margin itself is left.
    """
    order = scores.sort(dim=1, descending=True).values
    last = min(3, scores.shape[1]) - 1
    spread = order[:, 0] - order[:, last]
    if target is not None and scores.shape[1] > 3:
        spread = order[:, 0] - (order[:, 2] + order[:, 3]) / 2
    margin = margins(scores, y, target)
    few = scores.shape[1] == 2 or (target is not None and scores.shape[1] == 3)  # with three the ratio would be flat
    return margin if few else margin / (spread + 1e-12)


def comparable(scores: Tensor, output: str) -> Tensor:
    """Return scores whose differences are those of logits: probabilities become logarithms, which do not saturate."""
    if output == "probabilities":
        return scores.clamp(min=torch.finfo(scores.dtype).tiny).log()
    return scores
