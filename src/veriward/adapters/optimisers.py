"""Optimisers by name and arguments: "adam", "sgd(lr=0.1, momentum=0.9)". Parsed, never evaluated as Python."""

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from veriward.core.errors import SettingsError

Optimiser = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

KINDS: Mapping[str, tuple[type[torch.optim.Optimizer], float]] = {  # with the step size that is usual for it
    "adam": (torch.optim.Adam, 1e-3),
    "adamw": (torch.optim.AdamW, 1e-3),
    "nadam": (torch.optim.NAdam, 2e-3),
    "adagrad": (torch.optim.Adagrad, 1e-2),
    "rmsprop": (torch.optim.RMSprop, 1e-2),
    "sgd": (torch.optim.SGD, 0.1),
}


def named(text: str, learning_rate: float | None = None) -> Optimiser:
    """Return what makes the optimiser that a text names; `learning_rate` overrules its lr.

    Raises SettingsError for unknown names and arguments.

    >>> made = named("sgd(lr=0.5, momentum=0.9)")([nn.Parameter(torch.zeros(1))])
    >>> made.param_groups[0]["lr"], made.param_groups[0]["momentum"]
    (0.5, 0.9)
    """
    name, arguments = _parsed(text)
    if name not in KINDS:
        raise SettingsError(f"recipe.optimiser = {text!r}: want one of {', '.join(KINDS)}, or 'module:function'")
    kind, usual = KINDS[name]
    arguments = {"lr": usual, **arguments} | ({} if learning_rate is None else {"lr": learning_rate})
    try:
        _tried(kind([nn.Parameter(torch.zeros(1))], **arguments))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise SettingsError(f"recipe.optimiser = {text!r}: torch refuses it ({error}); correct the arguments") from None
    return lambda parameters: kind(parameters, **arguments)


def _tried(optimiser: torch.optim.Optimizer) -> None:
    """Make a step: some arguments, such as a learning rate beyond float32, fail only there."""
    for parameter in optimiser.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    if float(optimiser.param_groups[0]["lr"]) > torch.finfo(torch.float32).max:
        raise ValueError("lr is beyond float32")


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    """Return name and keyword arguments of 'name' or 'name(key=value, ...)'."""
    wrong = SettingsError(f"recipe.optimiser = {text!r}: want 'name' or 'name(key=value, ...)' with plain numbers")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        if call.args or any(word.arg is None for word in call.keywords):
            raise wrong
        arguments = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise wrong from None
    name = ast.unparse(call.func).rsplit(".", maxsplit=1)[-1].lower()  # torch.optim.Adam is adam
    return name, arguments
