"""Bad input to everything private: one clear error, nothing spent, nothing lost."""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.privacy.test_dp_training import SIGMA, Net, Recorded, made, released
from torch import Tensor, nn

from veriward.cli.app import main
from veriward.core.errors import BudgetExceeded, LedgerError, ModelError, SettingsError, VeriwardError
from veriward.privacy import dp
from veriward.privacy.clipping import Adaptive, fix
from veriward.privacy.dp import checkpoint, events, release
from veriward.privacy.dp.bounds import DeltaWarning
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.sampling import Fixed, Full, Poisson

BUDGET = (2.0, 1e-5)
ONE = events.full_batch(20.0, 1)
KNOWN: dict[str, Any] = {"sampling_rate": 0.01, "steps": 100, "delta": 1e-5}
RELEASES: dict[str, Callable[..., Any]] = {
    "laplace": lambda **k: dp.laplace(1.0, sensitivity=1.0, **k),
    "gaussian": lambda **k: dp.gaussian(1.0, sensitivity=1.0, delta=1e-6, **k),
    "count": lambda **k: dp.count([1.0], **k),
    "sum": lambda **k: dp.sum([1.0], low=0, high=1, **k),
    "mean": lambda **k: dp.mean([1.0], low=0, high=1, **k),
    "histogram": lambda **k: dp.histogram([1.0], edges=[0, 1], **k),
    "quantile": lambda **k: dp.quantile([1.0], q=0.5, low=0, high=1, **k),
}


@contextmanager
def unspent(path: Path, budget: tuple[float, float] = BUDGET) -> Iterator[Ledger]:
    """Give a ledger with one entry, and look afterwards, in the file, that it still holds this one alone."""
    with Ledger(path, budget, wait_seconds=0.1) as ledger:
        ledger.charge(ONE, "before")
        yield ledger
    with Ledger(path) as again:
        assert [entry.what for entry in again.entries()] == ["before"]
        assert again.charge(ONE, "after").number == 2


# Epsilon and delta.


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf])
def test_an_epsilon_that_is_not_above_zero_and_finite_is_refused_everywhere(epsilon: float, tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: dp.noise_multiplier(epsilon=epsilon, **KNOWN),
        lambda: dp.steps(epsilon=epsilon, noise_multiplier=1.0, delta=1e-5),
        lambda: dp.delta(epsilon=epsilon, noise_multiplier=1.0, steps=1),
        lambda: Ledger(tmp_path / "new", (epsilon, 1e-5)),
        lambda: dp.Exponential(1.0, epsilon),
        lambda: dp.AboveThreshold(threshold=1.0, sensitivity=1.0, epsilon=epsilon),
        *(lambda call=call: call(epsilon=epsilon) for call in RELEASES.values()),  # type: ignore[misc]
    ]
    for call in calls:
        with pytest.raises(SettingsError, match="epsilon = "):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_with_a_bad_epsilon_spends_nothing(name: str, tmp_path: Path) -> None:
    with unspent(tmp_path / "a") as ledger, pytest.raises(SettingsError):
        RELEASES[name](epsilon=-1.0, charge=ledger.charging(name))


@pytest.mark.parametrize("delta", [0.0, -1e-5, 1.0, 1.5, math.nan])
def test_a_delta_that_is_no_probability_is_refused(delta: float, tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: dp.epsilon(noise_multiplier=1.0, steps=1, delta=delta),
        lambda: dp.noise_multiplier(epsilon=1.0, steps=1, delta=delta),
        lambda: dp.composed([ONE], delta=delta),
        lambda: Ledger(tmp_path / "new", (1.0, delta)),
        lambda: made().run(1).epsilon(delta),
    ]
    for call in calls:
        with pytest.raises(SettingsError, match="delta = "):
            call()
    assert not list(tmp_path.iterdir())


def test_a_delta_of_one_over_n_warns_with_the_reason_wherever_n_is_known() -> None:
    """Where the number of rows is private, nobody may be told; where it is public, it is known to the sampler."""
    reason = r"delta = 0\.05 is not below 1/rows = 1/20: publishing a row at random would satisfy it"
    known: dict[str, Any] = {"delta": 0.05, "rows": 20}
    calls: list[Callable[[], object]] = [
        lambda: dp.epsilon(noise_multiplier=1.0, steps=1, **known),
        lambda: dp.noise_multiplier(epsilon=1.0, steps=1, **known),
        lambda: dp.composed([ONE], **known),
        lambda: made(20, sampler=Fixed(5, rows=20), divisor=None).run(1).epsilon(0.05),
    ]
    for call in calls:
        with pytest.warns(DeltaWarning, match=reason):
            call()
    made(20, sampler=Poisson(0.25)).run(1).epsilon(0.05)  # silent, and warnings are errors here


