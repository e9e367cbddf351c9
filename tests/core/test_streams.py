"""Random numbers depend on (seed, name, row, step, element) and on nothing else, and are random."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from veriward.core.streams import CHUNK, GAMMA, Stream, mix

ROWS = torch.arange(2000)


def unsigned(z: torch.Tensor) -> list[int]:
    return [value & (2**64 - 1) for value in z.tolist()]


def test_splitmix64_gives_the_published_vectors() -> None:
    """The outputs of the reference implementation (Vigna, splitmix64.c) for the seeds 0 and 1234567."""
    for seed, wanted in (
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]),
        (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]),
    ):
        assert unsigned(mix(seed + torch.arange(1, 5) * GAMMA)) == wanted


def test_mixing_is_a_bijection_on_a_sample() -> None:
    assert len(mix(torch.arange(-50_000, 50_000)).unique()) == 100_000


def test_a_row_does_not_depend_on_its_companions() -> None:
    stream = Stream.of(3, "rows")
    whole = stream.uniform(ROWS, (3, 5), step=7)
    chosen = torch.tensor([1999, 4, 4, 77])
    assert torch.equal(stream.uniform(chosen, (3, 5), step=7), whole[chosen])
    assert torch.equal(stream.uniform(ROWS[500:501], (3, 5), step=7), whole[500:501])
    assert torch.equal(stream.normal(chosen, (5,)), stream.normal(ROWS, (5,))[chosen])


@pytest.mark.parametrize("size", [1, 3, 784, CHUNK - 1, CHUNK, CHUNK + 1])
def test_chunks_leave_no_seam(size: int) -> None:
    stream, rows = Stream.of(0, "seam"), torch.arange(2 * max(1, CHUNK // size) + 1)
    whole = stream.bits(rows, size)
    for row in (0, len(rows) // 2, len(rows) - 1):
        assert torch.equal(whole[row : row + 1], stream.bits(rows[row : row + 1], size))


def test_uniforms_pass_kolmogorov_and_smirnov() -> None:
    u = Stream.of(1, "uniform").uniform(torch.arange(1000), (1000,)).flatten().double()
    ordered, n = u.sort().values, len(u)
    grid = torch.arange(1, n + 1) / n
    distance = torch.maximum((grid - ordered).max(), (ordered - grid + 1 / n).max()).item()
    assert distance < 1.95 / math.sqrt(n)  # the .1 % point
    assert abs(u.mean().item() - 0.5) < 4 / math.sqrt(12 * n)
    assert abs(u.var().item() - 1 / 12) < 4 / math.sqrt(180 * n)
    assert u.min().item() >= 0
    assert u.max().item() < 1


def test_uniforms_stay_below_one_in_float32() -> None:
    """The largest of 2**24 values is 1 - 2**-24, which float32 holds."""
    top = torch.full((1,), -1).bitwise_and(0xFFFFFF).float().mul(2.0**-24)
    assert top.dtype is torch.float32
    assert top.item() < 1.0
    assert Stream.of(0, "many").uniform(torch.arange(1000), (1000,)).max().item() < 1.0


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


def test_rows_steps_elements_children_and_seeds_are_unrelated() -> None:
    stream = Stream.of(5, "independence")
    u = stream.uniform(torch.arange(501), (501,))
    pairs = {
        "rows": (u[1:], u[:-1]),
        "elements": (u[:, 1:], u[:, :-1]),
        "row against element": (u, u.T),
        "steps": (u, stream.uniform(torch.arange(501), (501,), step=1)),
        "row + 1 against step + 1": (u[1:], stream.uniform(torch.arange(500), (501,), step=1)),
        "children": (u, stream.child("a").uniform(torch.arange(501), (501,))),
        "siblings": tuple(stream.child(name).uniform(torch.arange(501), (501,)) for name in "ab"),
        "seeds": (u, Stream.of(6, "independence").uniform(torch.arange(501), (501,))),
    }
    for name, (a, b) in pairs.items():
        assert abs(correlation(a, b)) < 4.5 / 500, name


def test_rows_steps_and_elements_never_repeat_their_bits() -> None:
    stream = Stream.of(0, "distinct")
    parts = [stream.bits(torch.arange(-50, 50), 40, step) for step in range(25)]
    assert len(torch.stack(parts).unique()) == 100 * 40 * 25


def test_every_bit_is_fair() -> None:
    bits = Stream.of(9, "bits").bits(torch.arange(400), 500).flatten()
    shares = [((bits >> place) & 1).double().mean().item() for place in range(64)]
    assert max(abs(share - 0.5) for share in shares) < 5 * 0.5 / math.sqrt(200_000)


def test_normals_have_the_moments_and_the_distribution_of_a_normal() -> None:
    z = Stream.of(2, "normal").normal(torch.arange(1000), (999,)).double()
    flat, n = z.flatten(), z.numel()
    assert abs(flat.mean().item()) < 4 / math.sqrt(n)
    assert abs(flat.var().item() - 1) < 4 * math.sqrt(2 / n)
    assert abs((flat**3).mean().item()) < 4 * math.sqrt(15 / n)
    assert abs((flat**4).mean().item() - 3) < 4 * math.sqrt(96 / n)
    ordered = np.sort(flat.numpy())
    assert np.abs(ndtr(ordered) - (np.arange(n) + 0.5) / n).max() < 1.95 / math.sqrt(n)
    half = 500  # a pair shares its radius and angle, and is independent all the same, squares too
    assert abs(correlation(z[:, : half - 1], z[:, half:])) < 4.5 / math.sqrt(1000 * 499)
    assert abs(correlation(z[:, : half - 1] ** 2, z[:, half:] ** 2)) < 4.5 / math.sqrt(1000 * 499)


def test_normals_are_finite_where_the_uniform_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uniform of zero comes once in 2**24: the radius uses 1 - u, which is never zero."""
    assert Stream.of(0, "many").normal(torch.arange(1000), (1000,)).isfinite().all()
    for edge in (0.0, 1 - 2.0**-24):
        monkeypatch.setattr(
            Stream, "uniform", lambda self, rows, shape=(), step=0, u=edge: torch.full((len(rows), *shape), u)
        )
        drawn = Stream.of(0, "edge").normal(torch.arange(3), (4,))
        assert drawn.isfinite().all()
        assert drawn.abs().max() <= math.sqrt(2 * 24 * math.log(2)) + 1e-5


