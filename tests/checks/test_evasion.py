"""Attacks against closed forms, and the promises that the runner keeps whatever an attack proposes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from veriward.adapters.opened import open_subject
from veriward.checks.balls import ball_threat
from veriward.checks.evasion.ascent import PGD
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.goals import Misclassify
from veriward.checks.evasion.rows import AttackRows
from veriward.checks.evasion.square import Square
from veriward.core.domain import ArrayDomain
from veriward.core.streams import Stream

from .measure import Linear, drawn, measure, measure_opened, subject_of

ROWS, COLUMNS = 150, 20
EXACT = {"steps": 20, "restarts": 10, "queries": 1}


def reach(x: np.ndarray, weight: torch.Tensor, y: np.ndarray) -> np.ndarray:
    """The smallest eps at which a row of a linear model falls: margin over the 1-norm of the weights' difference."""
    scores, w = x.astype(np.float64) @ weight.double().numpy().T, weight.double().numpy()
    best = np.full(len(x), np.inf)
    for other in range(len(w)):
        norm = np.abs(w[y] - w[other]).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            needed = (scores[np.arange(len(x)), y] - scores[:, other]) / norm
        best = np.where(y == other, best, np.minimum(best, needed))
    return best


def world(classes: int, kind: str, *, wrong: int = 15, **more: Any) -> tuple[Any, np.ndarray]:
    """A linear subject, some labels of which are wrong, and each row's reach."""
    x, weight = drawn(classes, ROWS, COLUMNS, classes)
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    y[:wrong] = (y[:wrong] + 1) % classes
    shaped = x.reshape(-1, 1, 4, 5) if kind == "array" else x
    model: Any = Linear(weight)
    if kind == "callable":
        model = lambda rows: np.asarray(rows, dtype=np.float64).reshape(len(rows), -1) @ weight.double().numpy().T  # noqa: E731
    settings = {"kind": "image" if kind == "array" else "tabular", "bounds": (-100.0, 100.0)}
    return subject_of(model, shaped, y, input=settings, **more), reach(x, weight, y)


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("classes", [2, 10])
def test_gradients_break_exactly_the_rows_within_reach(classes: int, kind: str) -> None:
    subject, needed = world(classes, kind)
    for share in (0.2, 0.5, 0.8):
        eps = float(np.quantile(needed[needed > 0], share))
        found = measure("evasion/linf", subject, threat=ball_threat("linf", "gradients", eps), **EXACT)
        broken, correct = found.outcomes["broken"], found.outcomes["correct"]
        sure = np.abs(needed - eps) > 1e-4 * eps
        assert np.array_equal(correct, needed > 0)
        assert np.array_equal(broken[sure], ((needed > 0) & (needed < eps))[sure])
        robust = next(e for e in found.estimates if e.metric == "robust_accuracy")
        assert robust.value == pytest.approx((correct.sum() - broken.sum()) / ROWS)
        assert robust.bound == "upper"


@pytest.mark.parametrize("classes", [2, 10])
def test_scores_alone_break_nearly_the_same_rows_and_never_more(classes: int) -> None:
    subject, needed = world(classes, "callable")
    eps = float(np.median(needed[needed > 0]))
    found = measure("evasion/linf", subject, threat=ball_threat("linf", "scores", eps), queries_alone=1000)
    broken, within = found.outcomes["broken"] == 1, (needed > 0) & (needed < eps * (1 + 1e-6))
    assert not (broken & ~within).any()
    assert broken.sum() >= 0.9 * within.sum()


@pytest.mark.parametrize("kind", ["array", "matrix", "callable"])
def test_without_a_budget_nothing_falls_and_wrong_rows_are_no_successes(kind: str) -> None:
    subject, needed = world(3, kind)
    for eps in (0.0, 1e-30, 0.5):
        found = measure(
            "evasion/linf", subject, threat=ball_threat("linf", "scores" if kind == "callable" else "gradients", eps)
        )
        assert not found.outcomes["broken"][needed <= 0].any()
        assert np.isnan(found.outcomes["spent"][needed <= 0]).all()
        if eps < 1e-20:
            assert not found.outcomes["broken"].any()


