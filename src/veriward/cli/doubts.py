"""What in a policy is legal and probably not meant: names that nothing measures, limits that cannot decide."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from veriward.checks.registry import registry
from veriward.core.note import Note, note
from veriward.core.policy import Limit, Policy

ATTACKS = ("evasion", "extraction", "leakage", "poisoning")  # families whose findings bound the truth from one side
CERTIFIED = ("certified_accuracy", "epsilon")


def doubts(policy: Policy, known: frozenset[str]) -> list[tuple[int, Note]]:
    """Return doubts, each with the number of its limit from 0. `known`: the names of metrics that reports have words for."""
    found = [(number, doubt) for number, rule in enumerate(policy.limit) for doubt in _of(rule, known)]
    return sorted([*found, *_repeated(policy)], key=lambda pair: pair[0])


def _of(rule: Limit, known: frozenset[str]) -> Iterator[Note]:
    matching = [check for name, check in registry().items() if fnmatchcase(name, rule.check)]
    declared = {metric for check in matching for metric in check.metrics}
    if not matching:
        yield note("policy.no_check", pattern=rule.check)
    elif rule.metric not in declared and all(check.metrics for check in matching):
        yield note("policy.not_measured", metric=rule.metric, measured=", ".join(sorted(declared)))
    elif rule.metric not in known | declared:
        yield note("policy.unknown_metric", metric=rule.metric)
    if len(matching) > 1:
        yield note("policy.several", pattern=rule.check, checks=", ".join(check.name for check in matching))
    if rule.passes.threshold == rule.fails.threshold != 0:
        yield note("policy.no_room", threshold=f"{rule.passes.threshold:g}")
    if rule.sufficient is None and rule.check.partition("/")[0] in ATTACKS and rule.metric not in CERTIFIED:
        yield note("policy.no_budget")
    if not (rule.reason and rule.source):
        yield note("policy.no_reason")


def _repeated(policy: Policy) -> Iterator[tuple[int, Note]]:
    first: dict[tuple[str, str, str], int] = {}
    for number, rule in enumerate(policy.limit):
        place = (rule.check, rule.metric, str(sorted((rule.at or {}).items())))
        if place in first:
            yield number, note("policy.repeated", first=first[place] + 1)
        first.setdefault(place, number)
