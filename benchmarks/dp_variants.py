"""The tables of docs/dp-training.md (noise), docs/dp-pate.md and docs/dp-search.md: simulated noise, fixed seeds."""

import math
import statistics
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

from veriward.core.streams import Stream
from veriward.privacy.clipping import Flat
from veriward.privacy.dp import BandedNoise, Cyclic, Poisson, PrivateTraining, SimulatedSource, TreeNoise
from veriward.privacy.dp.accountants import epsilon_at
from veriward.privacy.dp.accounting import noise_multiplier
from veriward.privacy.dp.calibrate import smallest
from veriward.privacy.dp.pate import ask, count_votes, parts, teach
from veriward.privacy.dp.search import Trainings, plan_all, plan_public, plan_random
from veriward.privacy.dp.step_noise import LaplaceNoise
from veriward.privacy.dp.votes import Aggregator, ConfidentGNMax, GNMax

STREAM = Stream.of(0, "benchmarks/dp_variants")
EPSILON, DELTA = 3.0, 1e-5
BATCH, ROWS, STEPS = 128, 1347, 100  # ten passes of ten steps
RATES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of learning: the best of each noise is told


def prefix_errors() -> list[dict[str, float]]:
    """Return the root mean square of the noise on prefix sums, by number of passes of 100 steps."""
    found = []
    for passes in (1, 5, 20):
        steps, sampler = 100 * passes, Cyclic(1, rows=100)
        bands = {
            f"bands {b}": BandedNoise(steps, b).prefix_error(sampler)
            for b in dict.fromkeys((1, 8, min(100, steps), steps))
        }
        found.append({"passes": passes, "tree": TreeNoise(steps).prefix_error(sampler), **bands})
    return found


def settings() -> dict[str, dict[str, Any]]:
    """Return what each noise trains with, all at EPSILON."""
    cyclic, rate = Cyclic(BATCH, rows=ROWS), 0.1
    whole = noise_multiplier(epsilon=EPSILON, delta=DELTA, steps=1)
    tree, bands = TreeNoise(STEPS), BandedNoise(STEPS, cyclic.span)
    gaussian = noise_multiplier(epsilon=EPSILON, delta=DELTA, steps=STEPS, sampling_rate=rate)

    def laplace(scale: float) -> float:
        return epsilon_at(LaplaceNoise().event(Poisson(rate), scale, STEPS), DELTA, "pld")

    sampled: dict[str, Any] = {"sampler": Poisson(rate), "divisor": BATCH}
    return {
        "gaussian, poisson": {**sampled, "noise_multiplier": gaussian, "clip": 1.0},
        "laplace, poisson": {
            **sampled, "noise_multiplier": smallest(EPSILON, rough=laplace, exact=laplace), "clip": Flat(8.0, order=1)
        },
        "gaussian, cyclic": {"sampler": cyclic, "noise_multiplier": whole * math.sqrt(STEPS / cyclic.span), "clip": 1.0},
        "tree": {"sampler": cyclic, "noise": tree, "noise_multiplier": whole * tree.sensitivity(cyclic), "clip": 1.0},
        "bands": {"sampler": cyclic, "noise": bands, "noise_multiplier": whole * bands.sensitivity(cyclic), "clip": 1.0},
    }  # fmt: skip


def accuracy(setting: dict[str, Any], rate: float, seed: int) -> float:
    """Return the test accuracy of a logistic regression of digits."""
    x, y = load_digits(return_X_y=True)
    rows, labels = torch.tensor(x / 16).float(), torch.tensor(y)
    order = torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).permutation(len(y)))
    train, test = order[:ROWS], order[ROWS:]
    net = nn.Linear(64, 10)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    PrivateTraining(
        net, lambda out, y: nn.functional.cross_entropy(out, y, reduction="none"), rows[train], labels[train],
        optimiser=torch.optim.SGD(net.parameters(), lr=rate),
        source=SimulatedSource(STREAM.child(f"training {seed}")), **setting,
    ).run(STEPS)  # fmt: skip
    return float((net(rows[test]).argmax(1) == labels[test]).float().mean())


def digits() -> dict[str, dict[str, float]]:
    """Return accuracy by noise: mean and standard deviation of five seeds, at its best learning rate."""
    found = {}
    for name, setting in settings().items():
        scores = {rate: [accuracy(setting, rate, seed) for seed in range(5)] for rate in RATES}
        best = max(scores, key=lambda rate: statistics.mean(scores[rate]))
        found[name] = {
            "accuracy": statistics.mean(scores[best]), "deviation": statistics.stdev(scores[best]), "rate": best,
            "noise_multiplier": setting["noise_multiplier"],
        }  # fmt: skip
    return found


def students() -> list[dict[str, Any]]:
    """Return what students of digits learn from noisy votes: mean of ten seeds, epsilon at 1e-4."""

    def fit(x: Any, y: Any, seed: int) -> Any:
        return LogisticRegression(max_iter=300).fit(x, y).predict

    cases: list[tuple[int, Aggregator, int]] = [
        (100, GNMax(20.0), 100),
        (100, GNMax(15.0), 100),
        (100, ConfidentGNMax(50.0, 40.0, 15.0), 100),
        (150, GNMax(20.0), 200),
    ]
    pixels, y = load_digits(return_X_y=True)
    x, found = pixels / 16, []
    for teachers, aggregator, most in cases:
        told = []
        for seed in range(10):
            source = SimulatedSource(STREAM.child(f"votes {seed}"))
            order = np.random.Generator(np.random.PCG64(seed)).permutation(len(x))
            private, public, test = order[:1200], order[1200:1500], order[1500:]
            team = teach(fit, x[private], y[private], parts(1200, teachers, source), teachers, seed)
            answers = ask(count_votes(team, x[public], 10), aggregator, source, most=most)
            learned = fit(x[public][answers.answered], answers.labels[answers.answered], seed)(x[test])
            holder = answers.holder
            told.append((np.mean(learned == y[test]), answers.epsilon(1e-4), holder.epsilon(1e-4), holder.agreement))
        names = ("accuracy", "epsilon", "data_dependent", "agreement")
        means = dict(zip(names, np.mean(told, axis=0).tolist(), strict=True))
        found.append({"teachers": teachers, "aggregator": repr(aggregator), "answers": most, **means})
    return found


def searches() -> list[dict[str, float]]:
    """Return the noise multiplier of each training by how the search is paid."""
    setting, found = Trainings(steps=500, sampling_rate=0.01), []
    for count in (1, 4, 16):
        plans = {"all": plan_all(EPSILON, DELTA, count, setting), "public": plan_public(EPSILON, DELTA, count, setting)}
        for name, shape in (("geometric", 1.0), ("logarithmic", 0.0), ("poisson", math.inf)):
            plans[name] = plan_random(EPSILON, DELTA, count, setting, mean=count, shape=shape)
        found.append({"candidates": count, **{name: plan.noise_multiplier for name, plan in plans.items()}})
    return found


def run() -> dict[str, Any]:
    """Print and return all tables."""
    torch.set_num_threads(1)
    result = {"prefix_error": prefix_errors(), "search": searches(), "pate": students(), "digits": digits()}
    for name, table in result.items():
        print(name)
        for line in table.items() if isinstance(table, dict) else table:
            print("  ", line)
    return result