def test_a_tie_is_decided_as_the_model_decides_it() -> None:
    x = np.zeros((40, 2), np.float32)
    x[::2] = 1.0
    subject = subject_of(lambda rows: np.zeros((len(rows), 2)), x, np.arange(40) % 2)
    found = measure("evasion/linf", subject, threat=ball_threat("linf", "scores", 0.1))
    assert np.array_equal(found.outcomes["correct"], 1 - np.arange(40) % 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["array", "matrix"])
def test_batches_and_company_change_nothing(kind: str) -> None:
    subject, needed = world(4, kind)
    threat = ball_threat("linf", "gradients", float(np.median(needed)))
    results = [
        measure("evasion/linf", subject, threat=threat, batch_size=size, steps=8, queries=30) for size in (1, 32, 500)
    ]
    for other in results[1:]:
        for name, values in results[0].outcomes.items():
            assert values.tobytes() == other.outcomes[name].tobytes(), name
    opened = open_subject(subject, device="cpu")
    work = AttackRows(threat, Stream.of(0, "company"), (PGD(10, 3), Square(40)))
    whole = work(opened, (list(range(ROWS)), 0))
    for rows in ([77], [3, 140, 9], list(range(100, 20, -1))):
        part = work(opened, (rows, 0))
        for name in ("correct", "by", "spent"):
            assert part[name].tobytes() == whole[name][rows].tobytes(), (name, rows)


def test_company_changes_nothing_for_callables() -> None:
    subject, needed = world(4, "callable")
    opened = open_subject(subject, device="cpu")
    work = AttackRows(ball_threat("linf", "scores", float(np.median(needed))), Stream.of(0, "company"), (Square(60),))
    whole = work(opened, (list(range(ROWS)), 0))
    part = work(opened, ([5, 130, 40], 0))
    assert np.array_equal(part["by"], whole["by"][[5, 130, 40]])


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [(-100.0, 100.0), (-0.3, 0.7)])
@pytest.mark.parametrize("kind", ["array", "matrix"])
def test_whatever_is_kept_lies_in_the_ball_and_the_bounds_in_float64(kind: str, bounds: tuple[float, float]) -> None:
    x, weight = drawn(1, 60, COLUMNS, 3)
    x = x.clip(np.nextafter(np.float32(bounds[0]), 1), np.nextafter(np.float32(bounds[1]), 0))
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    settings = {"kind": "image" if kind == "array" else "tabular", "bounds": bounds}
    subject = subject_of(Linear(weight), x.reshape(-1, 1, 4, 5) if kind == "array" else x, y, input=settings)
    opened = open_subject(subject, device="cpu")
    for eps in (0.1, 1 / 255, 0.3):
        clean = opened.encoded("test", list(range(60)))
        goal = Misclassify(opened.targets["test"], "logits", 3)
        chase = Chase(opened, ball_threat("linf", "gradients", eps), clean, goal, torch.arange(60))
        PGD(10, 2).run(chase, Stream.of(0, "ball"))
        Square(50).run(chase, Stream.of(0, "ball"))
        chase.verify()
        assert chase.done.any()
        found, start = chase.found.double(), clean.double()
        assert ((found - start).abs() <= eps * (1 + 1e-9) + 1e-12).all()
        assert (found >= bounds[0]).all()
        assert (found <= bounds[1]).all()
        assert torch.equal(chase.found[~chase.done], clean[~chase.done])
        fallen = opened.model.labels(chase.found) != goal.y
        assert torch.equal(fallen, chase.done)


