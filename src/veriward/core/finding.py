"""One answered question: the evidence and what a policy makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from veriward.core.canonical import canonical, plain
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence

if TYPE_CHECKING:
    import numpy as np

Verdict = Literal["pass", "fail", "inconclusive", "error", "not_applicable"]
WORST_FIRST: tuple[Verdict, ...] = ("fail", "error", "inconclusive", "pass", "not_applicable")


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the worst verdict: fail > error > inconclusive > pass > not_applicable.

    >>> worst(["pass", "inconclusive"])
    'inconclusive'
    """
    return min(verdicts, key=WORST_FIRST.index, default="not_applicable")


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return what a process should exit with: 1 for any fail, else 3 for anything undecided or broken, else 0.

    Where nothing was tested, nothing is decided.

    >>> exit_code(["pass", "inconclusive"]), exit_code([])
    (3, 3)
    """
    if not verdicts:
        return 3
    return {"fail": 1, "error": 3, "inconclusive": 3}.get(worst(verdicts), 0)


@dataclass(frozen=True)
class Judged:
    """One limit of the policy held against one estimate."""

    metric: str
    at: Mapping[str, Any]
    pass_if: str
    fail_if: str
    verdict: Verdict
    why: str  # a key of the catalogues
    p: float | None = None  # exact, of "does not meet the fail condition"
    p_adjusted: float | None = None  # Holm, over all limits of the policy
    needs_n: int | None = None
    detectable: float | None = None  # the smallest violation that this n would fail with 90 % power
    severity: str = "medium"
    reason: str = ""
    reason_zh: str = ""
    source: str = ""
    source_zh: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, with `pass` and `fail` named as in the policy."""
        data = asdict(self)
        data["pass"], data["fail"] = data.pop("pass_if"), data.pop("fail_if")
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Judged":
        """Return the judgement that `to_dict` wrote."""
        known = {**data, "pass_if": data["pass"], "fail_if": data["fail"]}
        return cls(**{f.name: known[f.name] for f in fields(cls) if f.name in known})


@dataclass(frozen=True)
class Finding:
    """One row of a report: `verdict`, `estimates`, `outcomes` per row of the test split, and where they come from."""

    id: str
    check: str
    question: str
    verdict: Verdict
    evidence: Evidence | None  # None: the check raised
    limits: tuple[Judged, ...] = ()
    severity: str = "medium"
    preregistered: bool = False
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """The measured numbers; none where the check raised."""
        return self.evidence.estimates if self.evidence else ()

    @property
    def outcomes(self) -> Mapping[str, "np.ndarray[Any, Any]"]:
        """Arrays with one element per row of the test split; -1 (or NaN) where a row was not looked at."""
        return self.evidence.outcomes if self.evidence else {}

    @cached_property
    def _by_place(self) -> dict[tuple[str, str], Estimate]:
        """The estimates by metric and parameters; of two at one place the first."""
        return {(e.metric, canonical(plain(e.at))): e for e in reversed(self.estimates)}

    def judged_by(self, limit: Judged) -> Estimate | None:
        """Return the estimate that a limit judged; None where the check measured no such number."""
        return self._by_place.get((limit.metric, canonical(plain(limit.at))))

    def estimate(self, metric: str, at: Mapping[str, Any] | None = None, **where: Any) -> Estimate:
        """Return the one estimate of a metric, at the given parameters (`at={"fpr": 0.01}` or `fpr=0.01`) if several exist.

        That of all rows comes before those of a class or group of them, which have parameters of their own besides.
        Raises KeyError that lists what is there when none or several match.
        """
        wanted = {**(at or {}), **where}
        named = [e for e in self.estimates if e.metric == metric]
        found = [e for e in named if all(e.at.get(k) == v for k, v in wanted.items())]
        found = [e for e in found if dict(e.at) == wanted] or found
        if len(found) == 1:
            return found[0]
        known = sorted({f"{e.metric} at {dict(e.at)}" for e in (named or self.estimates)})
        raise KeyError(f"{self.id}: {len(found)} estimates of {metric!r} at {wanted}; there are: {known}")
