"""The page for whoever signs: what came out per family, the cheapest attacks, what it cost, what to do, what is open.

Everything on it is bounded, so that it stays one sheet of paper however many findings there are.
"""

from typing import Any

from veriward.core.dossier import Dossier
from veriward.core.evidence import Witness
from veriward.core.finding import WORST_FIRST, Finding
from veriward.reports.advice import actions
from veriward.reports.catalogue import Catalogue
from veriward.reports.headline import worst_first
from veriward.reports.numbers import number
from veriward.reports.story import told
from veriward.reports.terminal import duration, total_cost
from veriward.reports.wording import clipped, family, harmless, raised, witness_text

MOST_ATTACKS = 3
MOST_BROKEN = 4
MOST_GAPS = 6
LONGEST = 140  # characters of a foreign text on this page


def by_family(dossier: Dossier) -> dict[str, list[Finding]]:
    """Return the findings of each family, the worst first."""
    found: dict[str, list[Finding]] = {}
    for finding in worst_first(dossier):
        found.setdefault(family(finding.check), []).append(finding)
    order = list(dict.fromkeys(family(finding.check) for finding in dossier))
    return {name: found[name] for name in order}


def tally(findings: list[Finding], words: Catalogue) -> str:
    """Return "1 fail, 3 pass" of several findings."""
    verdicts = [finding.verdict for finding in findings]
    counts = [(verdict, verdicts.count(verdict)) for verdict in WORST_FIRST if verdict in verdicts]
    each = [words.text("summary.count", n=n, verdict=words.term("verdict", verdict)) for verdict, n in counts]
    return words.text("list.comma").join(each)


def attacks(dossier: Dossier, words: Catalogue) -> list[dict[str, str]]:
    """Return the cheapest attack of each finding that has one, in the user's unit."""
    found = []
    for finding in worst_first(dossier):
        witnesses = finding.evidence.witnesses if finding.evidence else ()
        if family(finding.check) == "evasion" and witnesses and witnesses[0].text:
            found.append({"id": harmless(finding.id), **_attack(witnesses[0], words)})
    return found[:MOST_ATTACKS]


def _attack(witness: Witness, words: Catalogue) -> dict[str, str]:
    details = witness.details
    became = ""
    if "was" in details and "became" in details:
        became = words.text("page.became", was=harmless(details["was"]), became=harmless(details["became"]))
    text = clipped(witness_text(witness, words), LONGEST)
    return {"text": text, "row": str(witness.row), "became": clipped(became, LONGEST)}


def broken(dossier: Dossier, words: Catalogue) -> list[tuple[str, str]]:
    """Return what the broken findings mean, but for the first: the story tells that one."""
    failed = [finding for finding in worst_first(dossier) if finding.verdict == "fail"][1 : MOST_BROKEN + 1]
    return [(harmless(f.id), clipped(told(f, dossier.subject, words), 3 * LONGEST)) for f in failed]


def cost(dossier: Dossier, words: Catalogue) -> list[str]:
    """Return time and rows of the whole run, and which finding took most of the time."""
    spent = total_cost(dossier)
    values = {name: number(value) for name, value in vars(spent).items() if name != "seconds"}
    lines = [words.text("page.cost_total", time=duration(spent.seconds, words), **values)]
    ran = [finding for finding in dossier if finding.evidence]
    if len(ran) > 1:
        longest = max(ran, key=lambda f: f.evidence.cost.seconds if f.evidence else 0.0)
        assert longest.evidence is not None
        taken = duration(longest.evidence.cost.seconds, words)
        lines.append(words.text("page.cost_most", finding=harmless(longest.id), time=taken))
    return lines


def open_questions(dossier: Dossier, words: Catalogue) -> tuple[list[tuple[str, str]], int]:
    """Return what was not tested, as (name, reason), bounded, and how many lines are left for the pages below."""
    gaps = [(harmless(f.id), raised(f.error, words)) for f in dossier if f.error]
    gaps += [(harmless(item["check"]), harmless(words.note(item["reason"]))) for item in dossier.not_run]
    untested = [(f, f.evidence.untested) for f in dossier if f.evidence and f.evidence.untested]
    gaps += [(harmless(f.id), harmless(words.note(note))) for f, notes in untested for note in notes]
    shown = [(clipped(name, LONGEST), clipped(why, LONGEST)) for name, why in gaps[:MOST_GAPS]]
    return shown, len(gaps) - len(shown)


def executive(dossier: Dossier, words: Catalogue) -> dict[str, Any]:
    """Return the values of the page that are not drawings."""
    shown, more = open_questions(dossier, words)
    return {
        "attacks": attacks(dossier, words),
        "broken": broken(dossier, words),
        "cost": cost(dossier, words),
        "actions": actions(dossier),
        "open": shown,
        "more_open": more,
    }
