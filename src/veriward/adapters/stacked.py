"""Many models of one recipe trained at once, each on its own rows: what shadow models and reference models cost.

Small models spend their time in calls, not in arithmetic. Stacked, one call serves all (Bradbury et al., 2018, JAX: `vmap`;
here batched products and grouped convolutions, see `adapters/stack.py`). Who decides which rows a model gets comes later.
"""

from collections.abc import Iterator, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from veriward.adapters import losses
from veriward.adapters.optimisers import KINDS
from veriward.adapters.recipe import Rows, Steps, as_taken, seeded
from veriward.adapters.stack import Stack, Unstackable, alike
from veriward.core.errors import SettingsError
from veriward.core.streams import Stream

MOST_BYTES = 1 << 28  # of weights, their optimiser's moments and activations of the models that are trained at once
UNEVEN = 1.25  # models with up to this many times the steps of another may share its stack
PROBE = 8  # rows of each model on which the stack must find the gradients of the loop
ELEMENTWISE = tuple(kind for kind, _ in KINDS.values())  # optimisers that treat every number by itself
Batches = Iterator[np.ndarray[Any, np.dtype[np.int64]]]


def fit_many(
    recipe: Steps, rows: Rows, members: Tensor, *, seeds: Sequence[int], device: str, most_bytes: int = MOST_BYTES
) -> tuple[list[nn.Module], str]:
    """Return the models of `fit_stacked` and "", or those of the recipe's own loop and the reason why no stack could be."""
    try:
        return fit_stacked(recipe, rows, members, seeds=seeds, device=device, most_bytes=most_bytes), ""
    except Unstackable as error:
        x, y = rows.x, rows.y
        each = zip(members, seeds, strict=True)
        return [recipe.fit(Rows(x[m], y[m]), seed=seed, device=device) for m, seed in each], str(error)


def fit_stacked(
    recipe: Steps, rows: Rows, members: Tensor, *, seeds: Sequence[int], device: str, most_bytes: int = MOST_BYTES
) -> list[nn.Module]:
    """Return for each row of `members`, bool (models, n), what `recipe.fit` returns for these rows and its seed.

    The same first weights, batches and steps; sums may run in another order, so results agree up to rounding: in float64 to
    1e-9. In float32 Adam and its kin can blow rounding up, where a gradient is nothing else, to a fraction of a learning
    rate (measured: 6e-5 in a weight of small convolutional networks after 75 steps of 1e-3). Models of different sizes take
    part until their own last step. `most_bytes` bounds the models that are trained at once, counted from one model's batch;
    how they are grouped changes nothing but rounding. Where the recipe fails by itself, its own error is for `fit_many`.

    Raises Unstackable, with the reason, for batch statistics, dropout and whatever else draws at random in training, hooks,
    optimisers that look at more than one number, networks that differ by seed, a module or loss that treats rows otherwise
    in a stack, and models of which no two fit into `most_bytes`; SettingsError for members or seeds that do not fit.

    >>> recipe = Steps(lambda: nn.Linear(1, 1), losses.squared, KINDS["sgd"][0], epochs=2, batch_size=2)
    >>> rows = Rows(torch.arange(4.0)[:, None], torch.tensor([1.0, 3.0, 5.0, 7.0]))
    >>> members = torch.tensor([[True, True, True, False], [False, True, True, True]])
    >>> models = fit_stacked(recipe, rows, members, seeds=[1, 2], device="cpu")
    >>> alone = recipe.fit(Rows(rows.x[1:], rows.y[1:]), seed=2, device="cpu")
    >>> torch.allclose(models[1].weight, alone.weight)
    True
    """
    _checked(rows, members, seeds)
    modules = [recipe.module(seed, device) for seed in seeds]
    if not modules:
        return []
    alike(modules)
    data = Rows(as_taken(modules[0], rows.x).to(device), rows.y.to(device))
    sets = [np.flatnonzero(m.cpu().numpy()) for m in members]
    with seeded(seeds[0]):  # a stack never draws, but the user's code may try
        for group in _groups(recipe, data, modules, sets, most_bytes):
            _train(recipe, data, [modules[i] for i in group], [sets[i] for i in group], [seeds[i] for i in group])
    return [module.eval() for module in modules]


def _checked(rows: Rows, members: Tensor, seeds: Sequence[int]) -> None:
    if members.dtype != torch.bool or members.ndim != 2 or members.shape[1] != len(rows):
        came = f"{members.dtype} {tuple(members.shape)}"
        raise SettingsError(f"members: came as {came}; want torch.bool of shape (models, {len(rows)})")
    if len(seeds) != len(members):
        raise SettingsError(f"seeds: {len(seeds)} for {len(members)} models; want one for each")
    if not bool(members.any(1).all()):
        raise SettingsError(
            f"members: model {int(members.any(1).int().argmin())} has no rows; want at least one for each"
        )


