"""Results depend on the seed alone: not on workers, not on the batch size."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import veriward


def outcomes(folder: Path, out: Path, **options: int) -> dict[str, np.ndarray]:
    with veriward.assess(folder, out=out, budget="quick", **options) as dossier:
        return {f"{finding.id} {key}": value for finding in dossier for key, value in finding.outcomes.items()}


@pytest.mark.slow
def test_workers_and_batch_sizes_change_nothing(digits_folder: Path, tmp_path: Path) -> None:
    base = outcomes(digits_folder, tmp_path / "base.ward", workers=1)
    variants = [{"workers": 2}, {"workers": 1, "batch_size": 1}, {"workers": 1, "batch_size": 32}, {"batch_size": 500}]
    for number, options in enumerate(variants):
        other = outcomes(digits_folder, tmp_path / f"{number}.ward", **options)
        assert set(other) == set(base)
        for name, values in base.items():
            if values.dtype.kind == "i":
                np.testing.assert_array_equal(values, other[name], err_msg=f"{name} {options}")
            else:
                np.testing.assert_allclose(values, other[name], atol=1e-5, err_msg=f"{name} {options}")


def test_another_seed_takes_another_sample(digits_folder: Path, tmp_path: Path) -> None:
    rows = [
        np.flatnonzero(outcomes(digits_folder, tmp_path / f"{seed}.ward", seed=seed)["evasion/linf broken"] >= 0)
        for seed in (0, 1)
    ]
    assert [len(r) for r in rows] == [200, 200]
    assert set(rows[0]) != set(rows[1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at /proc")
def test_workers_end_with_a_killed_parent(digits_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "veriward", "assess", str(digits_folder), "--workers", "2", "--budget", "thorough"]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "x.ward")], stderr=subprocess.DEVNULL)
    children: list[int] = []
    for _ in range(300):
        time.sleep(0.1)
        children = [int(p) for p in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        if len(children) >= 3:  # two workers and the resource tracker
            break
    time.sleep(3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(_alive(child) for child in children):
        time.sleep(0.2)
    assert not [child for child in children if _alive(child)]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_interrupt_keeps_what_is_finished(digits_folder: Path, tmp_path: Path, workers: str) -> None:
    out = tmp_path / "x.ward"
    command = [sys.executable, "-m", "veriward", "assess", str(digits_folder), "--workers", workers]
    process = subprocess.Popen(
        [*command, "--budget", "thorough", "--checks", "evasion/linf", "--out", str(out)],  # nothing before the attack
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    line = ""
    while line != "running evasion/linf\n":
        line = process.stderr.readline()
        assert line, "ended before the attack began"
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    message = process.stderr.read()
    process.stderr.close()
    assert "interrupted: what is finished is kept" in message
    assert "Traceback" not in message
    found = veriward.verify(out)
    assert found.code == 3
    assert not found.damage
