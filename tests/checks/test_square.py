"""Square under L2 and L1: masses, shapes, and how much of what can be broken is broken."""

import numpy as np
import pytest
import torch

from veriward.adapters.opened import open_subject
from veriward.checks.evasion.masses import bump, exchange, first
from veriward.checks.evasion.square import Square
from veriward.core.ball import flat_ball
from veriward.core.streams import Stream

from .chased import NORMS, broken, chase_of, linear, needed
from .measure import Linear, subject_of

STREAM = Stream.of(0, "square")


def test_bumps_are_those_of_the_paper() -> None:
    # equation 2 for a window of 5: halves of 2 and 3 rows around (1, 2) and (1, 2), rectangles of weight 1, 1/4, 1/9
    for side in (3, 5, 9):
        assert float(bump(side).square().sum()) == pytest.approx(1.0, abs=1e-6)
        up, down = bump(side)[: side // 2], bump(side)[side // 2 :]
        assert bool((up > 0).all())
        assert bool((down < 0).all())
    heap = bump(5)[:2].double().numpy()
    tail, near = 1 / 9, 1 / 4 + 1 / 9
    expected = np.array([[tail, near, near, near, tail], [tail, near, 1 + near, near, tail]])
    assert np.allclose(heap / np.linalg.norm(heap), expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("shape", [(3, 12, 11), (1, 2, 9), (20,), (1,)])
def test_exchanges_stay_in_the_ball_and_spend_it(shape: tuple[int, ...], norm: str) -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.arange(16)
    free = flat_ball(torch.rand(16, *shape, generator=draw), 0.5, norm)
    boxed = flat_ball(free.clean, 0.5, norm, 0.0, 1.0)
    for ball in (free, boxed):
        z = first(ball, rows, STREAM)
        for query in range(1, 40):
            share = 0.8 * 0.9**query
            new = exchange(z, ball, rows, share, query, STREAM)
            spent = ball.share(new)
            assert bool((spent <= 1).all())
            assert bool(((new >= ball.low) & (new <= ball.high)).all())
            if ball is free:
                assert bool((spent > 0.999).all())
            z = new


def test_mass_leaves_one_window_for_the_other() -> None:
    ball = flat_ball(torch.zeros(8, 1, 20, 20), 1.0, "l2")
    z = first(ball, torch.arange(8), STREAM)
    new = exchange(z, ball, torch.arange(8), 0.04, 1, STREAM)
    moved = ((new - z).abs() > 1e-6).flatten(1).sum(1)
    assert bool((moved <= 2 * 25).all())  # two windows of five by five, at most
    emptied = ((new == 0) & (z != 0)).flatten(1).sum(1)
    assert int(emptied.max()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_most_of_what_is_within_reach_falls_and_nothing_else(norm: str) -> None:
    for kind in ("image", "table"):
        opened, distance = linear(10, norm, kind, rows=40)
        eps = float(np.median(distance)) * 1.1
        fell = broken(Square(800), chase_of(opened, norm, eps))
        assert not (fell & (distance > eps * (1 + 1e-6))).any()
        assert fell.sum() >= {"linf": 0.9, "l2": 0.8, "l1": 0.8}[norm] * (distance < eps).sum()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["image", "table"])
def test_company_changes_nothing(kind: str, norm: str) -> None:
    opened, distance = linear(4, norm, kind, rows=24)
    eps = float(np.median(distance))
    whole = chase_of(opened, norm, eps)
    broken(Square(25), whole)
    for rows in ([7], [20, 2, 11], list(range(23, 9, -1))):
        part = chase_of(opened, norm, eps, rows)
        broken(Square(25), part)
        assert torch.equal(part.done, whole.done[rows])
        assert torch.equal(part.found, whole.found[rows])


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_tables_keep_whole_numbers_and_categories(norm: str) -> None:
    draw = np.random.default_rng(3)
    x = np.column_stack([draw.integers(0, 40, size=(80, 4)), draw.integers(0, 4, size=80)]).astype(np.float64)
    weight = torch.as_tensor(draw.normal(size=(2, 5)).astype(np.float32))
    weight[:, :4] -= weight[:, :4].mean(1, keepdim=True)  # as many rows of one class as of the other
    weight[:, 4] = torch.tensor([3.0, -3.0])
    y = (torch.as_tensor(x).float() @ weight.T).argmax(1).numpy()
    features = {f"x{i}": {"kind": "integer", "range": (0.0, 39.0), "eps": 8.0} for i in range(4)}
    features["x4"] = {"kind": "category", "range": (0.0, 3.0), "change": "any"}
    subject = subject_of(Linear(weight), x, y, input={"kind": "tabular"}, features=features)
    opened = open_subject(subject, device="cpu")
    chase = chase_of(opened, norm, 8.0)
    fell = broken(Square(100), chase)
    assert fell.sum() >= 10
    assert torch.equal(chase.found, chase.found.round())
    assert bool((chase.whole_ball.share(chase.found) <= 1 + 1e-9).all())
    other = chase.found[:, 4] != chase.clean[:, 4]
    assert other.any()  # alone, since a category costs all there is
    assert torch.equal(chase.found[other][:, :4], chase.clean[other][:, :4])


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_scores_alone_are_enough(norm: str) -> None:
    draw = np.random.default_rng(5)
    x = draw.normal(size=(30, 20)).astype(np.float32)
    weight = torch.as_tensor(draw.normal(size=(3, 20)).astype(np.float32))
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    settings = {"kind": "tabular", "bounds": (-100.0, 100.0)}
    subject = subject_of(lambda rows: np.asarray(rows) @ weight.numpy().T, x, y, input=settings)
    opened = open_subject(subject, device="cpu")
    distance = needed(x, weight, y, norm)
    eps = float(np.median(distance))
    fell = broken(Square(300), chase_of(opened, norm, eps))
    assert fell.sum() >= 0.7 * (distance < eps).sum()
