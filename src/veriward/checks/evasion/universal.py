"""evasion/universal: one change for all rows, found on some rows and measured on others.

Moosavi-Dezfooli et al., 2017 (arXiv:1610.08401), found by sign ascent of a mean over rows as in Shafahi et al., 2020
(arXiv:1811.11304), section 3. They cut each row's loss off so that rows that have fallen pull no more; here a soft step of
the margin counts the fallen, since with two classes of one size the pulls cancel under theirs. Without gradients a random
search takes the place of the ascent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.balls import ball_threats
from veriward.checks.contract import Control, Job
from veriward.checks.evasion.ball_check import BallCheck
from veriward.checks.registry import register
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.evasion.attack import Attack
    from veriward.checks.evasion.plans import Effort

LEARNT_FROM = 500  # rows at most


@register
class Universal(BallCheck):
    """The best single change inside the ball; it runs where the subject says `universal = true`."""

    name = "evasion/universal"
    norm = "linf"
    version = "1"
    question = "How far does accuracy fall when an attacker adds one and the same small change to every input?"
    tasks = ("classification",)
    metrics = ("attack_success_rate", "clean_accuracy", "robust_accuracy")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse subjects that do not ask for it, and tables whose columns are no continuous numbers."""
        if not opened.subject.threat.evasion.universal:
            return note("evasion.universal_not_asked")
        columns = getattr(opened.domain, "columns", None)
        if columns is not None and not all(c.kind == "numeric" or not c.movable for c in columns):
            return note("evasion.universal_needs_numbers")
        return None

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return one threat per eps of the subject; its goal tells it from attacks row by row."""
        return tuple(replace(threat, goal="one_change_for_all") for threat in ball_threats(opened, "linf"))

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return a linear model of two classes, of which one change can turn one class alone."""
        from veriward.checks.evasion.one_for_all import universal_controls

        return universal_controls(opened.access, table=hasattr(opened.domain, "columns"))

    def rows(self, job: Job, effort: Effort) -> np.ndarray[Any, Any]:
        """Return the rows to measure on: those of the other checks, or, without training rows, half of them."""
        rows = super().rows(job, effort)
        return rows if job.opened.train is not None else rows[1::2]

    def attacks(self, job: Job, threat: Threat, effort: Effort) -> tuple[Attack, ...]:
        """Return the attack that applies the change found on training rows, or on the other half of the sample."""
        from veriward.checks.evasion.one_for_all import Everyone, EveryoneUphill, Search

        if job.opened.train is None:
            which, learnt = "test", super().rows(job, effort)[::2]
        else:
            which, count = "train", len(job.opened.train)
            learnt = np.sort(job.stream("learn").generator().permutation(count)[:LEARNT_FROM])
        work = Search(threat, job.stream("search"), which, effort.steps, effort.restarts)
        found = job.map("search", work, [learnt[:LEARNT_FROM].tolist()])[0]
        kind = EveryoneUphill if hasattr(job.opened.model, "forward") else Everyone
        return (kind(np.asarray(found["change"])),)
