"""Networks of every layer kind, rows for them, and the loop over single rows that everything is compared with."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from veriward.core.streams import Stream
from veriward.privacy.clipping import LoRA, fix

STREAM = Stream.of(7, "tests/privacy/clipping")


def normal(*shape: int, name: str = "x") -> Tensor:
    return STREAM.child(name).normal(torch.arange(shape[0]), shape[1:]).double()


def integers(high: int, *shape: int, name: str = "ids") -> Tensor:
    return STREAM.child(name).integers(torch.arange(shape[0]), high, shape[1:])


def drawn(module: nn.Module) -> nn.Module:
    """Return the module in float64 with weights from the stream: nothing comes from torch's random numbers."""
    module.double()
    for place, parameter in enumerate(module.parameters()):
        values = STREAM.child("weights").normal(torch.tensor([place]), (parameter.numel(),))
        parameter.data = (0.4 * values).view_as(parameter).to(parameter.dtype)
    return module


def squares(output: Tensor, y: Tensor) -> Tensor:
    """A loss whose output gradients differ between rows and positions."""
    weights = torch.linspace(0.5, 1.5, output[0].numel(), dtype=output.dtype)
    return ((output.flatten(1) - y[:, None]).square() * weights).sum(1)


def classes(output: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(output, y, reduction="none")


def loop(module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the gradients of each row alone, (n, *shape), by torch's own backward pass."""
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    rows = []
    for i in range(len(x)):
        value = loss(module(x[i : i + 1]), y[i : i + 1]).sum()
        rows.append(torch.autograd.grad(value, list(named.values()), allow_unused=True, materialize_grads=True))
    return {name: torch.stack([row[place] for row in rows]) for place, name in enumerate(named)}


def norms_of(rows: dict[str, Tensor]) -> Tensor:
    return torch.stack([r.flatten(1).square().sum(1) for r in rows.values()]).sum(0).sqrt()


class First(nn.Module):
    """The first of several answers of a module."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)[0]
        return out


class Twice(nn.Module):
    """One layer called twice."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(self.inner(x).tanh())
        return out


class Attend(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return out


class Scaled(nn.Module):
    """A parameter that no layer holds, with a layer inside."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x * self.scale).tanh()
        return out


class Pair(nn.Module):
    """A part that takes two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Bilinear(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mix(x, x.tanh())
        return out


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.used(x)
        return out


@dataclass(frozen=True)
class Case:
    module: Callable[[], nn.Module]
    x: Tensor


def _conv2d(**options: object) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(4, 6, 3, **options)  # type: ignore[arg-type]


def _frozen(module: nn.Module, *names: str) -> nn.Module:
    for name in names:
        module.get_parameter(name).requires_grad_(False)
    return module


CASES: dict[str, Case] = {
    "linear": Case(lambda: nn.Linear(5, 3), normal(6, 5)),
    "linear without bias": Case(lambda: nn.Linear(5, 3, bias=False), normal(6, 5)),
    "linear, weight frozen": Case(lambda: _frozen(nn.Linear(5, 3), "weight"), normal(6, 4, 5)),
    "linear, bias frozen": Case(lambda: _frozen(nn.Linear(5, 3), "bias"), normal(6, 5)),
    "linear over positions": Case(lambda: nn.Linear(5, 3), normal(4, 7, 5)),
    "linear over two dimensions": Case(lambda: nn.Linear(5, 3), normal(4, 2, 3, 5)),
    "linear, written out": Case(lambda: nn.Linear(4, 3), normal(4, 40, 4)),
    "linear, ghost": Case(lambda: nn.Linear(30, 40), normal(4, 3, 30)),
    "conv1d": Case(lambda: nn.Conv1d(3, 4, 3, stride=2, padding=1), normal(5, 3, 9)),
    "conv2d": Case(_conv2d(), normal(4, 4, 6, 7)),
    "conv2d, ghost": Case(lambda: nn.Conv2d(6, 40, 3), normal(3, 6, 4, 4)),
    "conv2d, ghost, groups": Case(lambda: nn.Conv2d(12, 80, 3, groups=2, stride=2, padding=1), normal(3, 12, 4, 5)),
    "conv2d, stride, padding, dilation": Case(_conv2d(stride=2, padding=(1, 2), dilation=2), normal(4, 4, 8, 9)),
    "conv2d, groups": Case(_conv2d(groups=2, bias=False), normal(4, 4, 5, 5)),
    "conv2d, depthwise": Case(lambda: nn.Conv2d(4, 8, 3, groups=4), normal(4, 4, 5, 5)),
    "conv2d, reflected": Case(_conv2d(padding=1, padding_mode="reflect"), normal(4, 4, 5, 5)),
    "conv2d, same": Case(lambda: nn.Conv2d(4, 6, (2, 4), padding="same"), normal(4, 4, 5, 6)),
    "conv2d, same, ghost": Case(lambda: nn.Conv2d(6, 60, (2, 3), padding="same"), normal(3, 6, 2, 3)),
    "conv3d": Case(lambda: nn.Conv3d(2, 3, 2, stride=(1, 2, 1), padding=1), normal(3, 2, 4, 5, 3)),
    "conv3d, ghost": Case(lambda: nn.Conv3d(4, 30, 2), normal(3, 4, 3, 2, 3)),
    "embedding": Case(lambda: nn.Embedding(9, 4), integers(9, 5, 6)),
    "embedding, padding line": Case(lambda: nn.Embedding(4, 3, padding_idx=2), integers(4, 5, 8)),
    "embedding, one index a row": Case(lambda: nn.Embedding(4, 3), integers(4, 5)),
    "embedding, sparse": Case(lambda: nn.Embedding(50, 3, sparse=False), integers(50, 5, 2)),
    "layer norm": Case(lambda: nn.LayerNorm(6), normal(5, 3, 6)),
    "layer norm over two dimensions": Case(lambda: nn.LayerNorm((3, 6)), normal(5, 2, 3, 6)),
    "layer norm without bias": Case(lambda: nn.LayerNorm(6, bias=False), normal(5, 6)),
    "rms norm": Case(lambda: nn.RMSNorm(6), normal(5, 3, 6)),
    "group norm": Case(lambda: nn.GroupNorm(2, 6), normal(5, 6, 3, 4)),
    "group norm without positions": Case(lambda: nn.GroupNorm(2, 6), normal(5, 6)),
    "instance norm": Case(lambda: nn.InstanceNorm2d(3, affine=True), normal(5, 3, 4, 4)),
    "instance norm 1d": Case(lambda: nn.InstanceNorm1d(3, affine=True), normal(5, 3, 6)),
    "instance norm 3d": Case(lambda: nn.InstanceNorm3d(3, affine=True), normal(5, 3, 2, 3, 2)),
    "lstm": Case(
        lambda: First(fix(nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True))), normal(3, 5, 3)
    ),
    "gru": Case(lambda: First(fix(nn.GRU(3, 4, batch_first=True))), normal(3, 5, 3)),
    "rnn": Case(lambda: First(fix(nn.RNN(3, 4, batch_first=True, nonlinearity="relu"))), normal(3, 5, 3)),
    "attention": Case(lambda: fix(Attend()), normal(3, 5, 8)),
    "transformer": Case(
        lambda: fix(nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)), normal(3, 5, 8)
    ),
    "lora": Case(lambda: LoRA(nn.Linear(6, 5), 2, stream=STREAM), normal(4, 3, 6)),
    "linear called twice": Case(lambda: Twice(nn.Linear(4, 4)), normal(5, 3, 4)),
    "conv called twice": Case(lambda: Twice(nn.Conv2d(3, 3, 3, padding=1)), normal(4, 3, 5, 5)),
    "layer norm called twice": Case(lambda: Twice(nn.LayerNorm(6)), normal(4, 6)),
    "unknown: prelu": Case(lambda: nn.Sequential(nn.Linear(5, 4), nn.PReLU(4), nn.Linear(4, 2)), normal(5, 5)),
    "unknown: transposed": Case(lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.Flatten()), normal(3, 2, 4, 4)),
    "unknown: a parameter of its own": Case(lambda: nn.Sequential(Scaled(), nn.Linear(4, 2)), normal(5, 4)),
    "unknown: the whole network": Case(Scaled, normal(5, 4)),
    "unknown: two inputs": Case(Pair, normal(5, 4)),
    "unknown: weight norm": Case(
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Tanh()), normal(5, 4)
    ),
    "in place": Case(lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)), normal(5, 5)),
    "a part that is not used": Case(Unused, normal(5, 4)),
}
