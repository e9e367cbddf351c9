"""What is known of each row of a smoothed model, and what that makes of the shares: certified <= truth <= robust.

The truth is the share of rows that the smoothed model g itself (not its votes) decides rightly in the whole ball. Votes
err: a certificate is false with a chance of at most alpha, and so is the proof that g errs (half for the row itself, half
for the attacked one). `core/basis/tested.py` takes these errors off the shares, so that no row needs alpha / n.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from veriward.core.estimate import Bound, Estimate, from_basis
from veriward.core.evidence import MAX_WITNESSES, Witness
from veriward.core.intervals import upper_tail
from veriward.core.note import Note, note

Array = np.ndarray[Any, Any]
IMPROBABLE = 0.01  # chance at which as many broken certificates cannot be the votes' errors
METHOD = "Clopper-Pearson, less the error of the votes"


@dataclass(frozen=True)
class SmoothedBracket:
    """n rows: their class, what the votes say, and whether an attack turned them. All arrays are (n,)."""

    y: Array
    chosen: Array  # the class whose chance was estimated
    radius: Array  # share of the budget within which nothing turns `chosen`
    predicted: Array  # -1: the votes do not decide
    alpha: float
    broken: Array | None = None  # None: was not attacked
    witnesses: tuple[Witness, ...] = ()

    @property
    def proved(self) -> Array:
        """Rows with a certificate for the right class and the whole ball, whatever came of the attack."""
        return np.asarray((self.chosen == self.y) & (self.radius > 1))

    @property
    def fallen(self) -> Array:
        """Rows that the attack turned."""
        return np.zeros(len(self.y), bool) if self.broken is None else self.broken

    @property
    def correct(self) -> Array:
        """Rows that the smoothed model is known to decide rightly as they are."""
        return np.asarray(self.predicted == self.y)

    @property
    def abstained(self) -> Array:
        """Rows on which the votes do not decide."""
        return np.asarray(self.predicted < 0)

    @property
    def possible(self) -> Array:
        """Rows that the smoothed model may decide rightly in the whole ball: nothing shows the contrary."""
        return (self.correct | self.abstained) & ~self.fallen

    @property
    def certified(self) -> Array:
        """Rows with a certificate that no attack has broken."""
        return self.proved & ~self.fallen

    def to_attack(self, doubt: np.random.Generator, share: float, fewest: int) -> Array:
        """Return positions worth an attack: rows that may stand without a certificate, and some of those with one."""
        proved = doubt.permutation(np.flatnonzero(self.proved))
        doubted = proved[: max(fewest, int(np.ceil(share * len(proved))))]
        return np.sort(np.concatenate([np.flatnonzero(self.possible & ~self.proved), doubted]))

    def after(self, where: Array, items: Sequence[Mapping[str, Any]]) -> "SmoothedBracket":
        """Return the bracket once the rows at the positions `where` were attacked."""
        broken = np.zeros(len(self.y), bool)
        if items:
            broken[where] = np.concatenate([item["broken"] for item in items]) == 1
        witnesses = sorted((Witness(**w) for item in items for w in item["witnesses"]), key=lambda w: w.size)
        return replace(self, broken=broken, witnesses=tuple(witnesses[:MAX_WITNESSES]))

    def estimates(self, at: Mapping[str, Any]) -> tuple[Estimate, ...]:
        """Return the four shares. Rows on which the votes abstain count against accuracy, and not as broken."""
        return (
            self._share("certified_accuracy", self.certified, at, "lower", false_yes=self.alpha),
            self._share("robust_accuracy", self.possible, at, "upper", false_no=self.alpha),
            self._share("clean_accuracy", self.correct, at, "lower", false_yes=self.alpha / 2),
            self._share("abstained_share", self.abstained, at, "exact"),
        )

    def _share(
        self,
        metric: str,
        told: Array,
        at: Mapping[str, Any],
        bound: Bound,
        *,
        false_yes: float = 0,
        false_no: float = 0,
    ) -> Estimate:
        basis = {"k": int(told.sum()), "n": len(told), "false_yes": false_yes, "false_no": false_no}
        return from_basis(metric, {"kind": "tested", **basis}, unit="share of rows", method=METHOD, at=at, bound=bound)

    def columns(self) -> dict[str, tuple[Array, float]]:
        """Return the outcomes of the rows, each with what stands for rows that were not looked at."""
        flags = {"certified": self.certified, "robust": self.possible, "correct": self.correct}
        flags |= {"abstained": self.abstained, "broken": self.fallen}
        outcomes: dict[str, tuple[Array, float]] = {name: (flag.astype(np.int8), -1) for name, flag in flags.items()}
        outcomes["radius"] = (np.where(self.chosen == self.y, self.radius, 0.0).astype(np.float32), np.nan)
        return outcomes

    def alarms(self, numbers: Array) -> tuple[Note, ...]:
        """Return an alarm that names rows (by their numbers) if more certificates broke than votes may err."""
        contradicted = numbers[self.proved & self.fallen]
        if upper_tail(len(contradicted), len(self.y), self.alpha) > IMPROBABLE:
            return ()
        named = ", ".join(str(row) for row in contradicted[:MAX_WITNESSES].tolist())
        allowed = self.alpha * len(self.y)
        return (note("smoothing.contradicted", count=len(contradicted), allowed=allowed, rows=named),)
