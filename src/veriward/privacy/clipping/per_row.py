"""Per-row clipping in one backward pass: the sum of clipped gradients, without a gradient for each row in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from veriward.core.errors import SettingsError
from veriward.privacy.clipping.gradients import Gradients, gradients
from veriward.privacy.clipping.plan import parts, refuse
from veriward.privacy.clipping.probe import probe
from veriward.privacy.clipping.rules import Rule, rule_of
from veriward.privacy.clipping.written import Loss, net_rows, trainable


@dataclass(frozen=True)
class Clipped:
    """The sum of clipped per-row gradients: no mean, no noise."""

    sums: dict[str, Tensor]  # by parameter name, in the parameter's shape; at least float32
    norms: Tensor  # (n,) before clipping, over all parameters, in the rule's order; inf for a bad row
    losses: Tensor  # (n,) as they came
    bad: int  # rows that were zeroed: a gradient or loss that is not finite
    clipped: int  # rows scaled down in any layer, bad ones among them


def _judged(norms: Tensor, losses: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Return the norms over all layers, inf for bad rows, and which rows are bad."""
    total = torch.linalg.vector_norm(norms, order, dim=0)
    bad = ~(total.isfinite() & losses.isfinite())
    return total.masked_fill(bad, torch.inf), bad


def _zeros(like: Tensor) -> Tensor:
    return torch.zeros_like(like, dtype=torch.promote_types(like.dtype, torch.float32))


def _no_rows(x: Tensor) -> Tensor:
    return torch.zeros(0, device=x.device)


class PerRow:
    """Clips the gradient of every row of a batch by itself, in one forward and one backward pass.

    module: its outputs (n, ...) come from x (n, ...), each row from its own. loss(output, y) -> (n,), never reduced.
    compute: torch.bfloat16 runs the passes in autocast; norms and sums are float32 in any case, of the very numbers that
    are summed, so the bound on a row's norm does not depend on the format. Rounding can exceed it by `slack`.

    The module stays as it was: hooks, mode, `.grad` and `requires_grad`. At the first call three random rows are
    compared in float64 with the gradients of each row alone: whatever makes per-row gradients silently wrong (weights
    used outside their module, rows that influence each other, a loss divided by the number of rows) is refused by name.

    Raises ModelError for modules without per-row gradients (BatchNorm, tied weights, no trainable parameter),
    SettingsError for a loss that is not per row. Source: Bu et al., 2023 (arXiv:2210.00038).

    >>> net = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.ones_(net.weight)
    >>> engine = PerRow(net, lambda output, y: (output[:, 0] - y).square() / 2)
    >>> found = engine.clipped(torch.tensor([[3.0, 4.0], [0.0, 0.5]]), torch.zeros(2), clip=1.0)
    >>> found.norms.tolist(), found.clipped  # residual 7 times |x| = 5; .5 times .5
    ([35.0, 0.25], 1)
    >>> found.sums["weight"]
    tensor([[0.6000, 1.0500]])
    """

    slack = 1e-4  # relative: what float32 rounding can add to a row's norm beyond the clip; see CANCELLED in outer.py

    def __init__(self, module: nn.Module, loss: Loss, *, compute: torch.dtype | None = None) -> None:
        if compute not in (None, torch.bfloat16):
            raise SettingsError(f"compute = {compute}: want torch.bfloat16, or None for the module's own format")
        refuse(module)
        self.module, self.loss, self.compute = module, loss, compute
        self._whole = False
        self._probed: frozenset[str] | None = None

    @property
    def slow(self) -> tuple[str, ...]:
        """The paths of parts that no closed form is known for: mapped over rows by torch.func. "" is the whole."""
        unknown = tuple(part.path for part in parts(self.module) if part.kind is None)
        return ("",) if self._whole or "" in unknown else unknown

    def clipped(self, x: Tensor, y: Tensor, clip: Rule | float | Sequence[float]) -> Clipped:
        """Return the sum over rows of clipped gradients. x (n, ...), y (n, ...); n may be 0.

        clip: a rule, a number (flat), or numbers (one per layer). Rows whose gradient or loss is not finite are zeroed and
        counted as clipped. Raises SettingsError and ModelError as the class says.
        """
        rule = rule_of(clip)
        if not self._ready(x, y):
            return Clipped(self._all({}), _no_rows(x), _no_rows(x), bad=0, clipped=0)
        found = self._gradients(x, y, written=rule.order == 1)
        norms = found.norms(rule.order)
        total, bad = _judged(norms, found.losses, rule.order)
        factors = rule.factors(norms).masked_fill(bad, 0).expand(len(norms), -1)
        count = int(bad.sum())
        sums = self._all(found.sums(factors, bad if count else None))
        return Clipped(sums, total, found.losses, bad=count, clipped=int((factors < 1).any(0).sum()))

    def norms(self, x: Tensor, y: Tensor, *, order: int = 2) -> Tensor:
        """Return the norm of each row's gradient over all parameters, (n,); inf where it or the loss is not finite."""
        if not self._ready(x, y):
            return _no_rows(x)
        found = self._gradients(x, y, written=order == 1)
        return _judged(found.norms(order), found.losses, order)[0]

    def rows(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return every row's gradient, {name: (n, *shape)}: n times the memory of the parameters, for small uses."""
        if not self._ready(x, y):
            return {name: p.new_zeros(0, *p.shape) for name, p in self._parameters().items()}
        return net_rows(self.module, self.loss, x, y)[0]

    def _all(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a sum for every trainable parameter: those that the loss does not use get zeros, and noise later."""
        named = trainable(self.module).items()
        return {name: sums[name] if name in sums else _zeros(p.detach()) for name, p in named}

    def _parameters(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in trainable(self.module).items()}

    def _ready(self, x: Tensor, y: Tensor) -> bool:
        """Refuse what has no per-row gradients; say whether there are rows at all."""
        if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not x.ndim or not y.ndim or len(x) != len(y):
            came = [tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for v in (x, y)]
            raise SettingsError(
                f"x, y: came as {came[0]} and {came[1]}; want tensors with one entry per row, rows first"
            )
        refuse(self.module)  # again: the caller may have switched its mode or frozen a part
        names = frozenset(trainable(self.module))
        if len(x) and names != self._probed:
            self._whole = probe(self.module, self.loss, x, y)
            # one row of whole numbers cannot show that rows influence each other
            self._probed = names if len(x) > 1 or x.is_floating_point() else None
        return bool(len(x))

    def _gradients(self, x: Tensor, y: Tensor, *, written: bool) -> Gradients:
        return gradients(self.module, self.loss, x, y, compute=self.compute, whole=written or self._whole)
