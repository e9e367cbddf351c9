"""Which clauses of public lists the findings are evidence for, and what was not tested under each.

The map, with the version of each list, is `standards.toml`. Evidence for a clause is never conformity with it.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any

from veriward.core.dossier import Dossier
from veriward.core.finding import Finding
from veriward.core.note import Note


@dataclass(frozen=True)
class Clause:
    """One clause: which findings speak to it, which checks did not run, and what those that ran left untested."""

    entry: Mapping[str, Any]
    version: str
    findings: tuple[Finding, ...]
    not_run: tuple[Mapping[str, Any], ...]

    @property
    def code(self) -> str:
        """The clause's name in its list."""
        return str(self.entry["code"])

    @property
    def covered(self) -> bool:
        """Whether any check of this version speaks to it, run or not."""
        return bool(self.findings or self.not_run)

    @property
    def untested(self) -> tuple[tuple[str, tuple[Note, ...]], ...]:
        """What the checks that ran say they did not test, by finding."""
        found = [(f.id, f.evidence.untested) for f in self.findings if f.evidence]
        return tuple((name, notes) for name, notes in found if notes)

    def said(self, name: str, language: str) -> str:
        """Return the title or the remark in a language; "" where there is none."""
        return str(self.entry.get(f"{name}_zh" if language == "zh" else name, ""))


@dataclass(frozen=True)
class Standard:
    """One list with its clauses."""

    entry: Mapping[str, str]
    clauses: tuple[Clause, ...]

    def said(self, name: str, language: str) -> str:
        """Return the name or the version in a language."""
        return self.entry[f"{name}_zh" if language == "zh" else name]


def standards(finding: Finding) -> list[dict[str, str]]:
    """Return list, version, code and title of each clause that a finding is evidence for, in the order of the map."""
    return [_entry(load(), clause) for clause in load()["clause"] if _speaks_to(finding, clause)]


def clauses_of(check: str, access: str | None = None) -> list[dict[str, Any]]:
    """Return the clauses that a check's findings are evidence for; without an access, under any attacker."""
    return [clause for clause in load()["clause"] if _matches(check, clause) and _reached(clause, access)]


def coverage(dossier: Dossier) -> list[Standard]:
    """Return every list with every clause, also those that nothing speaks to."""
    data = load()
    findings = list(dossier)
    found = []
    for key, entry in data["list"].items():
        clauses = [_clause(data, item, findings, dossier.not_run) for item in data["clause"] if item["list"] == key]
        found.append(Standard(entry, tuple(clauses)))
    return found


@cache
def load() -> dict[str, Any]:
    """Return the map as it stands in the file."""
    source = resources.files("veriward") / "reports" / "standards.toml"
    return tomllib.loads(source.read_text(encoding="utf-8"))


def _clause(
    data: Mapping[str, Any], item: Mapping[str, Any], findings: Sequence[Finding], not_run: Sequence[Mapping[str, Any]]
) -> Clause:
    return Clause(
        item,
        version_of(data, item),
        tuple(finding for finding in findings if _speaks_to(finding, item)),
        tuple(skipped for skipped in not_run if _matches(skipped["check"], item)),
    )


def version_of(data: Mapping[str, Any], clause: Mapping[str, Any]) -> str:
    """Return the version of a clause: of its list, or its own where a list of standards has an edition for each."""
    return str(clause.get("version", data["list"][clause["list"]]["version"]))


def _speaks_to(finding: Finding, clause: Mapping[str, Any]) -> bool:
    access = finding.evidence.threat.access if finding.evidence else None
    return _matches(finding.check, clause) and _reached(clause, access)


def _reached(clause: Mapping[str, Any], access: str | None) -> bool:
    return access is None or access in clause.get("access", [access])


def _matches(check: str, clause: Mapping[str, Any]) -> bool:
    return any(fnmatchcase(check, pattern) for pattern in clause["checks"])


def _entry(data: Mapping[str, Any], clause: Mapping[str, Any]) -> dict[str, str]:
    source = data["list"][clause["list"]]
    return {
        "list": source["name"],
        "list_zh": source["name_zh"],
        "version": version_of(data, clause),
        "code": clause["code"],
        "title": clause["title"],
        "title_zh": clause["title_zh"],
    }
