"""Private training in two processes: the sums, the noise and the cost of one process with all rows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from veriward.core.errors import SettingsError
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.parallel import ParallelTraining
from veriward.privacy.dp.sampling import Fixed

pytestmark = pytest.mark.slow  # three interpreters with torch

PROGRAM = """
import json, sys
import torch, torch.distributed as dist
from torch import nn
from veriward.core.errors import VeriwardError
from veriward.core.streams import Stream
from veriward.privacy.clipping import Adaptive
from veriward.privacy.dp.dp_sgd import PrivateTraining
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.noise import SimulatedSource
from veriward.privacy.dp.parallel import ParallelTraining
from veriward.privacy.dp.sampling import Full, Poisson

rank, folder, case = int(sys.argv[1]), sys.argv[2], sys.argv[3]
together = rank < 2
x, y = Stream.of(3, "rows").normal(torch.arange(20), (4,)).float(), torch.arange(20.0)
if together:
    dist.init_process_group("gloo", init_method=f"file://{folder}/{case}.meet", rank=rank, world_size=2)
    x, y = (x[:13], y[:13]) if rank == 0 else (x[13:], y[13:])
torch.manual_seed(rank)  # first weights differ, and are taken from the first process
net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

def loss(output, y):
    if case == "fails" and rank == 1:
        raise ZeroDivisionError
    return (output[:, 0] - y).square()

ledger = Ledger(f"{folder}/{case}.ledger", (9.0, 1e-5)) if case == "refused" and rank == 0 else None
if rank == 2:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
training = (ParallelTraining if together else PrivateTraining)(
    net, loss, x, y, sampler=Poisson(0.5) if case == "coins" else Full(), divisor=20.0, noise_multiplier=2.0,
    clip=Adaptive(0.5) if case == "adaptive" else 0.5, count_noise=3.0 if case == "adaptive" else None,
    optimiser=torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9),
    source=SimulatedSource(Stream.of(0 if rank == 2 else rank, "source")), ledger=ledger,
)
said = ""
try:
    training.run(50 if case == "refused" else 3)
except (VeriwardError, ZeroDivisionError) as error:
    said = f"{type(error).__name__}: {error}"
record = training.trained()
print(json.dumps({
    "weights": torch.cat([p.detach().flatten() for p in net.parameters()]).tolist(), "said": said, "steps": record.steps,
    "rows": record.holder.rows, "source": record.source, "clip": training.rule.sensitivity,
}))
"""


def run(case: str, folder: Path, ranks: tuple[int, ...] = (0, 1)) -> list[dict[str, object]]:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    started = [
        subprocess.Popen([*command, str(rank), str(folder), case], stdout=subprocess.PIPE, text=True) for rank in ranks
    ]
    return [json.loads(process.communicate(timeout=120)[0]) for process in started]


@pytest.mark.parametrize("case", ["flat", "adaptive"])
def test_two_processes_train_as_one_with_all_rows(case: str, tmp_path: Path) -> None:
    first, second, alone = run(case, tmp_path, (0, 1, 2))
    assert first == second
    torch.testing.assert_close(torch.tensor(first["weights"]), torch.tensor(alone["weights"]), rtol=0, atol=1e-4)
    assert (first["rows"], first["steps"]) == (alone["rows"], alone["steps"]) == (60, 3)
    assert first["clip"] == pytest.approx(alone["clip"])


def test_each_process_throws_the_coins_of_its_own_rows(tmp_path: Path) -> None:
    first, second = run("coins", tmp_path)
    assert first == second
    assert 0 < int(str(first["rows"])) < 60


def test_a_refused_step_stops_both_and_is_counted_by_none(tmp_path: Path) -> None:
    first, second = run("refused", tmp_path)
    assert str(first["said"]).startswith("BudgetExceeded")
    assert str(second["said"]).startswith("PrivacyError: another process could not take this step")
    assert first["weights"] == second["weights"]
    with Ledger(tmp_path / "refused.ledger") as ledger:
        assert sum(entry.count for entry in ledger.entries()) == first["steps"] == second["steps"]


def test_what_fails_in_one_process_fails_in_both(tmp_path: Path) -> None:
    first, second = run("fails", tmp_path)
    assert str(first["said"]).startswith("PrivacyError")
    assert "ZeroDivisionError" in str(second["said"])
    assert first["steps"] == second["steps"] == 0
    assert first["weights"] == second["weights"]


def test_samplers_that_need_all_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    with pytest.raises(SettingsError, match="draws from all rows at once"):
        ParallelTraining(
            torch.nn.Linear(1, 1), lambda out, y: out[:, 0], torch.ones(4, 1), torch.ones(4), sampler=Fixed(2, rows=4)
        )
