"""Auto-PGD against its paper's schedule and against closed forms."""

import numpy as np
import pytest
import torch
from torch import nn

from veriward.checks.evasion.apgd import APGD, Climb, begin, checkpoints
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.goals import Move
from veriward.checks.evasion.room import room
from veriward.core.ball import flat_ball

from .chased import NORMS, broken, chase_of, linear
from .measure import Linear, subject_of


def test_checkpoints_are_those_of_the_paper() -> None:
    # section 3: p = 0, 0.22, then p + max(p - p_before - 0.03, 0.06); the appendix lists them for 100 steps
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    before, part, expected = 0.0, 0.22, []
    while part < 1:
        expected.append(int(np.ceil(round(part * 1000, 6))))
        before, part = part, part + max(part - before - 0.03, 0.06)
    assert checkpoints(1000) == tuple(expected)
    assert checkpoints(1) == checkpoints(0) == ()
    assert checkpoints(10) == (3, 5, 6, 7, 8, 9)


def climb(losses: list[float]) -> Climb:
    """One row that has seen these losses, one after another."""
    ball = flat_ball(torch.zeros(1, 2), 1.0, "linf")
    first = torch.tensor([losses[0]])
    now = Climb.start(torch.tensor([0]), ball, torch.zeros(1, 2), first, torch.ones(1, 2), fresh=True)
    for number, loss in enumerate(losses[1:], 1):
        now.z = torch.full((1, 2), float(number))
        now.arrive(torch.tensor([loss]), torch.full((1, 2), float(number)))
    return now


@pytest.mark.parametrize(
    ("losses", "halved"),
    [
        ([0, 1, 2, 3, 4], False),  # four rises in four steps
        ([0, 1, 2, 3, 2.5], False),  # three in four: not fewer than 0.75
        ([0, 1, 2, 1, 1.5, 1.2, 1.3, 1, 1.1], True),  # five in eight
        ([3, 1, 2, 2.5, 2.6], True),  # rises, but the best loss stands since the start
    ],
)
def test_the_step_is_halved_by_conditions_one_and_two(losses: list[float], halved: bool) -> None:
    now = climb(losses)
    now.halve(len(losses) - 1)
    assert bool(now.halved) is halved
    assert float(now.size) == (1.0 if halved else 2.0)
    best = int(np.argmax(losses))
    assert float(now.z[0, 0]) == (best if halved else len(losses) - 1)
    if halved:
        assert float(now.gradient[0, 0]) == (best or 1)
        assert float(now.loss) == max(losses)


def test_after_a_halving_a_standstill_alone_halves_nothing() -> None:
    now = climb([3, 1])
    now.halve(1)
    assert now.halved
    for loss in (1.0, 2.0, 2.5, 2.8):
        now.arrive(torch.tensor([loss]), torch.ones(1, 2))
    now.halve(4)
    assert not now.halved  # the best loss stands, but the step has just been halved, and three of four rose


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["image", "table"])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_exactly_the_rows_within_reach_fall(classes: int, kind: str, norm: str) -> None:
    opened, distance = linear(classes, norm, kind)
    eps = float(np.median(distance))
    sure = np.abs(distance - eps) > 1e-3 * eps
    fell = broken(APGD("dlr" if classes > 3 else "margin", targets=9), chase_of(opened, norm, eps))
    assert np.array_equal(fell[sure], (distance < eps)[sure])
    if classes == 2:  # with more, it heads for whichever class is best, and may end at one that cannot be reached
        fell = broken(APGD("ce"), chase_of(opened, norm, eps))
        assert np.array_equal(fell[sure], (distance < eps)[sure])


@pytest.mark.parametrize("norm", NORMS)
def test_untargeted_climbs_break_most_rows_within_reach_and_no_others(norm: str) -> None:
    opened, distance = linear(10, norm, "image")
    eps = float(np.median(distance)) * 1.05
    for loss in ("ce", "dlr", "margin"):
        fell = broken(APGD(loss), chase_of(opened, norm, eps))
        assert not (fell & (distance > eps * (1 + 1e-6))).any()
        assert fell.sum() >= 0.9 * (distance < eps).sum()


