"""What will run and what will not, and why; written down, with the policy, before anything is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veriward.adapters.code import listed
from veriward.checks.contract import Check, lacks
from veriward.checks.registry import registry, select
from veriward.core.canonical import digest, plain
from veriward.core.errors import NothingApplies
from veriward.core.fingerprint import fingerprints
from veriward.core.note import Note, note
from veriward.core.policy import Budget, Policy
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened


@dataclass(frozen=True)
class Planned:
    """One finding to come. `key` names its evidence: everything that can change it, and nothing else."""

    id: str
    check: Check
    threat: Threat
    settings: Mapping[str, Any]
    key: str
    broken: Exception | None = (
        None  # what the check raised when it was asked whether it applies: an error, never silence
    )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for the plan's row."""
        return {
            "id": self.id,
            "check": self.check.name,
            "version": self.check.version,
            "question": self.check.question,
            "threat": self.threat.to_dict(),
            "settings": plain(self.settings),
            "key": self.key,
        }


@dataclass(frozen=True)
class Plan:
    """Everything that a run is going to do."""

    checks: tuple[Planned, ...]
    not_run: tuple[tuple[str, Note], ...]
    parts: Mapping[str, str]  # the subject's fingerprints

    @property
    def subject_key(self) -> str:
        """A name for the subject as a whole."""
        return digest(dict(self.parts))


def make_plan(opened: "Opened", *, patterns: Sequence[str] | None, budget: Budget, seed: int) -> Plan:
    """Return what applies to a subject and what does not, each with its reason.

    Raises SettingsError for patterns that match no check, and NothingApplies when nothing that asks the model can run.
    """
    parts = {**fingerprints(opened.subject, model_file=_model_file(opened)), "resolved": _resolved(opened)}
    planned: list[Planned] = []
    not_run: list[tuple[str, Note]] = []
    chosen = select(patterns)
    for check in _in_order(chosen):
        try:
            reason = _refusal(check, opened)
            before = [item.key for item in planned if item.check.name in check.after]
            found = [] if reason else _plan_check(check, opened, budget, seed, parts, before)
        except Exception as error:  # one check never ends the run
            reason, found = None, [_broken(check, seed, parts, error)]
        planned += found
        not_run += [(check.name, reason)] if reason else []
    # a scan of the file alone would end with "pass" and exit code 0, and nothing of the model was tested
    if not planned or (patterns is None and not any(item.check.needs for item in planned)):
        raise NothingApplies(not_run)
    not_run += [(name, note("plan.not_chosen")) for name in registry() if name not in chosen]
    return Plan(tuple(planned), tuple(not_run), parts)


def _in_order(checks: Mapping[str, Check]) -> list[Check]:
    """Return the checks so that each comes after those it names in `after`."""
    left, ordered = dict(checks), []
    while left:
        ready = [name for name, check in left.items() if not set(check.after) & set(left)] or list(left)
        ordered += [left.pop(name) for name in ready]
    return ordered


def _refusal(check: Check, opened: "Opened") -> Note | None:
    if opened.task not in check.tasks:
        return note("plan.task", task=opened.task, wanted=", ".join(check.tasks))
    missing = lacks(opened.model, check.needs_of(opened.task))
    if missing:
        return note("plan.needs", missing=", ".join(missing), access=opened.access)
    return check.refuse(opened)


def _plan_check(
    check: Check, opened: "Opened", budget: Budget, seed: int, parts: Mapping[str, str], before: Sequence[str]
) -> list[Planned]:
    """Return one finding to come per threat; what the check reads of others' evidence is part of its key."""
    threats = check.threats(opened)
    settings = check.settings(budget)
    read = {part: parts[part] for part in (*check.reads, "resolved")}
    planned, norms = [], len({threat.knobs.get("norm") for threat in threats}) > 1
    for threat in threats:
        name = check.name + (threat.suffix(norm=norms) if len(threats) > 1 else "")
        told = [check.name, check.version, plain(settings), plain(threat.to_dict()), seed, read]
        key = digest(*told, *([list(before)] if before else []))
        planned.append(Planned(name, check, threat, settings, key))
    return planned


def _broken(check: Check, seed: int, parts: Mapping[str, str], error: Exception) -> Planned:
    key = digest(check.name, check.version, "broken", seed, dict(parts))
    return Planned(check.name, check, Threat("none", "labels"), {}, key, error)


def _model_file(opened: "Opened") -> str | None:
    """Return the hash of the model's file, and of the files that it needs, as they were loaded."""
    scanned = opened.scanned
    if scanned is None:
        return None
    return digest(scanned.sha256, list(scanned.parts)) if scanned.parts else scanned.sha256


def _resolved(opened: "Opened") -> str:
    """Hash what was inferred, and how the attacker searches: another inference or another search is another subject."""
    described = (opened.kind, opened.task, opened.access, opened.output, repr(opened.domain))
    evasion = opened.subject.threat.evasion
    search = evasion.model_dump(mode="json", include={"plan", "search", "tolerance"}, exclude_defaults=True)
    return digest(*described, [str(name) for name in opened.classes], *([search] if search else []))


def describe(plan: Plan, opened: "Opened", policy: Policy, *, budget: Budget, seed: int) -> dict[str, Any]:
    """Return the plan's row: what a report needs to know about the run, without any data."""
    return {
        "subject": _subject(opened, plan),
        "policy": {**policy.to_dict(), "hash": policy.hash},
        "budget": budget,
        "seed": seed,
        "device": str(opened.device),
        "code": listed(opened.subject),
        "assumptions": [item.to_dict() for item in opened.assumptions],
        "checks": [item.to_dict() for item in plan.checks],
        "not_run": [{"check": name, "reason": reason.to_dict()} for name, reason in plan.not_run],
    }


def _subject(opened: "Opened", plan: Plan) -> dict[str, Any]:
    subject, data = opened.subject, opened.subject.data
    files = {"model": subject.model.path, "train": data.train, "test": data.test}
    return {
        "name": subject.name,
        "task": opened.task,
        "kind": opened.kind,
        "format": opened.format,
        "access": opened.access,
        "output": opened.output,
        "rows": {"train": opened.train.total if opened.train else None, "test": opened.test.total},
        "shape": opened.width,
        "classes": [str(name) for name in opened.classes][:100],
        "groups": list(data.groups),
        "fingerprints": dict(plan.parts),
        "files": {name: path if isinstance(path, str) else None for name, path in files.items()},
    }
