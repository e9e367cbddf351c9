"""The gradients of every row of a batch, in the cheapest form that each layer has."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from veriward.privacy.clipping.held import Held, Rows
from veriward.privacy.clipping.plan import Part, parts
from veriward.privacy.clipping.tape import run
from veriward.privacy.clipping.written import Loss, net_rows, trainable


@dataclass(frozen=True)
class Gradients:
    """Per-row gradients: each layer holds its parameters by their name in the network; an unused layer holds none."""

    layers: list[dict[str, Held]]
    losses: Tensor  # (n,)

    def norms(self, order: int) -> Tensor:
        """Return norms per layer, (layers, n); order 1 asks for rows that are written out."""
        zero = self.losses.new_zeros(len(self.losses))
        powers = [sum((_power(held, order) for held in layer.values()), start=zero) for layer in self.layers]
        found = torch.stack(powers).clamp_(min=0)  # rounding; NaN stays NaN
        return found.sqrt() if order == 2 else found

    def sums(self, factors: Tensor, bad: Tensor | None) -> dict[str, Tensor]:
        """Return the sums over rows of factors (layers, n) times gradients; rows of bad (n,) have factor 0."""
        return {
            name: held.total(row.to(self.losses.device), bad)
            for layer, row in zip(self.layers, factors, strict=True)
            for name, held in layer.items()
        }


def _power(held: Held, order: int) -> Tensor:
    if order == 2:
        return held.square()
    assert isinstance(held, Rows)
    return held.rows.flatten(1).abs().sum(1)


def gradients(
    module: nn.Module, loss: Loss, x: Tensor, y: Tensor, *, compute: torch.dtype | None = None, whole: bool = False
) -> Gradients:
    """Return the gradients of the rows of x (n, ...), by layer; `whole` maps the network over rows, in its own format.

    Raises NeedsWhole and whatever else `tape.run` does.
    """
    plan = parts(module)
    if whole or any(_only_whole(part) for part in plan):
        rows, losses = net_rows(module, loss, x, y)
        return Gradients([{name: Rows(rows[name]) for name in _names(part)} for part in plan], losses)
    taken, losses = run(module, plan, loss, x, y, compute)
    return Gradients([{one.part.named(name): held for name, held in one.held.items()} for one in taken], losses)


def _only_whole(part: Part) -> bool:
    """Say whether an unknown part is the network itself, or would draw other numbers when it is run again."""
    return part.kind is None and (not part.path or part.draws)


def _names(part: Part) -> list[str]:
    return [part.named(name) for name in trainable(part.module)]
