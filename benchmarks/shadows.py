"""Many models of one recipe: a loop over torch's DataLoader, the recipe's own loop, and the stack; one thread, CPU time.

In turn. The loops take the same batches in the same order, so that what comes out can be compared: the mean loss of each
model on its own rows, and its weights. `coins`: a fair coin decides which rows a model gets, as shadow models are made;
`all`: every model gets every row. `vmap` is the stack without products by hand.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from veriward.adapters import losses, optimisers, stack
from veriward.adapters.recipe import Rows, Steps
from veriward.adapters.stacked import fit_stacked
from veriward.core.streams import Stream

ROUNDS = 3
Work = tuple[Steps, Rows, Tensor]
Trained = list[nn.Module]


def mlp() -> nn.Module:
    """20-32-32-2."""
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))


def cnn() -> nn.Module:
    """Two convolutions of 8 and 16 channels for digits of 8x8."""
    first = (nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    second = (nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(64, 10))


def mlps(share: float) -> Work:
    """64 MLPs on a share of 8192 rows, 2 epochs in batches of 128."""
    made = torch.Generator().manual_seed(0)
    x = torch.randn(8192, 20, generator=made)
    y = (x[:, :5].sum(1) + torch.randn(8192, generator=made) > 0).long()
    recipe = Steps(mlp, losses.cross_entropy, optimisers.named("adam"), epochs=2, batch_size=128)
    return recipe, Rows(x, y), torch.rand(64, 8192, generator=made) < share


def cnns() -> Work:
    """16 CNNs on about half of the 1797 digits, 5 epochs in batches of 64."""
    x, y = load_digits(return_X_y=True)
    rows = Rows(torch.tensor(x / 16).float().view(-1, 1, 8, 8), torch.tensor(y))
    recipe = Steps(cnn, losses.cross_entropy, optimisers.named("adam"), epochs=5, batch_size=64)
    return recipe, rows, torch.rand(16, len(y), generator=torch.Generator().manual_seed(0)) < 0.5


WORKS: dict[str, Callable[[], Work]] = {
    "64 mlps, coins": lambda: mlps(0.5),
    "64 mlps, all": lambda: mlps(1.0),
    "16 cnns, coins": cnns,
}


def dataloader(recipe: Steps, rows: Rows, members: Tensor) -> Trained:
    """Train one after the other as tutorials do, in the recipe's order of rows."""
    return [_loaded(recipe, TensorDataset(rows.x[m], rows.y[m]), seed) for seed, m in enumerate(members)]


def _loaded(recipe: Steps, rows: TensorDataset, seed: int) -> nn.Module:
    module = recipe.module(seed)
    optimiser, stream = recipe.optimise(module), Stream.of(seed, "recipe")
    for epoch in range(recipe.epochs):
        order: Iterable[int] = stream.child(f"epoch {epoch}").generator().permutation(len(rows)).tolist()
        for x, y in DataLoader(rows, recipe.batch_size, sampler=order):
            optimiser.zero_grad()
            recipe.loss(module(x), y).mean().backward()
            optimiser.step()
    return module.eval()


def loop(recipe: Steps, rows: Rows, members: Tensor) -> Trained:
    """Train one after the other with the recipe's loop, which indexes tensors."""
    return [recipe.fit(Rows(rows.x[m], rows.y[m]), seed=seed, device="cpu") for seed, m in enumerate(members)]


def stacked(recipe: Steps, rows: Rows, members: Tensor) -> Trained:
    """Train all at once."""
    return fit_stacked(recipe, rows, members, seeds=range(len(members)), device="cpu")


def vmap(recipe: Steps, rows: Rows, members: Tensor) -> Trained:
    """Train all at once under torch.vmap."""
    with mock.patch.object(stack, "_layers", lambda *_: None):
        return stacked(recipe, rows, members)


CONTENDERS = {"dataloader": dataloader, "loop": loop, "vmap": vmap, "stacked": stacked}


def off(recipe: Steps, rows: Rows, members: Tensor, one: Trained, other: Trained) -> dict[str, float]:
    """Return the largest relative difference of a model's mean loss on its rows, and the largest one of a weight."""
    means, weights = [], []
    for nets in (one, other):
        with torch.no_grad():
            each = [recipe.loss(net(rows.x[m]), rows.y[m]) for net, m in zip(nets, members, strict=True)]
            weights.append(torch.cat([p.flatten() for net in nets for p in net.parameters()]))
        means.append([float(found.double().mean()) for found in each])
    return {
        "loss": float(np.abs(np.divide(*means) - 1).max()),
        "weight": float((weights[0] - weights[1]).abs().max()),
        "mean_loss": round(statistics.mean(means[0]), 4),
    }


def timed(work: Work) -> dict[str, Any]:
    """Return CPU seconds by contender, medians; ratios to the stack, least, median and largest; differences to the loop."""
    for train in CONTENDERS.values():  # kernels and threads get ready
        train(work[0], work[1], work[2][:2])
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    models: dict[str, Trained] = {}
    for _ in range(ROUNDS):
        for name, train in CONTENDERS.items():
            start = time.process_time()
            models[name] = train(*work)
            seconds[name].append(time.process_time() - start)
    found: dict[str, Any] = {name: {"seconds": round(statistics.median(s), 3)} for name, s in seconds.items()}
    for name in CONTENDERS:
        ratios = np.divide(seconds[name], seconds["stacked"])
        if name != "stacked":
            found[name]["of_stacked"] = [round(float(q), 2) for q in np.quantile(ratios, [0, 0.5, 1])]
        if name != "loop":
            found[name]["off_loop"] = off(*work, models[name], models["loop"])
    return found


def run() -> dict[str, Any]:
    """Compare on each work."""
    torch.set_num_threads(1)
    result: dict[str, Any] = {"rounds": ROUNDS}
    for name, make in WORKS.items():
        result[name] = timed(make())
        for contender, row in result[name].items():
            print(f"{name:15} {contender:11} {row}", flush=True)
    return result
