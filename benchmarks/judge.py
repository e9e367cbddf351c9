"""Does the judge keep its promises? Simulated subjects with the truth exactly at a limit, and ten points beyond it.

At the limit either verdict is wrong, so each must stay below 5 %: of 1000 simulations at most 64 (the 97.5 % point of a
Binomial(1000, .05) is 64). Beyond the limit the share of `fail` is the power.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from veriward.core.estimate import Estimate, gap, proportion
from veriward.core.evidence import Evidence
from veriward.core.judge import judge, verdict_of
from veriward.core.policy import Limit, Policy
from veriward.core.threat import Threat

SIMULATIONS = 1000
SEED = 20_26
THREAT = Threat("none", "labels")
ACCURACY = {"metric": "accuracy", "pass": ">= 0.8"}
GAP = {"metric": "gap", "pass": "<= 0.10"}
RATE = {"metric": "tpr_at_fpr", "pass": "<= 0.10", "sufficient": "standard"}
FIVE = (5, 400, 600, 900, 1500)  # rows of five groups; the smallest has five
Draw = Callable[[np.random.Generator], list[Estimate]]


@dataclass(frozen=True)
class Scene:
    """A truth, the limits it is held against, and what is expected of the verdicts."""

    name: str
    limits: Sequence[dict[str, str]]
    draw: Draw
    expected: str


def accuracy(n: int, truth: float, metric: str = "accuracy") -> Draw:
    """Return a drawer of one share of n rows."""
    return lambda generator: [proportion(metric, int(generator.binomial(n, truth)), n)]


def gaps(sizes: Sequence[int], truths: Sequence[float]) -> Draw:
    """Return a drawer of one gap between groups with the given sizes and true shares."""
    return lambda generator: [
        gap("gap", [[[int(generator.binomial(n, p)), n] for n, p in zip(sizes, truths, strict=True)]])
    ]


def three(truths: Sequence[float]) -> Draw:
    """Return a drawer of three independent shares of 2000 rows."""
    return lambda generator: [
        proportion(f"accuracy {i}", int(generator.binomial(2000, p)), 2000) for i, p in enumerate(truths)
    ]


def rate(members: int, non_members: int, truth: float) -> Draw:
    """Return a drawer of a true positive rate at 1 % FPR, in a Gaussian world of that truth."""
    shift = float(ndtri(0.99) - ndtri(1 - truth))

    def draw(generator: np.random.Generator) -> list[Estimate]:
        from veriward.checks.leakage.loss import estimates

        found = estimates(generator.normal(size=members) + shift, generator.normal(size=non_members))
        return [estimate for estimate in found if estimate.metric == "tpr_at_fpr"]

    return draw


AT = "fail <= 64, pass <= 64"
SCENES = (
    Scene("accuracy at the limit, n = 2000", [ACCURACY], accuracy(2000, 0.8), AT),
    Scene("accuracy at the limit, n = 200", [ACCURACY], accuracy(200, 0.8), AT),
    Scene("gap of 2 x 2000 at the limit", [GAP], gaps((2000, 2000), (0.5, 0.6)), AT),
    Scene("gap of 2 x 2000 at the limit, rare outcome", [GAP], gaps((2000, 2000), (0.01, 0.11)), AT),
    Scene("gap over 5 groups at the limit", [GAP], gaps(FIVE, (0.5, 0.52, 0.55, 0.58, 0.6)), AT),
    Scene("gap over 5 groups at the limit, small group apart", [GAP], gaps(FIVE, (0.5, 0.6, 0.6, 0.6, 0.6)), AT),
    Scene("gap over 5 groups at the limit, large groups apart", [GAP], gaps(FIVE, (0.55, 0.55, 0.55, 0.5, 0.6)), AT),
    Scene("TPR at 1 % FPR at the limit, 1000 rows a side", [RATE], rate(1000, 1000, 0.1), AT),
    Scene("TPR at 1 % FPR at the limit, 4000 rows a side", [RATE], rate(4000, 4000, 0.1), AT),
    Scene(
        "three limits, all at the limit",
        [{"metric": f"accuracy {i}", "pass": ">= 0.8"} for i in range(3)],
        three((0.8, 0.8, 0.8)),
        "any fail <= 64",
    ),
    Scene("accuracy ten points below, n = 2000", [ACCURACY], accuracy(2000, 0.7), "fail >= 900"),
    Scene("gap of 2 x 2000, ten points above", [GAP], gaps((2000, 2000), (0.4, 0.6)), "fail >= 900"),
    Scene("TPR at 1 % FPR, ten points above, 4000 rows a side", [RATE], rate(4000, 4000, 0.2), "power, printed"),
    Scene("gap over 5 groups, ten points above", [GAP], gaps(FIVE, (0.5, 0.5, 0.5, 0.4, 0.6)), "power, printed"),
    Scene("gap over 5 groups, small group apart", [GAP], gaps(FIVE, (0.4, 0.6, 0.6, 0.6, 0.6)), "power, printed"),
)


def simulate(scene: Scene, simulations: int = SIMULATIONS) -> dict[str, int]:
    """Return how often each verdict came out."""
    policy = Policy(name="simulated", limit=tuple(Limit(check="*", **limit) for limit in scene.limits))
    generator = np.random.default_rng([SEED, len(scene.name)])
    counts = {"fail": 0, "pass": 0, "inconclusive": 0}
    for _ in range(simulations):
        evidence = Evidence("simulated", "1", THREAT, tuple(scene.draw(generator)))
        counts[verdict_of(judge({"simulated": evidence}, policy)["simulated"])] += 1
    return counts


def holds(scene: Scene, counts: dict[str, int]) -> bool:
    """Return whether the counts are as expected."""
    if scene.expected == AT:
        return counts["fail"] <= 64 and counts["pass"] <= 64
    return {"any fail <= 64": counts["fail"] <= 64, "fail >= 900": counts["fail"] >= 900}.get(scene.expected, True)


def run() -> list[dict[str, object]]:
    """Simulate every scene and print a line for each."""
    rows: list[dict[str, object]] = []
    for scene in SCENES:
        counts = simulate(scene)
        rows.append({"scene": scene.name, **counts, "expected": scene.expected, "holds": holds(scene, counts)})
        mark = "ok" if rows[-1]["holds"] else "BROKEN"
        print(f"{mark:6} {scene.name:52} {counts}  expected: {scene.expected}", flush=True)
    return rows
