"""Private training: clipped sums of a sampled batch, noise once a step, a public divisor, any optimiser.

DP-SGD of Abadi et al., 2016 (arXiv:1607.00133), algorithm 1: per-row clipping x noise x sampler x event. Nothing but the
sampler's coins and the clipped sums depends on the rows: not the number of draws, not the divisor, not the cost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from veriward.core.errors import SettingsError
from veriward.core.progress import Progress, Silent
from veriward.privacy.clipping import Adaptive, PerRow, Rule
from veriward.privacy.clipping.rules import rule_of
from veriward.privacy.clipping.written import Loss, trainable
from veriward.privacy.dp.bounds import check_count
from veriward.privacy.dp.grid import on_grid_
from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.sampling import Sampler
from veriward.privacy.dp.step_noise import StepNoise
from veriward.privacy.dp.terms import Seen, Terms, Trained

if TYPE_CHECKING:
    from veriward.privacy.dp.ledger import Ledger

Sums = dict[str, Tensor]
PROBED = 3  # rows that `check` looks at
COUNT_STEPS = 16  # of the grid of an adaptive rule's count, in a standard deviation of its noise
DRAWN = 1 << 16  # normals at a time


def noisy(sums: Sums, std: float, source: Source) -> Sums:
    """Add independent normal noise of standard deviation `std` to every entry of every sum (any shapes), in place.

    Drawn for many parameters at once and never for all: a call costs as much as 10 000 draws, and noise that is added while
    the cache holds it needs no memory of the parameters' size, nor fresh memory for each draw.
    """
    sums = {name: total.contiguous() for name, total in sums.items()}
    scratch = torch.empty(min(DRAWN, sum(total.numel() for total in sums.values())), dtype=torch.float32)
    for pieces in _together([piece for total in sums.values() for piece in total.view(-1).split(DRAWN)]):
        sizes = [len(piece) for piece in pieces]
        drawn = source.normal_(scratch[: sum(sizes)])
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
        found = engine.clipped(_taken(x, part), _taken(y, part), rule)
        sums = {name: sums[name] + new for name, new in found.sums.items()} if sums else found.sums
        within += rule.within(found.norms) if isinstance(rule, Adaptive) else 0
        seen += Seen(len(part), found.bad, found.clipped)
    return Gathered(sums, within, seen)


def _taken(values: Tensor, rows: Tensor) -> Tensor:
    return values.index_select(0, rows.to(values.device))  # copies whole rows: two thirds of the time of values[rows]


class PrivateTraining:
    """A private training, step by step.

    module, loss: as `PerRow` takes them, which refuses by name what has no per-row gradients. x (n, ...), y (n, ...): rows.
    clip: a rule, a number (flat), or numbers (one per layer). noise_multiplier: standard deviation of the noise on the sum,
    divided by what one row can add to it. divisor: the public batch size; may be left out where the sampler knows it.
    physical: rows in memory at a time; no influence on result or cost. ledger: charged for `what` before noise is drawn.
    count_noise: of an `Adaptive` rule, standard deviation of the noise on its count (see `Terms`). compute: see `PerRow`.
    noise: `GaussianNoise()`, for a clip of order 1 `LaplaceNoise()`, unless given: see `step_noise` and `ftrl`.

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
        noise: StepNoise | None = None,
    ) -> None:
        _check_data(x, y)
        self.rule = rule_of(clip)
        self.terms = Terms.of(sampler, self.rule, noise_multiplier, divisor, count_noise, noise)
        self._engine = PerRow(module, loss, compute=compute)
        _check_optimiser(optimiser, module)
        self.module, self.optimiser = module, optimiser
        self._x, self._y, self._source = x, y, source
        self._physical = check_count("physical", physical)
        self._meter = ledger.open(self.terms.event(1), what, interval=_ahead(self.terms)) if ledger else None
        self._batches: Iterator[Tensor] = sampler.batches(len(x), source)
        self._drawn: list[Tensor] = []
        self._charge = -1  # whose batches they are
        self._add = self.terms.noise.begin()
        self.steps = 0  # executed
        self.paid = 0  # steps that the event has to cover: broken epochs count whole
        self.seen = Seen()
        self.sources = {source.name}

    def check(self) -> None:
        """Refuse what cannot be trained, on a few rows; nothing is changed, drawn or charged. `step` would find it, too."""
        self._engine.clipped(self._x[:PROBED], self._y[:PROBED], self.rule)

    def step(self) -> None:
        """Execute one logical step; `.grad` holds the noisy mean afterwards. An empty batch is a step like any other."""
        # also of what is not the module's: no stale gradient is applied; first, as it frees the memory for the sums
        self.optimiser.zero_grad(set_to_none=True)
        found = self._gathered()
        self._pay()
        self.seen += found.seen
        std = self.terms.std(self.rule)
        try:
            gradients = self._noisy(found.sums, std)
        except BaseException:
            self._break_off()
            raise
        self.rule = self._next_rule(found)
        for name, parameter in trainable(self.module).items():
            parameter.grad = on_grid_(gradients[name], std).div_(self.terms.divisor).to(parameter.dtype)
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

    def _gathered(self) -> Gathered:
        return gather(self._engine, self._x, self._y, self._batch(), self.rule, self._physical)

    def _noisy(self, sums: Sums, std: float) -> Sums:
        return self._add(sums, std, self._source, noisy)

    def _break_off(self) -> None:
        """Pay for the rest of a charge whose noise failed: noise that is correlated over steps must not skip one."""
        span = self.terms.span
        self.paid = -(-self.paid // span) * span
        self._add = self.terms.noise.begin()

    def _batch(self) -> Tensor:
        """Return the rows of the step that is paid next: drawn for a whole charge, kept until they are paid.

        So no charge ever covers parts of two epochs, whatever failed in between, and no batch is drawn anew because it was
        too large: what is executed is the sampler that is accounted for.
        """
        charge, place = divmod(self.paid, self.terms.span)
        if charge != self._charge:
            self._drawn, self._charge = list(islice(self._batches, self.terms.span)), charge
        return self._drawn[place]

    def _pay(self) -> None:
        """Charge and count a step before its noise is drawn: whatever happens then, it is not forgotten."""
        if self._meter and self.paid % self.terms.span == 0:
            self._meter.step()
        self.steps, self.paid = self.steps + 1, self.paid + 1

    def _next_rule(self, found: Gathered) -> Rule:
        """Return the rule of the next step. Rows count as +1/2 or -1/2, which halves what one of them can change; the
        divisor, not the private size of the batch, takes the halves out again (Andrew et al., 2021, theorem 1). What
        comes out is rounded: the clip is public to the last bit of float64, and the noise has only float32's to hide it.
        """
        if not isinstance(self.rule, Adaptive) or self.terms.count_noise is None:
            return self.rule
        grid = self.terms.count_noise / COUNT_STEPS
        drawn = COUNT_STEPS * float(_normal(torch.zeros(()), self._source))
        count = round((found.within - found.seen.rows / 2) / grid + drawn) * grid
        return self.rule.updated(count + self.terms.divisor / 2, self.terms.divisor)

    def resumed(self, steps: int, paid: int, seen: Seen, rule: Rule, sources: set[str]) -> None:
        """Go on from what an earlier run left: its steps count, its randomness does not come again."""
        self.steps, self.paid = steps, paid
        self._break_off()
        self.seen, self.rule, self.sources = seen, rule, sources | {self._source.name}
        self._batches, self._charge = self.terms.sampler.batches(len(self._x), self._source), -1

    def trained(self) -> Trained:
        """Return the record of the steps so far."""
        source = "simulation" if self.sources != {"cryptographic"} else "cryptographic"
        return Trained(self.terms, self.rule, self.steps, self.paid, source, self.seen)


def _ahead(terms: Terms) -> int:
    """Return how many charges are made ahead: an epoch is one, so none are made for epochs that may never come."""
    from veriward.privacy.dp.ledger import INTERVAL

    return INTERVAL if terms.span == 1 else 1


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
