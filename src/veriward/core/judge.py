"""From evidence and a policy to verdicts. Exact p-values, Holm over all limits, bounds judged one way only.

A limit fails when the exact p-value of "does not meet the fail condition", adjusted after Holm (1979) over all limits of
the policy, is at most .05: subjects with nothing wrong get any `fail` in at most 5 % of runs. It passes when the 95 %
interval meets the pass condition and nothing speaks against it. Everything else is undecided, and says what would decide.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from veriward.core import basis as counts
from veriward.core.bracket import brackets
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence
from veriward.core.finding import Judged, Verdict, worst
from veriward.core.policy import BUDGETS, Condition, Limit, Policy

LEVEL = 0.05
POWER = 0.90
BRACKETED = "robust_accuracy"  # the metric that a certificate bounds from below
MOST_ROWS = 10_000_000  # beyond this, "more rows" is not advice


@dataclass(frozen=True)
class Hypothesis:
    """A limit against an estimate; without one it still counts in Holm's family."""

    limit: Limit
    finding: str | None = None
    estimate: Estimate | None = None
    p: float = 1.0


def p_value(limit: Limit, estimate: Estimate) -> float:
    """Return the exact p-value of "the truth does not meet the fail condition".

    A bound judges one way only: an attacked accuracy (`upper`) can show that the truth is too small, never too large.
    """
    fails = limit.fails
    if estimate.value is None or _blind(fails, estimate):
        return 1.0
    if estimate.basis["kind"] == "census":  # a fact meets ">= 1" at 1, where a tail would say "not above"
        return 0.0 if fails.met(estimate.value) else 1.0
    tail = counts.p_above if fails.wants_large else counts.p_below
    return tail(estimate.basis, fails.threshold)


def _blind(fails: Condition, estimate: Estimate) -> bool:
    """Return whether the estimate bounds the truth from the side that never shows a broken limit."""
    return estimate.bound == ("upper" if fails.wants_large else "lower")


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given. Holm (1979), Scand. J. Statist. 6(2).

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def passes(limit: Limit, estimate: Estimate, budget: str) -> bool:
    """Return whether the 95 % interval meets the pass condition, and the estimate may pass at all."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return False
    wanted = limit.passes
    flatters = "upper" if wanted.wants_large else "lower"
    if estimate.bound == flatters and not _sufficient(limit, budget):
        return False
    return wanted.met(estimate.low if wanted.wants_large else estimate.high)


def _sufficient(limit: Limit, budget: str) -> bool:
    if limit.sufficient is None or budget not in BUDGETS:
        return False
    return BUDGETS.index(budget) >= BUDGETS.index(limit.sufficient)


def judge(
    evidence: Mapping[str, Evidence], policy: Policy, *, budget: str = "standard"
) -> dict[str, tuple[Judged, ...]]:
    """Return for each finding's id what the policy makes of its evidence.

    Evidence with a broken control is never decided; alarms keep a check from passing, not from failing: what an attack
    broke stays broken. A limit on robust accuracy also passes where the certificate of the same threat meets it. Findings
    under no limit get an empty tuple.
    """
    family, floors = _hypotheses(evidence, policy), _floors(evidence)
    adjusted = _adjusted(family)
    judged: dict[str, list[Judged]] = {name: [] for name in evidence}
    size = max(1, sum(map(_may_err, family)))
    for hypothesis, p in zip(family, adjusted, strict=True):
        if hypothesis.finding is not None and hypothesis.estimate is not None:
            source = evidence[hypothesis.finding]
            floor = floors.get(hypothesis.finding) if hypothesis.limit.metric == BRACKETED else None
            judged[hypothesis.finding].append(_decide(hypothesis, p, source, budget, size, floor))
        elif hypothesis.estimate is None and not hypothesis.limit.optional:
            for name, source in evidence.items():
                if fnmatchcase(source.check, hypothesis.limit.check):
                    judged[name].append(_unmeasured(hypothesis.limit))
    return {name: tuple(limits) for name, limits in judged.items()}


def _floors(evidence: Mapping[str, Evidence]) -> dict[str, Estimate]:
    """Return for each attack's finding what is proved under its threat, where the proof's own controls hold."""
    sound = {name for name, source in evidence.items() if all(control.holds for control in source.controls)}
    return {b.attack: b.certified for b in brackets(evidence) if b.proof in sound and not evidence[b.proof].alarms}


def _may_err(hypothesis: Hypothesis) -> bool:
    """Whether chance could make a limit look broken; a counted fact takes no share of the error that is allowed."""
    estimate = hypothesis.estimate
    return estimate is None or estimate.value is None or estimate.basis.get("kind") != "census"


def _adjusted(family: Sequence[Hypothesis]) -> list[float]:
    """Return Holm's p-values over the hypotheses that chance could reject, and the p-values of counted facts as they are."""
    chancy = iter(holm([h.p for h in family if _may_err(h)]))
    return [next(chancy) if _may_err(h) else h.p for h in family]


