"""Pictures and vectors: nothing that the projection returns lies outside the ball or the bounds, in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from veriward.core.domain import ArrayDomain, inward
from veriward.core.errors import DataError
from veriward.core.threat import Threat

EPS = st.floats(0, 3) | st.sampled_from([0.0, 8 / 255, 0.1, 0.3, 1e-9, 1e-30])
BOUNDS = st.tuples(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4)).map(lambda t: (t[0], t[0] + t[1]))


def linf(eps: float) -> Threat:
    return Threat("misclassify", "scores", {"norm": "linf", "eps": eps})


@settings(max_examples=200, deadline=None)
@given(BOUNDS, EPS, st.integers(0, 2**32 - 1))
def test_projected_rows_are_allowed_and_near_in_float64(bounds: tuple[float, float], eps: float, seed: int) -> None:
    low, high = bounds
    domain, generator = ArrayDomain(low, high), np.random.default_rng(seed)
    small, large = inward(
        torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64), torch.float32
    )
    clean = torch.as_tensor(generator.uniform(low, high, (6, 1, 2, 3))).float().clamp(small, large)
    clean[0], clean[1] = small, large  # rows on the very edge
    wild = clean + torch.as_tensor(generator.normal(0, 10 * (eps + high - low), clean.shape)).float()
    found = domain.project(wild, clean, linf(eps))
    assert domain.allowed(found, clean, linf(eps)).all()
    assert ((found.double() - clean.double()).abs() <= eps * (1 + 1e-12)).all()
    assert (found.double() >= low).all()
    assert (found.double() <= high).all()
    assert torch.equal(domain.project(found, clean, linf(eps)), found)
    assert (domain.distance(found, clean, linf(eps)) <= 1 + 1e-9).all()


def test_the_clean_row_is_always_allowed_also_on_a_bound_that_float32_lacks() -> None:
    domain = ArrayDomain(-0.3, 0.3)
    clean = domain.encode(np.array([[0.3, -0.3]]))  # float32: a little beyond
    domain.check(clean.numpy(), "data.test")
    for eps in (0.0, 1e-12, 0.1):
        assert domain.allowed(clean, clean, linf(eps)).all()
        assert domain.allowed(domain.project(clean, clean, linf(eps)), clean, linf(eps)).all()


def test_what_is_outside_is_not_allowed() -> None:
    domain, clean = ArrayDomain(0.0, 1.0), torch.tensor([[0.5, 0.95]])
    for moved, wanted in (([0.6, 0.95], True), ([0.6001, 0.95], False), ([0.5, 1.0], True), ([0.5, 1.001], False)):
        z = torch.tensor([moved])
        near = torch.tensor([[0.1 + 1e-6]])
        assert domain.allowed(z, clean, linf(near.item())).tolist() == [wanted]


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(0, 1e3))
def test_rounding_inward_never_leaves_the_interval(low: float, width: float) -> None:
    ends = torch.tensor([low], dtype=torch.float64), torch.tensor([low + width], dtype=torch.float64)
    small, large = inward(*ends, torch.float32)
    if width > 1e-6 * max(1.0, abs(low)):  # wide enough to hold a float32
        assert low <= small.double().item() <= large.double().item() <= low + width


def test_distance_is_the_share_of_the_budget() -> None:
    domain, clean = ArrayDomain(0.0, 1.0), torch.zeros(2, 3)
    z = torch.tensor([[0.1, 0.0, 0.05], [0.0, 0.0, 0.0]])
    assert domain.distance(z, clean, linf(0.2)).tolist() == [pytest.approx(0.5), 0.0]
    assert domain.distance(clean, clean, linf(0.0)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("value", "word"), [(math.nan, "NaN or inf"), (math.inf, "NaN or inf"), (2.0, "bounds")])
def test_rows_that_contradict_the_bounds_are_named(value: float, word: str) -> None:
    x = np.zeros((5, 2))
    x[3, 1] = value
    with pytest.raises(DataError, match=rf"row 3 .*{word}"):
        ArrayDomain(0.0, 1.0).check(x, "data.test")


def test_there_and_back() -> None:
    domain, x = ArrayDomain(0.0, 255.0), np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    z = domain.encode(x, [2, 0])
    assert z.dtype is torch.float32
    assert torch.equal(domain.decode(z), torch.as_tensor(x[[2, 0]]).float())
    assert "0.5" in domain.describe(z[0] + torch.tensor([[0.5, 0], [0, 0.25]]), z[0])
