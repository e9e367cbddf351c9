"""Smoothed models: are certificates false as rarely as they say, and how wide is the bracket?

Planes: for a linear model of two classes the smoothed model is the model, so the distance of each row is known. Worlds of
500 rows in 20 columns, eps at the median distance; a certificate that reaches beyond the distance is false, and so is a
row that is told to fall within eps and does not. Both may happen with a chance of alpha = .001 per row.

Digits: the demo's network, and the same one trained on rows with noise of .5 (as Cohen et al. 2019 do), at three eps: the
bracket of each smoothed model, and which certified rows the attack broke.
"""

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from veriward.adapters.opened import open_subject
from veriward.checks.certify.planted_votes import Plane
from veriward.checks.certify.smoothing import ALPHA, EFFORTS, Smoothing
from veriward.core.evidence import Evidence
from veriward.core.intervals import clopper_pearson
from veriward.core.streams import Stream
from veriward.core.subject import Subject
from veriward.examples import digits
from veriward.run.engine import InProcess
from veriward.run.job import RunJob

WORLDS, ROWS, COLUMNS = 12, 500, 20
EPS, NOISE = (0.25, 0.5, 1.0), 0.5
CHECK = Smoothing()


def measured(subject: Subject, seed: int = 0, **effort: Any) -> tuple[Evidence, float]:
    """Return the evidence at the standard budget, and the CPU seconds it took."""
    opened = open_subject(subject, device="cpu")
    settings = {**CHECK.settings("standard"), **effort}
    job = RunJob(opened, CHECK.name, settings, "benchmark", seed, InProcess(opened))
    start = time.process_time()
    found = CHECK.run(subject, CHECK.threats(opened)[0], job=job)
    return found, time.process_time() - start


def subject_of(model: nn.Module, splits: dict[str, Any], bounds: tuple[float, float], eps: float) -> Subject:
    """Return a subject whose attacker moves rows by eps in L2."""
    return Subject.model_validate(
        {
            "task": "classification",
            "model": {"live": model, "output": "logits"},
            "data": splits,
            "input": {"kind": "image", "bounds": bounds},
            "threat": {"evasion": {"norm": "l2", "eps": eps}},
        }
    )


def plane_world(number: int) -> dict[str, int]:
    """Return how many rows of a world were told wrongly."""
    stream = Stream.of(number, "planes")
    x = stream.child("x").normal(torch.arange(ROWS), (COLUMNS,))
    weight = stream.child("w").normal(torch.arange(1), (COLUMNS,))[0]
    reach = ((x.double() @ weight.double()).abs() / weight.double().norm()).numpy()
    eps = float(np.median(reach))
    rows = (x.view(ROWS, 1, 4, 5).numpy(), (x @ weight > 0).long().numpy())
    found, _ = measured(subject_of(Plane(weight), {"test": rows}, (-100.0, 100.0), eps), number, rows=ROWS)
    radius, robust = found.outcomes["radius"] * eps, found.outcomes["robust"] == 1
    certified = found.outcomes["certified"] == 1
    return {
        "beyond the distance": int((radius > reach).sum()),
        "certified within": int(certified.sum()),
        "falsely certified": int((certified & (reach <= eps)).sum()),
        "stand": int((reach > eps).sum()),
        "falsely fallen": int((~robust & (reach > eps)).sum()),
        "fallen": int((~robust).sum()),
    }


def planes() -> dict[str, Any]:
    """Return the sums over all worlds, and the interval of the share of false radii."""
    worlds = [plane_world(number) for number in range(WORLDS)]
    told: dict[str, Any] = {name: sum(world[name] for world in worlds) for name in worlds[0]}
    rows = WORLDS * ROWS
    interval = clopper_pearson(told["beyond the distance"], rows)
    return {**told, "rows": rows, "alpha": ALPHA, "share of false radii, interval": interval}


def noisy_network(x: Any, y: Any, sigma: float) -> nn.Module:
    """Return the demo's network trained on ten noisy copies of the rows, fresh noise for each."""
    stream = Stream.of(0, "noisy training")
    copies = np.concatenate([x] * 10)
    noise = stream.normal(torch.arange(len(copies)), tuple(x.shape[1:])).numpy()
    return digits.train((copies + sigma * noise).astype(np.float32), np.concatenate([y] * 10), seed=0)


def bracket(model: nn.Module, splits: dict[str, Any], eps: float) -> dict[str, Any]:
    """Return the shares, the noise that was chosen, and the cost."""
    found, seconds = measured(subject_of(model, splits, (0.0, 1.0), eps))
    told: dict[str, Any] = {e.metric: [round(v, 3) for v in (e.value, e.low, e.high)] for e in found.estimates}  # type: ignore[arg-type]  # all have values
    both = (found.outcomes["radius"] > 1) & (found.outcomes["broken"] == 1)
    told |= {"sigma in budgets": found.estimates[0].at["sigma"], "certified and broken": int(both.sum())}
    return {**told, "rows": found.rows, "cpu_seconds": round(seconds, 1)}


def run() -> dict[str, Any]:
    """Measure planes and digits, and print a line for each."""
    splits = digits.load()
    networks = {"plain": digits.train(*splits["train"], seed=0), "noisy": noisy_network(*splits["train"], NOISE)}
    result: dict[str, Any] = {"effort": EFFORTS["standard"].__dict__, "planes": planes()}
    print(f"planes  {result['planes']}", flush=True)
    for name, model in networks.items():
        for eps in EPS:
            told = bracket(model, splits, eps)
            print(f"digits {name} eps {eps:g}  {told}", flush=True)
            result[f"digits {name} eps {eps:g}"] = told
    return result
