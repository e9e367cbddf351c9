"""Run finished items again and compare: what a dossier says can be had anew from the subject it names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from veriward.adapters.opened import open_subject
from veriward.core.dossier import Dossier
from veriward.core.errors import SettingsError
from veriward.core.journal import Journal
from veriward.core.streams import Stream
from veriward.core.subject import Subject
from veriward.run.engine import InProcess
from veriward.run.job import RunJob
from veriward.run.plan import make_plan

TOLERANCE = 1e-5  # of numbers; outcomes must be equal


@dataclass
class Reexecution:
    """How many items ran again, and what came out otherwise."""

    items: int = 0
    differences: list[str] = field(default_factory=list)


@dataclass
class Comparing:
    """A memory that has forgotten some items, and compares what is found for them with what it held."""

    journal: Journal
    forgotten: frozenset[str]
    result: Reexecution
    known: set[str] = field(default_factory=set)  # items that ran again, and are remembered from then on

    def recall(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return what is kept, but for the forgotten items."""
        row = self.journal.find(kind, key)
        return dict(self.journal.read(row)) if row and key not in self.forgotten - self.known else None

    def keep(self, kind: str, key: str, body: Mapping[str, Any]) -> None:
        """Compare instead of writing."""
        row = self.journal.find(kind, key)
        if row is None or kind != "item":
            return
        self.result.items += 1
        self.known.add(key)
        if not same(self.journal.read(row)["result"], dict(body["result"])):
            self.result.differences.append(f"row {row.seq} ({kind}): another result when run again")


def same(old: Any, new: Any) -> bool:
    """Return whether two results agree: outcomes exactly, other numbers to 1e-5.

    >>> same({"broken": np.array([0, 1])}, {"broken": np.array([0, 1])})
    True
    """
    if isinstance(old, dict):
        return set(old) == set(new) and all(same(old[key], new[key]) for key in old)
    if isinstance(old, list):
        return len(old) == len(new) and all(same(a, b) for a, b in zip(old, new, strict=True))
    if isinstance(old, np.ndarray | float):
        return bool(np.allclose(old, new, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
    return bool(old == new)


def reexecute(dossier: Path, subject: Path, count: int) -> Reexecution:
    """Run `count` randomly chosen finished items of the latest plan again; the choice follows from the dossier's head.

    Raises SettingsError if the subject is not the one that was assessed.
    """
    described = Subject.load(subject)
    with Dossier.open(dossier) as opened_dossier, Journal(dossier) as journal:
        plan_row, head = opened_dossier.plan, opened_dossier.head
        opened = open_subject(described, device=str(plan_row["device"]).split(":")[0])
        plan = make_plan(opened, patterns=None, budget=plan_row["budget"], seed=plan_row["seed"])
        if dict(plan.parts) != plan_row["subject"]["fingerprints"]:
            raise SettingsError(f"{subject}: not the subject that {dossier} holds; its model, data or settings changed")
        keys = [row.key for row in journal.rows("item")]
        order = Stream.of(0, head).generator().permutation(len(keys))[:count]
        result = Reexecution()
        memory = Comparing(journal, frozenset(keys[i] for i in order), result)
        wanted = {item["key"] for item in plan_row["checks"]}
        for planned in plan.checks:
            if planned.key in wanted:
                check, engine = planned.check, InProcess(opened)
                job = RunJob(opened, check.name, planned.settings, planned.key, plan_row["seed"], engine, memory)
                check.run(described, planned.threat, job=job)
    return result
