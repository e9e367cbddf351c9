"""From numbers to verdicts: hand-computed examples, exact power, one-sided bounds, and everything that may stand between."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriward.core import basis
from veriward.core.estimate import Estimate, census, gap, not_estimable, proportion
from veriward.core.evidence import Controlled, Evidence
from veriward.core.finding import Judged, exit_code, worst
from veriward.core.intervals import lower_tail, upper_tail
from veriward.core.judge import MOST_ROWS, detectable, holm, judge, needs_n, p_value, passes, verdict_of
from veriward.core.note import note
from veriward.core.policy import Limit, Policy
from veriward.core.threat import Threat


def limit(passes_if: str = ">= 0.5", fails_if: str | None = None, **more: Any) -> Limit:
    return Limit.model_validate({"check": "*", "metric": "m", "pass": passes_if, "fail": fails_if, **more})


def evidence(*estimates: Estimate, check: str = "a/b", **more: Any) -> Evidence:
    return Evidence(check, "1", Threat("goal", "scores"), estimates, **more)


def one(found: Evidence, *limits: Limit, budget: str = "standard") -> Judged:
    judged = judge({"a/b": found}, Policy(limit=limits), budget=budget)["a/b"]
    return judged[0]


def test_holm_by_hand() -> None:
    """Sorted .01 .02 .03 .04 times 4 3 2 1 is .04 .06 .06 .04, and never falls: .04 .06 .06 .06."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_with_ties_and_at_the_ends() -> None:
    assert holm([0.02, 0.02, 0.02]) == pytest.approx([0.06, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.6]) == [1.0, 1.0, 1.0]
    assert holm([0.0, 1.0]) == [0.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float], random: Any) -> None:
    adjusted, ordered = holm(p), sorted(p)
    rejected = 0
    while rejected < len(p) and (len(p) - rejected) * ordered[rejected] <= 0.05:
        rejected += 1
    assert sum(value <= 0.05 for value in adjusted) == rejected
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    order = random.sample(range(len(p)), len(p))
    assert holm([p[i] for i in order]) == [adjusted[i] for i in order]


def test_a_broken_limit_fails_with_its_exact_p_value() -> None:
    judged = one(evidence(proportion("m", 30, 100)), limit())
    assert (judged.verdict, judged.why) == ("fail", "limit_broken")
    assert judged.p == pytest.approx(sum(math.comb(100, k) for k in range(31)) / 2**100)
    assert judged.p_adjusted == judged.p


def test_a_kept_limit_passes() -> None:
    judged = one(evidence(proportion("m", 70, 100)), limit())
    assert (judged.verdict, judged.why, judged.needs_n) == ("pass", "limit_kept", None)


def test_between_pass_and_fail_nothing_is_decided() -> None:
    judged = one(evidence(proportion("m", 400, 1000)), limit(">= 0.5", "< 0.3"))
    assert (judged.verdict, judged.why, judged.needs_n) == ("inconclusive", "between", None)


def test_an_interval_across_the_limit_says_how_many_rows_decide() -> None:
    judged = one(evidence(proportion("m", 53, 100)), limit())
    assert (judged.verdict, judged.why) == ("inconclusive", "interval")
    assert judged.needs_n is not None
    assert judged.needs_n > 100


def test_alarms_keep_from_passing_and_not_from_failing() -> None:
    alarmed = {"alarms": (note("x"),)}
    assert one(evidence(proportion("m", 70, 100), **alarmed), limit()).why == "alarm"
    assert one(evidence(proportion("m", 30, 100), **alarmed), limit()).verdict == "fail"


@pytest.mark.parametrize("measured", [None, 0.2, 0.9])
@pytest.mark.parametrize("k", [10, 90])
def test_a_broken_control_leaves_everything_undecided(measured: float | None, k: int) -> None:
    broken = (Controlled("c", "m", 0.4, 0.6, measured), Controlled("d", "m", 0.0, 1.0, 0.5))
    judged = one(evidence(proportion("m", k, 100), controls=broken), limit())
    assert (judged.verdict, judged.why) == ("inconclusive", "control")


def test_not_estimable_is_neither_pass_nor_fail() -> None:
    judged = one(evidence(not_estimable("m", note("x"))), limit())
    assert (judged.verdict, judged.why, judged.p, judged.p_adjusted) == ("inconclusive", "not_estimable", None, None)