def test_l1_climbs_begin_in_larger_balls_and_end_in_the_own() -> None:
    opened, distance = linear(10, "l1", "image")
    eps = float(np.median(distance))
    chase = chase_of(opened, "l1", eps)
    fell = broken(APGD("dlr", 9, wide=True), chase)
    sure = np.abs(distance - eps) > 1e-3 * eps
    assert np.array_equal(fell[sure], (distance < eps)[sure])
    assert bool((chase.whole_ball.share(chase.found) <= 1).all())
    wider = room(chase, chase.active, 3.0)
    assert torch.allclose(wider.radii, 3 * chase.ball(chase.active).radii)


@pytest.mark.parametrize("norm", NORMS)
def test_starts_are_random_and_inside(norm: str) -> None:
    ball = flat_ball(torch.rand(50, 3, 4, generator=torch.Generator().manual_seed(0)), 0.3, norm, 0.0, 1.0)
    z = begin(ball, torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(1)))
    assert bool((ball.share(z) <= 1).all())
    assert bool((ball.share(z) > 0.2).all())
    assert float(z.min()) >= 0
    assert float(z.max()) <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_company_changes_nothing(norm: str) -> None:
    opened, distance = linear(4, norm, "image", rows=40)
    eps = float(np.median(distance)) * 0.99
    whole = chase_of(opened, norm, eps)
    broken(APGD("dlr", 3, 20), whole)
    for rows in ([7], [30, 2, 11], list(range(39, 9, -1))):
        part = chase_of(opened, norm, eps, rows)
        broken(APGD("dlr", 3, 20), part)
        assert torch.equal(part.done, whole.done[rows])
        assert torch.equal(part.found, whole.found[rows])


@pytest.mark.parametrize("norm", NORMS)
def test_masked_numbers_stay(norm: str) -> None:
    x = np.random.default_rng(0).uniform(size=(40, 1, 4, 4)).astype(np.float32)
    weight = torch.as_tensor(np.random.default_rng(1).normal(size=(3, 16)).astype(np.float32))
    y = (torch.as_tensor(x).flatten(1) @ weight.T).argmax(1).numpy()
    mask = np.zeros((1, 4, 4), np.float32)
    mask[0, :2] = 1.0
    settings = {"input": {"kind": "image", "bounds": (0.0, 1.0)}, "threat": {"evasion": {"mask": mask}}}
    from veriward.adapters.opened import open_subject

    opened = open_subject(subject_of(Linear(weight), x, y, **settings), device="cpu")
    for attack in (APGD("dlr", 2, 30), APGD("ce", steps=30, wide=norm == "l1")):
        chase = chase_of(opened, norm, {"linf": 0.5, "l2": 1.0, "l1": 3.0}[norm])
        assert broken(attack, chase).any()
        assert torch.equal(chase.found[..., 2:, :], chase.clean[..., 2:, :])


def test_a_prediction_is_moved_both_ways() -> None:
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    weight = torch.as_tensor(np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32))
    from veriward.adapters.opened import open_subject

    subject = subject_of(
        nn.Sequential(Linear(weight), nn.Flatten(0)), x, (x @ weight.numpy().T)[:, 0], task="regression", output="value",
        input={"kind": "tabular", "bounds": (-100.0, 100.0)},
    )  # fmt: skip
    opened = open_subject(subject, device="cpu")
    reach = float(weight.abs().sum()) * 0.3
    for tolerance, fall in ((0.98 * reach, True), (1.02 * reach, False)):
        chase = chase_of_values(opened, tolerance)
        assert broken(APGD("margin", 2, 30), chase).all() == fall


def chase_of_values(opened, tolerance: float) -> Chase:  # type: ignore[no-untyped-def]
    from veriward.checks.balls import ball_threat

    clean = opened.encoded("test", list(range(len(opened.test))))
    start = torch.as_tensor(opened.model.values(clean))
    goal = Move(start, torch.full_like(start, tolerance))
    return Chase(opened, ball_threat("linf", "gradients", 0.3, goal="move"), clean, goal, torch.arange(len(clean)))
