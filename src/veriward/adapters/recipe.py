"""Recipes at run time: how a model is trained again. `Fit` trains whole; `Steps` says what a loop needs, and has one.

Who replaces the loop (private, robust, stacked, federated training) asks for `Steps`; who only trains again takes either.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from veriward.adapters import losses, optimisers
from veriward.adapters.code import load_function
from veriward.adapters.losses import Loss
from veriward.adapters.optimisers import Optimiser
from veriward.adapters.weights import module_of
from veriward.core.data import Table
from veriward.core.errors import SettingsError
from veriward.core.streams import Stream
from veriward.core.subject import Subject, Task

EPOCHS, BATCH = 10, 64  # of a recipe that does not say


@dataclass(frozen=True)
class Rows:
    """Training rows: x (n, ...) a tensor, for `Fit` also a Table; y (n,) or (n, ...)."""

    x: Any
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


class Recipe(Protocol):
    """What trains a model."""

    def fit(self, rows: Rows, *, seed: int, device: str) -> Any:
        """Return a trained model; the same seed gives the same one."""


@dataclass(frozen=True)
class Fit:
    """A function of the user's that trains whole: `fit(x, y, *, seed, device) -> model`, given arrays or a pandas frame."""

    function: Callable[..., Any]

    def fit(self, rows: Rows, *, seed: int, device: str) -> Any:
        """Return what the function returns; torch's global generator is seeded within and restored."""
        with seeded(seed):
            x = rows.x.frame() if isinstance(rows.x, Table) else rows.x.numpy()
            return self.function(x, rows.y.numpy(), seed=seed, device=device)


@dataclass(frozen=True)
class Steps:
    """What a training loop needs: `loss(output, y)` is per row, shape (n,), never reduced.

    >>> steps = Steps(lambda: nn.Linear(1, 1), losses.squared, optimisers.named("sgd"), epochs=50, batch_size=2)
    >>> rows = Rows(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([1.0, 3.0, 5.0, 7.0]))
    >>> net = steps.fit(rows, seed=0, device="cpu")
    >>> bool((net(rows.x)[:, 0] - rows.y).abs().max() < 0.2)
    True
    """

    build: Callable[..., nn.Module]
    loss: Loss
    optimiser: Optimiser
    epochs: int = EPOCHS
    batch_size: int = BATCH

    def module(self, seed: int, device: str = "cpu") -> nn.Module:
        """Return the untrained module in training mode; its first weights depend on the seed alone."""
        with seeded(seed):
            module = _built(self.build, seed)
        return module.to(device).train()

    def optimise(self, module: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of a module's trainable parameters; SettingsError for what is none."""
        made = self.optimiser([p for p in module.parameters() if p.requires_grad])
        if not isinstance(made, torch.optim.Optimizer):
            raise SettingsError(
                f"recipe.optimiser: returned a {type(made).__name__}; want a torch optimiser of the parameters"
            )
        return made

    def fit(self, rows: Rows, *, seed: int, device: str) -> nn.Module:
        """Return the module after `epochs` passes in shuffled batches: the reference loop, with no privacy at all."""
        module = self.module(seed, device)
        optimiser, stream = self.optimise(module), Stream.of(seed, "recipe")
        x, y = as_taken(module, rows.x).to(device), rows.y.to(device)
        with seeded(seed):  # dropout draws from the global generator
            for epoch in range(self.epochs):
                order = torch.from_numpy(stream.child(f"epoch {epoch}").generator().permutation(len(rows)))
                for batch in order.to(device).split(self.batch_size):
                    optimiser.zero_grad()
                    _per_row(self.loss(module(x[batch]), y[batch]), len(batch)).mean().backward()
                    optimiser.step()
        return module.eval()


def as_taken(module: nn.Module, x: Tensor) -> Tensor:
    """Return rows in the form that a module takes: whole numbers stay whole where it looks them up, else they are floats."""
    looks_up = any(isinstance(part, nn.Embedding | nn.EmbeddingBag) for part in module.modules())
    return x if looks_up or x.is_floating_point() else x.float()


def seeded(seed: int) -> Any:
    """Return a context in which torch's global generator starts from a seed; it ends as it was found."""
    return _Seeded(seed)


class _Seeded:
    def __init__(self, seed: int) -> None:
        self._seed = Stream.of(seed, "recipe code").key
        self._fork = torch.random.fork_rng(devices=range(torch.cuda.device_count()))

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *failure: Any) -> None:
        self._fork.__exit__(*failure)


def recipe_of(subject: Subject, task: Task, *, code: bool = True) -> Recipe:
    """Return the subject's recipe; SettingsError where there is none or it cannot be read, ArtefactError under --no-code.

    A recipe that leaves things out trains with cross entropy (squared error for regression), Adam, 10 epochs, batches of 64.
    """
    said = subject.recipe
    if said is None or (said.fit is None and said.build is None):
        raise SettingsError(
            "recipe: the subject does not say how to train; want [recipe] with build = 'net:build' (or fit = 'recipe:fit')"
        )
    if said.fit is not None:
        return Fit(load_function(subject, said.fit, "recipe.fit", code=code))
    assert said.build is not None
    build = load_function(subject, said.build, "recipe.build", code=code)
    return Steps(
        build, _loss(subject, task, code), _optimiser(subject, code), said.epochs or EPOCHS, said.batch_size or BATCH
    )


def _loss(subject: Subject, task: Task, code: bool) -> Loss:
    said = subject.recipe.loss if subject.recipe else None
    if said is None:
        if task == "regression":
            return losses.squared
        return losses.negative_log if subject.model.output == "probabilities" else losses.cross_entropy
    found = losses.named(said)
    if found is None and ":" not in said:
        raise SettingsError(f"recipe.loss = {said!r}: want one of {', '.join(losses.LOSSES)}, or 'module:function'")
    return found or load_function(subject, said, "recipe.loss", code=code)


def _optimiser(subject: Subject, code: bool) -> Optimiser:
    said = subject.recipe
    assert said is not None
    text, rate = said.optimiser or "adam", said.learning_rate
    if ":" not in text:
        return optimisers.named(text, rate)
    function = load_function(subject, text, "recipe.optimiser", code=code)

    def made(parameters: Iterable[nn.Parameter]) -> Any:
        found = function(parameters)
        for group in getattr(found, "param_groups", ()) if rate is not None else ():
            group["lr"] = rate
        return found

    return made


def _built(build: Callable[..., Any], seed: int) -> nn.Module:
    """Call the user's build(), or build(seed=...) where it asks for one."""
    try:
        takes_seed = "seed" in inspect.signature(build).parameters
    except (TypeError, ValueError):
        takes_seed = False
    return module_of("recipe.build", partial(build, seed=seed) if takes_seed else build)


def _per_row(found: Tensor, n: int) -> Tensor:
    if not isinstance(found, Tensor) or found.shape != (n,):
        came = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise SettingsError(
            f"recipe.loss: returned {came} for {n} rows; want one loss per row, shape ({n},), never reduced"
        )
    return found
