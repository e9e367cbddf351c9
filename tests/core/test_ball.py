"""Balls: what comes out is inside, in float64, whatever came in; projections are the nearest points where they say so."""

import itertools

import numpy as np
import pytest
import torch

from veriward.core.ball import Ball, flat_ball

NORMS = ("linf", "l2", "l1")


def wild(seed: int, dtype: torch.dtype) -> tuple[Ball, torch.Tensor]:
    """Balls with radii of their own inside a box, and points far outside; a tenth of the numbers cannot move."""
    g = np.random.default_rng(seed)
    clean = torch.as_tensor(g.uniform(-1, 1, (20, 3, 4))).to(dtype)
    radii = torch.as_tensor(g.uniform(0.01, 0.5, (20, 3, 4)) * (g.random((20, 3, 4)) > 0.1)).to(dtype)
    low, high = (clean - radii).clamp(min=-1), (clean + radii).clamp(max=1)
    norm = NORMS[seed % 3]
    z = clean + torch.as_tensor(g.normal(0, 2.0 ** g.integers(-4, 3), clean.shape)).to(dtype)
    return Ball(clean, low, high, radii, norm), z


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whatever_is_clamped_lies_inside(seed: int, dtype: torch.dtype) -> None:
    ball, z = wild(seed, dtype)
    for point in (ball.clamp(z), ball.project(z), ball.draw(z), ball.clamp(ball.step(ball.clean, z, 1.0))):
        exact = point.double()
        assert (exact >= ball.low.double()).all()
        assert (exact <= ball.high.double()).all()
        if ball.norm != "linf":  # there the box is the ball, and domains round it inwards
            assert (ball.share(point) <= 1 + 1e-12).all()


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_clamped_points_are_the_nearest(norm: str) -> None:
    """No point of the ball on a fine grid is nearer; in two dimensions a grid shows it."""
    ticks = torch.linspace(-0.5, 0.5, 201, dtype=torch.float64)
    grid = torch.tensor(list(itertools.product(ticks.tolist(), ticks.tolist())), dtype=torch.float64)
    for z in ([0.4, 0.3], [0.9, -0.1], [-0.2, 0.8], [0.1, 0.05]):
        ball = flat_ball(torch.zeros(1, 2, dtype=torch.float64), 0.5, norm, -0.3, 1.0)  # type: ignore[arg-type]
        point = torch.tensor([z], dtype=torch.float64)
        inside = grid[(grid >= -0.3).all(1) & (grid.abs().sum(1) <= 0.5 if norm == "l1" else True)]
        best = (inside - point).norm(dim=1).min()
        assert (ball.clamp(point) - point).norm() <= best + 1e-2
        assert (ball.clamp(point) - point).norm() >= best - 1e-2


@pytest.mark.parametrize("norm", NORMS)
def test_a_whole_step_up_is_the_most_a_linear_function_can_rise(norm: str) -> None:
    """The dual norm: nothing in the ball rises a linear function more than the steepest step of one budget."""
    gradient = torch.tensor([[3.0, -1.0, 0.5]], dtype=torch.float64)
    ball = flat_ball(torch.zeros(1, 3, dtype=torch.float64), 0.25, norm)  # type: ignore[arg-type]
    rise = float((ball.step(ball.clean, gradient, 1.0, share=0.01) * gradient).sum())
    dual = {"linf": 4.5, "l2": float(gradient.norm()), "l1": 3.0}[norm]
    assert rise == pytest.approx(0.25 * dual)


def test_whole_numbers_stay_whole_and_categories_cost_everything() -> None:
    clean = torch.tensor([[3.0, 0.0, 1.0]], dtype=torch.float64)
    whole, jump = torch.tensor([True, True, False]), torch.tensor([False, True, False])
    radii = torch.tensor([[4.0, 2.0, 1.0]], dtype=torch.float64)
    ball = Ball(clean, clean - radii, clean + radii, radii, "l1", whole, jump)
    found = ball.project(torch.tensor([[5.7, 0.0, 1.2]], dtype=torch.float64))
    assert found[0, 0] == torch.round(found[0, 0])
    assert ball.share(torch.tensor([[3.0, 1.0, 1.0]], dtype=torch.float64)).item() == 1.0
    assert ball.share(torch.tensor([[3.0, 2.0, 1.5]], dtype=torch.float64)).item() == 1.5