@pytest.mark.parametrize(
    ("bound", "passes_if", "k", "wanted"),
    [
        ("upper", ">= 0.5", 900, "one_sided"),  # an attacked accuracy never shows that the truth is large
        ("upper", ">= 0.5", 100, "limit_broken"),
        ("lower", ">= 0.5", 900, "limit_kept"),  # a certificate does
        ("lower", ">= 0.5", 100, "interval"),  # and never shows that the truth is small
        ("lower", "<= 0.5", 100, "one_sided"),  # the leakage that was found is no more than a part of it
        ("lower", "<= 0.5", 900, "limit_broken"),
        ("upper", "<= 0.5", 100, "limit_kept"),
        ("upper", "<= 0.5", 900, "interval"),
    ],
)
def test_bounds_judge_one_way_only(bound: Any, passes_if: str, k: int, wanted: str) -> None:
    judged = one(evidence(proportion("m", k, 1000, bound=bound)), limit(passes_if))
    assert judged.why == wanted


def test_budgets_are_ordered_and_sufficient_ones_let_a_bound_pass() -> None:
    found = evidence(proportion("m", 900, 1000, bound="upper"))
    verdicts = {
        (need, spent): one(found, limit(sufficient=need), budget=spent).verdict
        for need in ("quick", "standard", "thorough")
        for spent in ("quick", "standard", "thorough", "unheard of")
    }
    order = ["quick", "standard", "thorough"]
    for (need, spent), verdict in verdicts.items():
        enough = spent in order and order.index(spent) >= order.index(need)
        assert verdict == ("pass" if enough else "inconclusive"), (need, spent)


def test_limits_without_evidence_still_count_in_the_family() -> None:
    found = evidence(proportion("m", 40, 100))  # p = .028 on its own
    assert one(found, limit()).verdict == "fail"
    elsewhere = Limit.model_validate({"check": "never/run", "metric": "m", "pass": ">= 0.5"})
    judged = one(found, limit(), elsewhere)
    assert judged.verdict == "inconclusive"
    assert judged.p_adjusted == pytest.approx(2 * lower_tail(40, 100, 0.5))
    assert (
        one(evidence(proportion("m", 40, 100), not_estimable("m", note("x"))), limit()).p_adjusted == judged.p_adjusted
    )


def test_findings_under_no_limit_are_judged_by_nothing() -> None:
    rule = Limit.model_validate({"check": "c/*", "metric": "m", "pass": ">= 0.5"})
    judged = judge({"a/b": evidence(proportion("other", 1, 2))}, Policy(limit=(rule,)))
    assert judged == {"a/b": ()}
    assert verdict_of(judged["a/b"]) == "not_applicable"


def test_a_limit_on_a_metric_that_nobody_measures_is_undecided() -> None:
    judged = judge({"a/b": evidence(proportion("other", 1, 2))}, Policy(limit=(limit(),)))
    assert [(item.metric, item.verdict, item.why) for item in judged["a/b"]] == [("m", "inconclusive", "no_estimate")]


def test_an_optional_limit_that_nobody_measures_is_no_mistake_and_still_takes_its_share_of_the_error() -> None:
    measured, absent = limit(), limit(optional=True).model_copy(update={"metric": "other"})
    found = evidence(proportion("m", 30, 100))
    judged = judge({"a/b": found}, Policy(limit=(measured, absent)))["a/b"]
    assert [item.metric for item in judged] == ["m"]
    assert judged[0].p_adjusted == pytest.approx(2 * (judged[0].p or 0.0))
    both = evidence(proportion("m", 30, 100), proportion("other", 30, 100))
    assert [item.verdict for item in judge({"a/b": both}, Policy(limit=(measured, absent)))["a/b"]] == ["fail", "fail"]
    unknown = evidence(proportion("m", 30, 100), not_estimable("other", note("x")))
    assert judge({"a/b": unknown}, Policy(limit=(absent,)))["a/b"][0].why == "not_estimable"


def test_limits_about_another_task_are_not_there() -> None:
    """Which task a model has does not depend on what is run, so they need no share of the error."""
    policy = Policy(limit=(limit(), limit(task="regression").model_copy(update={"metric": "r"})))
    found = evidence(proportion("m", 30, 100))
    judged = judge({"a/b": found}, policy.for_task("classification"))["a/b"]
    assert [item.metric for item in judged] == ["m"]
    assert judged[0].p_adjusted == judged[0].p
    assert [rule.metric for rule in policy.for_task("regression").limit] == ["m", "r"]
    assert policy.for_task("classification").name == policy.name


def test_a_judgement_says_what_the_policy_says_in_both_languages() -> None:
    words = {"reason": "why", "reason_zh": "为何", "source": "where from", "source_zh": "出处", "severity": "high"}
    for rule in (limit(**words), limit(**words).model_copy(update={"metric": "absent"})):
        judged = one(evidence(proportion("m", 60, 100)), rule)
        assert {name: getattr(judged, name) for name in words} == words
        assert Judged.from_dict(judged.to_dict()) == judged
    old = {name: value for name, value in judged.to_dict().items() if name != "source_zh"}
    assert Judged.from_dict(old).source_zh == "", "dossiers written before read as before"