def test_veriward_epsilon_says_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    def call(*words: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as stop:
            main(["epsilon", "--steps", "1", "--lang", "en", *words])
        return stop.value.code or 0, capsys.readouterr().err

    for delta, said in (("1e-3", "a mechanism that publishes a row at random"), ("0.9e-3", "")):
        code, told = call("--noise", "1", "--rows", "1000", "--delta", delta)
        assert (code, said in told, bool(told)) == (0, True, bool(said))
    code, told = call("--epsilon", "0")
    assert (code, "epsilon = 0" in told, len(told.splitlines())) == (2, True, 1)


# Sensitivity and bounds.


@pytest.mark.parametrize("sensitivity", [0.0, -1.0, math.inf, math.nan])
def test_a_sensitivity_that_is_zero_or_infinite_is_refused(sensitivity: float, tmp_path: Path) -> None:
    with unspent(tmp_path / "a") as ledger:
        for call, more in ((dp.laplace, {}), (dp.gaussian, {"delta": 1e-6})):
            with pytest.raises(SettingsError, match="sensitivity = "):
                call(1.0, sensitivity=sensitivity, epsilon=1.0, charge=ledger.charging("x"), **more)  # type: ignore[operator]
    for clip in (sensitivity, (1.0, sensitivity)):  # what a row can add to a sum of gradients
        with pytest.raises(SettingsError, match=r"clips? = "):
            made(clip=clip)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(1, 0, "low below high"), (1, 1, "low below high"), (0, math.inf, "finite"), (math.nan, 1, "finite")],
)
def test_reversed_or_infinite_bounds_are_refused(low: float, high: float, told: str, tmp_path: Path) -> None:
    with unspent(tmp_path / "a") as ledger:
        box: dict[str, Any] = {"low": low, "high": high, "epsilon": 1.0, "charge": ledger.charging("x")}
        for call in (dp.sum, dp.mean, lambda values, **k: dp.quantile(values, q=0.5, **k)):
            with pytest.raises(SettingsError, match=told):
                call([0.5], **box)
        with pytest.raises(SettingsError, match="edges"):
            dp.histogram([0.5], edges=[1, 0], epsilon=1.0, charge=ledger.charging("x"))


def test_data_outside_the_bounds_are_clamped_and_counted_and_said_to_the_holder_alone() -> None:
    values = [-1e300, 0.5, 7.0, math.inf, math.nan]
    told = release.outside(values, low=0, high=1)
    assert (told.below, told.above, told.missing) == (1, 2, 1)
    sums = [dp.sum(values, low=0, high=1, epsilon=40.0).value for _ in range(20)]
    assert abs(sum(sums) / 20 - 2.5) < 0.1  # 0 + .5 + 1 + 1, and noise of scale 1/40
    assert 0 <= dp.mean(values, low=0, high=1, epsilon=1.0).value <= 1
    assert not {"below", "above", "missing"} & set(vars(dp.sum(values, low=0, high=1, epsilon=1.0)))


# What cannot be trained.


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.BatchNorm1d(4), r"1 \(BatchNorm1d\).*use GroupNorm, or veriward\.privacy\.clipping\.fix\(module\)"),
        (nn.LSTM(4, 4, batch_first=True), r"1 \(LSTM\).*use veriward\.privacy\.clipping\.fix\(module\)"),
        (nn.MultiheadAttention(4, 2, batch_first=True), r"1 \(MultiheadAttention\).*fix\(module\)"),
        (nn.Embedding(5, 4, max_norm=1.0), r"1 \(Embedding\).*leave it out"),
    ],
)
def test_unsupported_layers_are_named_with_the_fix(layer: nn.Module, named: str, tmp_path: Path) -> None:
    with unspent(tmp_path / "a", (50.0, 1e-5)) as ledger, pytest.raises(ModelError, match=named):
        made(module=nn.Sequential(nn.Linear(3, 4), layer).double(), ledger=ledger)
    if "fix" in named:
        repaired = fix(nn.Sequential(nn.Linear(3, 4), layer)).double()
        assert made(module=repaired).terms  # no longer refused


def test_a_module_without_a_trainable_parameter_is_refused(tmp_path: Path) -> None:
    net = Net()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    with unspent(tmp_path / "a", (50.0, 1e-5)) as ledger, pytest.raises(ModelError, match="no trainable parameter"):
        made(module=net.requires_grad_(False), optimiser=optimiser, ledger=ledger)


