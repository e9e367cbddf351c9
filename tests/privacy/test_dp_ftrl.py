"""DP-FTRL: the factorisations, what one row can move, and noise that does not survive a resume."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.privacy.test_dp_training import CLIP, SIGMA, STREAM, made, normal, released

from veriward.core.errors import BudgetExceeded, SettingsError
from veriward.privacy.clipping import Adaptive, PerRow
from veriward.privacy.dp import checkpoint
from veriward.privacy.dp.accounting import epsilon
from veriward.privacy.dp.ftrl import BandedNoise, TreeNoise
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.noise import SimulatedSource, Source
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.sampling import Cyclic, Fixed, Full, Poisson, Sampler, Shuffled
from veriward.privacy.dp.step_noise import GaussianNoise, StepNoise, Sums

Floats = NDArray[np.float64]
SOURCE = SimulatedSource(STREAM.child("ftrl"))


def cyclic(gap: int) -> Cyclic:
    return Cyclic(1, rows=gap)


def coefficients(noise: StepNoise, steps: int) -> Floats:
    """Return (steps, draws): how much of each independent draw the noise of each step holds."""
    count = itertools.count()

    def one_hot(sums: Sums, scale: float, source: Source) -> Sums:
        out = sums["w"].clone()
        out[next(count)] += scale
        return {"w": out}

    adder = noise.begin()
    rows = [adder({"w": torch.zeros(4 * steps).double()}, 1.0, SOURCE, one_hot)["w"] for _ in range(steps)]
    return torch.stack(rows)[:, : next(count)].numpy()


def tree(steps: int) -> Floats:
    """Return C of the tree, (nodes, steps), a row for each complete node in the order in which they are completed."""
    rows = []
    for end in range(1, steps + 1):
        size = 1
        while end % size == 0 and size <= end:
            rows.append(np.r_[np.zeros(end - size), np.ones(size), np.zeros(steps - end)])
            size *= 2
    return np.array(rows)


def toeplitz(column: Floats, steps: int) -> Floats:
    return np.array([[column[i - j] if 0 <= i - j < len(column) else 0.0 for j in range(steps)] for i in range(steps)])


def worst(matrix: Floats, gap: int) -> float:
    """Return the sensitivity by trying every first step."""
    steps = matrix.shape[1]
    return max(float(np.linalg.norm(matrix[:, first::gap].sum(1))) for first in range(min(gap, steps)))


# The factorisations.


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 13, 32])
def test_tree_noise_is_a_factorisation_of_the_prefix_sums(steps: int) -> None:
    """Prefix noise B z with B C = A: the noisy prefixes are those of the true nodes, and nothing else."""
    prefix = np.cumsum(coefficients(TreeNoise(steps), steps), axis=0)
    assert prefix @ tree(steps) == pytest.approx(np.tri(steps), abs=1e-12)


@pytest.mark.parametrize(("bands", "decay", "momentum"), [(1, 1.0, 0.0), (3, 1.0, 0.0), (20, 1.0, 0.0), (5, 0.99, 0.9)])
def test_banded_noise_solves_its_matrix(bands: int, decay: float, momentum: float) -> None:
    noise = BandedNoise(20, bands, decay, momentum)
    assert toeplitz(noise.column, 20) @ coefficients(noise, 20) == pytest.approx(np.eye(20), abs=1e-12)


@pytest.mark.parametrize(("decay", "momentum"), [(1.0, 0.0), (1.0, 0.9), (0.999, 0.5)])
def test_all_bands_are_the_root_of_the_workload(decay: float, momentum: float) -> None:
    root = toeplitz(BandedNoise(30, 30, decay, momentum).column, 30)
    weights = [sum(decay ** (k - j) * momentum**j for j in range(k + 1)) for k in range(30)]
    assert root @ root == pytest.approx(toeplitz(np.array(weights), 30), abs=1e-9)


def test_the_root_has_the_published_coefficients() -> None:
    """Fichtenberger, Henzinger & Upadhyay, 2022, section 3: binom(2k, k) / 4^k; its norm grows like log(n) / pi."""
    column = BandedNoise(1000, 1000).column
    assert column[:6] == pytest.approx([math.comb(2 * k, k) / 4**k for k in range(6)])
    assert 1 <= float(column @ column) <= 1 + (np.euler_gamma + math.log(1000)) / math.pi


@pytest.mark.parametrize("height", range(6))
def test_honaker_from_below_leaves_the_stated_variance(height: int) -> None:
    steps = 1 << height
    prefix = coefficients(TreeNoise(steps), steps).sum(0)
    assert float(prefix @ prefix) == pytest.approx(1 / (2 * (1 - 2.0 ** -(height + 1))))


@pytest.mark.parametrize("noise", [TreeNoise(21), BandedNoise(21, 4), BandedNoise(21, 21), BandedNoise(21, 1)])
def test_the_stated_error_is_that_of_the_noise(noise: TreeNoise | BandedNoise) -> None:
    prefix = np.cumsum(coefficients(noise, 21), axis=0)
    wanted = noise.sensitivity(cyclic(7)) * math.sqrt((prefix**2).sum(1).mean())
    assert noise.prefix_error(cyclic(7)) == pytest.approx(wanted)


def test_one_band_is_independent_noise() -> None:
    assert coefficients(BandedNoise(9, 1), 9) == pytest.approx(np.eye(9))
    assert BandedNoise(12, 1).sensitivity(cyclic(4)) == pytest.approx(math.sqrt(3))


def test_correlated_noise_is_less_in_sums() -> None:
    """5 passes of 50 steps: 25.1 for independent noise; trees and bands less than half of that."""
    independent, *others = (
        n.prefix_error(cyclic(50)) for n in (BandedNoise(250, 1), TreeNoise(250), BandedNoise(250, 50))
    )
    assert independent == pytest.approx(math.sqrt(5 * 251 / 2))
    assert [round(error, 2) for error in others] == [10.34, 6.45]


# What one row can move.


@pytest.mark.parametrize(("steps", "gap"), [(1, 1), (8, 8), (8, 1), (13, 4), (20, 7), (31, 5), (6, 9)])
def test_sensitivity_is_the_largest_of_all_first_steps(steps: int, gap: int) -> None:
    assert TreeNoise(steps).sensitivity(cyclic(gap)) == pytest.approx(worst(tree(steps), gap), rel=1e-11)
    for bands in {1, min(3, steps), steps}:
        noise = BandedNoise(steps, bands)
        matrix = toeplitz(noise.column, steps)
        assert noise.sensitivity(cyclic(gap)) == pytest.approx(worst(matrix, gap), rel=1e-11)


def test_no_stream_of_a_row_moves_further() -> None:
    """Random contributions of norm up to 1, in any direction, against the sensitivity."""
    rng = np.random.Generator(np.random.PCG64(5))
    for noise, matrix in ((TreeNoise(12), tree(12)), (BandedNoise(12, 5), toeplitz(BandedNoise(12, 5).column, 12))):
        moves = rng.normal(size=(500, 4, 3)) + rng.normal(size=(500, 1, 3)) * 3
        moves /= np.linalg.norm(moves, axis=2, keepdims=True)
        most = max(
            float(np.linalg.norm(matrix[:, first::3] @ move)) for first, move in itertools.product(range(3), moves)
        )
        assert 0.9 * noise.sensitivity(cyclic(3)) < most <= noise.sensitivity(cyclic(3))


@pytest.mark.parametrize("passes", [1, 3])
def test_bands_that_do_not_meet_add_in_squares(passes: int) -> None:
    noise = BandedNoise(10 * passes, 10)
    wanted = math.sqrt(passes) * float(np.linalg.norm(noise.column))
    assert noise.sensitivity(cyclic(10)) == pytest.approx(wanted)


def test_a_row_in_one_step_is_in_as_many_nodes_as_the_tree_is_high() -> None:
    for height in range(7):
        assert TreeNoise(1 << height).sensitivity(cyclic(1 << height)) ** 2 == pytest.approx(height + 1)


@pytest.mark.parametrize("sampler", [Poisson(0.1), Full(), Fixed(5, rows=20), Shuffled(5, rows=20)])
@pytest.mark.parametrize("noise", [TreeNoise(8), BandedNoise(8, 2)])
def test_batches_without_a_fixed_order_are_refused(sampler: Sampler, noise: StepNoise) -> None:
    with pytest.raises(SettingsError, match="needs rows that come back after a fixed number of steps"):
        made(sampler=sampler, noise=noise)


# The sampler.


def test_a_row_comes_back_after_exactly_one_epoch() -> None:
    sampler = Cyclic(3, rows=20)
    batches = list(itertools.islice(sampler.batches(20, SimulatedSource(STREAM.child("cyclic"))), 18))
    assert all(torch.equal(a, b) for a, b in zip(batches, batches[6:], strict=False))
    first = torch.cat(batches[:6])
    assert len(first.unique()) == len(first) == 18
    assert not torch.equal(first, first.sort().values)


def test_cyclic_batches_are_accounted_like_shuffled_ones() -> None:
    event = Cyclic(5, rows=20).event(2.0, 9)
    assert (event.relation, event.dp.count, event.sampling) == (Relation.ZERO_OUT, 3, "cyclic")


@pytest.mark.parametrize("rows", [19, 21])
def test_a_public_number_of_rows_is_exact(rows: int) -> None:
    with pytest.raises(SettingsError, match="rows = 20: the data have"):
        next(Cyclic(5, rows=20).batches(rows, SOURCE))


# The training.


def trained_with(noise: StepNoise, **other: Any) -> Any:
    return made(sampler=Cyclic(5, rows=20), noise=noise, divisor=None, **other)


@pytest.mark.parametrize("noise", [TreeNoise(8), BandedNoise(8, 3)])
def test_all_steps_are_one_gaussian(noise: TreeNoise | BandedNoise) -> None:
    training = trained_with(noise)
    sigma = SIGMA / noise.sensitivity(Cyclic(5, rows=20))
    for steps, begun in ((1, 1), (7, 1), (1, 2)):
        assert training.run(steps).event.dp.count == begun
    assert training.trained().event.dp.event.noise_multiplier == pytest.approx(sigma)
    wanted = epsilon(noise_multiplier=sigma, steps=2, sampling="full", delta=1e-5)
    assert training.trained().epsilon(1e-5) == pytest.approx(wanted)


@pytest.mark.parametrize("noise", [TreeNoise(4), BandedNoise(4, 3)])
def test_the_step_adds_the_correlated_noise(noise: TreeNoise | BandedNoise) -> None:
    """Recovered from the released sums of a module whose gradient is zero, entry by entry, over two mechanisms."""
    source = SimulatedSource(STREAM.child("step"))
    net = torch.nn.Linear(2000, 1, bias=False).double()
    training = trained_with(
        noise, module=net, x=torch.zeros(20, 2000).double(), y=normal(20, name="y"), source=source
    )  # fmt: skip
    steps = []
    for _ in range(8):
        training.step()
        steps.append(released(training) / (SIGMA * CLIP * (1 + PerRow.slack)))
    found = torch.stack(steps)
    covariance = (found @ found.T / 2000).numpy()
    mix = coefficients(noise, 8)
    assert covariance == pytest.approx(mix @ mix.T, abs=0.2)
    assert (mix @ mix.T)[:4, 4:] == pytest.approx(0)  # a new mechanism begins with fresh noise


def test_the_whole_mechanism_is_charged_before_its_first_noise(tmp_path: Path) -> None:
    noise = BandedNoise(8, 3)
    with Ledger(tmp_path / "l", (2.0, 1e-5), relation=Relation.ZERO_OUT) as ledger:
        training = trained_with(noise, ledger=ledger, noise_multiplier=8.0)
        training.run(8)
        assert [(e.count, e.event.sampling) for e in ledger.entries()] == [(1, "cyclic")]
        with pytest.raises(BudgetExceeded):
            training.run(1000)
        assert training.steps == 8 * sum(e.count for e in ledger.entries())


def test_a_broken_mechanism_counts_whole_and_its_noise_is_not_kept(tmp_path: Path) -> None:
    stopped, again = trained_with(TreeNoise(8)), trained_with(TreeNoise(8))
    stopped.run(3)
    tensors, _ = checkpoint.state(stopped)
    assert {name.split(".")[0] for name in tensors} <= {"module", "optimiser"}
    checkpoint.save(stopped, tmp_path / "c")
    checkpoint.resume(again, tmp_path / "c")
    assert again.run(8).event.dp.count == 2
    assert again.run(1).event.dp.count == 3


@pytest.mark.parametrize("other", [TreeNoise(9), BandedNoise(8, 3), GaussianNoise()])
def test_other_noise_is_not_resumed(other: StepNoise, tmp_path: Path) -> None:
    stopped = trained_with(TreeNoise(8))
    stopped.run(1)
    checkpoint.save(stopped, tmp_path / "c")
    with pytest.raises(SettingsError, match=r"noise = .*resume with the same terms"):
        checkpoint.resume(trained_with(other), tmp_path / "c")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: TreeNoise(0),
        lambda: BandedNoise(8, 0),
        lambda: BandedNoise(8, 9),
        lambda: BandedNoise(8, 2, decay=1.1),
        lambda: BandedNoise(8, 2, decay=0.5, momentum=0.5),
        lambda: BandedNoise(8, 2, momentum=-0.1),
        lambda: trained_with(TreeNoise(8), clip=Adaptive(0.5)),
    ],
)
def test_settings_out_of_range_are_refused(wrong: Any) -> None:
    with pytest.raises(SettingsError):
        wrong()


def test_what_is_remembered_stays_small() -> None:
    adder: Any = TreeNoise(1000).begin()
    for _ in range(255):
        adder({"w": torch.zeros(1)}, 1.0, SOURCE, lambda sums, scale, source: sums)
    assert len(adder._stack) == 8
    banded: Any = BandedNoise(1000, 5).begin()
    for _ in range(20):
        banded({"w": torch.zeros(1)}, 1.0, SOURCE, lambda sums, scale, source: sums)
    assert len(banded._past) == 4