def test_limits_find_their_estimates_by_check_pattern_metric_and_place() -> None:
    found = evidence(*(proportion("m", 90, 100, at={"fpr": fpr, "g": "x"}) for fpr in (0.01, 0.1)))
    for at, count in ((None, 2), ({}, 2), ({"fpr": 0.1}, 1), ({"fpr": 0.1, "g": "x"}, 1), ({"fpr": 0.5}, 0)):
        for pattern, matched in (("*", True), ("a/*", True), ("a/b", True), ("a", False), ("b/*", False)):
            rule = Limit.model_validate({"check": pattern, "metric": "m", "pass": ">= 0.5", "at": at})
            judged = judge({"f": found}, Policy(limit=(rule,)))["f"]
            assert len([item for item in judged if item.why != "no_estimate"]) == (count if matched else 0)


def test_the_worst_limit_speaks_and_fail_beats_error() -> None:
    assert worst(["pass", "inconclusive", "error", "fail"]) == "fail"
    assert worst(["pass", "inconclusive", "error"]) == "error"
    assert [exit_code([v]) for v in ("pass", "not_applicable", "inconclusive", "error", "fail")] == [0, 0, 3, 3, 1]
    assert exit_code([]) == 3  # nothing was shown


def rescaled(estimate: Estimate, rows: int) -> Estimate:
    counts = basis.scaled(estimate.basis, rows / basis.rows(estimate.basis))
    low, high = basis.interval(counts)
    value = basis.value(counts)
    return Estimate("m", value, min(low, value), max(high, value), rows, "", "", bound=estimate.bound, basis=counts)


@pytest.mark.parametrize("family", [1, 7])
@pytest.mark.parametrize(
    ("estimate", "rule"),
    [
        (proportion("m", 530, 1000), limit()),
        (proportion("m", 279, 1000), limit(">= 0.5", "< 0.3")),
        (proportion("m", 90, 1000), limit("<= 0.1")),
        (proportion("m", 530, 1000, bound="upper"), limit(sufficient="standard")),
        (gap("m", [[[50, 500], [75, 500]]]), limit("<= 0.1", "> 0.2")),
        (gap("m", [[[500, 1000], [530, 1000]], [[300, 400], [320, 400]]]), limit("<= 0.1", "> 0.2")),
        (
            Estimate("m", 0.52, 0.48, 0.56, 900, "", "", basis={"kind": "normal", "value": 0.52, "se": 0.02, "n": 900}),
            limit(),
        ),
    ],
)
def test_the_rows_that_are_said_to_decide_do_and_nine_tenths_do_not(
    estimate: Estimate, rule: Limit, family: int
) -> None:
    def decided(rows: int) -> bool:
        more = rescaled(estimate, rows)
        return p_value(rule, more) * family <= 0.05 or passes(rule, more, "standard")

    needed = needs_n(rule, estimate, "standard", family)
    assert needed is not None
    assert decided(needed)
    assert not decided(round(0.9 * needed))


def test_rows_decide_exactly_where_they_are_said_to_down_to_the_last() -> None:
    for n in (20, 57, 100, 333):
        for k in range(1, n, 5):
            for rule in (limit(), limit("<= 0.3", "> 0.4")):
                found = proportion("m", k, n)
                needed = needs_n(rule, found, "standard")
                if needed is not None and needed > n:
                    more = rescaled(found, needed)
                    assert p_value(rule, more) <= 0.05 or passes(rule, more, "standard")


def test_no_number_of_rows_decides_a_value_on_the_limit() -> None:
    assert needs_n(limit(), proportion("m", 50, 100), "standard") is None
    assert needs_n(limit(), proportion("m", 53, 100, bound="upper"), "standard") is None
    assert needs_n(limit(), proportion("m", MOST_ROWS, 2 * MOST_ROWS), "standard") is None


@pytest.mark.parametrize("family", [1, 5])
@pytest.mark.parametrize("n", [30, 200, 5000])
@pytest.mark.parametrize(("passes_if", "fails_if"), [(">= 0.5", "< 0.3"), ("<= 0.03", "> 0.1"), (">= 0.99", None)])
def test_what_would_have_been_seen_is_the_exact_power_of_these_rows(
    n: int, family: int, passes_if: str, fails_if: str | None
) -> None:
    rule = limit(passes_if, fails_if)
    found = proportion("m", n if rule.passes.wants_large else 0, n)
    truth = detectable(rule, found, family)
    threshold, large = rule.fails.threshold, rule.fails.wants_large

    def power(share: float) -> float:
        failing = [k for k in range(n + 1) if p_value(rule, proportion("m", k, n)) * family <= 0.05]
        if not failing:
            return 0.0
        return upper_tail(min(failing), n, share) if large else lower_tail(max(failing), n, share)

    if truth is None:
        assert power(1.0 if large else 0.0) == 0.0
        return
    assert (truth > threshold) if large else (truth < threshold)
    step = 1e-6 if large else -1e-6
    assert power(truth + step) >= 0.90
    assert power(truth - step) < 0.90


