"""Models trained as one stack are those of the recipe's own loop; what cannot be a stack says why."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from veriward.adapters import losses, optimisers
from veriward.adapters.recipe import Rows, Steps
from veriward.adapters.stack import Stack, Unstackable
from veriward.adapters.stacked import _groups, fit_many, fit_stacked
from veriward.core.errors import SettingsError

N, MODELS = 60, 5
SEEDS = (7, 1, 9, 3, 4)
NOISE = 1e-9  # relative, float64


def mlp(classes: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, classes)
    ).double()


def cnn() -> nn.Module:
    first = (nn.Conv2d(2, 4, 3, 2, padding=1, bias=False), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    second = (nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.GELU(), nn.AvgPool2d(2), nn.Dropout(0.0))
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(6, 3, bias=False)).double()


class Odd(nn.Module):
    """Under vmap alone: tied weights, a constant buffer, a frozen and an unused parameter, a norm over features."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.norm, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 3)
        self.two.weight = self.one.weight
        self.unused, self.frozen = nn.Parameter(torch.ones(2)), nn.Parameter(torch.rand(6), requires_grad=False)
        self.register_buffer("scale", torch.rand(6))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.one(x * self.scale)) + self.frozen
        found: Tensor = self.head(self.norm(self.two(x)))
        return found


def data(shape: tuple[int, ...] = (6,)) -> Rows:
    made = torch.Generator().manual_seed(0)
    return Rows(torch.randn(N, *shape, generator=made, dtype=torch.float64), torch.randint(3, (N,), generator=made))


def drawn(sizes: Iterable[int] = (30, 30, 30, 30, 30)) -> Tensor:
    made, found = np.random.default_rng(1), torch.zeros(MODELS, N, dtype=torch.bool)
    for i, size in enumerate(sizes):
        found[i, made.permutation(N)[:size]] = True
    return found


def recipe(build: Callable[..., nn.Module] = mlp, optimiser: str = "adam(lr=0.01)", **more: Any) -> Steps:
    settings = {"loss": losses.cross_entropy, "epochs": 3, "batch_size": 8, **more}
    return Steps(build, optimiser=optimisers.named(optimiser), **settings)


def alone(steps: Steps, rows: Rows, members: Tensor, seeds: Iterable[int] = SEEDS) -> list[nn.Module]:
    each = zip(members, seeds, strict=True)
    return [steps.fit(Rows(rows.x[m], rows.y[m]), seed=seed, device="cpu") for m, seed in each]


def off(one: nn.Module, other: nn.Module) -> float:
    """The largest difference of two modules' numbers, relative to the largest of them."""
    pairs = [(a, other.state_dict()[name]) for name, a in one.state_dict().items()]
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-3)) for a, b in pairs)


def agree(steps: Steps, rows: Rows, members: Tensor, **more: Any) -> None:
    found = fit_stacked(steps, rows, members, seeds=SEEDS, device="cpu", **more)
    assert [off(a, b) for a, b in zip(found, alone(steps, rows, members), strict=True)] == pytest.approx(
        [0] * 5, abs=NOISE
    )
    assert not any(part.training for module in found for part in module.modules())


@pytest.mark.parametrize("build", [mlp, cnn, Odd])
@pytest.mark.parametrize("sizes", [(30,) * 5, (32,) * 5, (30, 17, 33, 5, 1), (8, 16, 9, 60, 24)])
def test_a_stack_trains_the_models_of_the_loop(build: Any, sizes: tuple[int, ...]) -> None:
    rows = data((2, 8, 8)) if build is cnn else data()
    agree(recipe(build), rows, drawn(sizes))


