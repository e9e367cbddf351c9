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
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

ROWS: Mapping[str, int | None] = {"quick": 2_000, "standard": 20_000, "thorough": None}  # per side: one query each
BLOCK = 4096


@dataclass(frozen=True)
class Losses:
    """Ask the model about a block of rows of one split."""

    def __call__(self, opened: Opened, item: tuple[str, Sequence[int]]) -> Mapping[str, Any]:
        """Return a score for each row, (n,) float64: larger speaks for membership.

        Of a classifier minus the cross-entropy, or whether it is right where labels are all there is. Of a model of
        numbers minus the absolute error: with Gaussian errors, smaller on members, the likelihood ratio of Yeom et al.
        (2018, section 3.2) falls with it, so that any threshold of theirs is one of ours.
        """
        which, rows = item[0], list(item[1])
        x = opened.domain.decode(opened.encoded(which, rows))
        y = opened.targets[which][rows]
        if opened.task == "regression":
            score = -(opened.model.values(x).cpu() - y.cpu()).abs()  # type: ignore[union-attr]
        elif hasattr(opened.model, "scores"):
            score = _log_p(opened, x, y)
        else:
            score = (opened.model.labels(x).cpu() == y.cpu()).double()  # type: ignore[union-attr]
        return {"score": score.cpu().numpy()}


def _log_p(opened: Opened, x: Any, y: Any) -> Any:
    """Return the logarithm of the probability of each row's own class, (n,) float64."""
    from veriward.adapters.model import logarithms

    scores = opened.model.scores(x)  # type: ignore[union-attr]
    return logarithms(scores, opened.output).gather(1, y.to(scores.device)[:, None]).squeeze(1)


@register
class Loss(Check):
    """Training rows against test rows, by the loss that the model has on them."""

    name = "leakage/loss"
    version = "2"
    question = "Can somebody who sees the model's answers tell which rows it was trained on?"
    needs = ("labels",)
    tasks = ("classification", "regression")
    reads = ("model", "train", "test", "input", "groups")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse subjects without training rows."""
        return note("leakage.no_train") if opened.train is None else None

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one attacker: reads the answers, knows the row and its label."""
        return (Threat("membership", "scores" if scored(opened) else "labels"),)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return how many rows a side may have."""
        return {"budget": budget, "rows": ROWS[budget]}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return Gaussian worlds: one that leaks by a known amount, one that does not leak."""
        from veriward.checks.leakage.gaussian import error_controls, gaussian_controls, label_controls

        if opened.task == "regression":
            return error_controls()
        return gaussian_controls() if scored(opened) else label_controls()

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Compare the scores of members and non-members."""
        from veriward.checks.leakage.exposure import estimates, exposed, from_labels, parts_of

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
        parts, left = parts_of(opened, rows)
        measured = estimates if scored(opened) else from_labels
        found = measured(score["train"], score["test"])
        outcome = np.full(opened.test.total, np.nan)
        outcome[opened.test.index[rows["test"]]] = -score["test"]
        return Evidence(
            self.name,
            self.version,
            threat,
            (*found, *exposed(score["train"], score["test"], parts, scored=scored(opened))),
            outcomes={"loss": outcome},
            rows=len(rows["test"]) + len(rows["train"]),
            assumptions=(note("leakage.this_model_only"), note("leakage.test_rows_are_no_members")),
            untested=(note("leakage.floor_only"), *left),
        )


def scored(opened: Opened) -> bool:
    """Return whether the attacker sees more than decisions."""
    return opened.task == "regression" or hasattr(opened.model, "scores")
