"""The main job, from top to bottom: open, plan, run each check, judge, finish. Running it again resumes."""

import datetime
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from veriward.adapters.loading import Loading
from veriward.adapters.opened import Opened, open_subject
from veriward.checks.registry import registry
from veriward.core.bracket import contradicted
from veriward.core.canonical import digest
from veriward.core.dossier import Dossier, read_plan
from veriward.core.errors import DossierError, SettingsError
from veriward.core.evidence import Evidence
from veriward.core.journal import Journal, set_aside
from veriward.core.judge import judge
from veriward.core.keys import read_private
from veriward.core.policy import BUDGETS, Budget, Policy
from veriward.core.progress import Progress, Silent
from veriward.core.seal import seal as seal_journal
from veriward.core.subject import Subject
from veriward.run.control import run_controls
from veriward.run.engine import Engine, choose
from veriward.run.environment import environment
from veriward.run.job import RunJob
from veriward.run.place import place
from veriward.run.plan import Plan, Planned, describe, make_plan

LARGEST_SEED = 10**15 - 1  # readers of JSON keep no more digits


def assess(
    subject: Subject | str | Path,
    *,
    checks: Sequence[str] | None = None,
    out: str | Path | None = None,
    policy: str | Path | Policy | None = None,
    budget: Budget = "standard",
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    engine: str = "local",
    fresh: bool = False,
    trust: bool = False,
    code: bool = True,
    seal: str | Path | None = None,
    progress: Progress | None = None,
) -> Dossier:
    """Put a subject through the checks and return the dossier, which is also the file `out`.

    Everything measured is in the file at once; after a kill the same call goes on where it stopped. `out` defaults to
    NAME.ward beside subject.toml. Raises SettingsError, DataError, ArtefactError, ModelError (before any check runs) and
    DossierError; a check that raises becomes a finding with the verdict `error`.
    """
    described = subject if isinstance(subject, Subject) else Subject.load(subject)
    _check_options(budget, batch_size, seed)
    if seal is not None:
        read_private(Path(seal))  # a key that cannot be read shows now, not after hours
    limits = Policy.load(policy)
    _check_limits(limits)
    loading = Loading(device, batch_size, trust, code)
    opened = open_subject(described, device=device, batch_size=batch_size, trust=trust, code=code)
    worker = choose(opened, loading, engine=engine, workers=workers)
    plan = make_plan(opened, patterns=checks, budget=budget, seed=seed)
    path = Path(out) if out else described.folder / f"{described.name}.ward"
    if fresh:
        _set_aside(path)
    with Journal(path, write=True) as journal:
        _check_intact(journal)
        run = Run(Memories(journal), opened, worker, plan, seed, progress or Silent())
        run.begin(describe(plan, opened, limits, budget=budget, seed=seed), place(described, path, policy))
        run.checks()
        run.finish(limits, budget)
        if seal is not None:
            seal_journal(journal, Path(seal), policy=limits.hash, time=_now())
    return Dossier.open(path)


def _check_options(budget: str, batch_size: int | None, seed: int) -> None:
    if abs(seed) > LARGEST_SEED:
        raise SettingsError(f"--seed {seed}: want a whole number of at most 15 digits")
    if budget not in BUDGETS:
        raise SettingsError(f"--budget {budget}: want one of {', '.join(BUDGETS)}")
    if batch_size is not None and batch_size < 1:
        raise SettingsError(f"--batch-size {batch_size}: want 1 or more")


def _check_limits(policy: Policy) -> None:
    """Refuse limits on checks that do not exist: they would never be judged, and never be missed."""
    for limit in policy.limit:
        if not any(fnmatchcase(name, limit.check) for name in registry()):
            known = ", ".join(registry())
            raise SettingsError(f"policy {policy.name}: limit on {limit.check!r} matches no check; there are: {known}")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _set_aside(path: Path) -> None:
    """Rename an old dossier; nothing is ever deleted."""
    if path.is_file():
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%f")
        set_aside(path, path.with_name(f"{path.stem}.{stamp}{path.suffix}"))


def _check_intact(journal: Journal) -> None:
    """Raise DossierError rather than build on rows that were altered."""
    damage = journal.damage()
    if damage:
        text = f"{damage[0]}; restore a copy, start anew with --fresh, or choose another --out"
        raise DossierError(f"{journal.path}: altered: {text}")


