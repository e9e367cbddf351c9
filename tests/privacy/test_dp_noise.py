"""Where noise comes from: secrets that stay secret, normals that are normal to the far tail."""

import copy
import math
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2, kstest, norm

from veriward.core.errors import PrivacyError, SettingsError
from veriward.core.streams import Stream
from veriward.privacy.dp.noise import SecureSource, SimulatedSource
from veriward.privacy.dp.normals import EDGE, fill_normals, to_half_radii

ALPHA = 1e-3


def simulated(name: str) -> SimulatedSource:
    return SimulatedSource(Stream.of(7, name))


def test_two_secure_sources_never_draw_the_same() -> None:
    words = np.concatenate([SecureSource().bits(1000) for _ in range(20)])
    assert len(np.unique(words)) == len(words)


def test_one_source_never_repeats_itself_across_block_ends() -> None:
    source = SecureSource()
    words = np.concatenate([source.bits(n) for n in (1, 8191, 8192, 8193, 3, 50_000)])
    assert len(np.unique(words)) == len(words)


def test_the_keystream_does_not_depend_on_how_it_is_cut() -> None:
    whole, cut = simulated("cut").bits(60_000), simulated("cut")
    assert np.array_equal(whole, np.concatenate([cut.bits(n) for n in (0, 1, 2, 8192, 30_000, 21_805)]))


def test_a_forked_child_does_not_repeat_its_parent() -> None:
    source = SecureSource()
    source.bits(3)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, source.bits(4).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    theirs, ours = np.frombuffer(os.read(read, 32), np.uint64), source.bits(4)
    os.close(read)
    os.close(write)
    assert len(np.unique(np.concatenate([theirs, ours]))) == 8


def test_threads_that_share_a_source_get_different_noise() -> None:
    source = SecureSource()
    with ThreadPoolExecutor(4) as pool:
        words = np.concatenate(list(pool.map(source.bits, [777] * 400)))
    assert len(np.unique(words)) == len(words)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secure_source_cannot_be_duplicated(duplicate: object) -> None:
    with pytest.raises(PrivacyError, match="make a new one"):
        duplicate(SecureSource())  # type: ignore[operator]


def test_the_key_is_in_no_attribute_and_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    key = bytes(range(16))
    monkeypatch.setattr(os, "urandom", lambda count: key[:count])
    source = SecureSource()
    assert repr(source) == "SecureSource(cryptographic)"
    seen = [vars(source), vars(source._keystream)]
    assert not any(
        key in (value if isinstance(value, bytes | bytearray) else b"") for d in seen for value in d.values()
    )


def test_a_secure_source_takes_no_seed_and_a_simulated_one_says_so() -> None:
    with pytest.raises(TypeError):
        SecureSource(3)  # type: ignore[call-arg]
    assert (SecureSource().name, simulated("a").name) == ("cryptographic", "simulation")


def test_a_simulated_source_repeats_by_name() -> None:
    assert np.array_equal(simulated("a").bits(9), simulated("a").bits(9))
    assert not np.array_equal(simulated("a").bits(9), simulated("b").bits(9))


def test_importing_the_mechanisms_loads_nothing_heavy() -> None:
    code = "import sys, veriward.privacy.dp.release; print({'torch', 'scipy', 'dp_accounting'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# -- normals


def test_normals_fit_the_normal_law_beyond_four_sigma() -> None:
    draws = simulated("chi").normal_(torch.empty(6_000_000)).numpy()
    edges = np.concatenate([[-np.inf], [-4.75, -4.5, -4.25], np.linspace(-4, 4, 161), [4.25, 4.5, 4.75], [np.inf]])
    found, _ = np.histogram(draws, edges)
    wanted = len(draws) * np.diff(norm.cdf(edges))
    assert ((found - wanted) ** 2 / wanted).sum() < chi2.ppf(1 - ALPHA, len(found) - 1)
    assert kstest(draws[::10], "norm").pvalue > ALPHA


