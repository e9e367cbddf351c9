"""What evasion/linf, evasion/l2 and evasion/l1 share: rows, plan, attack, and the evidence of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from veriward.checks.balls import ROBUSTNESS_ROWS, ball_threats, refusal
from veriward.checks.contract import Check, Control, Job, Work
from veriward.checks.evasion.alarms import alarms
from veriward.checks.evasion.plans import EFFORTS, Effort, plan
from veriward.checks.sampling import sample
from veriward.core.errors import some
from veriward.core.estimate import Estimate, not_estimable, proportion
from veriward.core.evidence import MAX_WITNESSES, Evidence, Witness
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.evasion.attack import Attack
    from veriward.core.ball import Norm
    from veriward.core.policy import Budget
    from veriward.core.streams import Stream
    from veriward.core.subject import Subject

FEWEST_DLR = 4  # classes that the DLR of AutoAttack needs
BLOCK, WHOLE_BLOCK = 512, 1024  # rows per item: some tiles; tree models and callables want whole batches
SURE, FEWEST = 0.05, 50  # of the certified rows are attacked all the same: a share, and at least so many


class BallCheck(Check):
    """Attacks inside a ball: gradients where the model gives them, then the black box; tables within their domain."""

    norm: ClassVar[Norm]
    version = "2"
    needs = ("labels",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    metrics: ClassVar[tuple[str, ...]] = (
        *("attack_success_rate", "clean_accuracy", "robust_accuracy"),
        *("moved_share", "relative_change_p95", "error_increase"),
    )
    after: ClassVar[tuple[str, ...]] = ("certify/bounds",)

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse subjects whose attacker uses other norms, and tables in which nothing can be moved."""
        return refusal(opened, self.norm)

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return one threat per eps of the subject."""
        return ball_threats(opened, self.norm)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return the effort as plain data."""
        return {"budget": budget, **EFFORTS[budget].__dict__}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return linear models, on which the truth is a formula, reached as this subject is."""
        from veriward.checks.evasion.linear import linear_controls

        return linear_controls(self.norm, access=opened.access, table=hasattr(opened.domain, "columns"))

    def rows(self, job: Job, effort: Effort) -> np.ndarray[Any, Any]:
        """Return the numbers of the test rows to measure on, sorted."""
        return sample(job, ROBUSTNESS_ROWS, len(job.opened.test), effort.rows, shared=True)

    def attacks(self, job: Job, threat: Threat, effort: Effort) -> tuple[Attack, ...]:
        """Return what attacks the rows, cheapest first; imitations are trained before."""
        from veriward.checks.evasion.transfer import armed

        return armed(plan(job.opened, self.norm, effort), job, threat)

    def work(self, threat: Threat, stream: Stream, attacks: tuple[Attack, ...]) -> Work:
        """Return the work on one block of rows of a classifier."""
        from veriward.checks.evasion.rows import AttackRows

        return AttackRows(threat, stream, attacks)

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Attack a seeded sample of the test rows; robust means that no attack of the plan broke the row."""
        from veriward.checks.evasion.farthest import MoveRows

        opened, effort = job.opened, Effort.of(job.settings)
        attacks = self.attacks(job, threat, effort)
        rows = self.rows(job, effort)
        proved = _proved(job, threat, rows)
        attacked = rows[~proved | _doubted(job, rows, proved)]
        blocks = _blocks(attacked, BLOCK if opened.format in BATCHED else WHOLE_BLOCK)
        if opened.task == "regression":
            from veriward.checks.evasion.moved import moved_evidence

            moved = job.map("move", MoveRows(threat, job.stream("attack"), attacks), blocks)
            notes = _assumptions(opened, threat, 0), _untested(attacks, None)
            return moved_evidence(self, threat, opened, rows, moved, attacks, notes)
        items = job.map("attack", self.work(threat, job.stream("attack"), attacks), blocks)
        return _evidence(self, threat, job, rows, attacked, items, attacks)


BATCHED = ("module", "pt2", "safetensors", "served")


