"""Losses by name, one number per row, never reduced: averages run over a row's own positions alone."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    """Logits (n, k, ...) and class numbers (n, ...) -> (n,); one column of logits is two classes."""
    if output.ndim == 1 or output.shape[1] == 1:
        return binary(output, y)
    return own_mean(functional.cross_entropy(output, y.long(), reduction="none"))


def binary(output: Tensor, y: Tensor) -> Tensor:
    """Logits (n,), (n, 1) or (n, k) and 0 or 1 in the same number -> (n,)."""
    flat = output.flatten(1) if output.ndim > 1 else output[:, None]
    wanted = y.reshape(flat.shape).to(flat.dtype)
    return own_mean(functional.binary_cross_entropy_with_logits(flat, wanted, reduction="none"))


def negative_log(output: Tensor, y: Tensor) -> Tensor:
    """Probabilities (n, k), or (n,), (n, 1) of the second class, and class numbers (n,) -> -log of the right one, (n,)."""
    chances = (
        output
        if output.ndim > 1 and output.shape[1] > 1
        else torch.cat([1 - output.view(-1, 1), output.view(-1, 1)], 1)
    )
    # a probability that rounding made 0 has no slope: the clamp keeps the loss finite
    return -chances.gather(1, y.long()[:, None])[:, 0].clamp(min=1e-12).log()


def squared(output: Tensor, y: Tensor) -> Tensor:
    """Numbers (n, ...) -> squared error, (n,)."""
    return own_mean((output - y.reshape(output.shape).to(output.dtype)).square())


def absolute(output: Tensor, y: Tensor) -> Tensor:
    """Numbers (n, ...) -> absolute error, (n,)."""
    return own_mean((output - y.reshape(output.shape).to(output.dtype)).abs())


def huber(output: Tensor, y: Tensor) -> Tensor:
    """Numbers (n, ...) -> Huber's error with delta 1, (n,)."""
    return own_mean(functional.huber_loss(output, y.reshape(output.shape).to(output.dtype), reduction="none"))


def own_mean(losses: Tensor) -> Tensor:
    """Average over everything but rows, (n, ...) -> (n,)."""
    return losses if losses.ndim == 1 else losses.flatten(1).mean(1)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "bce": binary,
    "nll": negative_log,
    "mse": squared,
    "mae": absolute,
    "huber": huber,
}
ALIASES = {
    "crossentropy": "cross_entropy",
    "binarycrossentropywithlogits": "bce",
    "bcewithlogits": "bce",
    "l1": "mae",
    "smoothl1": "huber",
    "logloss": "nll",
}


def named(name: str) -> Loss | None:
    """Return the loss of a name, also as torch writes it; None if there is none.

    >>> named("nn.CrossEntropyLoss") is cross_entropy, named("hinge")
    (True, None)
    """
    bare = name.rsplit(".", maxsplit=1)[-1].lower()
    if bare in LOSSES:
        return LOSSES[bare]
    short = bare.removesuffix("loss").rstrip("_").replace("_", "")
    return LOSSES.get(ALIASES.get(short, short))
