"""Fairness intervals on an Adult-sized table: 5 groups, 3 metrics. Ours are exact; the peer bootstraps (fairlearn)."""

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from veriward.checks.fairness.groups import compare
from veriward.checks.fairness.rates import count

ROWS, GROUPS, REPLICATES, TURNS = 16_281, 5, 50, 3
SHARES = (0.85, 0.10, 0.03, 0.01, 0.01)


def run() -> dict[str, object]:
    """Time ours and the peer in turn; CPU seconds, medians and the ratio."""
    generator = np.random.default_rng(0)
    groups = generator.choice([f"g{i}" for i in range(GROUPS)], ROWS, p=SHARES)
    deserved = generator.random(ROWS) < 0.24
    chosen = np.where(generator.random(ROWS) < 0.85, deserved, ~deserved)

    def ours() -> object:
        return compare("race", count(chosen, deserved, groups))

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
    return {"median_cpu_seconds": medians, "all": seconds, "replicates_of_peer": REPLICATES}


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