@pytest.mark.parametrize("white", [True, False])
def test_saturated_probabilities_are_attacked_as_well_as_logits(white: bool) -> None:
    x, weight = drawn(5, ROWS, COLUMNS, 3)
    weight *= 6  # gaps of many tens: probabilities of 1.0 and 1e-30 in float32
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    eps = float(np.median(reach(x, weight, y)))
    linear = Linear(weight)
    assert (torch.softmax(linear(torch.as_tensor(x)), 1).amax(1) == 1.0).double().mean() > 0.3
    models: dict[str, Any] = {"logits": linear, "probabilities": nn.Sequential(linear, nn.Softmax(dim=1))}
    if not white:
        models = {name: _asked(model) for name, model in models.items()}
    access = "gradients" if white else "scores"
    broken = {
        name: measure(
            "evasion/linf",
            subject_of(model, x, y, output=name, input={"kind": "tabular", "bounds": (-100.0, 100.0)}),
            threat=ball_threat("linf", access, eps),
        ).outcomes["broken"]
        for name, model in models.items()
    }
    assert broken["logits"].mean() > 0.4
    assert abs(float(broken["logits"].mean() - broken["probabilities"].mean())) <= 0.02


def _asked(model: nn.Module) -> Any:
    return lambda rows: model(torch.as_tensor(np.asarray(rows)).float()).detach().numpy()


def test_a_single_column_of_scores_is_two_classes() -> None:
    x, weight = drawn(7, ROWS, COLUMNS, 1)
    y = (x @ weight[0].numpy() > 0).astype(int)
    needed = np.abs(x.astype(np.float64) @ weight[0].double().numpy()) / weight.abs().sum().item()
    eps = float(np.median(needed))
    subject = subject_of(Linear(weight), x, y, input={"kind": "tabular", "bounds": (-100.0, 100.0)})
    found = measure("evasion/linf", subject, threat=ball_threat("linf", "gradients", eps))
    sure = np.abs(needed - eps) > 1e-4 * eps
    assert np.array_equal(found.outcomes["broken"][sure] == 1, (needed < eps)[sure])


