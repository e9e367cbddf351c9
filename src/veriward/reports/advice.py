"""What to do next: one action per broken or undecided finding, as a command where one helps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veriward.core.dossier import Dossier
from veriward.core.finding import Finding, Judged
from veriward.reports import commands
from veriward.reports.catalogue import Catalogue
from veriward.reports.headline import headline, worst_first
from veriward.reports.wording import about, family, sufficient

THOROUGH = "thorough"
FAMILIES = ("artefact", "data", "evasion", "fairness", "leakage", "reliability")


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


def advise(dossier: Dossier, finding: Finding, base: Path | None = None) -> list[Advice]:
    """Return what to do about a finding; nothing about one that passed.

    `base` is the folder in which the commands will be typed, by default the dossier's own.
    """
    if finding.verdict == "error":
        return [Advice("error", command=commands.assess(dossier, base=base))]
    if finding.verdict == "fail":
        again = commands.assess(dossier, base=base, checks=_broken_alike(dossier, finding))
        name = family(finding.check)
        return [Advice(name if name in FAMILIES else "fail", command=again)]
    top = headline(finding)
    if finding.verdict != "inconclusive":
        return []
    if top is None or top.limit is None or top.limit.verdict != finding.verdict:
        if any(limit.why == "no_estimate" for limit in finding.limits):
            return [Advice("no_estimate")]
        return [Advice("not_judged", command=commands.assess(dossier, base=base))]
    return [_decide(dossier, finding, top.limit, base)]


def actions(dossier: Dossier, most: int = 3, base: Path | None = None) -> list[Advice]:
    """Return what to do first, the worst first, each once; where all is well, to seal or to verify."""
    found = [advice for finding in worst_first(dossier) for advice in advise(dossier, finding, base)]
    if found:
        return list(dict.fromkeys(found))[:most]
    if not list(dossier):
        return [Advice("nothing", command="veriward checks")]
    if dossier.seal is None:
        return [Advice("seal", command=commands.assess(dossier, "--seal", "KEY", base=base))]
    return [Advice("verify", command=commands.verify(dossier, base))]


def first(dossier: Dossier, base: Path | None = None) -> Advice:
    """Return the action to begin with."""
    return actions(dossier, 1, base)[0]


def _broken_alike(dossier: Dossier, finding: Finding) -> str:
    """Return the broken checks of a finding's family: one repair is tested by one command."""
    alike = [f.check for f in dossier if f.verdict == "fail" and family(f.check) == family(finding.check)]
    return ",".join(dict.fromkeys(alike))


def _decide(dossier: Dossier, finding: Finding, limit: Judged, base: Path | None) -> Advice:
    def again(budget: str) -> str | None:
        return commands.assess(dossier, base=base, checks=finding.check, budget=budget)

    more = None if dossier.plan["budget"] == THOROUGH else again(THOROUGH)
    if limit.why == "interval" and limit.needs_n is not None:
        return Advice("rows", (("rows", about(limit.needs_n)),), more)
    if limit.why == "alarm":
        return Advice("alarm", command=more)
    if limit.why == "one_sided":
        enough = sufficient(finding.check, limit, dossier.policy)
        return Advice("budget", command=again(enough)) if enough else Advice("certificate")
    if limit.why in {"control", "not_estimable", "between", "power"}:
        return Advice(limit.why)
    return Advice("never")
