"""Is the standard plan ever weaker than AutoAttack, and what does it cost? Twelve small models, half of them held out.

In one run, on one thread, for each model: `evasion/linf` as a run would have it, standard and strict-autoattack;
AutoAttack of torchattacks in its own interpreter (TORCHATTACKS=/path/to/python), at the paper's 100 steps; PGD of foolbox
and Auto-PGD of ART in theirs (FOOLBOX_ART=/path/to/python). A peer without an interpreter is named as missing. Rows:
EVASION_ROWS, 540 unless set; models: EVASION_MODELS, names with commas; seeds of the standard plan: EVASION_SEEDS, 1 unless
set; seeds at which strict-autoattack meets torchattacks row by row: EVASION_STRICT_SEEDS, 1 unless set. A model's figures
are printed when it is done.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.evasion_models import FAMILY, HELD_OUT, Recipe, digits, trained
from veriward.adapters.modules import TILE
from veriward.adapters.opened import Opened, open_subject
from veriward.checks.evasion.ascent import climb
from veriward.checks.evasion.rows import begin
from veriward.checks.registry import registry
from veriward.core.subject import Subject
from veriward.run.engine import InProcess
from veriward.run.job import RunJob

ROWS = int(os.environ.get("EVASION_ROWS", "540"))
SEEDS = int(os.environ.get("EVASION_SEEDS", "1"))
STRICT_SEEDS = int(os.environ.get("EVASION_STRICT_SEEDS", "1"))
NAMES = tuple(filter(None, os.environ.get("EVASION_MODELS", "").split(",")))
PEERS = {"TORCHATTACKS": "evasion_peer.py", "FOOLBOX_ART": "evasion_peers.py"}
STEPS, PAIRS = 5, 9  # of the overhead


def opened(recipe: Recipe, plan: str) -> Opened:
    """Return the model with its test rows, attacked with the recipe's eps."""
    _, (x, y) = digits()
    settings = {
        "name": recipe.name,
        "task": "classification",
        "model": {"live": trained(recipe), "output": "logits"},
        "data": {"test": (x[:ROWS], y[:ROWS])},
        "input": {"kind": "image", "bounds": (0.0, 1.0)},
        "threat": {"evasion": {"norm": recipe.norm, "eps": recipe.eps, "plan": plan}},
    }
    return open_subject(Subject.model_validate(settings), device="cpu")


def measured(recipe: Recipe, plan: str = "standard", seed: int = 0) -> dict[str, Any]:
    """Return which rows stayed robust, and what it cost."""
    subject = opened(recipe, plan)
    check = registry()[f"evasion/{recipe.norm}"]
    settings = {**check.settings("standard"), "rows": None}
    job = RunJob(subject, check.name, settings, "key", seed, InProcess(subject))
    start = time.process_time()
    found = check.run(subject.subject, check.threats(subject)[0], job=job)
    spent = time.process_time() - start
    robust = found.outcomes["robust"] == 1
    alarms = [alarm.code for alarm in found.alarms]
    return {"robust": robust, "cpu_seconds": spent, "gradients": job.cost.gradients, "alarms": alarms}


def overhead(recipe: Recipe) -> dict[str, float]:
    """Return the cost of a step of a climb over bare forward passes and their gradients by the input, alternating.

    The bare passes take all rows at once, or in the tiles that make a row's answer independent of its company.
    """
    subject = opened(recipe, "standard")
    check = registry()[f"evasion/{recipe.norm}"]
    chase, _, _ = begin(subject, check.threats(subject)[0], range(min(ROWS, 512)))
    where = chase.active[: len(chase.active) // TILE * TILE]
    model, z, y = trained(recipe), chase.clean[where], chase.goal[where].y  # type: ignore[attr-defined]
    tiles = list(zip(z.split(TILE), y.split(TILE), strict=True))
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: climb(chase, where, z[None], None, STEPS, lambda step: 1e-9),
        "at once": lambda: [_bare(model, z, y) for _ in range(STEPS)],
        "in tiles": lambda: [_bare(model, *part) for _ in range(STEPS) for part in tiles],
    }
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(PAIRS):
        for name, work in works.items():
            start = time.process_time()
            work()
            spent[name].append(time.process_time() - start)
    last = (STEPS + 0.4) / STEPS  # a climb asks once more at its end
    return {name: statistics.median(np.divide(spent["ours"], spent[name])) / last for name in ("at once", "in tiles")}


