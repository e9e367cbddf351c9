"""One file of evidence, read: findings, verdicts and where they come from. Imports no torch and no scipy.

What the rows mean: `plan` (subject, policy, threats, hashed before the run), `start` (a check began), `item` (a finished
piece of work), `control`, `evidence`, `error`, `void` (evidence that other evidence contradicts), `judgement`, `finish`
(with the count of the rows), `seal`.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from veriward.core.errors import DossierError, some
from veriward.core.evidence import Evidence
from veriward.core.finding import Finding, Judged, Verdict, worst
from veriward.core.journal import Journal, Row

PLAN = {"subject": dict, "policy": dict, "environment": dict, "checks": list, "not_run": list, "seed": int}


class Dossier:
    """Read-only view of a `.ward` file, under its latest plan. `dossier["evasion/linf"]` is a Finding."""

    def __init__(self, path: str | Path, *, untouched: bool = False) -> None:
        self.path = Path(path)
        self._journal = Journal(self.path, untouched=untouched)
        plans = list(self._journal.rows("plan"))
        if not plans:
            self._journal.close()
            raise DossierError(f"{self.path}: holds no plan yet; run veriward assess")
        self._plan_row: Row = plans[-1]
        try:
            self.plan: dict[str, Any] = read_plan(self._journal, plans[-1])
        except DossierError:
            self._journal.close()
            raise

    @classmethod
    def open(cls, path: str | Path) -> "Dossier":
        """Open a dossier; runs no code of anybody's. Raises DossierError if it is corrupt or none."""
        return cls(path)

    @classmethod
    def snapshot(cls, path: str | Path) -> "Dossier":
        """Return a dossier as it is at this moment, read whole and closed: nothing is written, and no writer waits long."""
        with cls(path, untouched=True) as dossier:
            _ = dossier.findings, dossier.finished, dossier.seal, dossier.head
        return dossier

    def __enter__(self) -> "Dossier":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    @property
    def subject(self) -> dict[str, Any]:
        """What was assessed: name, task, kinds, rows, fingerprints, assumptions."""
        return dict(self.plan["subject"])

    @property
    def policy(self) -> dict[str, Any]:
        """The policy of the latest plan, with its hash."""
        return dict(self.plan["policy"])

    @property
    def environment(self) -> dict[str, str]:
        """Versions of what the latest plan ran on."""
        return dict(self.plan["environment"])

    @property
    def not_run(self) -> list[dict[str, Any]]:
        """Checks that were not run, each with its reason."""
        return list(self.plan["not_run"])

    @cached_property
    def finished(self) -> bool:
        """Whether the latest plan was run to its end."""
        ends = list(self._journal.rows("finish"))
        return bool(ends) and ends[-1].seq > self._plan_row.seq

    @cached_property
    def seal(self) -> dict[str, Any] | None:
        """The latest seal, unverified: `veriward verify` checks it."""
        seals = list(self._journal.rows("seal"))
        return seals[-1].body if seals else None

    @cached_property
    def head(self) -> str:
        """The link of the last row: it names everything in the file."""
        last = self._journal.last()
        return last.link if last else ""

    @cached_property
    def findings(self) -> dict[str, Finding]:
        """All findings of the latest plan by id, in its order; a check without evidence is an `error`."""
        try:
            limits = self._limits()
            return {item["id"]: self._finding(item, limits.get(item["id"])) for item in self.plan["checks"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DossierError(f"{self.path}: its rows are not as veriward wrote them; run veriward verify") from error

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings."""
        return worst([finding.verdict for finding in self.findings.values()])

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings.values())

    def __contains__(self, name: str) -> bool:
        return name in self.findings

    def __getitem__(self, name: str) -> Finding:
        """Return a finding by its id, or by its check where there is only one; KeyError lists what is there."""
        if name in self.findings:
            return self.findings[name]
        under = [key for key, finding in self.findings.items() if finding.check == name]
        if len(under) == 1:
            return self.findings[under[0]]
        skipped = {item["check"]: item["reason"]["code"] for item in self.not_run}
        if name in skipped:
            raise KeyError(f"{name} was not run ({skipped[name]}); there are: {list(self.findings)}")
        raise KeyError(f"{name!r}: {len(under)} findings; there are: {under or list(self.findings)}")

    def evidence(self) -> dict[str, Evidence]:
        """Return the evidence of the latest plan by finding id; checks that raised are absent."""
        return {name: f.evidence for name, f in self.findings.items() if f.evidence is not None}

    def verdicts(self) -> dict[str, Verdict]:
        """Return the verdict of every finding of the latest plan, without reading its evidence."""
        try:
            limits, found = self._limits(), {row.key for row in self._journal.rows("evidence")}
            found -= {row.key for row in self._journal.rows("void")}
            return {i["id"]: _verdict(i["key"] in found, limits.get(i["id"])) for i in self.plan["checks"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DossierError(f"{self.path}: its rows are not as veriward wrote them; run veriward verify") from error

    def waiting(self) -> set[str]:
        """Return the findings whose checks have left neither evidence nor an error: they run still, or were interrupted."""
        done = {row.key for row in self._journal.rows("evidence")}
        done |= {str(row.body.get("evidence")) for row in self._journal.rows("error")}
        return {item["id"] for item in self.plan["checks"] if item["key"] not in done}

    def _limits(self) -> Mapping[str, tuple[Judged, ...]]:
        """Return the stored judgement of the latest plan; nothing if the run did not get that far."""
        rows = [row for row in self._journal.rows("judgement") if row.body["plan"] == self._plan_row.key]
        if not rows:
            return {}
        stored = rows[-1].body["findings"]
        return {name: tuple(Judged.from_dict(limit) for limit in limits) for name, limits in stored.items()}

    def _finding(self, item: Mapping[str, Any], limits: tuple[Judged, ...] | None) -> Finding:
        void = self._journal.find("void", item["key"])
        row = None if void else self._journal.find("evidence", item["key"])
        evidence = Evidence.from_dict(self._journal.read(row)) if row else None
        error = str(void.body["message"]) if void else None if evidence else self._error(item["key"])
        return Finding(
            id=item["id"],
            check=item["check"],
            question=item["question"],
            verdict=_verdict(evidence is not None, limits),
            evidence=evidence,
            limits=limits or (),
            severity=_severity(limits or ()),
            preregistered=self._preregistered(item["key"]),
            seed=self.plan["seed"],
            settings=item["settings"],
            error=error,
        )

    def _error(self, key: str) -> str:
        rows = [row for row in self._journal.rows("error") if row.body["evidence"] == key]
        return (
            str(rows[-1].body["message"]) if rows else "not finished: the run was interrupted; run it again to resume"
        )

    def traceback(self, name: str) -> str:
        """Return the traceback of a finding whose check raised, or an empty text."""
        key = next(item["key"] for item in self.plan["checks"] if item["id"] == name)
        rows = [row for row in self._journal.rows("error") if row.body["evidence"] == key]
        return bytes(self._journal.read(rows[-1])["traceback"]).decode() if rows else ""

    def _preregistered(self, key: str) -> bool:
        """Return whether the policy was in the file before the first row of this evidence."""
        started = self._journal.find("start", key)
        return started is not None and self._policy_since < started.seq

    @cached_property
    def _policy_since(self) -> int:
        wanted = self.policy["hash"]
        return min(row.seq for row in self._journal.rows("plan") if row.body["policy"]["hash"] == wanted)


def read_plan(journal: Journal, row: Row) -> dict[str, Any]:
    """Return the body of a plan's row; DossierError if it is none."""
    plan: dict[str, Any] = journal.read(row)
    wrong = [name for name, kind in PLAN.items() if not isinstance(plan.get(name), kind)]
    if wrong or "name" not in plan["subject"] or "hash" not in plan["policy"]:
        what = some(wrong or ["the subject's name", "the policy's hash"])
        raise DossierError(f"{journal.path}: row {row.seq} is no plan, it lacks {what}; want a file of veriward assess")
    return plan


def _verdict(found: bool, limits: tuple[Judged, ...] | None) -> Verdict:
    """Return a finding's verdict: a check without evidence is an error, evidence that nobody judged is undecided."""
    if not found:
        return "error"
    return "inconclusive" if limits is None else worst([limit.verdict for limit in limits])


def _severity(limits: tuple[Judged, ...]) -> str:
    order = ("critical", "high", "medium", "low")
    broken = [limit.severity for limit in limits if limit.verdict == "fail"] or [limit.severity for limit in limits]
    return min(broken, key=order.index, default="medium")
