"""Private training: clipped sums of a sampled batch, noise once a step, a public divisor, any optimiser.

DP-SGD of Abadi et al., 2016 (arXiv:1607.00133), algorithm 1: per-row clipping x noise x sampler x event. Nothing but the
sampler's coins and the clipped sums depends on the rows: not the number of draws, not the divisor, not the cost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from veriward.core.errors import SettingsError
from veriward.core.progress import Progress, Silent
from veriward.privacy.clipping import Adaptive, PerRow, Rule
from veriward.privacy.clipping.rules import rule_of
from veriward.privacy.clipping.written import Loss, trainable
from veriward.privacy.dp.bounds import check_count
from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.sampling import Sampler
from veriward.privacy.dp.terms import Seen, Terms, Trained

if TYPE_CHECKING:
    from veriward.privacy.dp.ledger import Ledger

Sums = dict[str, Tensor]
DRAWN = 1 << 16  # normals at a time


def noisy(sums: Sums, std: float, source: Source) -> Sums:
    """Add independent normal noise of standard deviation `std` to every entry of every sum (any shapes), in place.

    Drawn for many parameters at once and never for all: a call costs as much as 10 000 draws, and noise that is added while
    the cache holds it needs no memory of the parameters' size.
    """
    sums = {name: total.contiguous() for name, total in sums.items()}
    for pieces in _together([piece for total in sums.values() for piece in total.view(-1).split(DRAWN)]):
        sizes = [len(piece) for piece in pieces]
        drawn = source.normal_(torch.empty(sum(sizes), dtype=torch.float32, device=pieces[0].device))
        for piece, noise in zip(pieces, drawn.split(sizes), strict=True):
            piece.add_(noise.to(piece), alpha=std)
    return sums


def _together(pieces: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the pieces in order, in groups of at most DRAWN numbers."""
    group: list[Tensor] = []
    for piece in pieces:
        if group and sum(map(len, group)) + len(piece) > DRAWN:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _normal(like: Tensor, source: Source) -> Tensor:
    drawn = torch.empty(like.shape, dtype=torch.float32, device=like.device)
    return source.normal_(drawn).to(like.dtype)


@dataclass
class Gathered:
    """What the physical batches of one logical step add up to. Private: no noise yet."""

    sums: Sums
    within: int  # rows that keep the bound of an adaptive rule
    seen: Seen


def gather(engine: PerRow, x: Tensor, y: Tensor, rows: Tensor, rule: Rule, physical: int) -> Gathered:
    """Return the clipped sums over the rows numbered `rows` (n,), n may be 0, at most `physical` in memory at a time."""
    sums: Sums = {}
    within, seen = 0, Seen()
    for part in rows.split(physical):
        found = engine.clipped(x[part], y[part], rule)
        sums = {name: sums[name] + new for name, new in found.sums.items()} if sums else found.sums
        within += rule.within(found.norms) if isinstance(rule, Adaptive) else 0
        seen += Seen(len(part), found.bad, found.clipped)
    return Gathered(sums, within, seen)


