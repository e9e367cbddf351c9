"""A small net that imitates a model from its answers, so that there are gradients where the model gives none.

Papernot et al., 2017 (arXiv:1602.02697), section 4: ask about the attacker's own rows, fit a net to the answers, ask about
rows that lie where that net changes fastest, and fit again. Scores are imitated as probabilities, bare labels as ones and
zeros, predictions of numbers in standard deviations. Training draws from a Stream alone and runs where the check runs.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from veriward.adapters.model import logarithms
from veriward.adapters.modules import ModuleBackend
from veriward.adapters.opened import Opened
from veriward.checks.evasion.goals import Goal, Loss, Misclassify
from veriward.core.streams import Stream
from veriward.core.threat import Threat

HIDDEN, CHANNELS = 128, 16
SMALLEST_PICTURE = 8  # pixels a side: below that, convolutions have nothing to see
EPOCHS, BATCH, RATE = 12, 64, 2e-3
ROUNDS = 4  # the rows themselves, around them at random, and twice where the net changes fastest


@dataclass(frozen=True, eq=False)
class Surrogate:
    """The weights of an imitation, and what is needed to build it: the shape of a row and the number of outputs."""

    shape: tuple[int, ...]
    outputs: int
    weights: Mapping[str, np.ndarray[Any, Any]] = field(repr=False)
    centre: float = 0.0  # of the answers of a regression model
    spread: float = 1.0

    @cached_property
    def backend(self) -> ModuleBackend:
        """The net in evaluation mode, in tiles, so that rows never depend on their company."""
        net = build(self.shape, self.outputs)
        net.load_state_dict({name: torch.as_tensor(np.array(value)) for name, value in self.weights.items()})
        return ModuleBackend(net.eval().requires_grad_(False), format="module", device="cpu")

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def outcome(self, z: Tensor) -> Tensor:
        """Return what the imitation answers to encoded rows, with gradients: logits (n, k), or values (n,)."""
        raw = self.backend.forward(z).double()
        return raw if self.outputs > 1 else raw.squeeze(1) * self.spread + self.centre

    def slope(self, goal: Goal, z: Tensor, kind: Loss, aim: Tensor | None) -> Tensor:
        """Return the gradient of the attacker's loss on the imitation, (n, ...)."""
        logits = Misclassify(goal.y, "logits", goal.classes) if isinstance(goal, Misclassify) else goal
        with torch.enable_grad():
            x = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(logits.loss(self.outcome(x), kind, aim).sum(), x)
        return gradient