@dataclass
class Memories:
    """The dossier as a memory of finished work."""

    journal: Journal

    def recall(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the body kept under a key, arrays in place, or None."""
        row = self.journal.find(kind, key)
        return dict(self.journal.read(row)) if row else None

    def keep(self, kind: str, key: str, body: Any) -> None:
        """Write a row."""
        self.journal.append(kind, key, body)


@dataclass
class Run:
    """One run into one dossier."""

    memory: Memories
    opened: Opened
    engine: Engine
    plan: Plan
    seed: int
    progress: Progress
    plan_key: str = ""
    found: dict[str, Evidence] = field(default_factory=dict)

    @property
    def _journal(self) -> Journal:
        return self.memory.journal

    def begin(self, body: dict[str, Any], place: dict[str, Any]) -> None:
        """Write the plan, unless the latest one says the same (wherever its files lie): then this run resumes it."""
        content = digest(body)
        plans = list(self._journal.rows("plan"))
        held = read_plan(self._journal, plans[-1])["subject"]["name"] if plans else body["subject"]["name"]
        if held != body["subject"]["name"]:
            raise DossierError(
                f"{self._journal.path}: holds the subject {held!r}, not {body['subject']['name']!r}; "
                "choose another --out, or --fresh"
            )
        if plans and plans[-1].key.startswith(f"{content}:"):
            self.plan_key = plans[-1].key
            return
        self.plan_key = f"{content}:{len(plans)}"
        device = str(self.opened.device)
        beside = {"environment": environment(device), "time": _now(), "place": place}
        self._journal.append("plan", self.plan_key, {**body, **beside})

    def checks(self) -> None:
        """Run what has no evidence yet; a check that raises is an error, and the run goes on."""
        for planned in self.plan.checks:
            stored = self.memory.recall("evidence", planned.key)
            if stored is not None:
                self.found[planned.id] = Evidence.from_dict(stored)
                continue
            self.progress.say(planned.id)
            try:
                evidence = self._run(planned)
                self._journal.append("evidence", planned.key, evidence.to_dict())
            except DossierError:
                raise
            except Exception as error:
                self._remember_error(planned, error)
            else:
                self.found[planned.id] = evidence

    def _run(self, planned: Planned) -> Evidence:
        if planned.broken is not None:
            raise planned.broken
        if self._journal.find("start", planned.key) is None:
            self._journal.append("start", planned.key, {"id": planned.id})
        controls = run_controls(planned.check, self.opened, self.memory)
        job = RunJob(
            self.opened,
            planned.check.name,
            planned.settings,
            planned.key,
            self.seed,
            self.engine,
            self.memory,
            self.progress,
            self.found,
            subject_key=self.plan.subject_key,
        )
        evidence = planned.check.run(self.opened.subject, planned.threat, job=job)
        where = environment(str(self.opened.device))
        return replace(evidence, cost=job.cost, controls=controls, environment=where)

    def _remember_error(self, planned: Planned, error: Exception) -> None:
        tries = sum(row.key.startswith(planned.key) for row in self._journal.rows("error"))
        body = {
            "evidence": planned.key,
            "message": f"{type(error).__name__}: {error}"[:2000],
            "traceback": "".join(traceback.format_exception(error)).encode(),
        }
        self._journal.append("error", f"{planned.key}:{tries}", body)

    def _void_contradictions(self) -> None:
        """Turn findings that contradict each other into errors; their evidence stays in the file."""
        keys = {planned.id: planned.key for planned in self.plan.checks}
        for name, error in contradicted(self.found).items():
            body = {"evidence": keys[name], "message": f"{type(error).__name__}: {error}"}
            if self._journal.find("void", keys[name]) is None:
                self._journal.append("void", keys[name], body)
            del self.found[name]

    def finish(self, policy: Policy, budget: Budget) -> None:
        """Judge what was found and end the run with the count of its rows; nothing new, no new rows."""
        self._void_contradictions()
        judged = judge(self.found, policy.for_task(self.opened.task), budget=budget)
        findings = {name: [limit.to_dict() for limit in limits] for name, limits in judged.items()}
        body = {"plan": self.plan_key, "findings": findings}
        key = f"{self.plan_key}:{digest(body)}"
        if self._journal.find("judgement", key) is None:
            self._journal.append("judgement", key, body)
        last = self._journal.last()
        if last is not None and last.kind not in ("finish", "seal"):
            self._journal.append("finish", str(last.seq), {"count": last.seq, "plan": self.plan_key})
