"""leakage/loss: does the loss tell who was in the training data? The floor that every leakage audit starts from.

Yeom et al., 2018 (arXiv:1709.01604), section 3: members have the smaller losses. Figures as Carlini et al., 2022
(arXiv:2112.03570), section III asks for: the true positive rate at a low false positive rate, not the average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import Check, Control, Job
from veriward.checks.registry import register
from veriward.checks.sampling import sample
from veriward.core.estimate import Estimate, not_estimable, proportion
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

ROWS: Mapping[str, int | None] = {"quick": 2_000, "standard": 20_000, "thorough": None}  # per side: one query each
BLOCK = 4096
RATES = (0.01, 0.1)


@dataclass(frozen=True)
class Losses:
    """Ask the model about a block of rows of one split."""

    def __call__(self, opened: Opened, item: tuple[str, Sequence[int]]) -> Mapping[str, Any]:
        """Return minus the cross-entropy of each row, (n,) float64: larger speaks for membership."""
        from veriward.adapters.model import logarithms

        which, rows = item[0], list(item[1])
        scores = opened.model.scores(opened.domain.decode(opened.encoded(which, rows)))  # type: ignore[union-attr]
        y = opened.targets[which][rows].to(scores.device)
        log_p = logarithms(scores, opened.output).gather(1, y[:, None]).squeeze(1)
        return {"score": log_p.cpu().numpy()}


@register
class Loss(Check):
    """Training rows against test rows, by the loss that the model has on them."""

    name = "leakage/loss"
    version = "1"
    question = "Can somebody who sees the model's scores tell which rows it was trained on?"
    needs = ("scores",)
    reads = ("model", "train", "test", "input")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse subjects without training rows."""
        return note("leakage.no_train") if opened.train is None else None

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one attacker: reads scores, knows the row and its label."""
        return (Threat("membership", "scores"),)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return how many rows a side may have."""
        return {"budget": budget, "rows": ROWS[budget]}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return Gaussian worlds: one that leaks by a known amount, one that does not leak."""
        from veriward.checks.leakage.gaussian import gaussian_controls

        return gaussian_controls()

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Compare the scores of members and non-members."""
        opened, most = job.opened, job.settings["rows"]
        assert opened.train is not None
        rows = {which: sample(job, f"rows {which}", len(opened.split(which)), most) for which in ("train", "test")}
        items = [
            (which, part[i : i + BLOCK].tolist()) for which, part in rows.items() for i in range(0, len(part), BLOCK)
        ]
        results = job.map("losses", Losses(), items)
        score = {
            which: np.concatenate([r["score"] for (w, _), r in zip(items, results, strict=True) if w == which])
            for which in rows
        }
        outcome = np.full(opened.test.total, np.nan)
        outcome[opened.test.index[rows["test"]]] = -score["test"]
        return Evidence(
            self.name,
            self.version,
            threat,
            estimates(score["train"], score["test"]),
            outcomes={"loss": outcome},
            rows=len(rows["test"]) + len(rows["train"]),
            assumptions=(note("leakage.this_model_only"), note("leakage.test_rows_are_no_members")),
            untested=(note("leakage.floor_only"),),
        )


def estimates(members: np.ndarray[Any, Any], non_members: np.ndarray[Any, Any]) -> tuple[Estimate, ...]:
    """Return the area under the curve, and the true positive rate at 1 % FPR; where that cannot be seen, at 10 % too."""
    found = [_area(members, non_members)]
    for rate in RATES:
        found += _at_rate(members, non_members, rate)
        if found[-1].value is not None:
            break
    return tuple(found)


def _area(members: np.ndarray[Any, Any], non_members: np.ndarray[Any, Any]) -> Estimate:
    from scipy.special import ndtri

    from veriward.checks.leakage.delong import auc

    if min(len(members), len(non_members)) < 2:
        return not_estimable("auc", note("leakage.too_few_rows"), bound="lower")
    value, se = auc(members, non_members)
    half, n = float(ndtri(0.975)) * se, len(members) + len(non_members)
    # a perfect separation has no spread of its own: its interval is that of no error in the smaller side
    floor = 0.0 if se > 0 else 1 - 0.025 ** (1 / min(len(members), len(non_members)))
    low, high = max(0.0, value - max(half, floor)), min(1.0, value + max(half, floor))
    basis = {"kind": "normal", "value": value, "se": max(se, floor / float(ndtri(0.975))), "n": n}
    return Estimate("auc", value, low, high, n, "probability", "DeLong", bound="lower", basis=basis)


def _at_rate(members: np.ndarray[Any, Any], non_members: np.ndarray[Any, Any], rate: float) -> list[Estimate]:
    from veriward.checks.leakage.roc import estimable, operate
    from veriward.core.operating import counts

    at = {"fpr": rate}
    if not estimable(len(non_members), rate):
        why = note("leakage.too_few_non_members", n=len(non_members), wanted=round(10 / rate))
        return [not_estimable("tpr_at_fpr", why, at=at, bound="lower", unit="share of members", n=len(non_members))]
    point = operate(members, non_members, rate)
    return [
        proportion("realised_fpr", point.false_alarms, point.non_members, at=at, unit="share of non-members"),
        _rate(counts(members, non_members, rate), at),
    ]


def _rate(roc: Mapping[str, Any], at: Mapping[str, Any]) -> Estimate:
    from veriward.core.basis import interval, value

    middle, (low, high) = value(roc), interval(roc)
    method = "order statistics, Clopper-Pearson"
    low, high = min(low, middle), max(high, middle)  # ties can put the realised point outside
    unit, n = "share of members", roc["members"]
    return Estimate("tpr_at_fpr", middle, low, high, n, unit, method, at, bound="lower", basis=roc)
