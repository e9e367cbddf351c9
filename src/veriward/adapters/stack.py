"""Many modules of one shape as one: parameters stacked along a first axis, so that one call runs all of them.

`Sequential`s of linear layers, 2-d convolutions, pooling and elementwise activations run on batched matrix products and
grouped convolutions; other modules under `torch.vmap`. What would make a stack another thing than its modules is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from veriward.adapters import losses
from veriward.adapters.losses import Loss
from veriward.core.errors import CapabilityError

Weights = Mapping[str, Tensor]  # by name, each (models, ...)
Layer = Callable[[Weights, Tensor], Tensor]

ELEMENTWISE = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Softsign, nn.Tanhshrink, nn.LogSigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish,
)  # fmt: skip
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Unstackable(CapabilityError):  # noqa: N818 -- names what is so, not what went wrong
    """Models that must be trained one by one; the message says why."""


@dataclass(frozen=True)
class Stack:
    """Modules of one shape as one: x (models, n, ...) -> outputs (models, n, ...).

    >>> nets = [nn.Sequential(nn.Linear(3, 2), nn.Tanh()) for _ in range(5)]
    >>> stack, x = Stack.of(nets), torch.ones(5, 4, 3)
    >>> out = stack(x)
    >>> tuple(out.shape), torch.allclose(out[1], nets[1](x[1]))
    ((5, 4, 2), True)
    """

    weights: Weights  # leaves, with the gradients of all models
    forward: Callable[[Weights, Tensor], Tensor]
    by_hand: bool

    @classmethod
    def of(cls, modules: Sequence[nn.Module]) -> "Stack":
        """Stack copies of the modules' weights; modules of different shapes are the caller's mistake (see `alike`)."""
        named = [dict(module.named_parameters()) for module in modules]
        weights = {
            name: torch.stack([each[name].detach() for each in named]).requires_grad_(p.requires_grad)
            for name, p in named[0].items()
        }
        layers = _layers(modules[0], {id(p): name for name, p in named[0].items()})
        return cls(weights, _vmapped(modules) if layers is None else _chained(layers), layers is not None)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs of every model for its own rows."""
        return self.forward(self.weights, x)

    def losses(self, loss: Loss, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row, (models, n)."""
        output = self(x)
        if loss in losses.LOSSES.values():  # ours never look beyond a row: all models' rows are one batch
            return loss(output.flatten(0, 1), y.flatten(0, 1)).view(y.shape[:2])
        found: Tensor = torch.vmap(loss)(output, y)
        return found

    def write(self, number: int, module: nn.Module) -> None:
        """Copy the weights of a model into a module."""
        with torch.no_grad():
            for name, p in module.named_parameters():
                p.copy_(self.weights[name][number])


def alike(modules: Sequence[nn.Module]) -> None:
    """Raise Unstackable unless the modules can be one stack, each with weights of its own and rows that do not meet."""
    first = modules[0]
    for name, part in first.named_modules():
        _allowed(name or "the module", part)
    shapes = _shapes(first)
    for module in modules[1:]:
        if repr(module) != repr(first) or _shapes(module) != shapes:
            raise Unstackable("recipe.build: builds another network for another seed; they are trained one by one")
    owned = [id(p) for module in modules for p in (module, *module.parameters())]
    if len(set(owned)) < len(owned):
        raise Unstackable("recipe.build: returns the same weights twice; its models are trained one by one")


def _allowed(name: str, part: nn.Module) -> None:
    kind = type(part).__name__
    if isinstance(part, _NormBase):
        raise Unstackable(f"{name} ({kind}) takes statistics over a batch; such models are trained one by one")
    if isinstance(part, _DropoutNd) and part.p > 0:
        raise Unstackable(f"{name} ({kind}) draws at random in training; such models are trained one by one")
    if any(isinstance(p, nn.UninitializedParameter) for p in part.parameters(recurse=False)):
        raise Unstackable(f"{name} ({kind}) has no weights before its first batch; such models are trained one by one")
    hooked = any(getattr(part, hooks) for hooks in HOOKS)
    if hooked or any(p._backward_hooks or p._post_accumulate_grad_hooks for p in part.parameters(recurse=False)):
        raise Unstackable(
            f"{name} ({kind}) has hooks, which see one model at a time; such models are trained one by one"
        )


def _shapes(module: nn.Module) -> list[Any]:
    numbers = [(name, p.shape, p.dtype, p.requires_grad) for name, p in module.named_parameters()]
    return [*numbers, *((name, b.shape, b.dtype) for name, b in module.named_buffers())]


def _vmapped(modules: Sequence[nn.Module]) -> Callable[[Weights, Tensor], Tensor]:
    buffers = [dict(module.named_buffers()) for module in modules]
    fixed = {name: torch.stack([each[name] for each in buffers]) for name in buffers[0]}

    def one(weights: Weights, kept: Weights, x: Tensor) -> Any:
        return functional_call(modules[0], ({**weights}, {**kept}), (x,))

    def forward(weights: Weights, x: Tensor) -> Tensor:
        # randomness: a stack would draw other numbers than its models one by one, so drawing raises
        found: Tensor = torch.vmap(one, randomness="error")(weights, fixed, x)
        return found

    return forward


def _chained(layers: Sequence[Layer]) -> Callable[[Weights, Tensor], Tensor]:
    def forward(weights: Weights, x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(weights, x)
        return x

    return forward


def _layers(module: nn.Module, names: Mapping[int, str]) -> list[Layer] | None:
    """Return the layers of a `Sequential` by hand; None where there is one that only vmap runs."""
    if type(module) is nn.Sequential:
        found = [_layers(part, names) for part in module]
        return None if None in found else [layer for part in found for layer in part or ()]
    layer = _layer(module, names)
    return None if layer is None else [layer]


def _layer(module: nn.Module, names: Mapping[int, str]) -> Layer | None:
    match module:  # exact types: who derives from them may do more
        case nn.Linear() if type(module) is nn.Linear:
            return _linear(names[id(module.weight)], None if module.bias is None else names[id(module.bias)])
        case nn.Conv2d() if type(module) is nn.Conv2d and module.padding_mode == "zeros":
            return _convolution(module, names)
        case nn.Flatten() if (module.start_dim, module.end_dim) == (1, -1):
            return lambda _, x: x.flatten(2)
        case nn.MaxPool2d() | nn.AvgPool2d() | nn.AdaptiveAvgPool2d() if type(module) in POOLS:
            return None if getattr(module, "return_indices", False) else lambda _, x: _split(module(_joined(x)), len(x))
    if type(module) in ELEMENTWISE or isinstance(
        module, _DropoutNd
    ):  # of dropout, `alike` lets none through that drops
        return lambda _, x: module(x)
    return None


def _linear(weight: str, bias: str | None) -> Layer:
    def layer(weights: Weights, x: Tensor) -> Tensor:
        flat, w = x.flatten(1, -2), weights[weight].transpose(1, 2)
        out = torch.bmm(flat, w) if bias is None else torch.baddbmm(weights[bias][:, None], flat, w)
        return out.view(*x.shape[:-1], out.shape[-1])

    return layer


def _convolution(module: nn.Conv2d, names: Mapping[int, str]) -> Layer:
    weight, bias = names[id(module.weight)], None if module.bias is None else names[id(module.bias)]

    def layer(weights: Weights, x: Tensor) -> Tensor:
        models = len(x)
        # channels last: measured twice as fast as channels first for few channels a group on a CPU
        rows = _joined(x).contiguous(memory_format=torch.channels_last)
        flat, shift = weights[weight].flatten(0, 1), None if bias is None else weights[bias].flatten()
        out = functional.conv2d(
            rows, flat, shift, module.stride, module.padding, module.dilation, models * module.groups
        )
        return _split(out, models)

    return layer


def _joined(x: Tensor) -> Tensor:
    """(models, n, c, h, w) -> (n, models * c, h, w), without a copy where `_split` made it."""
    return x.transpose(0, 1).flatten(1, 2)


def _split(x: Tensor, models: int) -> Tensor:
    """(n, models * c, h, w) -> (models, n, c, h, w), a view."""
    found: Tensor = x.unflatten(1, (models, -1))
    return found.transpose(0, 1)
