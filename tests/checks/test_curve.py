"""The curve of sizes: distances of a linear model are a formula, and what other checks know is used in both directions."""

from typing import Any

import numpy as np
import pytest
import torch

from veriward.checks.evasion.sizes_advice import grid, pixel_noise, separation
from veriward.core.domain import ArrayDomain

from .measure import Linear, drawn, measure, subject_of

DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


def world(norm: str, eps: float) -> tuple[Any, np.ndarray]:
    x, weight = drawn(3, 90, 12, 2)
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    w = (weight[1] - weight[0]).double().numpy()
    needed = np.abs(x.astype(np.float64) @ w) / np.linalg.norm(w, DUAL[norm])
    shaped = x.reshape(-1, 1, 3, 4)
    settings = {"kind": "image", "bounds": (-100.0, 100.0)}
    return subject_of(Linear(weight), shaped, y, input=settings, threat={"evasion": {"norm": norm, "eps": eps}}), needed


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_distances_are_those_of_the_formula(norm: str) -> None:
    subject, needed = world(norm, 0.5)
    found = measure("evasion/curve", subject)
    distance = found.outcomes["distance"]
    near = needed < 2.0  # four times eps, the largest size
    assert np.isinf(distance[~near & (needed > 2.05)]).all()
    assert (distance[near] >= needed[near] * (1 - 1e-4)).all()
    assert np.median(distance[near] / needed[near]) < 1.03
    curve = {e.at["eps"]: e for e in found.estimates if e.metric == "accuracy_at"}
    assert len(curve) == 13
    assert sorted(curve) == list(curve)
    values = [e.value for e in curve.values()]
    assert values == sorted(values, reverse=True)
    for eps, estimate in curve.items():
        assert estimate.value >= (needed > eps).mean()
        assert estimate.bound == "upper"
    median = next(e for e in found.estimates if e.metric == "median_distance")
    assert median.low <= np.median(needed) * 1.05


def test_pictures_on_the_grid_of_eight_bits_are_known() -> None:
    g = np.random.default_rng(0)
    stored = torch.as_tensor(g.integers(0, 256, (5, 1, 4, 4)) / 255).float()
    assert grid(stored, ArrayDomain(0.0, 1.0)) == pytest.approx(1 / 255)
    assert grid(stored + 0.001, ArrayDomain(0.0, 1.0)) is None


def test_noise_of_a_slope_is_found_and_edges_are_not_noise() -> None:
    g = np.random.default_rng(0)
    slope = np.linspace(0, 1, 32)[None, None, :, None] * np.ones((20, 1, 1, 32))
    noisy = torch.as_tensor(slope + g.normal(0, 0.05, slope.shape))
    assert pixel_noise(noisy) == pytest.approx(0.05, rel=0.1)
    assert pixel_noise(torch.as_tensor(slope)) == pytest.approx(0, abs=1e-12)
    assert pixel_noise(torch.zeros(3, 7)) is None


def test_the_nearest_rows_of_two_classes() -> None:
    x, y = torch.tensor([[0.0, 0.0], [0.3, 0.4], [5.0, 5.0]]), torch.tensor([0, 1, 0])
    assert [round(separation(x, y, norm), 6) for norm in ("linf", "l2", "l1")] == [0.4, 0.5, 0.7]  # type: ignore[arg-type]