def _bare(model: Any, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x = z.detach().requires_grad_()
    return torch.autograd.grad(torch.nn.functional.cross_entropy(model(x), y, reduction="sum"), x)[0]


def peers(recipe: Recipe, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return by peer, and seed where it has one, which rows stayed robust and the CPU seconds; a peer not there is empty."""
    seeds = list(range(STRICT_SEEDS))
    job = {"models": [_exported(recipe, folder)], "seeds": seeds, "steps": [100], "threads": 1}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    found: dict[str, list[dict[str, Any]]] = {}
    for variable, script in PEERS.items():
        path, python = Path(__file__).with_name(script), os.environ.get(variable)
        if not python:
            print(f"missing: {variable} names no interpreter")
            found[variable.lower()] = []
            continue
        out = folder / f"{variable}.json"
        subprocess.run([python, str(path), str(folder / "job.json"), str(out)], check=True)
        for item in json.loads(out.read_text(encoding="utf-8")):
            name = item.get("peer", "torchattacks")
            if "missing" in item:
                print(f"missing: {name}: {item['missing']}")
                found[name] = []
            else:
                found.setdefault(name, []).append({**item, "robust": np.array(item["robust"]) == 1})
    return found


def _exported(recipe: Recipe, folder: Path) -> dict[str, Any]:
    _, (x, y) = digits()
    file, rows = folder / f"{recipe.name}.pt", folder / f"{recipe.name}.npz"
    torch.jit.trace(trained(recipe), torch.from_numpy(x[:2])).save(str(file))
    np.savez(rows, x=x[:ROWS], y=y[:ROWS])
    return {"name": recipe.name, "file": str(file), "rows": str(rows), "eps": recipe.eps, "norm": recipe.norm}


def row(recipe: Recipe, others: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return one model's figures, and print them."""
    standard, *again = [measured(recipe, seed=seed) for seed in range(SEEDS)]
    strict = [measured(recipe, "strict-autoattack", seed) for seed in range(STRICT_SEEDS)]
    compared = {"strict": strict[0], **{name: found[0] for name, found in others.items() if found}}
    figures: dict[str, Any] = {
        **asdict(recipe),
        "standard": _told(standard),
        "gradients per row": round(standard["gradients"] / ROWS, 1),
        **{name: _told(found) for name, found in compared.items()},
        "ratio of CPU to strict": standard["cpu_seconds"] / strict[0]["cpu_seconds"],
        "broken by others alone": {k: int((standard["robust"] & ~v["robust"]).sum()) for k, v in compared.items()},
        "broken by ours alone": {k: int((~standard["robust"] & v["robust"]).sum()) for k, v in compared.items()},
        "alarms": standard["alarms"],
        "overhead of a step": overhead(recipe),
        "rows that differ by seed": [int((other["robust"] != standard["robust"]).sum()) for other in again],
        "strict and torchattacks by seed": [
            _side_by_side(ours["robust"], theirs["robust"])
            for ours, theirs in zip(strict, others.get("torchattacks", ()), strict=False)
        ],
    }
    print(json.dumps(figures), flush=True)
    return figures


def _side_by_side(ours: Any, theirs: Any) -> dict[str, int]:
    return {
        "strict": int(ours.sum()),
        "torchattacks": int(theirs.sum()),
        "rows that differ": int((ours != theirs).sum()),
    }


def _told(found: dict[str, Any]) -> dict[str, Any]:
    return {"robust rows": int(found["robust"].sum()), "cpu_seconds": round(found["cpu_seconds"], 1)}


def run() -> dict[str, Any]:
    """Return every model's figures and the ratios' median and worst, for the family and the held-out models."""
    torch.set_num_threads(1)
    result: dict[str, Any] = {"rows": ROWS}
    with tempfile.TemporaryDirectory() as folder:
        for title, recipes in {"family": FAMILY, "held out": HELD_OUT}.items():
            models = [recipe for recipe in recipes if not NAMES or recipe.name in NAMES]
            rows, missing = [], set()
            for recipe in models:
                others = peers(recipe, Path(folder))
                missing |= {name for name, found in others.items() if not found}
                rows.append(row(recipe, others))
            ratios = [figures["ratio of CPU to strict"] for figures in rows]
            summary = {"median ratio": statistics.median(ratios), "worst ratio": max(ratios)} if ratios else {}
            result[title] = {"models": rows, **summary, "missing": sorted(missing)}
            print(title, summary)
    return result
