"""certify/smoothing: how robust is the model that one gets by letting this one vote under Gaussian noise?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.balls import ROBUSTNESS_ROWS, ball_threats, default_eps, refusal
from veriward.checks.contract import Check, Control, Job
from veriward.checks.registry import register
from veriward.checks.sampling import sample
from veriward.core.errors import some
from veriward.core.evidence import MAX_WITNESSES, Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.certify.smoothed_bracket import SmoothedBracket
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

Array = np.ndarray[Any, Any]
GOAL = "misclassify_smoothed"  # another model is attacked than by evasion/l2
ALPHA = 0.001  # of each row's certificate
SIGMAS = (0.5, 1.0, 2.0)  # budgets of noise to choose from
BLOCK = 32  # rows per item
SURE, FEWEST = 0.05, 50  # of the certified rows are attacked all the same: a share, and at least so many
NUMBERS = ("numeric", "integer")
EXACT = note("smoothing.exact_arithmetic")


@dataclass(frozen=True)
class Effort:
    """What a budget buys."""

    rows: int
    choose: int  # draws that choose each row's class
    draws: int  # draws that estimate its chance
    tuning_rows: int
    tuning_draws: int
    noises: int  # draws in expectation over which the attack ascends
    steps: int
    restarts: int
    alpha: float = ALPHA

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Effort:
        """Return the effort that the check's settings describe."""
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__})


EFFORTS: Mapping[str, Effort] = {
    "quick": Effort(50, 50, 500, 24, 64, 8, 10, 1),
    "standard": Effort(100, 100, 1000, 48, 128, 16, 20, 1),
    "thorough": Effort(500, 100, 10_000, 200, 512, 32, 40, 2),
}


