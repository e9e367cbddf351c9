"""Per-row gradients written out by `torch.func`: slow, of any module, and the reference for everything faster."""

import warnings
from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from veriward.core.errors import ModelError, SettingsError
from veriward.privacy.clipping.held import Rows

Loss = Callable[[Tensor, Tensor], Tensor]
Written = dict[str, Tensor]


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a module that are not frozen, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def _mapped(function: Callable[..., Any], module: nn.Module, path: str, x: Tensor, y: Tensor, random: str) -> Any:
    parameters = {name: p.detach() for name, p in trainable(module).items()}
    try:
        with warnings.catch_warnings():
            # an operation that torch maps one row at a time: slow, as said, and right
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return vmap(function, in_dims=(None, 0, 0), randomness=random)(parameters, x, y)
    except RuntimeError as error:
        told = str(error).splitlines()[0][:200]
        raise ModelError(
            f"{path or 'the module'} ({type(module).__name__}): cannot be mapped over rows ({told}); "
            f"build it of layers that per-row clipping knows"
        ) from error


def net_rows(module: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> tuple[Written, Tensor]:
    """Return the gradients of each row's loss, {name: (n, *shape)}, and the losses (n,).

    Each row travels alone, as a batch of one. Dropout draws for every row anew.
    """

    def one(parameters: Written, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        losses = loss(functional_call(module, parameters, (x[None],)), y[None])
        checked(losses, 1)
        return losses[0], losses[0].detach()

    found = _mapped(grad(one, has_aux=True), module, "", x, y, "different")
    return cast(tuple[Written, Tensor], found)


def unit_rows(unit: nn.Module, path: str, a: Tensor, g: Tensor) -> dict[str, Rows]:
    """Return the gradients of a part of a network whose inputs a (n, ...) and output gradients g (n, ...) are known."""

    def one(parameters: Written, a: Tensor, g: Tensor) -> Tensor:
        return cast(Tensor, (functional_call(unit, parameters, (a[None],))[0] * g).sum())

    found = _mapped(grad(one), unit, path, a, g, "error")
    return {name: Rows(rows.detach()) for name, rows in found.items()}


def checked(losses: object, n: int) -> Tensor:
    """Return the losses of n rows; raises SettingsError for what is not one number a row."""
    if not isinstance(losses, Tensor) or losses.shape != (n,):
        came = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
        raise SettingsError(
            f"loss: returned {came} for {n} rows; want one loss per row, shape ({n},), "
            f"never reduced: say reduction='none' and average over a row's own positions"
        )
    return losses
