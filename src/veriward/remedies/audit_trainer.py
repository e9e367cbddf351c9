"""A canary audit of a private trainer: does what it does agree with what it says it spent?

Steinke, Nasr & Jagielski, 2023 (arXiv:2305.08846), algorithm 1, with gradient canaries and the trade-off curve that the
trainer claims (Mahloujifar, Melis & Chaudhuri, 2024, arXiv:2410.22235) as the hypothesis. The auditor sees every noisy
gradient. One run at confidence .999 has to allow for a mechanism that gives everything away once in a thousand times; a few
independent runs, all of which have to disagree, need not, so their bound is tighter with the same confidence.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from veriward.checks.leakage.one_run import check_confidence
from veriward.checks.leakage.one_run_curve import Profile, largest, one_run_mu, refuted
from veriward.core.streams import Stream
from veriward.privacy.clipping.written import Loss
from veriward.privacy.dp.accountants import deltas_at, epsilon_at
from veriward.privacy.dp.bounds import check_count, check_delta
from veriward.privacy.dp.dp_sgd import PrivateTraining
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.noise import SimulatedSource
from veriward.privacy.dp.relation import Relation
from veriward.remedies.audit_canaries import (
    Planted,
    bound,
    check_rows,
    planted_loss,
    planted_rows,
    planted_settings,
    rate_of,
    reach,
)
from veriward.remedies.audit_settings import TrainerSettings

GUESSED = 0.15  # of the canaries: about the share whose bound is tightest for epsilon 1 to 8
POINTS = 40  # (epsilon, delta) pairs of a claimed curve
BEYOND, MOST = 2.0, 40.0  # the pairs go up to this many times the claimed epsilon; no count of guesses tells of more
MORE, LESS = 6, 4  # the noise multipliers that are tried go from 2**-4 to 2**6 times the stated one
HALVINGS = 11  # of that range: to half a percent of the multiplier


@dataclass(frozen=True)
class Audit:
    """What the audit found. `broken`: the claim is false with this confidence; `holds`: it was not refuted, no proof."""

    verdict: str  # holds | broken
    lower: float  # epsilon at delta that is ruled out, were the trainer's noise another than stated; 0 if none
    claimed: float  # epsilon at delta by the accountant
    delta: float
    mu: float  # the largest mu-Gaussian differential privacy that is ruled out
    canaries: int
    guesses: int  # in each run
    correct: tuple[int, ...]  # one per run
    confidence: float  # of all runs together
    steps: int
    relation: str  # between neighbouring data sets
    unit: str
    source: str = "simulation"  # of the noise: the audit's own trainings are worth nothing to anybody

    @property
    def tightness(self) -> float:
        """The lower bound, divided by the claimed epsilon."""
        return self.lower / self.claimed if self.claimed else math.inf


def self_audit(
    settings: TrainerSettings,
    module: nn.Module,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    delta: float,
    canaries: int = 5000,
    runs: int = 3,
    confidence: float = 0.999,
    seed: int = 0,
) -> Audit:
    """Train copies of a module with canaries planted, and compare what shows with what the trainer claims.

    settings: of the trainer, and which one. module, loss, x (n, ...), y (n, ...): as it takes them; they stay as they are.
    Where the number of rows is private a few rows are enough; with `Fixed` and `Shuffled` give all of them, canaries
    take the place of some and are at most as many. steps: of each run; the claim is about as many.

    A wrong divisor, or noise that one layer lacks, is out of this audit's sight: `replay` finds those. Raises SettingsError
    for values out of range, and what the trainer raises.

    >>> from veriward.privacy.dp.sampling import Full
    >>> x, y = torch.zeros(4, 2), torch.zeros(4)
    >>> settings = TrainerSettings(sampler=Full(), clip=1.0, noise_multiplier=2.0, divisor=1000)
    >>> found = self_audit(settings, nn.Linear(2, 1), lambda out, y: out[:, 0] - y, x, y, steps=2, delta=1e-5, canaries=2000)
    >>> found.verdict, found.lower < found.claimed, found.source
    ('holds', True, 'simulation')
    """
    check_rows(x, y, canaries)
    steps, runs, delta = check_count("steps", steps), check_count("runs", runs), check_delta(delta)
    alone = 1 - check_confidence(confidence) ** (1 / runs)  # all runs have to err for the audit to err
    relation = settings.sampler.event(settings.noise_multiplier, steps).relation
    count = canaries if relation is Relation.ADD_OR_REMOVE else min(canaries, len(x))
    guesses = max(2, 2 * round(GUESSED * count / 2))
    correct, training = [], None
    for run in range(runs):
        stream = Stream.of(seed, "remedies/self_audit").child(f"run {run}")
        training, right = _run(settings, module, loss, x, y, steps, count, guesses, relation, stream)
        correct.append(right)
    assert training is not None
    told = _Told(tuple(correct), guesses, count, alone, delta)
    return _judged(training, told, confidence)


@dataclass(frozen=True)
class _Told:
    """The guesses of all runs, and what they exclude; `confidence` is that of a single run."""

    correct: tuple[int, ...]
    guesses: int
    canaries: int
    confidence: float
    delta: float

    def excludes(self, event: Event) -> bool:
        return refuted(
            _profile(event, self.delta), guesses=self.guesses, correct=min(self.correct), canaries=self.canaries,
            confidence=self.confidence,
        )  # fmt: skip

    def mu(self) -> float:
        return one_run_mu(
            guesses=self.guesses, correct=min(self.correct), canaries=self.canaries, confidence=self.confidence
        )


@lru_cache(maxsize=256)
def _profile(event: Event, delta: float) -> Profile:
    """Return the claim of an event: pairs around the epsilon at delta, closer to each other below it."""
    accountant = _accountant(event)
    top = min(MOST, BEYOND * epsilon_at(event, delta, accountant))
    epsilons = [top * (i / POINTS) ** 2 for i in range(POINTS + 1)]
    return Profile(epsilons, deltas_at(event, epsilons, accountant))


def _accountant(event: Event) -> str:
    return "rdp" if event.sampling == "fixed" else "pld"


def _judged(training: PrivateTraining, told: _Told, confidence: float) -> Audit:
    record = training.trained()
    return Audit(
        verdict="broken" if told.excludes(record.event) else "holds",
        lower=_lower(training, told),
        claimed=record.epsilon(told.delta),
        delta=told.delta,
        mu=told.mu(),
        canaries=told.canaries,
        guesses=told.guesses,
        correct=told.correct,
        confidence=confidence,
        steps=record.steps,
        relation=record.event.relation.value,
        unit=record.event.unit,
    )


def _lower(training: PrivateTraining, told: _Told) -> float:
    """Return the epsilon at delta of the least noise that is excluded: the same training, were its multiplier another."""
    record = training.trained()

    def event(halved: float) -> Event:
        return record.terms.sampler.event(record.terms.noise_multiplier * 2.0**-halved, record.paid)

    if not told.excludes(event(-MORE)):
        return 0.0
    halved = largest(lambda h: told.excludes(event(h)), -MORE, LESS, HALVINGS)
    return epsilon_at(event(halved), told.delta, _accountant(record.event))


def _run(
    settings: TrainerSettings, module: nn.Module, loss: Loss, x: Tensor, y: Tensor, steps: int, count: int, guesses: int,
    relation: Relation, stream: Stream,
) -> tuple[PrivateTraining, int]:  # fmt: skip
    """Train once and guess; return the trainer, and how many of the guesses were right."""
    coins = (
        stream.child("coins").bits(torch.arange(count), 1)[:, 0] < 0
    )  # the sign bit: fair, and the trainer's to guess
    rows, targets = planted_rows(x, y, coins, relation)
    source = SimulatedSource(stream.child("training"))
    planted = Planted(module, x, count)
    training = planted_settings(settings, len(rows)).training(planted, planted_loss(loss), rows, targets, source)
    scores = _scores(training, steps, relation)
    order = scores.argsort()
    half = guesses // 2
    return training, int(coins[order[-half:]].sum()) + int((~coins[order[:half]]).sum())


def _scores(training: PrivateTraining, steps: int, relation: Relation) -> Tensor:
    """Return how much the noisy sums speak for the presence of each canary, (m,): logarithms of likelihood ratios."""
    planted = training.module
    assert isinstance(planted, Planted)
    weight = planted.get_parameter("canary.weight")
    scores = torch.zeros(len(weight), dtype=torch.float64)
    for step in range(steps):
        planted.reach = reach(training.rule, step)
        std = training.terms.std(training.rule)
        signal, rate = bound(training.rule) / std, rate_of(training.terms.sampler)
        training.step()
        assert weight.grad is not None
        seen = weight.grad[:, 0].double().cpu() * training.terms.divisor / std
        scores += _evidence(seen, signal, rate)
        scores -= _evidence(-seen, signal, rate) if relation is Relation.REPLACE else 0.0
    return scores


def _evidence(seen: Tensor, signal: float, rate: float) -> Tensor:
    """Return log of (1 - rate) N(0, 1) + rate N(signal, 1) over N(0, 1) at seen (m,)."""
    whole = seen * signal - signal**2 / 2
    return whole if rate >= 1 else torch.logaddexp(torch.full_like(whole, math.log1p(-rate)), whole + math.log(rate))