class _Scaled(nn.Module):
    """Rows in standard deviations from their mean; gaps count as the mean."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.deviation).nan_to_num(0.0)


def build(shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Return an untrained imitation: convolutions for pictures, two hidden layers for all else; draws no random numbers."""
    picture = len(shape) in (2, 3) and min(shape[-2:]) >= SMALLEST_PICTURE
    body = _convolutions(shape) if picture else [nn.Flatten()]
    width = math.prod(shape) if not picture else 2 * CHANNELS * (shape[-2] // 4) * (shape[-1] // 4)
    head = [_linear(width, HIDDEN), nn.ReLU(), _linear(HIDDEN, HIDDEN), nn.ReLU(), _linear(HIDDEN, outputs)]
    return nn.Sequential(_Scaled(shape), *body, *head)


def _linear(inputs: int, outputs: int) -> nn.Module:
    return cast(nn.Module, nn.utils.skip_init(nn.Linear, inputs, outputs))


def _convolutions(shape: tuple[int, ...]) -> list[nn.Module]:
    channels = shape[0] if len(shape) == 3 else 1
    flat = [nn.Unflatten(1, (1, shape[0]))] if len(shape) == 2 else []
    first = nn.utils.skip_init(nn.Conv2d, channels, CHANNELS, 3, padding=1)
    second = nn.utils.skip_init(nn.Conv2d, CHANNELS, 2 * CHANNELS, 3, padding=1)
    return [*flat, first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]


@dataclass(frozen=True)
class Distil:
    """Work of one item: ask the model and train an imitation; `queries` rows are asked in all."""

    threat: Threat
    stream: Stream
    queries: int

    def __call__(self, opened: Opened, item: Any) -> Mapping[str, Any]:
        """Return the imitation as plain data."""
        made = distil(opened, self.threat, self.stream, self.queries)
        return {"weights": dict(made.weights), "centre": made.centre, "spread": made.spread}


def restored(opened: Opened, body: Mapping[str, Any]) -> Surrogate:
    """Return the imitation that Distil gave as plain data."""
    shape = tuple(opened.encoded("test", [0]).shape[1:])
    return Surrogate(shape, max(1, len(opened.classes)), body["weights"], body["centre"], body["spread"])


def distil(opened: Opened, threat: Threat, stream: Stream, queries: int) -> Surrogate:
    """Ask about `queries` rows in rounds and return an imitation of the answers; the same stream gives the same net."""
    which = "test" if opened.train is None else "train"
    count = min(max(queries // ROUNDS, 1), len(opened.split(which)))
    rows = opened.encoded(which, stream.generator().permutation(len(opened.split(which)))[:count].tolist()).cpu()
    shape, outputs = tuple(rows.shape[1:]), max(1, len(opened.classes))
    moves = opened.domain.ball(rows, threat).radii.double().nan_to_num(0.0).mean(0)
    net = _drawn(build(shape, outputs), rows, moves, stream.child("weights"))
    asked, answers = rows, _ask(opened, rows)
    centre, spread = _scale(answers, outputs)
    for number in range(ROUNDS):
        if number:
            weights = {name: value.numpy().copy() for name, value in net.state_dict().items()}
            made = Surrogate(shape, outputs, weights, centre, spread)
            fresh = _around(opened, threat, made, rows, answers[: len(rows)], stream.child(f"round {number}"), number)
            asked, answers = torch.cat([asked, fresh]), torch.cat([answers, _ask(opened, fresh)])
        _train(net, asked.float(), (answers - centre) / spread, outputs, stream.child(f"train {number}"))
    weights = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    return Surrogate(shape, outputs, weights, centre, spread)


def _ask(opened: Opened, rows: Tensor) -> Tensor:
    """Return the answers as what is imitated, float64: probabilities (n, classes), or values (n, 1)."""
    model, x = opened.model, opened.domain.decode(rows.to(opened.device))
    if hasattr(model, "scores"):
        return logarithms(model.scores(x).cpu(), opened.output).exp()
    if hasattr(model, "values"):
        return model.values(x).cpu().double()[:, None]
    return torch.nn.functional.one_hot(model.labels(x).cpu(), len(opened.classes)).double()


def _scale(answers: Tensor, outputs: int) -> tuple[float, float]:
    if outputs > 1:
        return 0.0, 1.0
    return float(answers.mean()), max(float(answers.std(correction=0)), 1e-12)


def _around(
    opened: Opened, threat: Threat, made: Surrogate, rows: Tensor, answers: Tensor, stream: Stream, number: int
) -> Tensor:
    """Return rows near the given ones: at random first, then where the imitation leaves its answer fastest."""
    ball = opened.domain.ball(rows, threat)
    if number == 1:
        return ball.project(ball.draw(stream.normal(torch.arange(len(rows)), rows.shape[1:]).to(rows.dtype)))
    with torch.enable_grad():
        x = rows.detach().requires_grad_()
        loss = _loss(made.backend.forward(x), (answers - made.centre) / made.spread, made.outputs)
        (gradient,) = torch.autograd.grad(loss.sum(), x)
    size = 0.5 + stream.uniform(torch.arange(len(rows)), (1,) * (rows.ndim - 1)).to(rows.dtype)
    return ball.project(ball.step(rows, gradient.nan_to_num(0.0), size))


def _loss(raw: Tensor, wanted: Tensor, outputs: int) -> Tensor:
    """Return each row's loss, (n,): cross-entropy against probabilities, or the squared error."""
    if outputs == 1:
        return (raw.double() - wanted).square().sum(1)
    return -(wanted * torch.log_softmax(raw.double(), 1)).sum(1)


def _drawn(net: nn.Sequential, rows: Tensor, moves: Tensor, stream: Stream) -> nn.Sequential:
    """Draw weights by He et al., 2015 (arXiv:1502.01852), equation 10, and set the scale of the rows."""
    for number, (name, value) in enumerate(net.named_parameters()):
        fan = math.prod(value.shape[1:])
        noise = stream.normal(torch.tensor([number]), value.shape)[0]
        value.data = noise * math.sqrt(2 / fan) if name.endswith("weight") else torch.zeros_like(value)
    known = rows.double().nan_to_num(0.0)
    spread = known.std(0, correction=0).clamp(min=1e-12)
    if known.ndim > 2:  # one unit for all of a picture: pixels that never change would count a thousandfold
        spread = known.std(correction=0).clamp(min=1e-12).expand_as(spread)
    scale = cast(_Scaled, net[0])
    scale.mean.copy_(known.mean(0))
    scale.deviation.copy_(torch.maximum(spread, moves))  # nor is a number's budget more than one deviation
    return net


def _train(net: nn.Sequential, x: Tensor, wanted: Tensor, outputs: int, stream: Stream) -> None:
    """Fit the net to all answers so far, in shuffled batches."""
    with torch.enable_grad():
        optimiser = torch.optim.Adam(net.parameters(), RATE)
        for batch in _batches(len(x), stream):
            optimiser.zero_grad()
            _loss(net(x[batch]), wanted[batch], outputs).mean().backward()
            optimiser.step()


def _batches(count: int, stream: Stream) -> Iterator[Tensor]:
    for epoch in range(EPOCHS):
        yield from stream.uniform(torch.arange(count), step=epoch).argsort(stable=True).split(BATCH)