def test_nothing_of_the_callers_changes() -> None:
    x, weight = drawn(2, 40, COLUMNS, 3)
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    module = nn.Sequential(Linear(weight), nn.Dropout(0.5), nn.BatchNorm1d(3)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    kept, seed = x.copy(), torch.get_rng_state()
    measure("evasion/linf", subject_of(module, x, y, input={"kind": "tabular", "bounds": (-100.0, 100.0)}))
    assert all(part.training for part in module.modules())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert np.array_equal(x, kept)
    assert torch.equal(seed, torch.get_rng_state())


class Masked(nn.Module):
    """A linear model behind something that hides its gradient."""

    def __init__(self, weight: torch.Tensor, mask: str) -> None:
        super().__init__()
        self.linear, self.mask = Linear(weight), mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, classes)."""
        if self.mask == "round":
            return self.linear((x * 8).round() / 8)
        return self.linear(x.detach() if self.mask == "detach" else torch.special.expit(1e4 * x))


@pytest.mark.parametrize("mask", ["round", "step"])
def test_masked_gradients_raise_an_alarm_and_the_black_box_still_breaks_rows(mask: str) -> None:
    x, weight = drawn(3, 120, COLUMNS, 3)
    model = Masked(weight, mask)
    y = model(torch.as_tensor(x)).argmax(1).numpy()
    subject = subject_of(model, x, y, input={"kind": "tabular", "bounds": (-100.0, 100.0)})
    found = measure("evasion/linf", subject, threat=ball_threat("linf", "gradients", 0.5))
    codes = {alarm.code for alarm in found.alarms}
    assert codes & {"evasion.flat_gradients", "evasion.black_box_beats_white_box"}
    assert found.outcomes["broken"].mean() > 0.2


def test_a_model_without_gradients_is_attacked_by_its_scores() -> None:
    x, weight = drawn(3, 120, COLUMNS, 3)
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    subject = subject_of(Masked(weight, "detach"), x, y, input={"kind": "tabular", "bounds": (-100.0, 100.0)})
    opened = open_subject(subject, device="cpu")
    assert opened.access == "scores"
    found = measure_opened("evasion/linf", opened, ball_threat("linf", "scores", 0.5))
    assert "evasion.no_gradients" in {item.code for item in found.untested}
    assert found.outcomes["broken"].mean() > 0.2


@pytest.mark.parametrize("shape", [(1, 8, 8), (20,)])
def test_honest_networks_raise_no_alarm(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(100, *shape, generator=generator)
    body: list[nn.Module] = [nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 5)]
    if len(shape) == 3:
        body = [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 5)]
    model = nn.Sequential(*body)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    y = model(x).argmax(1).numpy()
    if len(np.unique(y)) < 2:
        y[0] = (y[0] + 1) % 5
    kind = "image" if len(shape) == 3 else "tabular"
    subject = subject_of(model, x.numpy(), y, input={"kind": kind, "bounds": (0.0, 1.0)})
    for eps in (0.01, 0.05):
        assert measure("evasion/linf", subject, threat=ball_threat("linf", "gradients", eps)).alarms == ()


def test_a_model_that_answers_at_random_raises_an_alarm() -> None:
    generator = np.random.default_rng(0)
    x = np.zeros((50, 3), np.float32)
    subject = subject_of(lambda rows: generator.normal(size=(len(rows), 2)), x, np.arange(50) % 2)
    found = measure("evasion/linf", subject, threat=ball_threat("linf", "scores", 0.1), queries_alone=5)
    assert {"evasion.random_model", "evasion.answers_by_chance"} & {alarm.code for alarm in found.alarms}


@pytest.mark.parametrize("kind", ["array", "matrix", "callable"])
def test_examples_are_few_cheap_first_and_true(kind: str) -> None:
    subject, needed = world(3, kind)
    opened = open_subject(subject, device="cpu")
    found = measure_opened(
        "evasion/linf", opened, ball_threat("linf", "scores" if kind == "callable" else "gradients", 1.0)
    )
    assert 0 < len(found.witnesses) <= 20
    for witness in found.witnesses:
        assert found.outcomes["broken"][witness.row] == 1
        assert witness.size <= 1 + 1e-9
        assert witness.details["was"] != witness.details["became"]
        assert witness.size >= needed[witness.row] * (1 - 1e-4)  # no success below the closed form
        if isinstance(opened.domain, ArrayDomain):
            assert np.abs(witness.details["adversarial"] - witness.details["clean"]).max() <= 1 + 1e-9


def test_the_sample_is_the_seeds_and_the_rest_was_not_looked_at() -> None:
    subject, _ = world(2, "matrix")
    first, again, other = (measure("evasion/linf", subject, rows=50, seed=seed) for seed in (1, 1, 2))
    assert (first.outcomes["correct"] >= 0).sum() == first.rows == 50
    assert len(first.outcomes["correct"]) == ROWS
    assert np.array_equal(first.outcomes["broken"], again.outcomes["broken"])
    assert not np.array_equal(first.outcomes["correct"] >= 0, other.outcomes["correct"] >= 0)


def test_rows_beyond_their_range_are_attacked_in_their_other_columns() -> None:
    """Test rows beyond the training range are real rows: their columns may stay, the others may move."""
    train, weight = drawn(0, 50, 4, 2)
    test = train.copy()
    test[:, 0] = 10.0 * np.abs(train).max()
    weight[:, 0] = 0
    y = (torch.as_tensor(test) @ weight.T).argmax(1).numpy()
    data = {"train": (train, (torch.as_tensor(train) @ weight.T).argmax(1).numpy())}
    subject = subject_of(Linear(weight), test, y, data=data, input={"kind": "tabular"})
    needed = reach(test, weight, y)
    eps = float(np.quantile(needed, 0.3))
    broken = measure("evasion/linf", subject, threat=ball_threat("linf", "gradients", eps)).outcomes["broken"]
    assert broken.mean() > 0.1


def test_controls_of_every_path_hold() -> None:
    from veriward.checks.registry import registry
    from veriward.run.control import run_controls
    from veriward.run.job import Forgetful

    for kind in ("array", "matrix", "callable"):
        opened = open_subject(world(2, kind)[0], device="cpu")
        assert all(control.holds for control in run_controls(registry()["evasion/linf"], opened, Forgetful()))
