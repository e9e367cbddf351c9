"""How fast a scan is: opcodes, small pickles, a checkpoint of a gigabyte, and a whole process on a small file."""

import hashlib
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from veriward.adapters.scan import scan

from .peers import versions

TURNS = 5
_GIGABYTE = 1 << 30


def measured() -> dict[str, float]:
    """CPU seconds, medians of some turns; wall-clock where a disk has part in it."""
    with tempfile.TemporaryDirectory() as folder:
        found = {**_pickles(Path(folder)), **_checkpoint(Path(folder)), **_processes(Path(folder))}
    for name, value in found.items():
        print(f"  {name:45} {value:.4g}")
    return found


def _median(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(TURNS):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def _written(path: Path, opcodes: int) -> Path:
    """A pickle of roughly that many opcodes: a nested dict of names, numbers and lists, as checkpoints hold."""
    each = {f"layer.{number}.weight": [number, 0.5, "f32", (1, 2)] for number in range(max(1, opcodes // 10))}
    path.write_bytes(pickle.dumps(each, 4))
    return path


def _opcodes(path: Path) -> int:
    import pickletools

    return sum(1 for _ in pickletools.genops(path.read_bytes()))


def _pickles(folder: Path) -> dict[str, float]:
    large, small = _written(folder / "large.pkl", 2_000_000), _written(folder / "small.pkl", 5000)
    assert scan(small).outcome == scan(large).outcome == "clean"
    return {
        "opcodes_per_second": _opcodes(large) / _median(lambda: scan(large)),
        "pickle_opcodes": _opcodes(small),
        "pickle_milliseconds": 1000 * _median(lambda: scan(small)),
    }


def _checkpoint(folder: Path) -> dict[str, float]:
    import torch

    path = folder / "model.pt"
    torch.save({f"layer.{number}": torch.ones(_GIGABYTE // 64) for number in range(16)}, path)
    start = time.perf_counter()
    assert scan(path).outcome == "clean"
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    return {
        "checkpoint_gigabytes": path.stat().st_size / 1e9,
        "checkpoint_seconds": seconds,
        "checkpoint_gigabytes_per_second": path.stat().st_size / 1e9 / seconds,
        "checkpoint_seconds_of_hash_alone": time.perf_counter() - start,
    }


def _processes(folder: Path) -> dict[str, float]:
    """A whole process each: start, imports, one small file."""
    path = str(_written(folder / "small.pkl", 5000))
    program = f"from veriward.adapters.scan import scan; scan({path!r})"
    commands = {"veriward": [sys.executable, "-c", program]}
    present = versions()
    if "picklescan" in present:
        commands["picklescan"] = [str(Path(sys.executable).with_name("picklescan")), "-p", path]
    if "fickling" in present:
        report = str(folder / "report.json")
        commands["fickling"] = [sys.executable, "-m", "fickling", "--check-safety", "--json-output", report, path]
    if "modelscan" in present:
        commands["modelscan"] = [os.environ["MODELSCAN"], "scan", "-p", path]
    commands["python alone"] = [sys.executable, "-c", "pass"]
    return {f"process_cpu_seconds_{name}": _child(command) for name, command in commands.items()}


def _child(command: list[str]) -> float:
    seconds = []
    for _ in range(TURNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(seconds)