class PrivateTraining:
    """A private training, step by step.

    module, loss: as `PerRow` takes them, which refuses by name what has no per-row gradients. x (n, ...), y (n, ...): rows.
    clip: a rule, a number (flat), or numbers (one per layer). noise_multiplier: standard deviation of the noise on the sum,
    divided by what one row can add to it. divisor: the public batch size; may be left out where the sampler knows it.
    physical: rows in memory at a time; no influence on result or cost. ledger: charged for `what` before noise is drawn.
    count_noise: of an `Adaptive` rule, standard deviation of the noise on its count (see `Terms`). compute: see `PerRow`.

    Raises SettingsError for values out of range, a missing divisor, and an optimiser that lacks trainable parameters;
    ModelError for modules without per-row gradients. `step` raises BudgetExceeded before anything is drawn.

    >>> from veriward.privacy.dp import SecureSource
    >>> from veriward.privacy.dp.sampling import Poisson
    >>> net = nn.Linear(2, 1)
    >>> training = PrivateTraining(
    ...     net, lambda out, y: (out[:, 0] - y).square(), torch.zeros(8, 2), torch.ones(8),
    ...     sampler=Poisson(0.5), divisor=4, clip=1.0, noise_multiplier=2.0,
    ...     optimiser=torch.optim.SGD(net.parameters(), lr=0.1), source=SecureSource(),
    ... )
    >>> done = training.run(steps=1)
    >>> done.steps, round(done.epsilon(1e-5), 2)
    (1, 1.35)
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        x: Tensor,
        y: Tensor,
        *,
        sampler: Sampler,
        clip: Rule | float | Sequence[float],
        noise_multiplier: float,
        optimiser: torch.optim.Optimizer,
        source: Source,
        divisor: float | None = None,
        physical: int = 256,
        ledger: "Ledger | None" = None,
        what: str = "training",
        count_noise: float | None = None,
        compute: torch.dtype | None = None,
    ) -> None:
        _check_data(x, y)
        self.rule = rule_of(clip)
        self.terms = Terms.of(sampler, self.rule, noise_multiplier, divisor, count_noise)
        self._engine = PerRow(module, loss, compute=compute)
        _check_optimiser(optimiser, module)
        self.module, self.optimiser = module, optimiser
        self._x, self._y, self._source = x, y, source
        self._physical = check_count("physical", physical)
        self._meter = (
            ledger.open(sampler.event(noise_multiplier, 1), what, interval=_ahead(sampler)) if ledger else None
        )
        self._batches: Iterator[Tensor] = sampler.batches(len(x), source)
        self.steps = 0  # executed
        self.paid = 0  # steps that the event has to cover: broken epochs count whole
        self.seen = Seen()
        self.sources = {source.name}

    def step(self) -> None:
        """Execute one logical step; `.grad` holds the noisy mean afterwards. An empty batch is a step like any other."""
        # also of what is not the module's: no stale gradient is applied; first, as it frees the memory for the sums
        self.optimiser.zero_grad(set_to_none=True)
        found = gather(self._engine, self._x, self._y, next(self._batches), self.rule, self._physical)
        self._pay()
        self.seen += found.seen
        gradients = noisy(found.sums, self.terms.std(self.rule), self._source)
        self.rule = self._next_rule(found)
        for name, parameter in trainable(self.module).items():
            parameter.grad = gradients[name].div_(self.terms.divisor).to(parameter.dtype)
        self.optimiser.step()

    def run(self, steps: int, progress: Progress | None = None) -> Trained:
        """Execute `steps` more steps and return the record of all so far.

        What progress tells is public: counts of steps. Raises SettingsError for steps below 1, BudgetExceeded where the
        ledger refuses a step: the module then stands as the last paid step left it.
        """
        told = progress or Silent()
        told.begin("training", check_count("steps", steps))
        for _ in range(int(steps)):
            self.step()
            told.advance(1)
        return self.trained()

    def _pay(self) -> None:
        """Charge and count a step before its noise is drawn: whatever happens then, it is not forgotten."""
        if self._meter and self.paid % self.terms.sampler.span == 0:
            self._meter.step()
        self.steps, self.paid = self.steps + 1, self.paid + 1

    def _next_rule(self, found: Gathered) -> Rule:
        """Return the rule of the next step. Rows count as +1/2 or -1/2, which halves what one of them can change; the
        divisor, not the private size of the batch, takes the halves out again (Andrew et al., 2021, theorem 1).
        """
        if not isinstance(self.rule, Adaptive) or self.terms.count_noise is None:
            return self.rule
        halves = torch.tensor(found.within - found.seen.rows / 2, dtype=torch.float64)
        count = float(halves + self.terms.count_noise * _normal(halves, self._source)) + self.terms.divisor / 2
        return self.rule.updated(count, self.terms.divisor)

    def resumed(self, steps: int, paid: int, seen: Seen, rule: Rule, sources: set[str]) -> None:
        """Go on from what an earlier run left: its steps count, its randomness does not come again."""
        span = self.terms.sampler.span
        self.steps, self.paid = steps, -(-paid // span) * span
        self.seen, self.rule, self.sources = seen, rule, sources | {self._source.name}
        self._batches = self.terms.sampler.batches(len(self._x), self._source)

    def trained(self) -> Trained:
        """Return the record of the steps so far."""
        source = "simulation" if self.sources != {"cryptographic"} else "cryptographic"
        return Trained(self.terms, self.rule, self.steps, self.paid, source, self.seen)


def _ahead(sampler: Sampler) -> int:
    """Return how many charges are made ahead: an epoch is one, so none are made for epochs that may never come."""
    from veriward.privacy.dp.ledger import INTERVAL

    return INTERVAL if sampler.span == 1 else 1


def _check_data(x: object, y: object) -> None:
    if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not x.ndim or not y.ndim or len(x) != len(y):
        came = [tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for v in (x, y)]
        raise SettingsError(f"x, y: came as {came[0]} and {came[1]}; want tensors with one entry per row, rows first")


def _check_optimiser(optimiser: torch.optim.Optimizer, module: nn.Module) -> None:
    if isinstance(optimiser, torch.optim.LBFGS):
        raise SettingsError("optimiser: LBFGS evaluates the loss again, without noise; want one that reads .grad once")
    held = {id(p) for group in optimiser.param_groups for p in group["params"]}
    lacking = [name for name, p in trainable(module).items() if id(p) not in held]
    if lacking:
        raise SettingsError(
            f"optimiser: does not hold {lacking[0]}; want every trainable parameter, freeze the others (requires_grad=False)"
        )