@pytest.mark.parametrize("high", [1, 2, 10, 1000])
def test_integers_cover_their_range_evenly(high: int) -> None:
    drawn = Stream.of(4, "integers").integers(torch.arange(1000), high, (200,)).flatten()
    counts = torch.bincount(drawn, minlength=high)
    assert len(counts) == high
    expected = len(drawn) / high
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square <= (high - 1) + 5 * math.sqrt(2 * max(high - 1, 1))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (1, 2, 3)])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_shapes(shape: tuple[int, ...], rows: int) -> None:
    stream, numbers = Stream.of(0, "shape"), torch.arange(rows)
    assert stream.uniform(numbers, shape).shape == (rows, *shape)
    assert stream.normal(numbers, shape).shape == (rows, *shape)
    assert stream.integers(numbers, 3, shape).shape == (rows, *shape)


def test_the_same_call_gives_the_same_numbers_and_leaves_its_rows_alone() -> None:
    stream, rows = Stream.of(0, "again"), torch.arange(10)
    first = stream.bits(rows, 4)
    assert torch.equal(first, stream.bits(rows, 4))
    assert torch.equal(rows, torch.arange(10))
    assert torch.equal(first, stream.bits(rows.to(torch.int32), 4))
    assert stream.generator().random() == stream.generator().random()


def test_global_generators_stay_untouched() -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    stream = Stream.of(0, "global")
    stream.normal(ROWS, (3,))
    stream.child("x").generator().random(5)
    assert torch.equal(torch_before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])
