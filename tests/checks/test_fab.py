"""FAB's projection against a solver, and its distances against closed forms."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from veriward.adapters.opened import open_subject
from veriward.checks.evasion.fab import FAB, onto
from veriward.core.ball import Ball
from veriward.core.streams import Stream

from .chased import NORMS, broken, chase_of, linear, needed
from .measure import Linear, subject_of


def spot(norm: str, seed: int) -> tuple[Ball, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A point in a box, budgets of its own for each number, and a linear function."""
    draw = np.random.default_rng(seed)
    start = torch.as_tensor(draw.uniform(size=(1, 6)))
    radii = torch.as_tensor(draw.uniform(0.1, 0.5, size=(1, 6)))
    room = Ball(start, torch.zeros(1, 6).double(), torch.ones(1, 6).double(), radii, norm)  # type: ignore[arg-type]
    slope = torch.as_tensor(draw.normal(size=(1, 6)))
    # far enough that the box is often in the way
    return room, start, slope, torch.as_tensor(draw.uniform(-3, 3, size=1))


def shortest(norm: str, room: Ball, slope: np.ndarray, height: float) -> float | None:
    """The least length of a way to the plane inside the box, in budgets, by a solver; None where there is none."""
    radii, start = room.radii[0].numpy(), room.clean[0].numpy()
    low, high, gain = (0 - start) / radii, (1 - start) / radii, slope * radii
    if norm == "l2":
        found = minimize(
            lambda u: u @ u / 2, np.zeros(6), jac=lambda u: u, method="SLSQP", bounds=list(zip(low, high, strict=True)),
            constraints={"type": "eq", "fun": lambda u: gain @ u + height, "jac": lambda u: gain},
            options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        return float(np.linalg.norm(found.x)) if found.success else None
    extra = 1 if norm == "linf" else 6  # bounds of |u|, one for all or one for each
    cost = np.r_[np.zeros(6), np.ones(extra)]
    least = np.ones((6, 1)) if extra == 1 else np.eye(6)
    above = np.block([[np.eye(6), -least], [-np.eye(6), -least]])
    limits = [*zip(low, high, strict=True), *[(0, None)] * extra]
    found = linprog(cost, above, np.zeros(12), np.r_[gain, np.zeros(extra)][None], [-height], limits)
    return float(found.fun) if found.status == 0 else None


@pytest.mark.parametrize("norm", NORMS)
def test_the_way_to_a_plane_is_the_shortest_in_the_box(norm: str) -> None:
    seen = {True: 0, False: 0}
    for seed in range(40):
        room, start, slope, height = spot(norm, seed)
        way = onto(room, start, slope, height)
        end = start + way
        assert float(end.min()) >= -1e-12
        assert float(end.max()) <= 1 + 1e-12
        truth = shortest(norm, room, slope[0].numpy(), float(height))
        left = float(height + (slope * way).sum())
        seen[truth is None] += 1
        if truth is None:  # the box does not reach so far: its corner is nearest
            assert torch.allclose(end, torch.where(slope * -height.sign() > 0, 1.0, 0.0).double())
        else:
            assert abs(left) < 1e-9
            assert float(room.share(end)) == pytest.approx(truth, rel=1e-5, abs=1e-9)
    assert min(seen.values()) >= 3


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["image", "table"])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_distances_are_those_of_the_closed_form(classes: int, kind: str, norm: str) -> None:
    opened, distance = linear(classes, norm, kind)
    chase = chase_of(opened, norm, float(np.median(distance)))
    points, share = FAB(9, 15).minimal(chase, Stream.of(0, "fab"))
    assert (share.numpy() * np.median(distance) / distance).max() < 1.01
    assert (share.numpy() * np.median(distance) / distance).min() > 1 - 1e-4  # of float32 scores
    assert not chase.done.any()  # distances are told, and nothing is counted
    assert bool((opened.model.labels(points) != opened.targets["test"]).all())
    assert torch.allclose(chase.whole_ball.share(points), share)


@pytest.mark.parametrize("norm", NORMS)
def test_exactly_the_rows_within_reach_fall(norm: str) -> None:
    opened, distance = linear(4, norm, "image")
    eps = float(np.median(distance))
    sure = np.abs(distance - eps) > 1e-2 * eps
    assert np.array_equal(broken(FAB(9, 15), chase_of(opened, norm, eps))[sure], (distance < eps)[sure])


def test_the_box_is_kept_and_restarts_only_help() -> None:
    x = np.random.default_rng(0).uniform(size=(24, 1, 4, 4)).astype(np.float32)
    weight = torch.as_tensor(np.random.default_rng(1).normal(size=(3, 16)).astype(np.float32))
    y = (torch.as_tensor(x).flatten(1) @ weight.T).argmax(1).numpy()
    subject = subject_of(Linear(weight), x, y, input={"kind": "image", "bounds": (0.0, 1.0)})
    opened = open_subject(subject, device="cpu")
    for norm in NORMS:
        chase = chase_of(opened, norm, 0.2)
        points, share = FAB(2, 10).minimal(chase, Stream.of(0, "fab"))
        _, again = FAB(2, 10, restarts=2).minimal(chase, Stream.of(0, "fab"))
        assert float(points.min()) >= 0
        assert float(points.max()) <= 1
        assert bool((again <= share).all())
        assert (share.numpy() * 0.2 >= needed(x.reshape(24, -1), weight, y, norm) * (1 - 1e-4)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_company_changes_nothing(norm: str) -> None:
    opened, _ = linear(4, norm, "image", rows=30)
    whole = chase_of(opened, norm, 1.0)
    points, share = FAB(3, 6, restarts=2).minimal(whole, Stream.of(0, "fab"))
    for rows in ([7], [20, 2, 11]):
        some, part = FAB(3, 6, restarts=2).minimal(chase_of(opened, norm, 1.0, rows), Stream.of(0, "fab"))
        assert torch.equal(some, points[rows])
        assert torch.equal(part, share[rows])


@pytest.mark.parametrize("norm", NORMS)
def test_whole_numbers_stay_whole_and_in_their_ranges(norm: str) -> None:
    draw = np.random.default_rng(3)
    x = draw.integers(0, 20, size=(60, 6)).astype(np.float64)
    weight = torch.as_tensor(draw.normal(size=(3, 6)).astype(np.float32))
    weight -= weight.mean(1, keepdim=True)  # as many rows of one class as of another
    y = (torch.as_tensor(x).float() @ weight.T).argmax(1).numpy()
    features = {f"x{i}": {"kind": "integer", "range": (0.0, 19.0), "eps": 5.0} for i in range(6)}
    features["x0"]["mutable"] = False
    subject = subject_of(Linear(weight), x, y, input={"kind": "tabular"}, features=features)
    opened = open_subject(subject, device="cpu")
    chase = chase_of(opened, norm, 5.0)
    assert broken(FAB(2, 20), chase).sum() >= 10
    assert torch.equal(chase.found, chase.found.round())
    assert torch.equal(chase.found[:, 0], chase.clean[:, 0])
    assert float(chase.found.min()) >= 0
    assert float(chase.found.max()) <= 19
    assert bool((chase.whole_ball.share(chase.found) <= 1 + 1e-9).all())
