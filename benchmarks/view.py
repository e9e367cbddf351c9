"""How long do the pages of `veriward view` take? 50 dossiers of 10 000 rows and four findings each, on a real server.

Wall and CPU seconds of the server per page, first visits and later ones; the promise is one second per page.
"""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from veriward.core.estimate import gap, proportion
from veriward.core.evidence import Cost, Evidence, Witness
from veriward.core.journal import Journal
from veriward.core.judge import judge
from veriward.core.policy import Policy
from veriward.core.threat import Threat

DOSSIERS, ROWS, PROMISE = 50, 10_000, 1.0
EPS = (0.03, 0.1)


def run() -> dict[str, Any]:
    """Write the dossiers, start the server, visit every page; medians and maxima in seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(DOSSIERS):
            write(folder / f"model-{i:02}.ward", seed=i)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{DOSSIERS} dossiers of {ROWS} rows, {size / 1e6:.0f} MB")
        command = [sys.executable, "-m", "veriward", "view", name, "--lang", "en"]
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                home = server.stdout.readline().strip()
                start = time.perf_counter() - begun
                print(f"{'until the address is printed':34} {start:.3f} s")
                found = visit(home, server.pid)
            finally:
                server.terminate()
    for page, seconds in found.items():
        told = (f"{name} {s['median']:.3f}, at most {s['max']:.3f} s" for name, s in seconds.items())
        print(f"{page:34} {'; '.join(told)}")
    kept = all(seconds["wall"]["max"] <= PROMISE for seconds in found.values())
    return {
        "dossiers": DOSSIERS,
        "rows": ROWS,
        "bytes": size,
        "load": os.getloadavg()[0],  # of the machine: wall times beside busy neighbours are longer
        "start_seconds": start,
        "seconds": found,
        "every_page_within_a_second": kept,
    }


def visit(home: str, server: int) -> dict[str, Any]:
    """Visit all kinds of pages and return their times."""
    first = timed([home], server)
    text = urllib.request.urlopen(home).read().decode()
    keys = list(dict.fromkeys(part.split("?")[0] for part in text.split("/d/")[1:]))
    assert len(keys) == DOSSIERS
    pairs = list(itertools.pairwise(keys))
    narrow = "is0=1&is1=1&max3=0.9&sort=-3"
    return {
        "list, first visit": first,
        "list, until all are checked": timed([home] * 3, server),
        "list, sorted and filtered": timed([f"{home}?sort=verdict&verdict=fail&words=model"] * 20, server),
        "open, first visit": timed([f"{home}d/{key}" for key in keys], server),
        "open, again": timed([f"{home}d/{keys[-1]}"] * 20, server),
        "compare, first visit": timed([f"{home}compare?a={a}&b={b}" for a, b in pairs[::3]], server),
        "compare, again": timed([f"{home}compare?a={keys[0]}&b={keys[1]}"] * 20, server),
        "explore, first visit": timed([f"{home}d/{key}/rows/1" for key in keys], server),
        "explore, filtered and sorted": timed(
            [f"{home}d/{keys[0]}/rows/1?{narrow}&page={i}" for i in range(20)], server
        ),
        "row": timed([f"{home}d/{keys[0]}/row/{i}" for i in range(0, ROWS, 500)], server),
    }


def timed(addresses: Iterable[str], server: int) -> dict[str, dict[str, float]]:
    """Return median and maximum of the wall time per page, and of the server's CPU time."""
    wall, cpu = [], []
    for address in addresses:
        begun, used = time.perf_counter(), spent(server)
        urllib.request.urlopen(address).read()
        wall.append(time.perf_counter() - begun)
        cpu.append(spent(server) - used)
    return {name: {"median": statistics.median(v), "max": max(v)} for name, v in (("wall", wall), ("cpu", cpu))}