@pytest.mark.parametrize(
    "optimiser",
    [
        "sgd(lr=0.1)",
        "sgd(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)",
        "adam(amsgrad=True)",
        "adamw(lr=0.01, weight_decay=0.3)",
        "nadam",
        "adagrad(initial_accumulator_value=0.1)",
        "rmsprop(momentum=0.5, centered=True)",
    ],
)
def test_every_optimiser_steps_as_torch_does(optimiser: str) -> None:
    agree(recipe(Odd, optimiser), data(), drawn((30, 17, 33, 28, 31)))


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_every_loss_is_that_of_the_loop(name: str) -> None:
    rows, classes = data(), 3
    if name in ("mse", "mae", "huber", "bce"):
        rows, classes = Rows(rows.x, (rows.y > 0).double()), 1
    build = (lambda: nn.Sequential(mlp(), nn.Softmax(1))) if name == "nll" else (lambda: mlp(classes))
    agree(recipe(build, loss=losses.LOSSES[name]), rows, drawn((30, 17, 33, 28, 31)))


def test_a_loss_and_groups_of_parameters_of_the_users_own() -> None:
    def loss(output: Tensor, y: Tensor) -> Tensor:
        return (1 - output.softmax(1).gather(1, y[:, None])[:, 0]) ** 2

    def optimiser(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        given = list(parameters)  # by dimension, which a stack changes
        groups = [[p for p in given if p.ndim > 1], [p for p in given if p.ndim == 1]]
        made = [{"params": groups[0], "weight_decay": 0.1}, {"params": groups[1], "lr": 0.02}]
        return torch.optim.AdamW(made, lr=0.01)

    agree(Steps(mlp, loss, optimiser, 3, 8), data(), drawn((30, 17, 33, 28, 31)))


@pytest.mark.parametrize("build", [mlp, Odd])
def test_groups_and_company_change_nothing(build: Any) -> None:
    rows, members, steps = data(), drawn((30, 17, 33, 28, 31)), recipe(build)
    sets = [np.flatnonzero(m) for m in members]
    modules = [steps.module(seed) for seed in SEEDS]
    sizes = {bound: [len(g) for g in _groups(steps, rows, modules, sets, bound)] for bound in (30_000, 1 << 28)}
    assert max(sizes[30_000]) < max(sizes[1 << 28]) == 4  # 17 rows are 3 batches of 8, the others 4 or 5
    agree(steps, rows, members, most_bytes=30_000)
    both = fit_stacked(steps, rows, members[[2, 0]], seeds=[9, 7], device="cpu")
    whole = fit_stacked(steps, rows, members, seeds=SEEDS, device="cpu")
    assert off(both[0], whole[2]) < NOISE
    assert off(both[1], whole[0]) < NOISE


def test_seeds_and_members_decide() -> None:
    rows, members = data(), drawn()[[0, 0, 0, 1]]
    same, twin, reseeded, other = fit_stacked(recipe(), rows, members, seeds=[1, 1, 2, 1], device="cpu")
    assert off(same, twin) == 0
    assert off(same, reseeded) > 1e-3
    assert off(same, other) > 1e-3


def test_rows_of_other_models_never_matter() -> None:
    rows, members = data(), drawn((20, 30, 30, 30, 30))
    before = fit_stacked(recipe(), rows, members, seeds=SEEDS, device="cpu")[0]
    x = rows.x.clone()
    x[~members[0]] = float("inf")
    found, reason = fit_many(recipe(), Rows(x, rows.y), members, seeds=SEEDS, device="cpu")
    assert "as if rows or models met" in reason  # infinities have no gradient to agree about
    assert off(found[0], before) < NOISE


def test_whole_numbers_are_looked_up() -> None:
    words = Rows(torch.arange(N * 4).remainder(11).view(N, 4), data().y)
    build = lambda: nn.Sequential(nn.Embedding(11, 3), nn.Flatten(), nn.Linear(12, 3)).double()  # noqa: E731
    agree(recipe(build), words, drawn((30, 17, 33, 28, 31)))


def test_nothing_of_the_callers_is_touched() -> None:
    rows, members = data(), drawn()
    kept = [t.clone() for t in (rows.x, rows.y, members, torch.get_rng_state())]
    numbers = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    fit_stacked(recipe(Odd), rows, members, seeds=SEEDS, device="cpu")
    now = (rows.x, rows.y, members, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))
    assert (np.random.get_state()[1] == numbers).all()  # type: ignore[index]
    assert rows.x.grad is None


