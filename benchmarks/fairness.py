"""Fairness intervals on UCI Adult, race with 5 groups, 3 metrics. Ours are exact; the peer bootstraps (fairlearn).

Where the data are missing, rows of the same number and shares are made up. Decisions are those of a fitted model's kind:
right in 85 % of rows.
"""

import csv
import gzip
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from veriward.checks.fairness.compare import gaps, group_rates
from veriward.checks.fairness.rates import count
from veriward.core.groups import cut

DATA = Path(__file__).parents[2] / "shared/data/adult-test.csv.gz"
ROWS, GROUPS, REPLICATES, TURNS = 16_281, 5, 50, 3
SHARES = (0.85, 0.10, 0.03, 0.01, 0.01)
RACE, INCOME = 8, 14


def run() -> dict[str, object]:
    """Time ours and the peer in turn; CPU seconds, medians and the ratio."""
    generator = np.random.default_rng(0)
    groups, deserved = _adult() if DATA.is_file() else _made_up(generator)
    chosen = np.where(generator.random(len(groups)) < 0.85, deserved, ~deserved)

    def ours() -> object:
        attribute = cut("race", groups)
        rates = count(chosen, deserved, attribute)
        return gaps(attribute, rates) + group_rates(attribute, rates)

    rivals: dict[str, Callable[[], object]] = {"ours": ours}
    if find_spec("fairlearn") is None:
        print("fairlearn: not installed, so there is no peer in this run")
    else:
        rivals["fairlearn"] = _fairlearn(chosen, deserved, groups)
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(TURNS):
        for name, call in rivals.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:10} median {median * 1000:.1f} ms CPU  (ratio to ours {median / medians['ours']:.0f})")
    return {
        "median_cpu_seconds": medians,
        "all": seconds,
        "replicates_of_peer": REPLICATES,
        "rows": len(groups),
        "groups": len(set(groups.tolist())),
        "data": "UCI Adult, test" if DATA.is_file() else "made up",
    }


def _adult() -> tuple[np.ndarray, np.ndarray]:
    with gzip.open(DATA, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if len(row) > INCOME]
    race = np.array([row[RACE] for row in rows], dtype=object)
    return race, np.array([row[INCOME].startswith(">50K") for row in rows])


def _made_up(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    names = np.array([f"g{i}" for i in range(GROUPS)], dtype=object)
    return generator.choice(names, ROWS, p=SHARES), generator.random(ROWS) < 0.24


def _fairlearn(chosen: np.ndarray, deserved: np.ndarray, groups: np.ndarray) -> Callable[[], object]:
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate

    metrics = {"s": selection_rate, "t": true_positive_rate, "f": false_positive_rate}
    return lambda: MetricFrame(
        metrics=metrics,
        y_true=deserved.astype(int),
        y_pred=chosen.astype(int),
        sensitive_features=groups,
        n_boot=REPLICATES,
        ci_quantiles=[0.025, 0.975],
        random_state=0,
    ).difference_ci()
