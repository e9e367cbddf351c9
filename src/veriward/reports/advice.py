"""What to do next: one action per broken or undecided finding, as a command where one helps."""

import shlex
from dataclasses import dataclass
from typing import Any

from veriward.core.dossier import Dossier
from veriward.core.finding import Finding, Judged
from veriward.reports.catalogue import Catalogue
from veriward.reports.headline import headline, worst_first
from veriward.reports.wording import about, family, sufficient

THOROUGH = "thorough"
FAMILIES = ("artefact", "evasion", "leakage", "fairness")


@dataclass(frozen=True)
class Advice:
    """A sentence of the catalogues with its values, and the command that carries it out, if there is one."""

    key: str
    values: tuple[tuple[str, Any], ...] = ()
    command: str | None = None

    def text(self, words: Catalogue) -> str:
        """Return the sentence alone."""
        return words.text(f"advice.{self.key}", **dict(self.values))

    def line(self, words: Catalogue) -> str:
        """Return the sentence with its command."""
        return f"{self.text(words)} {self.command}" if self.command else self.text(words)


def advise(dossier: Dossier, finding: Finding) -> list[Advice]:
    """Return what to do about a finding; nothing about one that passed."""
    if finding.verdict == "error":
        return [Advice("error", command="veriward assess .")]
    if finding.verdict == "fail":
        name = family(finding.check)
        return [Advice(name if name in FAMILIES else "fail", command=_again(finding))]
    top = headline(finding)
    if finding.verdict != "inconclusive":
        return []
    if top is None or top.limit is None:
        return [Advice("not_judged", command="veriward assess .")]
    return _decide(dossier, finding, top.limit)


def first(dossier: Dossier) -> Advice:
    """Return the action to begin with: about the worst finding, or, where all is well, to seal or verify."""
    for finding in worst_first(dossier):
        advice = advise(dossier, finding)
        if advice:
            return advice[0]
    if not list(dossier):
        return Advice("nothing", command="veriward checks")
    if dossier.seal is None:
        return Advice("seal", command="veriward assess . --seal KEY")
    return Advice("verify", command=f"veriward verify {shlex.quote(dossier.path.name)}")


def _decide(dossier: Dossier, finding: Finding, limit: Judged) -> list[Advice]:
    budget = dossier.plan["budget"]
    more = None if budget == THOROUGH else _again(finding, THOROUGH)
    if limit.why == "interval" and limit.needs_n is not None:
        return [Advice("rows", (("rows", about(limit.needs_n)),), more)]
    if limit.why == "alarm":
        return [Advice("alarm", command=more)]
    if limit.why == "one_sided":
        enough = sufficient(finding.check, limit, dossier.policy)
        return [Advice("budget", command=_again(finding, enough)) if enough else Advice("certificate")]
    if limit.why in {"control", "not_estimable", "between", "power"}:
        return [Advice(limit.why)]
    return [Advice("never")]


def _again(finding: Finding, budget: str | None = None) -> str:
    extra = f" --budget {budget}" if budget else ""
    return f"veriward assess . --checks {shlex.quote(finding.check)}{extra}"