def test_the_gap_that_would_have_been_seen_is_seen_nine_times_in_ten() -> None:
    """Wherever the shares lie, and in either direction between groups of unequal size."""
    rule, generator, sizes = limit("<= 0.1", "> 0.2"), np.random.default_rng(0), (4000, 1500)
    truth = detectable(rule, gap("m", [[[400, 4000], [150, 1500]]]))
    assert truth is not None
    assert 0.2 < truth < 0.35
    for shares in (
        (0.5 - truth / 2, 0.5 + truth / 2),
        (0.5 + truth / 2, 0.5 - truth / 2),
        (0.0, truth),
        (0.7, 0.7 - truth),
    ):
        draws = generator.binomial(sizes, shares, size=(200, 2))
        seen = [p_value(rule, gap("m", [np.stack([d, sizes], axis=1).tolist()])) <= 0.05 for d in draws]
        assert sum(seen) >= 180 - 2 * math.sqrt(200 * 0.9 * 0.1)


def test_small_groups_or_a_certificate_would_have_shown_nothing() -> None:
    assert detectable(limit("<= 0.1", "> 0.2"), gap("m", [[[0, 5], [0, 5]]])) is None
    assert detectable(limit(), proportion("m", 99, 100, bound="lower")) is None


def test_the_normal_estimate_is_seen_at_its_power() -> None:
    found = Estimate("m", 0.9, 0.8, 1.0, 9, "", "", basis={"kind": "normal", "value": 0.9, "se": 0.02, "n": 9})
    truth = detectable(limit(">= 0.5"), found)
    assert truth == pytest.approx(0.5 - (1.644854 + 1.281552) * 0.02, abs=1e-6)


@pytest.mark.parametrize(
    ("rule", "value", "verdict"),
    [
        (limit("<= 3"), 3, "pass"),
        (limit("<= 3"), 4, "fail"),
        (limit("< 1"), 1, "fail"),  # the complement is ">= 1", which 1 itself meets
        (limit("< 1"), 0, "pass"),
        (limit("> 0"), 0, "fail"),
        (limit("<= 3", "> 5"), 5, "inconclusive"),
    ],
)
def test_a_census_is_always_decided_outside_the_indifference(rule: Limit, value: int, verdict: str) -> None:
    assert one(evidence(census("m", value, 10, "files")), rule).verdict == verdict


def test_the_truth_at_the_limit_fails_in_at_most_a_twentieth_of_runs_over_the_whole_policy() -> None:
    """Exactly, for one limit by summation; for ten limits at once by simulation (97.5 % point of Binomial(400, .05))."""
    generator, rules = np.random.default_rng(3), tuple(limit(at={"i": i}) for i in range(10))
    fails = 0
    for _ in range(400):
        draws = generator.binomial(60, 0.5, size=10)
        found = evidence(*(proportion("m", int(k), 60, at={"i": i}) for i, k in enumerate(draws)))
        fails += any(j.verdict == "fail" for j in judge({"f": found}, Policy(limit=rules))["f"])
    assert fails <= 29


def test_judgements_there_and_back() -> None:
    judged = one(evidence(proportion("m", 70, 100, at={"eps": 0.1})), limit(reason="r", source="s", severity="high"))
    assert Judged.from_dict(judged.to_dict()) == judged


def test_counted_facts_take_no_share_of_the_error_that_is_allowed() -> None:
    """A count cannot be broken by chance: beside it, a limit on a share is judged as if it stood alone."""
    share, count = limit(">= 0.9", metric="accuracy"), limit("<= 0", metric="dangerous_findings")
    measured, counted = proportion("accuracy", 80, 100), census("dangerous_findings", 0, 1, "findings")
    alone = judge({"a": evidence(measured)}, Policy(limit=(share,)))["a"][0]
    beside = judge({"a": evidence(measured, counted)}, Policy(limit=(share, count)))["a"]
    assert beside[0].p_adjusted == alone.p_adjusted
    assert [item.verdict for item in beside] == [alone.verdict, "pass"]


def test_rows_are_told_for_the_budget_that_may_pass() -> None:
    """A quick run passes nothing under such a limit; that more rows decide, at the sufficient budget, stays true."""
    found = evidence(proportion("m", 53, 100, bound="upper"))
    quick = one(found, limit(sufficient="standard"), budget="quick")
    assert (quick.verdict, quick.why) == ("inconclusive", "interval")
    assert quick.needs_n == one(found, limit(sufficient="standard"), budget="standard").needs_n
    assert quick.needs_n is not None