@register
class Smoothing(Check):
    """Certificates by votes, PREDICT, and attack in expectation over noise: the whole bracket of the smoothed model."""

    name = "certify/smoothing"
    version = "1"
    question = "How robust would the model be if it decided by vote under random noise?"
    needs = ("labels",)
    metrics = ("abstained_share", "certified_accuracy", "clean_accuracy", "robust_accuracy")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse other norms, columns without distances, and served models, which this would ask too often."""
        if (reason := refusal(opened, "l2")) is not None:
            return reason
        columns = getattr(opened.domain, "columns", ())
        jumps = [column.name for column in columns if column.movable and column.kind not in NUMBERS]
        if jumps:
            return note("smoothing.jumps", columns=some(jumps))
        return note("smoothing.served") if opened.format == "served" else None

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return one threat per eps of the subject, aimed at the smoothed model."""
        return tuple(replace(threat, goal=GOAL) for threat in ball_threats(opened, "l2"))

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return the effort as plain data."""
        return {"budget": budget, **EFFORTS[budget].__dict__}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return a linear model, whose distances are known, and one that noise makes answer by chance."""
        from veriward.checks.certify.planted_votes import smoothing_controls

        return smoothing_controls(gradients=opened.access == "gradients", table=hasattr(opened.domain, "columns"))

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Choose the noise on training rows, certify a sample of the test rows, and attack it."""
        from veriward.checks.certify.smoothed_bracket import SmoothedBracket
        from veriward.checks.certify.smoothing_rows import Certify

        opened, effort = job.opened, Effort.of(job.settings)
        rows = sample(job, ROBUSTNESS_ROWS, len(opened.test), effort.rows, shared=True)
        sigma, told = _sigma(job, threat, effort)
        work = Certify(threat, job.stream("noise"), effort.choose, effort.draws, effort.alpha)
        items = job.map("certify", work, [(sigma, part) for part in _parts(rows)])
        y = opened.targets["test"].cpu().numpy()[rows]
        chosen, radius, predicted = (
            np.concatenate([i[name] for i in items]) for name in ("chosen", "radius", "predicted")
        )
        votes = SmoothedBracket(y, chosen, radius, predicted, effort.alpha)
        found = _attacked(job, threat, effort, sigma, rows, votes)
        return Evidence(
            self.name,
            self.version,
            threat,
            found.estimates({**threat.knobs, "sigma": sigma}),
            outcomes={name: _spread(opened, rows, *column) for name, column in found.columns().items()},
            rows=len(rows),
            alarms=found.alarms(opened.test.index[rows]),
            witnesses=found.witnesses,
            assumptions=(
                note("smoothing.another_model", sigma=sigma, draws=effort.draws),
                *told,
                *_asked(opened),
                EXACT,
            ),
            untested=_untested(found),
        )


def _parts(rows: Array) -> list[list[int]]:
    return [rows[i : i + BLOCK].tolist() for i in range(0, len(rows), BLOCK)]


def _sigma(job: Job, threat: Threat, effort: Effort) -> tuple[float, list[Note]]:
    """Return the noise in budgets, and how it was chosen: on training rows, of which none is certified later."""
    from veriward.checks.certify.smoothing_rows import Tune

    if job.opened.train is None:
        return 1.0, [note("smoothing.sigma_fixed")]
    rows = np.sort(job.stream("tuning rows").generator().permutation(len(job.opened.train))[: effort.tuning_rows])
    work = Tune(threat, job.stream("noise"), effort.tuning_draws, effort.draws, effort.alpha)
    items = job.map("choose", work, [(sigma, rows.tolist()) for sigma in SIGMAS])
    counts = [item["certified"] for item in items]
    commonest = int(np.bincount(job.opened.targets["train"].cpu().numpy()[rows]).max())
    tried = ", ".join(f"{sigma:g}: {count}" for sigma, count in zip(SIGMAS, counts, strict=True))
    return best_sigma(counts, commonest), [note("smoothing.sigma_chosen", rows=len(rows), tried=tried)]


def best_sigma(certified: Sequence[int], commonest: int) -> float:
    """Return the noise with most certified rows, the smallest of equals; noise that helps no more than one answer is none.

    Enough noise makes any model say one class for every row, certified and useless: what certifies no more rows than
    the commonest class has does not count, and the smallest noise leaves most of the accuracy.

    >>> best_sigma([3, 20, 9], 8), best_sigma([0, 0, 8], 8)
    (1.0, 0.5)
    """
    best = int(np.argmax(certified))
    return SIGMAS[best] if certified[best] > commonest else SIGMAS[0]


def _attacked(
    job: Job, threat: Threat, effort: Effort, sigma: float, rows: Array, found: SmoothedBracket
) -> SmoothedBracket:
    """Return what the attack makes of the rows: nothing where there are no gradients to ascend."""
    from veriward.checks.certify.eot import EOT
    from veriward.checks.certify.smoothing_rows import Attack

    if not hasattr(job.opened.model, "forward"):
        return found
    where = found.to_attack(job.stream("doubt").generator(), SURE, FEWEST)
    eot = EOT(effort.noises, effort.steps, effort.restarts)
    work = Attack(threat, job.stream("noise"), eot, effort.choose, effort.draws, effort.alpha)
    parts = _parts(rows[where])
    keep = -(-MAX_WITNESSES // max(len(parts), 1))
    return found.after(where, job.map("attack", work, [(sigma, part, keep) for part in parts]))


def _spread(opened: Opened, rows: Array, values: Array, absent: float) -> Array:
    """Return the values over the whole test split."""
    whole = np.full(opened.test.total, absent, values.dtype)
    whole[opened.test.index[rows]] = values
    return whole


def _asked(opened: Opened) -> list[Note]:
    """Say where the base model was asked, and what budget was assumed."""
    columns = getattr(opened.domain, "columns", None)
    if columns is not None:
        whole = [column.name for column in columns if column.movable and column.kind == "integer"]
        return [note("smoothing.fractions", columns=some(whole))] if whole else []
    notes = [note("smoothing.beyond_bounds", low=opened.domain.low, high=opened.domain.high)]  # type: ignore[attr-defined]
    if opened.subject.threat.evasion.eps is None:
        notes.append(note("evasion.default_eps", eps=default_eps(opened)))
    return notes


def _untested(found: SmoothedBracket) -> tuple[Note, ...]:
    if found.broken is None:
        return note("smoothing.not_attacked"), note("smoothing.no_training")
    return note("smoothing.one_attack"), note("smoothing.no_training")