def _proved(job: Job, threat: Threat, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return which rows are certified under the very same threat, (n,) of booleans."""
    evidence = job.evidence("certify/bounds", threat)
    if evidence is None:
        return np.zeros(len(rows), dtype=bool)
    return np.asarray(evidence.outcomes["certified"][job.opened.test.index[rows]] == 1)


def _doubted(job: Job, rows: np.ndarray[Any, Any], proved: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return which certified rows are attacked all the same: a random 5 %, at least 50."""
    certified = np.flatnonzero(proved)
    most = max(FEWEST, int(np.ceil(SURE * len(certified))))
    doubted = np.zeros(len(rows), dtype=bool)
    doubted[job.stream("doubt").generator().permutation(certified)[:most]] = True
    return doubted


def _blocks(rows: np.ndarray[Any, Any], size: int) -> list[tuple[list[int], int]]:
    """Return items of work: row numbers, and how many examples each may keep, at most 20 in all."""
    count = -(-len(rows) // size)
    parts = [part.tolist() for part in np.array_split(rows, count)] if count else []
    share = MAX_WITNESSES // max(len(parts), 1)
    return [(part, share or int(number < MAX_WITNESSES)) for number, part in enumerate(parts)]


def _evidence(
    check: Check,
    threat: Threat,
    job: Job,
    rows: np.ndarray[Any, Any],
    attacked: np.ndarray[Any, Any],
    items: Sequence[Mapping[str, Any]],
    attacks: Sequence[Attack],
) -> Evidence:
    opened = job.opened
    joined = {"correct": np.ones(len(rows), np.int8), "by": np.full(len(rows), -1, np.int8)}
    joined["spent"] = np.full(len(rows), np.nan, np.float32)
    place = np.searchsorted(rows, attacked)
    for name, values in joined.items():  # rows that were certified and not attacked are correct and unbroken
        if items:
            values[place] = np.concatenate([item[name] for item in items])
    broken = (joined["by"] >= 0).astype(np.int8)
    witnesses = sorted((Witness(**w) for item in items for w in item["witnesses"]), key=_price)
    return Evidence(
        check.name,
        check.version,
        threat,
        _estimates(joined["correct"], broken, dict(threat.knobs)),
        outcomes=_outcomes(opened, rows, joined["correct"], broken, joined["spent"]),
        rows=len(rows),
        alarms=alarms(joined["correct"], joined["by"], items, attacks),
        witnesses=tuple(witnesses[:MAX_WITNESSES]),
        assumptions=(*_assumptions(opened, threat, len(rows) - len(attacked)), *_rounding(items)),
        untested=_untested(attacks, job.evidence("certify/bounds", threat)),
    )


def _price(witness: Witness) -> tuple[float, float]:
    """Sort tables by how many columns change and then by how much; pictures by how much alone."""
    columns = 0 if "clean" in witness.details else witness.details["changed"]
    return columns, witness.size


def _estimates(correct: Any, broken: Any, at: Mapping[str, Any]) -> tuple[Estimate, ...]:
    n, right, fell = len(correct), int(correct.sum()), int(broken.sum())
    success = (
        proportion("attack_success_rate", fell, right, at=at, bound="lower", unit="share of correct rows")
        if right
        else not_estimable("attack_success_rate", note("evasion.none_correct"), at=at, bound="lower")
    )
    return (
        proportion("robust_accuracy", right - fell, n, at=at, bound="upper"),
        proportion("clean_accuracy", right, n),
        success,
    )


def _outcomes(opened: Opened, rows: Any, correct: Any, broken: Any, spent: Any) -> dict[str, Any]:
    """Return arrays over the whole test split: 1, 0, and -1 for rows that were not looked at."""
    where = opened.test.index[rows]
    columns = {"correct": correct, "broken": broken, "robust": correct & (1 - broken)}
    outcomes: dict[str, Any] = {name: np.full(opened.test.total, -1, np.int8) for name in columns}
    for name, values in columns.items():
        outcomes[name][where] = values
    outcomes["spent"] = np.full(opened.test.total, np.nan, np.float32)
    outcomes["spent"][where] = spent
    return outcomes


def _rounding(items: Sequence[Mapping[str, Any]]) -> tuple[Note, ...]:
    """Name the successes that were not counted because the same network in float64 decides otherwise."""
    rows = sum(item["contradicted"] for item in items)
    return (note("evasion.rounding", times=rows),) if rows else ()


def _assumptions(opened: Opened, threat: Threat, spared: int) -> tuple[Note, ...]:
    notes = [note("evasion.certified_spared", rows=spared)] if spared else []
    if hasattr(opened.domain, "columns"):
        moved = [column.name for column in opened.domain.columns if column.movable]
        notes.append(note("evasion.columns_moved", columns=some(moved)))
        silent = [c.name for c in opened.domain.columns if c.movable and c.change is None and c.eps is None]
        if silent and threat.knobs.get("eps") is None:
            notes.append(note("evasion.default_budget", columns=some(silent)))
    elif opened.subject.threat.evasion.eps is None and "eps" in threat.knobs:
        notes.append(note("evasion.default_eps", eps=threat.knobs["eps"]))
    if opened.subject.threat.evasion.search == "bfloat16" and hasattr(opened.model, "forward"):
        notes.append(note("evasion.coarse_search"))
    if opened.subject.threat.evasion.plan == "strict-autoattack" and 0 < len(opened.classes) < FEWEST_DLR:
        notes.append(note("evasion.strict_few_classes", classes=len(opened.classes)))
    return tuple(notes)


def _untested(attacks: Sequence[Attack], certificate: Evidence | None) -> tuple[Note, ...]:
    """Name what an expert would still try."""
    missing = [] if certificate is not None else [note("evasion.no_certificate")]
    if not any(attack.reads == "labels" for attack in attacks):
        missing.append(note("evasion.no_decision_or_transfer"))
    white = any(attack.reads == "gradients" for attack in attacks)
    return tuple(missing if white else [note("evasion.no_gradients"), *missing])
