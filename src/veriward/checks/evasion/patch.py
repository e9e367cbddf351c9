"""evasion/patch: a small part of every picture may become anything; where it lies is the attacker's choice, row by row.

Brown et al., 2017 (arXiv:1712.09665), with the place sought for each row as in Rao, Stutz & Schiele, 2020
(arXiv:2005.02313), section 3.2, and by random search where there are no gradients, as in Croce et al., 2022
(arXiv:2006.12834), section 4.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from veriward.checks.balls import goal_of
from veriward.checks.contract import Control, Job, Work
from veriward.checks.evasion.ball_check import BallCheck
from veriward.checks.registry import register
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.evasion.attack import Attack
    from veriward.checks.evasion.plans import Effort
    from veriward.core.streams import Stream


@register
class Patch(BallCheck):
    """The best square patch for each picture; it runs where the subject gives its share of the picture."""

    name = "evasion/patch"
    norm = "linf"  # of the numbers inside the patch: each may go from one end of the bounds to the other
    version = "1"
    question = "How far does accuracy fall when an attacker may put a small patch of any content on a picture?"
    tasks = ("classification",)
    metrics = ("attack_success_rate", "clean_accuracy", "robust_accuracy")
    after = ()

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse subjects that give no area, and rows that are no pictures."""
        if opened.subject.threat.evasion.patch is None:
            return note("evasion.patch_not_asked")
        shape = opened.domain.encode(opened.test.x, [0]).shape[1:]
        if opened.kind != "image" or len(shape) not in (2, 3):
            return note("evasion.patch_needs_pictures")
        return None

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one threat: a patch of the subject's share of the picture."""
        area = opened.subject.threat.evasion.patch or 0.0
        return (patch_threat(opened, area),)

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return pictures that are decided by one corner, and the same ones without a patch."""
        from veriward.checks.evasion.patches import patch_controls

        return patch_controls(opened.access)

    def attacks(self, job: Job, threat: Threat, effort: Effort) -> tuple[Attack, ...]:
        """Return the search for place and content, by gradients where there are any, and by questions."""
        from veriward.checks.evasion.patches import PatchAscent, PatchSearch

        if hasattr(job.opened.model, "forward"):
            return PatchAscent(effort.steps, effort.restarts), PatchSearch(effort.queries)
        return (PatchSearch(effort.queries_alone),)

    def work(self, threat: Threat, stream: Stream, attacks: tuple[Attack, ...]) -> Work:
        """Return the work on one block of pictures, with the patch as what is allowed."""
        from veriward.checks.evasion.patches import PatchRows

        return PatchRows(threat, stream, attacks)


def patch_threat(opened: Opened, area: float) -> Threat:
    """Return the threat of a patch of that share of the picture."""
    knobs = {"norm": "patch", "area": float(area)}
    return Threat(goal_of(opened.task), opened.access, knobs, {"area": "share of the picture"})
