"""Does the gate keep its promises? Simulated pairs of answers to the same rows, with a known drop.

2000 rows, of which 15 % disagree; margin .02; 400 pairs each. Without a change, and with a drop of exactly the margin,
`fail` must stay below 5 %; with a true drop of .05 it is the power. A slide of ten steps of half a point is judged against
the pinned reference, and, to show what pinning is for, against the step before.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np

from veriward.core.compare import compare
from veriward.core.evidence import Evidence
from veriward.core.finding import Finding
from veriward.core.intervals import clopper_pearson
from veriward.core.threat import Threat

PAIRS, ROWS, DISAGREE, MARGIN = 400, 2000, 0.15, 0.02
ACCURACY = 0.8
STEPS, STEP = 10, 0.005
SEED = 20_26
VERDICTS = ("fail", "pass", "inconclusive")


def answers(generator: np.random.Generator, old: np.ndarray, drop: float) -> np.ndarray:
    """Return a second model's answers: the wanted share of rows disagrees, and the true drop is exact."""
    worse, better = (DISAGREE + drop) / 2, (DISAGREE - drop) / 2
    right = old == 1
    flips = generator.random(len(old)) < np.where(right, worse / ACCURACY, better / (1 - ACCURACY))
    return np.where(flips, 1 - old, old).astype(np.int8)


def dossier(correct: np.ndarray) -> Any:
    """Return as much of a dossier as a comparison reads."""
    evidence = Evidence("reliability/accuracy", "1", Threat("none", "labels"), (), outcomes={"correct": correct})
    finding = Finding("accuracy", "reliability/accuracy", "", "pass", evidence)
    subject = {"name": "simulated", "fingerprints": {"test": "t"}}
    return SimpleNamespace(subject=subject, findings={"accuracy": finding}, path="simulated.ward")


def verdict(new: np.ndarray, old: np.ndarray) -> str:
    """Return what the gate makes of the rows of two dossiers."""
    return compare(dossier(new), dossier(old), margin=MARGIN).moved[0].verdict


def shares(found: list[str]) -> dict[str, Any]:
    """Return the share of each verdict with its interval."""
    return {
        name: {"share": found.count(name) / len(found), "interval": clopper_pearson(found.count(name), len(found))}
        for name in VERDICTS
    }


def pairs(drop: float, generator: np.random.Generator) -> dict[str, Any]:
    """Return the verdicts of simulated pairs with a known drop."""
    found = []
    for _ in range(PAIRS):
        old = (generator.random(ROWS) < ACCURACY).astype(np.int8)
        found.append(verdict(answers(generator, old, drop), old))
    return shares(found)


def slide(generator: np.random.Generator) -> tuple[list[str], list[str]]:
    """Return the verdicts of each step of a slide: against the pinned reference, and against the step before."""
    reference = (generator.random(ROWS) < ACCURACY).astype(np.int8)
    pinned, sliding, before = [], [], reference
    for step in range(1, STEPS + 1):
        now = answers(generator, reference, STEP * step)
        pinned.append(verdict(now, reference))
        sliding.append(verdict(answers(generator, before, STEP), before))
        before = now
    return pinned, sliding


def run() -> dict[str, Any]:
    """Return the shares, and print them."""
    generator = np.random.default_rng(SEED)
    result: dict[str, Any] = {f"drop {drop:g}": pairs(drop, generator) for drop in (0.0, MARGIN, 0.05)}
    slides = [slide(generator) for _ in range(PAIRS)]
    for step in range(STEPS):
        result[f"pinned, step {step + 1}"] = shares([pinned[step] for pinned, _ in slides])
    result["previous step, any fail in ten"] = float(np.mean(["fail" in sliding for _, sliding in slides]))
    result["pinned, any fail in ten"] = float(np.mean(["fail" in pinned for pinned, _ in slides]))
    for name, found in result.items():
        print(name, {v: s["share"] for v, s in found.items()} if isinstance(found, dict) else found)
    return result
