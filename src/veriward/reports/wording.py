"""What a number is called, and what would decide an undecided one, in the words of a catalogue."""

import math
import unicodedata
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from veriward.core.estimate import Estimate
from veriward.core.evidence import Witness
from veriward.core.finding import Finding, Judged
from veriward.reports.catalogue import Catalogue
from veriward.reports.error_words import raised_text
from veriward.reports.headline import estimate_of
from veriward.reports.numbers import number, thousands

SHOWN_BY_THREAT = frozenset({"eps", "norm"})  # told beside the threat, not in every label
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})  # controls, escapes, marks that reverse the direction of text
LONG = frozenset({"bins", "margin", "severity"})  # says nothing in a narrow table
FEWEST_DIGITS = 2


def harmless(text: object) -> str:
    """Return a text of somebody else's without characters that move a terminal's cursor or reorder a page.

    >>> harmless("a\\x1b[2Jb\\u202ec")
    'a�[2Jb�c'
    """
    return "".join("\ufffd" if unicodedata.category(c) in HIDDEN and c != "\u200d" else c for c in str(text))


def clipped(text: str, most: int) -> str:
    """Return a text of at most `most` characters.

    >>> clipped("a longer text", 8)
    'a longe…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def label(metric: str, at: Mapping[str, Any], words: Catalogue, *, short: bool = False) -> str:
    """Return the name of a number with the parameters it was taken at: "TPR at 1 % FPR"."""
    name = words.term("metric_short" if short else "metric", metric)
    if short and name == metric:
        name = words.term("metric", metric)
    shown = {key: value for key, value in at.items() if key not in SHOWN_BY_THREAT}
    if "fpr" in shown:
        name = words.text("label.at_fpr", metric=name, fpr=shown.pop("fpr"))
    if {"attribute", "group"} <= set(shown):
        place = f"{harmless(shown.pop('attribute'))} = {harmless(shown.pop('group'))}"
        name = words.text("label.of", metric=name, place=place)
    if shown:
        told = (
            _parameter(key, value, words, short=short) for key, value in shown.items() if not (short and key in LONG)
        )
        place = words.text("list.comma").join(told)
    if shown and place:
        name = words.text("label.of", metric=name, place=place)
    return name


def _parameter(key: str, value: Any, words: Catalogue, *, short: bool) -> str:
    """Return "corruption = blur" in the words of the catalogue: [term.parameter] has the names, [term.at_NAME] values."""
    shown = words.term(f"at_{key}", harmless(number(value)))
    bare = key == "attribute" or (short and not isinstance(value, float))
    return shown if bare else f"{words.term('parameter', harmless(key))} = {shown}"


def witness_text(witness: Witness, words: Catalogue) -> str:
    """Return what an example shows: as the check wrote it, an identifier by its kind in the reader's language."""
    details = witness.details
    if not {"kind", "column", "split", "hash"} <= set(details):
        return harmless(witness.text)
    place = {"column": harmless(details["column"]), "split": words.term("at_split", harmless(details["split"]))}
    kind = words.term("pii_kind", harmless(details["kind"]))
    return words.text("witness.identifier", kind=kind, hash=harmless(str(details["hash"])[:8]), **place)


def raised(message: str | None, words: Catalogue) -> str:
    """Return what a check raised, in the reader's language where the catalogues have it."""
    text = message or ""
    return harmless(raised_text(words.term("error", text), words.language))


def about(n: int) -> str:
    """Return a number of rows, rounded up to two digits: more would claim to know.

    >>> about(2347).replace("\\u00a0", " ")
    '2 400'
    """
    step: int = 10 ** max(math.floor(math.log10(max(n, 1))) + 1 - FEWEST_DIGITS, 0)
    return thousands(-(-n // step) * step)


def would_decide(finding: Finding, limit: Judged | None, words: Catalogue, policy: Mapping[str, Any]) -> str:
    """Return what would decide an undecided limit, or why it cannot be decided; "" where a verdict needs no more."""
    if finding.verdict == "error":
        return raised(finding.error, words)
    if limit is None:
        return words.text("undecided.no_limit" if finding.verdict == "not_applicable" else "undecided.not_judged")
    if limit.verdict != "inconclusive":
        return ""
    match limit.why:
        case "interval" if limit.needs_n is not None:
            return words.text("undecided.interval", rows=about(limit.needs_n))
        case "not_estimable":
            return words.text("undecided.not_estimable", why=not_estimable(estimate_of(finding, limit), words))
        case "alarm" if finding.evidence:
            alarms = [harmless(words.note(alarm)) for alarm in finding.evidence.alarms]
            return words.text("undecided.alarm", alarms=alarms)
        case "one_sided":
            budget = sufficient(finding.check, limit, policy)
            return words.text("undecided.one_sided" if budget else "undecided.certificate", budget=budget)
        case "interval":
            return words.text("undecided.never")
    return words.text(f"undecided.{limit.why}") if f"undecided.{limit.why}" in words.texts else limit.why


def why_open(finding: Finding, limit: Judged | None, words: Catalogue, policy: Mapping[str, Any]) -> str:
    """Return what would decide a finding, told by the limit that speaks for it.

    Where that one is decided, others are what keeps the finding open: those that nothing was measured for.
    """
    if finding.verdict == "inconclusive" and (limit is None or limit.verdict != "inconclusive"):
        unmeasured = any(other.why == "no_estimate" for other in finding.limits)
        return words.text("undecided.no_estimate" if unmeasured else "undecided.not_judged")
    return would_decide(finding, limit, words, policy)


def not_estimable(estimate: Estimate | None, words: Catalogue) -> str:
    """Return why a number could not be estimated."""
    return harmless(words.note(estimate.why)) if estimate and estimate.why else ""


def sufficient(check: str, limit: Judged, policy: Mapping[str, Any]) -> str | None:
    """Return the budget from which a one-sided bound may pass this limit; None where only a certificate may."""
    for item in policy.get("limit", ()):
        place = item.get("at") or {}
        same = item["metric"] == limit.metric and all(limit.at.get(k) == v for k, v in place.items())
        if same and fnmatchcase(check, item["check"]):
            return str(item["sufficient"]) if item.get("sufficient") else None
    return None


def question(finding: Finding, words: Catalogue) -> str:
    """Return the question of a check, translated where the catalogue knows it."""
    return words.terms["question"].get(finding.check, harmless(finding.question))


def family(check: str) -> str:
    """Return the family of a check.

    >>> family("evasion/linf")
    'evasion'
    """
    return check.split("/", 1)[0]
