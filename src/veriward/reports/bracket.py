"""What is proved and what was broken, side by side: the truth lies between the two."""

from dataclasses import dataclass
from typing import Any

from veriward.core.bracket import Bracket, brackets
from veriward.core.dossier import Dossier
from veriward.core.finding import Finding
from veriward.reports.catalogue import Catalogue
from veriward.reports.numbers import interval, number, point

PARTS = ("proved", "undecided", "broken", "wrong")  # of the rows, from safe to lost


@dataclass(frozen=True)
class Shown:
    """A bracket in words: the inequality, and how many rows are on which side."""

    sentence: str
    parts: tuple[tuple[str, str, int], ...]  # (key, word, rows)

    @property
    def counts(self) -> str:
        """The rows in one line, in no language: word and number each."""
        return " · ".join(f"{word} {number(rows)}" for _, word, rows in self.parts)


def bracket_of(dossier: Dossier, finding: Finding) -> Bracket | None:
    """Return the bracket that a finding closes as an attack or as a proof, None where there is no other side."""
    found = brackets({f.id: f.evidence for f in dossier if f.evidence is not None})
    return next((b for b in found if finding.id in (b.attack, b.proof)), None)


def shown(bracket: Bracket, words: Catalogue) -> Shown:
    """Return a bracket in words."""
    certified, robust = bracket.certified, bracket.robust
    values = {"certified": point(certified), "low": interval(certified)}
    sentence = words.text("bracket.sentence", **values, robust=point(robust), high=interval(robust))
    counts = {"proved": bracket.proved, "undecided": bracket.undecided, "broken": bracket.broken}
    counts["wrong"] = bracket.wrong
    return Shown(sentence, tuple((key, words.text(f"bracket.{key}"), counts[key]) for key in PARTS))


def plain(bracket: Bracket) -> dict[str, Any]:
    """Return a bracket for programs."""
    return {
        "proof": bracket.proof,
        "attack": bracket.attack,
        "certified_accuracy": bracket.certified.value,
        "certified_low": bracket.certified.low,
        "robust_accuracy": bracket.robust.value,
        "robust_high": bracket.robust.high,
        "rows": bracket.rows,
        "proved": bracket.proved,
        "undecided": bracket.undecided,
        "broken": bracket.broken,
        "wrong": bracket.wrong,
    }