@pytest.mark.parametrize(
    "loss",
    [
        lambda output, y: (output[:, 0] - y).square().mean(),
        lambda output, y: (output[:, 0] - y).square().sum(),
        lambda output, y: (output[:, 0] - y).square().mean().expand(len(y)),
        lambda output, y: (output[:, 0] - y).square() / len(y),
    ],
)
def test_a_loss_already_reduced_is_detected(loss: Callable[[Tensor, Tensor], Tensor], tmp_path: Path) -> None:
    with unspent(tmp_path / "a", (50.0, 1e-5)) as ledger:
        training = made(ledger=ledger)
        training._engine.loss = loss
        before = [p.clone() for p in training.module.parameters()]
        with pytest.raises((SettingsError, ModelError), match=r"one loss per row|their number"):
            training.step()
        assert training.steps == 0
        assert all(torch.equal(a, b) for a, b in zip(before, training.module.parameters(), strict=True))


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("clip", [1.0, Adaptive(1.0)])
def test_empty_batches_and_data_sets_of_no_row_are_steps_like_any_other(rows: int, clip: Any) -> None:
    source = Recorded()
    training = made(rows, source, sampler=Poisson(1e-15), clip=clip, divisor=64)
    record = training.run(2)
    assert (record.steps, record.holder.rows) == (2, 0)
    weights = sum(p.numel() for p in training.module.parameters())
    assert sum(drawn.numel() for drawn in source.drawn) == 2 * (weights + isinstance(clip, Adaptive))
    assert bool(released(training).isfinite().all())


def test_impossible_settings_of_a_training_spend_nothing(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [{"noise_multiplier": 0.0}, {"divisor": 0}, {"physical": 0}, {"y": torch.zeros(3)}]
    with unspent(tmp_path / "a", (50.0, 1e-5)) as ledger:
        for one in wrong:
            with pytest.raises(SettingsError):
                made(ledger=ledger, **one)


# Ledgers that cannot be written, and budgets that are used up.


HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_ledger_held_by_another_process_is_one_clear_error_and_waiting_helps(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with unspent(path, (50.0, 1e-5)) as ledger:
        training = made(sampler=Full(), ledger=ledger)
        before = [p.clone() for p in training.module.parameters()]
        command = [sys.executable, "-c", HOLD, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            for call in (lambda: ledger.charge(ONE, "x"), training.step):
                with pytest.raises(LedgerError, match="another process is writing to it: wait for it and try again"):
                    call()
            other.communicate("\n")
        assert training.steps == 0
        assert all(torch.equal(a, b) for a, b in zip(before, training.module.parameters(), strict=True))
    with Ledger(path) as ledger:
        assert ledger.entries()[-1].what == "after"


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Be nobody for a while: to root no folder is read-only."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_read_only_folder_is_one_clear_error() -> None:
    clear = "folder and a file that can be written; nothing was spent"
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "a"
        with Ledger(path, BUDGET) as ledger:
            ledger.charge(ONE, "before")
        path.chmod(0o444)
        folder.chmod(0o555)
        with ordinary_user():
            with pytest.raises(LedgerError, match=clear):
                Ledger(folder / "new", BUDGET)
            with pytest.raises(LedgerError, match=clear), Ledger(path) as ledger:
                ledger.charge(ONE, "x")
        folder.chmod(0o755)
        path.chmod(0o644)
        assert sorted(file.name for file in folder.iterdir()) == ["a"]
        with Ledger(path) as ledger:
            assert [entry.what for entry in ledger.entries()] == ["before"]


def test_an_exhausted_budget_stops_a_training_where_the_last_paid_step_left_it(tmp_path: Path) -> None:
    net, twin = Net(), Net()
    with Ledger(tmp_path / "a", (8.0, 1e-5)) as ledger:
        fits = ledger.fits(events.poisson(0.5, SIGMA, 1))
        training = made(module=net, optimiser=torch.optim.SGD(net.parameters(), lr=0.1), ledger=ledger)
        with pytest.raises(BudgetExceeded, match=r"over the budget of 8 at delta 1e-05; nothing was spent"):
            training.run(fits + 5)
        spent, entries = ledger.spent, ledger.entries()
        for _ in range(3):  # asking again changes nothing
            with pytest.raises(BudgetExceeded):
                training.step()
        assert (ledger.spent, ledger.entries()) == (spent, entries)
        assert sum(entry.count for entry in entries) == training.steps == fits > 3
        assert spent <= 8.0
    same = made(module=twin, optimiser=torch.optim.SGD(twin.parameters(), lr=0.1))
    same.run(fits)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))
    checkpoint.save(training, tmp_path / "run")  # nothing is lost
    again = made()
    checkpoint.resume(again, tmp_path / "run")
    assert again.steps == fits


@pytest.mark.parametrize("name", RELEASES)
def test_an_exhausted_budget_refuses_every_release_before_its_noise(name: str, tmp_path: Path) -> None:
    class Silent:
        name = "cryptographic"

        def bits(self, count: int) -> None:
            raise AssertionError("noise was drawn")

    with unspent(tmp_path / "a") as ledger, pytest.raises(BudgetExceeded, match="nothing was spent"):
        RELEASES[name](epsilon=6.0, charge=ledger.charging(name), source=Silent())


def test_every_refusal_is_an_error_of_ours_in_one_sentence() -> None:
    for kind in (SettingsError, ModelError, LedgerError, BudgetExceeded):
        assert issubclass(kind, VeriwardError)