def _groups(recipe: Steps, data: Rows, modules: list[nn.Module], sets: list[Any], most_bytes: int) -> list[list[int]]:
    """Return the numbers of the models that are trained at once: alike in steps, and as many as `most_bytes` holds."""
    steps = [recipe.epochs * -(-len(own) // recipe.batch_size) for own in sets]
    largest = max(range(len(sets)), key=lambda i: len(sets[i]))
    needed = _bytes(recipe, data, modules[largest], sets[largest][: recipe.batch_size])
    most = most_bytes // needed
    if most < min(2, len(modules)):
        raise Unstackable(
            f"most_bytes = {most_bytes}: a model alone takes {needed}, so models are trained one by one; want room for two"
        )
    groups: list[list[int]] = []
    for i in sorted(range(len(sets)), key=lambda i: (steps[i], i)):
        if groups and len(groups[-1]) < most and steps[i] <= UNEVEN * steps[groups[-1][0]]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _bytes(recipe: Steps, data: Rows, module: nn.Module, batch: Any) -> int:
    """Return what a model takes in training: weights, gradient and two moments, and twice what backpropagation keeps."""
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    x, y = _taken(data, batch[None])
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        _stack_losses(recipe, Stack.of([module]), x, y)
    own = sum(p.numel() * p.element_size() for p in module.parameters())
    return 4 * own + 2 * sum(kept) + x.numel() * x.element_size() + 1


def _train(recipe: Steps, data: Rows, modules: list[nn.Module], sets: list[Any], seeds: list[int]) -> None:
    """Train the modules in place; a model whose last step is over is written out, and idles along."""
    stack = Stack.of(modules)
    optimiser = _optimiser(recipe, stack, modules)
    _probe(recipe, data, stack, modules, sets, seeds)
    walks, running = [_batches(recipe, *each) for each in zip(sets, seeds, strict=True)], set(range(len(modules)))
    while True:
        parts = [next(walk, None) for walk in walks]
        for i in [i for i in running if parts[i] is None]:
            stack.write(i, modules[i])
            running.remove(i)
        if not running:
            return
        index, lengths = _padded(parts, sets)
        optimiser.zero_grad()
        _mean_losses(recipe, data, stack, index, lengths).sum().backward()
        optimiser.step()


def _batches(recipe: Steps, own: Any, seed: int) -> Batches:
    """Yield the numbers of the rows in the batches of `Steps.fit`, which counts within a model's own rows."""
    stream = Stream.of(seed, "recipe")
    for epoch in range(recipe.epochs):
        order = own[stream.child(f"epoch {epoch}").generator().permutation(len(own))]
        yield from (order[start : start + recipe.batch_size] for start in range(0, len(own), recipe.batch_size))


def _padded(parts: Sequence[Any], sets: Sequence[Any]) -> tuple[Any, Any]:
    """Return row numbers (models, width) and how many of each model count: short batches repeat a row of their own."""
    lengths = np.array([0 if part is None else len(part) for part in parts])
    index = np.empty((len(parts), lengths.max()), dtype=np.int64)
    for i, part in enumerate(parts):
        index[i, : lengths[i]] = sets[i][:0] if part is None else part
        index[i, lengths[i] :] = sets[i][0] if part is None else part[0]
    return index, lengths


def _mean_losses(recipe: Steps, data: Rows, stack: Stack, index: Any, lengths: Any) -> Tensor:
    """Return each model's mean loss over the rows that count, (models,)."""
    x, y = _taken(data, index)
    found, width = _stack_losses(recipe, stack, x, y), index.shape[1]
    if (lengths == width).all():
        return found.mean(1)
    counts = torch.from_numpy(np.arange(width) < lengths[:, None]).to(found.device)
    return (found * counts).sum(1) / torch.from_numpy(lengths).to(found).clamp(min=1)


def _stack_losses(recipe: Steps, stack: Stack, x: Tensor, y: Tensor) -> Tensor:
    try:
        found = stack.losses(recipe.loss, x, y)
    except Exception as error:  # the user's code may do whatever a stack cannot
        told = (str(error).splitlines() or [""])[0][:200]
        raise Unstackable(
            f"recipe: raises {type(error).__name__} in a stack ({told}); its models are trained one by one"
        ) from error
    if found.shape != x.shape[:2]:
        raise Unstackable(
            f"recipe.loss: returned shape {tuple(found.shape)} in a stack; its models are trained one by one"
        )
    return found


def _taken(data: Rows, index: Any) -> tuple[Tensor, Tensor]:
    """Return the rows x and y (models, n, ...) of row numbers (models, n)."""
    where = torch.from_numpy(index).to(data.y.device)
    return data.x[where], data.y[where]


def _optimiser(recipe: Steps, stack: Stack, modules: Sequence[nn.Module]) -> torch.optim.Optimizer:
    """Return the recipe's optimiser on the stack: elementwise, hence the same as one for each model."""
    alone = [recipe.optimise(module) for module in modules]
    first, kind = alone[0], type(alone[0])
    if kind not in ELEMENTWISE or any(_watched(each) for each in alone):
        raise Unstackable(
            f"recipe.optimiser: {kind.__name__} may look at more than one number at a time; "
            "its models are trained one by one"
        )
    groups = _settings(first, modules[0])
    if any(type(o) is not kind or _settings(o, m) != groups for o, m in zip(alone, modules, strict=True)):
        raise Unstackable("recipe.optimiser: has other settings for another seed; its models are trained one by one")
    made: Any = kind  # each has its own signature
    taken = {name: value for name, value in first.defaults.items() if name in signature(kind).parameters}
    found: torch.optim.Optimizer = made(
        [{**settings, "params": [stack.weights[name] for name in names]} for names, settings in groups], **taken
    )
    return found


def _watched(optimiser: torch.optim.Optimizer) -> bool:
    """Whether an optimiser does more than its class says: hooks, a step that was replaced, moments from elsewhere."""
    begun = bool(optimiser.state) and not isinstance(optimiser, torch.optim.Adagrad)  # which makes its sums at once
    hooked = optimiser._optimizer_step_pre_hooks or optimiser._optimizer_step_post_hooks
    return bool(begun or hooked or "step" in vars(optimiser))


def _settings(optimiser: torch.optim.Optimizer, module: nn.Module) -> list[tuple[list[str], dict[str, Any]]]:
    """Return for each group of parameters their names and its settings."""
    names = {id(p): name for name, p in module.named_parameters()}
    found = []
    for group in optimiser.param_groups:
        own = [names.get(id(p), "") for p in group["params"]]
        if "" in own or any(isinstance(value, Tensor) for value in group.values()):
            raise Unstackable(
                "recipe.optimiser: holds tensors that are no parameters of the module; its models are trained one by one"
            )
        found.append((own, {name: value for name, value in group.items() if name not in ("params", "param_names")}))
    return found


def _probe(
    recipe: Steps, data: Rows, stack: Stack, modules: Sequence[nn.Module], sets: Sequence[Any], seeds: Sequence[int]
) -> None:
    """Raise Unstackable unless the stack finds the gradients of the loop on a few rows, of every other model one row less.

    Of networks and losses that only do what we know, two models are looked at.
    """
    width = min(PROBE, *(len(own) for own in sets))
    parts = [own[: max(1, width - i % 2)] for i, own in enumerate(sets)]
    _mean_losses(recipe, data, stack, *_padded(parts, sets)).sum().backward()
    known = stack.by_hand and recipe.loss in losses.LOSSES.values()
    for i, (module, part) in enumerate(zip(modules[: 2 if known else None], parts, strict=False)):
        with seeded(seeds[i]):
            _probe_one(recipe, data, stack, i, module, torch.from_numpy(part).to(data.y.device))
    for p in stack.weights.values():
        p.grad = None


def _probe_one(recipe: Steps, data: Rows, stack: Stack, i: int, module: nn.Module, rows: Tensor) -> None:
    before = _state(module)
    recipe.loss(module(data.x[rows]), data.y[rows]).mean().backward()
    if _state(module) != before:
        raise Unstackable("recipe.build: the module changes itself while it runs; its models are trained one by one")
    for name, p in module.named_parameters():
        together, alone = stack.weights[name].grad, p.grad
        p.grad = None
        if (together is None) != (alone is None) or (together is not None and not _same(together[i], alone)):
            raise Unstackable(
                f"recipe: the gradient of {name} is another one in a stack, as if rows or models met; "
                "its models are trained one by one"
            )


def _same(together: Tensor, alone: Tensor | None) -> bool:
    """Whether gradients differ by rounding alone: relative to their norm, half the digits agree."""
    assert alone is not None
    epsilon = torch.finfo(alone.dtype).eps
    return bool((together - alone).norm() <= epsilon**0.5 * alone.norm() + epsilon)


def _state(module: nn.Module) -> list[Any]:
    """Return what tells whether a module changed beside its parameters: which attributes it has, how often buffers were
    written to.
    """
    held = [(name, key, id(value)) for name, part in module.named_modules() for key, value in vars(part).items()]
    return [*held, *((name, id(b), b._version) for name, b in module.named_buffers())]