def test_no_models_and_no_epochs() -> None:
    none = torch.zeros(0, N, dtype=torch.bool)
    assert fit_stacked(recipe(), data(), none, seeds=[], device="cpu") == []
    agree(recipe(epochs=0), data(), drawn())


def test_a_stack_by_hand_is_told_from_one_under_vmap() -> None:
    assert [Stack.of([build(), build()]).by_hand for build in (mlp, cnn, Odd)] == [True, True, False]


class Derived(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) ** 2


def test_layers_that_derive_from_known_ones_keep_what_they_add() -> None:
    build = lambda: nn.Sequential(Derived(6, 4), nn.Linear(4, 3)).double()  # noqa: E731
    agree(recipe(build), data(), drawn())


class Own(nn.Module):
    """A linear layer with something else done to its rows."""

    def __init__(self, act: Callable[["Own", Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.act, self.calls = nn.Linear(6, 3).double(), act, 0
        self.register_buffer("seen", torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(self.act(self, x))
        return found


def counting(module: Own, x: Tensor) -> Tensor:
    module.calls += 1
    return x


def remembering(module: Own, x: Tensor) -> Tensor:
    module.seen += float(len(x))
    return x


def hooked() -> nn.Module:
    net = mlp()
    next(net.parameters()).register_hook(lambda g: g.clamp(-0.1, 0.1))
    return net


def watched() -> nn.Module:
    net = mlp()
    net.register_forward_hook(lambda *_: None)
    return net


SHARED = mlp()
APART: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "batch norm": (
        lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double(),
        r"1 \(BatchNorm1d\)",
    ),
    "dropout": (lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(6, 3)).double(), r"0 \(Dropout\) draws at random"),
    "noise": (lambda: Own(lambda _, x: x + torch.randn_like(x)), "raises RuntimeError.*random"),
    "rows that meet": (lambda: Own(lambda _, x: x - x.mean(0)), "gradient of linear.weight"),
    "branches": (lambda: Own(lambda _, x: x if x.sum() > 0 else -x), "raises RuntimeError"),
    "counter": (lambda: Own(counting), "changes itself"),
    "memory": (lambda: Own(remembering), "changes itself|raises RuntimeError"),
    "hook of a weight": (hooked, r"0 \(Linear\) has hooks"),
    "hook of a module": (watched, r"the module \(Sequential\) has hooks"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3).double()), "no weights before"),
    "one for all": (lambda: SHARED, "same weights twice"),
    "shared weights": (lambda: nn.Sequential(SHARED[0], nn.Linear(8, 3).double()), "same weights twice"),  # type: ignore[index]
    "by seed": (lambda seed: nn.Sequential(nn.Linear(6, 3), nn.LeakyReLU(seed / 9)).double(), "another network"),
    "recurrent": (lambda: nn.Sequential(OrderedDict(r=nn.LSTM(6, 3, proj_size=2), h=nn.Identity())).double(), "raises"),
}


@pytest.mark.parametrize("name", APART)
def test_networks_that_are_no_stack_say_why(name: str) -> None:
    build, why = APART[name]
    before = {key: value.clone() for key, value in SHARED.state_dict().items()}
    with pytest.raises(Unstackable, match=f"{why}.*one by one"):
        fit_stacked(recipe(build), data(), drawn(), seeds=SEEDS, device="cpu")
    assert all(torch.equal(value, SHARED.state_dict()[key]) for key, value in before.items())


@pytest.mark.parametrize(
    "name", ["batch norm", "dropout", "rows that meet", "branches", "hook of a weight", "by seed", "noise"]
)
def test_what_is_no_stack_is_trained_one_by_one(name: str) -> None:
    rows, members, steps = data(), drawn((30, 18, 34, 28, 31)), recipe(APART[name][0])
    found, reason = fit_many(steps, rows, members, seeds=SEEDS, device="cpu")
    assert reason
    assert [off(a, b) for a, b in zip(found, alone(steps, rows, members), strict=True)] == [0] * 5


