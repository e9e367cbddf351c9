"""A step of private training: plain, ours, and opacus in three modes, in turn, one thread, CPU time.

Clipping alone, and the whole step with simulation noise (torch's generator, which opacus draws from too) and with production
noise (a cipher's keystream; ours alone). opacus comes from this interpreter, or from the one that OPACUS names
(`OPACUS=/path/python`); without it the peers are named as missing. Every contender has a process of its own; the same
interpreter of torch makes the same weights and rows. Memory is the peak of two whole steps over what the process held
before them, without gradients, in runs of its own that give freed memory back at once. Equality is that of norms and
clipped sums with a loop over single rows in float64, in which ReLU and max pooling decide as they do on the batch.
"""

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

WORKS = ("mlp", "cnn", "text", "resnet")
ROUNDS = 5
SECONDS = 0.15  # of a contender's turn, in whole steps
PEERS = ("hooks", "ghost", "ew")
TASKS = {"clip": ("plain", "ours", *PEERS), "step": ("plain", "ours", "production", *PEERS)}
KINK = 1e-9  # relative difference of a row's norm in float64 that no rounding explains
NOTHING = 1e-6  # of the largest sum of all: a parameter below has no gradient but rounding (a softmax hides key biases)
Row = dict[str, Any]


class Runner:
    """A contender in its own process."""

    def __init__(self, contender: str, work: str, task: str, folder: Path, *, frugal: bool = False) -> None:
        self.file = folder / f"{work}-{contender}.pt"
        python = os.environ.get("OPACUS", sys.executable) if contender in PEERS else sys.executable
        env = {**os.environ, "OMP_NUM_THREADS": "1", **({"MALLOC_MMAP_THRESHOLD_": "65536"} if frugal else {})}
        command = [python, "-W", "ignore", "-m", "benchmarks.dp_step", contender, work, task, str(self.file)]
        self.process = subprocess.Popen(
            command, env=env, cwd=Path(__file__).parents[1], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.missing = "" if self._line() == "ready" else self._failure()
        self.steps = 1
        if not self.missing:
            self.steps = max(1, round(SECONDS / self.seconds()))

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _failure(self) -> str:
        _, told = self.process.communicate()
        return (told.strip().splitlines() or ["ended without a word"])[-1]

    def seconds(self) -> float:
        """Return the CPU seconds of a step, mean of a turn."""
        assert self.process.stdin is not None
        print(self.steps, file=self.process.stdin, flush=True)
        return float(self._line()) / self.steps

    def close(self) -> int:
        """Return the peak of memory in bytes."""
        return int(self.process.communicate()[0] or 0)


def started(work: str, task: str, folder: Path) -> tuple[dict[str, Runner], Row]:
    """Return the contenders that run, and why others do not."""
    runners = {name: Runner(name, work, task, folder) for name in TASKS[task]}
    there = {name: runner for name, runner in runners.items() if not runner.missing}
    return there, {name: {"missing": r.missing} for name, r in runners.items() if r.missing}


def timed(work: str, task: str, folder: Path) -> Row:
    """Return milliseconds by contender and their ratio to the plain step, median and quartiles over the rounds."""
    runners, found = started(work, task, folder)
    rounds = [{name: runner.seconds() for name, runner in runners.items()} for _ in range(ROUNDS)]
    for name, runner in runners.items():
        runner.close()
        ratios = sorted(one[name] / one["plain"] for one in rounds)
        found[name] = {
            "milliseconds": round(1e3 * statistics.median(one[name] for one in rounds), 2),
            "of_plain": round(statistics.median(ratios), 3),
            "spread": [round(ratios[ROUNDS // 4], 3), round(ratios[-1 - ROUNDS // 4], 3)],
        }
    peers = [name for name in PEERS if name in runners]
    for mine in ("ours", "production"):
        if peers and mine in runners:
            gains = [min(one[name] for name in peers) / one[mine] for one in rounds]
            found[mine]["faster_than_best_peer"] = round(statistics.median(gains), 2)
    return found


def compared(work: str, folder: Path, names: list[str]) -> Row:
    """Return how far norms and clipped sums are from those of the loop that decides as the batch does; "free": from the
    loop that decides by itself. `single` is the loop in float32. `kinked`: rows that the two loops disagree about.
    """
    for name in ("loop", "held", "single"):
        Runner(name, work, "clip", folder).close()
    free, held, *others = [torch.load(folder / f"{work}-{name}.pt") for name in ("loop", "held", "single", *names)]
    found: Row = {"kinked": int(((free["norms"] / held["norms"] - 1).abs() > KINK).sum()), "no_gradient": _none(held)}
    for name, one in zip(("single", *names), others, strict=True):
        found[name] = {**_off(one, held), "free": _off(one, free)}
    return found


def _none(exact: Row) -> list[str]:
    """Return the parameters whose exact sums are nothing but rounding."""
    largest = max(float(v.abs().max()) for v in exact["sums"].values())
    return sorted(name for name, v in exact["sums"].items() if float(v.abs().max()) <= NOTHING * largest)


def _off(given: Row, exact: Row) -> Row:
    """Return relative errors: of the whole clipped sum in L2, the worst of a parameter's in units of its largest entry,
    and the worst of a norm.
    """
    sums, skip = exact["sums"], _none(exact)
    errors = {name: given["sums"][name].view_as(v).double() - v for name, v in sums.items()}
    whole = math.sqrt(sum(float(e.square().sum()) for e in errors.values()))
    found: Row = {
        "whole": whole / math.sqrt(sum(float(v.square().sum()) for v in sums.values())),
        "parameter": max(
            float(e.abs().max() / sums[name].abs().max()) for name, e in errors.items() if name not in skip
        ),
    }
    if given["norms"] is not None:
        found["norms"] = float((given["norms"].double() / exact["norms"] - 1).abs().max())
    return {name: float(f"{value:.3g}") for name, value in found.items()}


def memory(work: str, folder: Path, names: list[str]) -> Row:
    """Return the peak of a whole step's memory by contender in MB, and in units of the plain step's."""
    peaks = {name: _peak(name, work, folder) for name in names}
    return {name: {"mb": round(p / 1e6, 1), "of_plain": round(p / peaks["plain"], 2)} for name, p in peaks.items()}


def _peak(name: str, work: str, folder: Path) -> int:
    runner = Runner(name, work, "step", folder, frugal=True)
    runner.steps = 2
    runner.seconds()
    return runner.close()


def normals(count: int = 1 << 20) -> Row:
    """Return millions of normals a CPU second, production noise and torch's, best and median of 21 in turn."""
    from veriward.privacy.dp import SecureSource

    out, source = torch.empty(count), SecureSource()
    generator = torch.Generator().manual_seed(0)
    rates: dict[str, list[float]] = {"production": [], "simulation": []}
    for _ in range(21):
        for name, fill in (("production", source.normal_), ("simulation", lambda o: o.normal_(generator=generator))):
            start = time.process_time()
            fill(out)
            rates[name].append(count / (time.process_time() - start) / 1e6)
    return {
        name: {"best": round(max(found)), "median": round(statistics.median(found))} for name, found in rates.items()
    }


def measured(work: str, folder: Path) -> Row:
    """Return all about one network."""
    found: Row = {task: timed(work, task, folder) for task in TASKS}
    there = [name for name, row in found["clip"].items() if "missing" not in row and name != "plain"]
    found["off"] = compared(work, folder, there)
    found["memory"] = memory(work, folder, [name for name, row in found["step"].items() if "missing" not in row])
    return found


def run() -> Row:
    """Compare on four networks."""
    torch.set_num_threads(1)
    result: Row = {"rounds": ROUNDS, "torch": torch.__version__, "million_normals_per_second": normals()}
    print("millions of normals a second", result["million_normals_per_second"], flush=True)
    with tempfile.TemporaryDirectory() as name:
        for work in WORKS:
            result[work] = measured(work, Path(name))
            for what, rows in result[work].items():
                for contender, row in rows.items():
                    print(f"{work:6} {what:6} {contender:11} {row}", flush=True)
    return result
