"""Weak slices: how often is one seen where none is, and how often is a planted one found? A naive scan in the same run.

Noise: 500 rows, eight columns of random categories, errors that have nothing to do with them; any flag is a false alarm.
Planted: 2000 rows of the same kind, accuracy .8, and .5 in a tenth of the rows: one category, or a pair of two columns.
Found means: a flagged slice shares at least half of its rows with the planted one (Jaccard index >= .5).
The naive scan tests the same slices by the same exact test and flags every p <= .05.
"""

import time
from dataclasses import dataclass

import numpy as np

from veriward.checks.reliability.candidates import Feature, Slices, feature, slices
from veriward.checks.reliability.hypergeometric import LEVEL, power, upper_tails
from veriward.checks.reliability.slices import MOST, scan
from veriward.core.intervals import clopper_pearson

RUNS, SEED = 400, 20_26
NOISE_ROWS, PLANTED_ROWS = 500, 2000
LEVELS = (2, 2, 3, 3, 4, 5, 6, 10)
ACCURACY, WEAK = 0.8, 0.5
OVERLAP = 0.5
Array = np.ndarray


@dataclass(frozen=True)
class Found:
    """What one run flagged, ours and the naive scan; `hit`: each found the planted slice."""

    ours: int
    naive: int
    slices: int
    hit: tuple[bool, bool] = (False, False)


def columns(generator: np.random.Generator, rows: int) -> list[Feature]:
    """Return columns of random categories."""
    drawn = [generator.integers(0, levels, rows) for levels in LEVELS]
    made = [feature(f"c{i}", np.array([f"v{v}" for v in column], dtype=object)) for i, column in enumerate(drawn)]
    return [column for column in made if column is not None]


def look(found: Slices, wrong: Array, planted: Array | None = None) -> Found:
    """Return what both scans flag among the same slices."""
    scanned = scan(found, wrong)
    raw = upper_tails(scanned.wrong.tolist(), found.sizes.tolist(), int(wrong.sum()), len(wrong))
    flags = (np.flatnonzero(scanned.p <= LEVEL), np.flatnonzero(raw <= LEVEL))
    hit = tuple(planted is not None and any(overlap(found.rows(int(i)), planted) for i in part) for part in flags)
    return Found(len(flags[0]), len(flags[1]), len(found.parts), hit)


def overlap(slice_: Array, planted: Array) -> bool:
    """Return whether two sets of rows are nearly the same."""
    return bool((slice_ & planted).sum() >= OVERLAP * (slice_ | planted).sum())


def noise_run(run: int) -> Found:
    """Return what is flagged where errors are independent of every column."""
    generator = np.random.default_rng([SEED, 0, run])
    wrong = generator.random(NOISE_ROWS) >= ACCURACY
    return look(slices(columns(generator, NOISE_ROWS), NOISE_ROWS, MOST["standard"]), wrong)


def planted_run(run: int, *, pair: bool) -> Found:
    """Return what is flagged where a tenth of the rows is worse: one category, or a pair (two in five, one in four)."""
    generator = np.random.default_rng([SEED, 1 + pair, run])
    made = columns(generator, PLANTED_ROWS)
    planted = made[7].number == 0
    if pair:
        made[4] = Feature("c4", generator.choice(5, PLANTED_ROWS, p=[0.4, 0.15, 0.15, 0.15, 0.15]), tuple("abcde"))
        made[5] = Feature("c5", generator.choice(4, PLANTED_ROWS, p=[0.25, 0.25, 0.25, 0.25]), tuple("abcd"))
        planted = (made[4].number == 0) & (made[5].number == 0)
    wrong = generator.random(PLANTED_ROWS) >= np.where(planted, WEAK, ACCURACY)
    return look(slices(made, PLANTED_ROWS, MOST["standard"]), wrong, planted)


def alarms(runs: list[Found]) -> dict[str, object]:
    """Return how many noise runs flagged anything, with the interval of the rate, ours and naive."""
    told: dict[str, object] = {"runs": len(runs), "slices": runs[0].slices}
    for name in ("ours", "naive"):
        counts = [getattr(run, name) for run in runs]
        any_flag = sum(count > 0 for count in counts)
        told[name] = {
            "runs_with_a_flag": any_flag,
            "rate_interval": clopper_pearson(any_flag, len(runs)),
            "flags_per_run": float(np.mean(counts)),
        }
    return told


def hits(runs: list[Found]) -> dict[str, object]:
    """Return how many runs found the planted slice."""
    told: dict[str, object] = {"runs": len(runs), "slices": runs[0].slices}
    for place, name in enumerate(("ours", "naive")):
        found = sum(run.hit[place] for run in runs)
        told[name] = {"found": found, "rate_interval": clopper_pearson(found, len(runs))}
    return told


def run() -> dict[str, object]:
    """Simulate noise and planted slices and print a line for each."""
    start = time.process_time()
    result: dict[str, object] = {
        "rule": f"found: a flagged slice with Jaccard index >= {OVERLAP}",
        "noise": alarms([noise_run(i) for i in range(RUNS)]),
        "planted category": hits([planted_run(i, pair=False) for i in range(RUNS)]),
        "planted pair": hits([planted_run(i, pair=True) for i in range(RUNS)]),
        "stated power": {str(n): power(n, ACCURACY, 300) for n in (NOISE_ROWS, PLANTED_ROWS)},
    }
    for name, told in result.items():
        print(f"{name:18} {told}", flush=True)
    return {**result, "cpu_seconds_per_run": (time.process_time() - start) / (3 * RUNS)}