def spent(server: int) -> float:
    """Return the CPU seconds of a process so far, in steps of a hundredth (proc(5))."""
    fields = Path(f"/proc/{server}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write(path: Path, *, seed: int, rows: int = ROWS) -> None:
    """Write a finished dossier with four findings whose rows differ from seed to seed."""
    generator = np.random.default_rng(seed)
    correct = (np.random.default_rng(0).random(rows) < 0.9) ^ (generator.random(rows) < 0.03)
    found = {f"evasion/linf@eps={eps:g}": attacked(correct, eps, generator) for eps in EPS}
    found |= {"leakage/loss": leaking(rows, generator), "fairness/groups": grouped(rows, generator)}
    policy = Policy.load("default")
    with Journal(path, write=True) as journal:
        journal.append("plan", "p", plan(path.stem, found, policy, rows, seed))
        for name, evidence in found.items():
            journal.append("start", name, {"id": name})
            journal.append("evidence", name, evidence.to_dict())
        judged = {n: [limit.to_dict() for limit in ls] for n, ls in judge(found, policy, budget="standard").items()}
        journal.append("judgement", "j", {"plan": "p", "findings": judged})
        last = journal.last()
        assert last is not None
        journal.append("finish", "f", {"count": last.seq})


def attacked(correct: np.ndarray, eps: float, generator: np.random.Generator) -> Evidence:
    """Return an attack with yes-or-no outcomes, a number per row and twenty pictures."""
    n = len(correct)
    broken = correct & (generator.random(n) < 3 * eps)
    spent_share = np.where(broken, generator.random(n), np.nan).astype(np.float32)
    outcomes = {"correct": correct.astype(np.int8), "broken": broken.astype(np.int8), "spent": spent_share}
    outcomes["robust"] = (correct & ~broken).astype(np.int8)
    at = {"eps": eps, "norm": "linf"}
    pictures = [generator.random((1, 28, 28)).astype(np.float32) for _ in range(20)]
    witnesses = tuple(
        Witness(int(row), f"moved by {eps}", i / 20, {"clean": p, "adversarial": p + eps, "was": "3", "became": "8"})
        for i, (row, p) in enumerate(zip(np.flatnonzero(broken), pictures, strict=False))
    )
    estimates = (
        proportion("clean_accuracy", int(correct.sum()), n, at=at),
        proportion("robust_accuracy", int((correct & ~broken).sum()), n, at=at, bound="upper"),
        proportion("attack_success_rate", int(broken.sum()), int(correct.sum()), at=at, bound="lower"),
    )
    threat = Threat("misclassify", "gradients", at, {"eps": "raw input units"}, None)
    cost = Cost(12.0, n * 40, n * 40, 0)
    return Evidence("evasion/linf", "1", threat, estimates, outcomes, n, witnesses=witnesses, cost=cost)


def leaking(rows: int, generator: np.random.Generator) -> Evidence:
    """Return a leak with the loss of every row."""
    estimate = proportion("tpr_at_fpr", rows // 40, rows, at={"fpr": 0.01}, bound="lower", unit="share of members")
    loss = generator.exponential(size=rows).astype(np.float32)
    return Evidence("leakage/loss", "1", Threat("membership", "scores"), (estimate,), {"loss": loss}, rows)


def grouped(rows: int, generator: np.random.Generator) -> Evidence:
    """Return two groups with a favourable outcome per row."""
    favourable = generator.random(rows) < 0.4
    half = rows // 2
    counts = [[[int(favourable[:half].sum()), half], [int(favourable[half:].sum()), rows - half]]]
    estimate = gap("demographic_parity_difference", counts, at={"attribute": "sex"}, names=("f", "m"))
    outcomes = {"favourable": favourable.astype(np.int8)}
    return Evidence("fairness/groups", "1", Threat("disparity", "labels"), (estimate,), outcomes, rows)


def plan(name: str, found: dict[str, Evidence], policy: Policy, rows: int, seed: int) -> dict[str, Any]:
    """Return the plan that a run would have written."""
    subject = {"name": name, "task": "classification", "kind": "image", "format": "pt2", "access": "gradients"}
    prints = {"model": f"{seed:064x}", "train": "a" * 64, "test": "b" * 64}
    subject |= {"output": "logits", "rows": {"train": rows, "test": rows}, "shape": "28 × 28 × 1", "groups": ["sex"]}
    return {
        "subject": {**subject, "fingerprints": prints, "files": {"model": "model.pt2"}},
        "policy": {**policy.to_dict(), "hash": policy.hash},
        "environment": {"python": sys.version.split()[0]},
        "budget": "standard",
        "seed": seed,
        "code": [],
        "assumptions": [],
        "not_run": [],
        "time": f"2026-01-{seed % 28 + 1:02}T09:30:00+00:00",
        "checks": [
            {
                "id": name,
                "check": evidence.check,
                "version": "1",
                "question": "A question?",
                "threat": evidence.threat.to_dict(),
                "settings": {},
                "key": name,
            }
            for name, evidence in found.items()
        ],
    }