def test_normals_are_independent_within_and_across_pairs() -> None:
    draws = simulated("pairs").normal_(torch.empty(1 << 19)).double()
    for lag in (1, 2, 1 << 14, 1 << 15, 1 << 16):
        for power in (1, 2):
            a, b = draws[:-lag] ** power, draws[lag:] ** power
            correlation = float(torch.corrcoef(torch.stack([a, b]))[0, 1])
            assert abs(correlation) < norm.ppf(1 - ALPHA / 20) / math.sqrt(len(a))


class Recorded:
    """Words with known edges, and what was asked."""

    def __init__(self) -> None:
        self.source = simulated("recorded")
        self.words: list[NDArray[np.uint32]] = []
        self.extra: list[NDArray[np.uint64]] = []

    def draw(self, out: NDArray[np.uint32]) -> None:
        self.source.fill(out)
        out[:8] = [0, 1, EDGE - 1, EDGE, 2**32 - 1, 2**32 - 2, 2**32 - EDGE, 2**32 - EDGE - 1]
        self.words.append(out.copy())

    def more(self, count: int) -> NDArray[np.uint64]:
        self.extra.append(self.source.bits(count))
        return self.extra[-1]


def exact_pair_sums(words: NDArray[np.uint32], extra: NDArray[np.uint64]) -> NDArray[np.float64]:
    half = len(words) // 2
    fraction = np.full(half, 0.5)
    edge = (words[:half] < EDGE) | (words[:half] >= 2**32 - EDGE)
    fraction[edge] = ((extra >> np.uint64(11)) + 0.5) * 2.0**-53
    high = (2.0**32 - words[:half] - fraction) * 2.0**-32
    radius = np.sqrt(np.where(high < 0.5, -np.log1p(-high), -np.log((words[:half] + fraction) * 2.0**-32)))
    angle = words[half:].view(np.int32) * (2 * np.pi / 2**32)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    n = half // 2
    return np.concatenate([x[:n] + x[n:], y[:n] + y[n:]])


def test_trap_noise_drawn_in_low_precision_stays_within_two_to_the_minus_15() -> None:
    out, recorded = np.empty(60_000, np.float32), Recorded()
    fill_normals(out, recorded.draw, recorded.more)
    error = np.abs(out - exact_pair_sums(recorded.words[0], recorded.extra[0])).max()
    assert error < 2.0**-15
    assert error > 2.0**-24  # they were computed apart


def test_the_tail_reaches_ten_sigma_and_small_radii_are_fine() -> None:
    words = np.array([0, 0, 2**32 - 1, 2**31], np.uint32)
    more = np.array([0, 2**64 - 1, 2**64 - 1], np.uint64)
    radii = to_half_radii(words, lambda count: more[:count], np.empty(4, np.float32))
    assert radii[0] * math.sqrt(2) == pytest.approx(math.sqrt(2 * 86 * math.log(2)))  # 10.9
    assert radii[1] == pytest.approx(math.sqrt(32 * math.log(2)), abs=1e-6)
    assert radii[2] * math.sqrt(2) == pytest.approx(math.sqrt(2 * 2.0**-86))
    assert radii[3] == pytest.approx(math.sqrt(math.log(2)), abs=1e-6)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 5), (65_537,), (131_073,)])
def test_every_element_of_any_shape_is_filled(shape: tuple[int, ...]) -> None:
    out = torch.full(shape, torch.nan)
    assert SecureSource().normal_(out) is out
    assert bool(torch.isfinite(out).all())
    assert len(out.unique()) > 0.99 * out.numel() - 1


def test_a_strided_view_and_a_parameter_are_filled_in_place() -> None:
    base = torch.zeros(4, 6)
    simulated("view").normal_(base[:, ::2])
    assert bool((base[:, 1::2] == 0).all()) and bool((base[:, ::2] != 0).all())
    weight = torch.nn.Parameter(torch.zeros(3))
    assert bool((simulated("leaf").normal_(weight) != 0).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_other_dtypes_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(SettingsError, match="want torch"):
        SecureSource().normal_(torch.zeros(2, dtype=dtype))