def test_a_stack_has_no_reason() -> None:
    found, reason = fit_many(recipe(), data(), drawn(), seeds=SEEDS, device="cpu")
    assert (len(found), reason) == (5, "")


def clipping(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    given = list(parameters)
    made = torch.optim.SGD(given, lr=0.1)
    made.register_step_pre_hook(lambda *_: nn.utils.clip_grad_norm_(given, 0.1) and None)
    return made


def scheduled(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    made = torch.optim.SGD(parameters, lr=0.1)
    torch.optim.lr_scheduler.StepLR(made, 1)
    return made


def scaled(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    given = list(parameters)
    return torch.optim.SGD(given, lr=float(given[0].detach().norm()))


@pytest.mark.parametrize(
    ("optimiser", "why"),
    [
        (torch.optim.LBFGS, "LBFGS may look at more"),
        (clipping, "SGD may look at more"),
        (scheduled, "SGD may look at more"),
        (scaled, "other settings for another seed"),
        (lambda p: torch.optim.SGD([*p, nn.Parameter(torch.ones(1))], lr=0.1), "no parameters of the module"),
        (lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1)), "no parameters of the module"),
    ],
)
def test_optimisers_that_are_not_elementwise_say_why(optimiser: Any, why: str) -> None:
    with pytest.raises(Unstackable, match=f"{why}.*one by one"):
        fit_stacked(Steps(mlp, losses.cross_entropy, optimiser), data(), drawn(), seeds=SEEDS, device="cpu")


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (lambda o, y: losses.cross_entropy(o, y) / len(y), "gradient of"),
        (lambda o, y: losses.cross_entropy(o, y).mean(), "returned shape"),
        (lambda o, y: losses.cross_entropy(o, y) * torch.rand(()), "raises RuntimeError"),
    ],
)
def test_losses_that_look_beyond_a_row_say_why(loss: Any, why: str) -> None:
    with pytest.raises(Unstackable, match=why):
        fit_stacked(recipe(loss=loss), data(), drawn(), seeds=SEEDS, device="cpu")


def test_too_little_memory_is_a_reason() -> None:
    with pytest.raises(Unstackable, match="most_bytes = 1000: a model alone takes"):
        fit_stacked(recipe(), data(), drawn(), seeds=SEEDS, device="cpu", most_bytes=1000)


@pytest.mark.parametrize(
    ("members", "seeds", "why"),
    [
        (drawn()[:, 1:], SEEDS, r"\(5, 59\); want torch.bool of shape \(models, 60\)"),
        (drawn().int(), SEEDS, "torch.int32"),
        (drawn(), SEEDS[1:], "4 for 5 models"),
        (drawn((30, 30, 0, 30, 30)), SEEDS, "model 2 has no rows"),
    ],
)
def test_members_and_seeds_that_do_not_fit_are_refused(members: Tensor, seeds: tuple[int, ...], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        fit_stacked(recipe(), data(), members, seeds=seeds, device="cpu")


def test_an_error_of_the_recipe_itself_is_told_by_the_loop() -> None:
    steps = recipe(loss=lambda o, y: losses.cross_entropy(o, y).mean())
    with pytest.raises(SettingsError, match="want one loss per row"):
        fit_many(steps, data(), drawn(), seeds=SEEDS, device="cpu")


def test_one_model_that_hides_a_difference_is_found() -> None:
    def build(seed: int) -> nn.Module:
        factor = 2.0 if seed == SEEDS[-1] else 1.0  # in no parameter, and in no text of the module
        return Own(lambda _, x: x * factor)

    with pytest.raises(Unstackable, match="gradient of linear"):
        fit_stacked(recipe(build), data(), drawn(), seeds=SEEDS, device="cpu")