def verdict_of(limits: Sequence[Judged]) -> Verdict:
    """Return a check's verdict, its worst limit; without a limit the policy does not apply to it."""
    return worst([limit.verdict for limit in limits])


def _hypotheses(evidence: Mapping[str, Evidence], policy: Policy) -> list[Hypothesis]:
    family: list[Hypothesis] = []
    for limit in policy.limit:
        found = [
            Hypothesis(limit, name, estimate, p_value(limit, estimate))
            for name, source in evidence.items()
            for estimate in source.estimates
            if limit.covers(source.check, estimate.metric, estimate.at)
        ]
        family += found or [Hypothesis(limit)]
    return family


def _unmeasured(limit: Limit) -> Judged:
    """A limit on something that the check did not measure (a misspelt metric, say) is undecided, never passed over."""
    return _judged(limit, limit.metric, limit.at or {}, "inconclusive", "no_estimate")


def _decide(
    hypothesis: Hypothesis, adjusted: float, source: Evidence, budget: str, family: int, floor: Estimate | None
) -> Judged:
    limit, estimate = hypothesis.limit, hypothesis.estimate
    assert estimate is not None
    verdict, why = _verdict(limit, estimate, adjusted, source, budget)
    if verdict == "inconclusive" and why != "control" and floor is not None and passes(limit, floor, budget):
        verdict, why = "pass", "proved"  # what is proved holds whatever an attack did or could not do
    base = _judged(limit, estimate.metric, estimate.at, verdict, why)
    if estimate.value is not None:
        base = replace(base, p=hypothesis.p, p_adjusted=adjusted)
    if why == "interval":
        # what a smaller budget cannot pass, no number of rows would decide there: ask at the one that may
        return replace(base, needs_n=needs_n(limit, estimate, limit.sufficient or budget, family))
    if verdict == "pass":
        return replace(base, detectable=detectable(limit, estimate, family))
    return base


def _judged(limit: Limit, metric: str, at: Mapping[str, Any], verdict: Verdict, why: str) -> Judged:
    """Return a judgement with what the policy says about its limit."""
    return Judged(
        metric=metric,
        at=dict(at),
        pass_if=str(limit.passes),
        fail_if=str(limit.fails),
        verdict=verdict,
        why=why,
        severity=limit.severity,
        reason=limit.reason,
        reason_zh=limit.reason_zh,
        source=limit.source,
        source_zh=limit.source_zh,
    )


def _verdict(limit: Limit, estimate: Estimate, adjusted: float, source: Evidence, budget: str) -> tuple[Verdict, str]:
    if not all(control.holds for control in source.controls):
        return "inconclusive", "control"
    if estimate.value is None:
        return "inconclusive", "not_estimable"
    if adjusted <= LEVEL:
        return "fail", "limit_broken"
    if source.alarms:
        return "inconclusive", "alarm"
    if estimate.basis.get("power", 1.0) < POWER:
        return "inconclusive", "power"
    if passes(limit, estimate, budget):
        return "pass", "limit_kept"
    if passes(limit.model_copy(update={"sufficient": "quick"}), estimate, budget):
        return "inconclusive", "one_sided"
    if not limit.passes.met(estimate.value) and not limit.fails.met(estimate.value):
        return "inconclusive", "between"
    return "inconclusive", "interval"


def needs_n(limit: Limit, estimate: Estimate, budget: str, family: int = 1) -> int | None:
    """Return the number of rows at which the same shares would be decided; None if no number would do.

    >>> limit = Limit(check="*", metric="accuracy", **{"pass": ">= 0.5"})
    >>> from veriward.core.estimate import proportion
    >>> needs_n(limit, proportion("accuracy", 53, 100), "standard")
    1109
    """
    n = max(counts.rows(estimate.basis), 1)

    def decided(rows: int) -> bool:
        more = _rescaled(estimate, rows / n)
        return p_value(limit, more) * family <= LEVEL or passes(limit, more, budget)

    low, high = n, MOST_ROWS
    if high <= low or not decided(high):
        return None
    while high - low > max(1, 0.002 * low):
        middle = max(low + 1, math.isqrt(low * high))
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high


def _rescaled(estimate: Estimate, factor: float) -> Estimate:
    more = counts.scaled(estimate.basis, factor)
    low, high = counts.interval(more)
    value = counts.value(more)
    return replace(estimate, value=value, low=min(low, value), high=max(high, value), basis=more)


def detectable(limit: Limit, estimate: Estimate, family: int = 1) -> float | None:
    """Return the truth closest to the fail threshold that these rows would have failed with 90 % power.

    Exact for shares. For gaps the least favourable case: between the two smallest groups, with shares around one half.
    None where nothing could have been seen: too few rows, or a bound that never shows a broken limit.
    """
    fails = limit.fails
    if _blind(fails, estimate):
        return None
    return counts.reach(estimate.basis, fails.threshold, upwards=fails.wants_large, level=LEVEL / family, power=POWER)
