"""Is the audit of private training right, and how much does it see? Honest trainers, planted faults, and tightness.

An honest trainer must never be accused at .999 (100 audits of three runs, 100 replays); each planted fault must be caught by
the audit or by the replay in at least 9 of 10 seeds. Tightness is the lower bound divided by the claimed epsilon.
"""

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from veriward.core.streams import Stream
from veriward.privacy import dp
from veriward.remedies import Audit, TrainerSettings, replay, self_audit
from veriward.remedies.audit_planted import FAULTS

HONEST = int(os.environ.get("VERIWARD_BENCH_AUDITS", "100"))
SEEDS = 10
RATE, STEPS, DELTA = 0.1, 40, 1e-5
STREAM = Stream.of(26, "benchmarks/dp_audit")
X = STREAM.normal(torch.arange(256), (20,))
Y = (X[:, 0] > 0).long()


def loss(output: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(output, y, reduction="none")


def network() -> nn.Module:
    net = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 2))
    for place, parameter in enumerate(net.parameters()):
        parameter.data = 0.3 * STREAM.child(f"weight {place}").normal(torch.arange(len(parameter)), parameter.shape[1:])
    return net


def poisson(epsilon: float) -> TrainerSettings:
    sigma = dp.noise_multiplier(epsilon=epsilon, sampling_rate=RATE, steps=STEPS, delta=DELTA)
    return TrainerSettings(sampler=dp.Poisson(RATE), clip=1.0, noise_multiplier=sigma, divisor=300)


def full(epsilon: float) -> TrainerSettings:
    sigma = dp.noise_multiplier(epsilon=epsilon, steps=STEPS, delta=DELTA)
    return TrainerSettings(sampler=dp.Full(), clip=1.0, noise_multiplier=sigma, divisor=3000)


def audit(settings: TrainerSettings, seed: int, **other: Any) -> Audit:
    return self_audit(settings, network(), loss, X, Y, steps=STEPS, delta=DELTA, seed=seed, **other)


def honest() -> dict[str, Any]:
    """Return how often the honest trainer is accused, by either instrument."""
    settings = poisson(3.0)
    found = [audit(settings, seed) for seed in range(HONEST)]
    replayed = [replay(settings, network(), loss, X, Y, seed=seed) for seed in range(HONEST)]
    return {
        "audits": len(found),
        "accused": sum(each.verdict == "broken" for each in found),
        "largest bound / claimed": round(max(each.tightness for each in found), 3),
        "replays": len(replayed),
        "with a problem": sum(not each.clean for each in replayed),
    }


def caught(epsilon: float) -> dict[str, dict[str, int]]:
    """Return in how many of ten seeds each fault is caught, by instrument."""
    counts = {}
    for name, fault in FAULTS.items():
        settings = fault(poisson(epsilon))
        audits = [audit(settings, seed).verdict == "broken" for seed in range(SEEDS)]
        replays = [not replay(settings, network(), loss, X, Y, seed=seed).clean for seed in range(SEEDS)]
        either = sum(a or r for a, r in zip(audits, replays, strict=True))
        counts[name] = {"audit": sum(audits), "replay": sum(replays), "either": either, "of": SEEDS}
    return counts


def tightness() -> dict[str, dict[str, float]]:
    """Return the mean of lower bound / claimed epsilon over three audits."""
    found: dict[str, dict[str, float]] = {}
    for name, settings in (("Poisson", poisson), ("full batch", full)):
        for canaries, runs in ((2000, 1), (5000, 3), (10_000, 6)):
            key = f"{name}, {canaries} canaries, runs: {runs}"
            found[key] = {}
            for epsilon in (1.0, 3.0, 8.0):
                ratios = [audit(settings(epsilon), seed, canaries=canaries, runs=runs).tightness for seed in range(3)]
                found[key][f"epsilon {epsilon:g}"] = round(sum(ratios) / len(ratios), 2)
    return found


def run() -> dict[str, Any]:
    """Return all three, and print them."""
    result: dict[str, Any] = {}
    for name, part in (("honest", honest), ("caught", lambda: caught(3.0)), ("tightness", tightness)):
        result[name] = part()
        print(name, result[name], flush=True)
    return result
