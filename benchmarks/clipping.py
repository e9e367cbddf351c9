"""Clipped sums of per-row gradients: a plain step, ours, and opacus in three modes, in turn, one thread, CPU time.

opacus comes from this interpreter, or from the one that OPACUS names (`OPACUS=/path/python`); without it the peers are
named as missing. Every contender has a process of its own; the same interpreter of torch makes the same weights and rows.
Memory is the peak of a step over what the process held before, in a run of its own that gives freed memory back at once.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

WORKS = {"mlp": 5, "cnn": 2, "text": 2}  # steps in a round
ROUNDS = 7
PEERS = ("hooks", "ghost", "ew")


class Runner:
    """A contender in its own process."""

    def __init__(self, contender: str, work: str, folder: Path, *, frugal: bool = False) -> None:
        self.file = folder / f"{work}-{contender}.pt"
        python = os.environ.get("OPACUS", sys.executable) if contender in PEERS else sys.executable
        env = {**os.environ, "OMP_NUM_THREADS": "1", **({"MALLOC_MMAP_THRESHOLD_": "65536"} if frugal else {})}
        command = [python, "-W", "ignore", "-m", "benchmarks.clipping_step", contender, work, str(self.file)]
        self.process = subprocess.Popen(
            command, env=env, cwd=Path(__file__).parents[1], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.missing = "" if self._line() == "ready" else self._failure()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _failure(self) -> str:
        _, told = self.process.communicate()
        return (told.strip().splitlines() or ["ended without a word"])[-1]

    def seconds(self, steps: int) -> float:
        assert self.process.stdin is not None
        print(steps, file=self.process.stdin, flush=True)
        return float(self._line()) / steps

    def close(self) -> int:
        """Return the peak of memory in bytes."""
        told = self.process.communicate()[0]
        return int(told or 0)


def timed(work: str, folder: Path) -> dict[str, Any]:
    """Return milliseconds by contender, their ratio to the plain step, and how far their sums are from ours."""
    runners = {name: Runner(name, work, folder) for name in ("plain", "ours", *PEERS)}
    there = {name: runner for name, runner in runners.items() if not runner.missing}
    rounds = [{name: r.seconds(WORKS[work]) for name, r in there.items()} for _ in range(ROUNDS)]
    for runner in there.values():
        runner.close()
    found: dict[str, Any] = {name: {"missing": r.missing} for name, r in runners.items() if r.missing}
    for name, runner in there.items():
        ratios = sorted(one[name] / one["plain"] for one in rounds)
        found[name] = {
            "milliseconds": round(1e3 * statistics.median(one[name] for one in rounds), 2),
            "of_plain": round(statistics.median(ratios), 3),
            "spread": [round(ratios[len(ratios) // 4], 3), round(ratios[-len(ratios) // 4], 3)],
        }
        if name in PEERS:
            found[name]["sums_differ"] = difference(runners["ours"].file, runner.file)
    return found


def difference(ours: Path, theirs: Path) -> float:
    """Return the largest difference of sums, over parameters, in units of a parameter's largest sum."""
    a, b = (torch.load(file) for file in (ours, theirs))
    return max(float((a[k] - b[k].view_as(a[k])).abs().max() / a[k].abs().max()) for k in a)


def memory(work: str, folder: Path, names: list[str]) -> dict[str, float]:
    """Return the peak of a step's memory by contender, in MB."""
    found = {}
    for name in names:
        runner = Runner(name, work, folder, frugal=True)
        with contextlib.suppress(ValueError):
            runner.seconds(2)
            found[name] = round(runner.close() / 1e6, 1)
    return found


def run() -> dict[str, Any]:
    """Compare on three networks."""
    result: dict[str, Any] = {"rounds": ROUNDS, "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as name:
        for work in WORKS:
            found = timed(work, Path(name))
            peaks = memory(work, Path(name), [k for k, v in found.items() if "missing" not in v])
            result[work] = {k: {**v, **({"peak_mb": peaks[k]} if k in peaks else {})} for k, v in found.items()}
            for k, v in result[work].items():
                print(f"{work:5} {k:6} " + "  ".join(f"{a} {b}" for a, b in v.items()))
    return result
