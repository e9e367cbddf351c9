"""The statement that goes with a privately trained model: what is protected, how far, how it was done, what is left open."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from veriward.reports.catalogue import Catalogue
from veriward.reports.whatif import up

FALSE_ALARMS = 0.01
FILES = {"en": "privacy.md", "zh": "privacy.zh.md"}


def most_found(epsilon: float, delta: float, false_alarms: float = FALSE_ALARMS) -> float:
    """Return the largest share of members that any test finds at a false-alarm rate, under (epsilon, delta).

    Kairouz, Oh & Viswanath, 2017 (arXiv:1311.0776), theorem 2.1.

    >>> round(most_found(3.0, 1e-5), 4), most_found(0.0, 0.0)
    (0.2009, 0.01)
    """
    steep = math.exp(min(epsilon, 700.0)) * false_alarms + delta
    return min(1.0, steep, 1 - math.exp(-epsilon) * (1 - delta - false_alarms))


def statement(record: Mapping[str, Any], words: Catalogue) -> str:
    """Return the statement of a record (privacy.json) as Markdown."""
    claim = record["claim"]
    parts = [
        f"# {words.text('privacy.title', name=record['subject'])}",
        words.text("privacy.claim", **spoken(claim, words)),
        words.text("privacy.means", share=words.percent(most_found(claim["epsilon"], claim["delta"]))),
        f"## {words.text('privacy.how')}",
        "\n".join(_table(record, words)),
        f"## {words.text('privacy.limits')}",
        "\n".join(f"- {text}" for text in remarks(record, words)),
    ]
    return "\n\n".join(parts) + "\n"


def spoken(claim: Mapping[str, Any], words: Catalogue) -> dict[str, str]:
    """Return a claim's parts in words."""
    return {
        "epsilon": f"{up(claim['epsilon']):g}",
        "delta": f"{claim['delta']:g}",
        "unit": protected(claim["unit"], words),
        "relation": words.term("relation", claim["relation"]),
    }


def protected(unit: str, words: Catalogue) -> str:
    """Return a unit ("row", "3 rows together") in words."""
    group = unit.split(" ", maxsplit=1)[0]
    return words.text("epsilon.group", n=group) if group.isdigit() else words.text("epsilon.one_row")


def remarks(record: Mapping[str, Any], words: Catalogue) -> list[str]:
    """Return what a reader has to know beside the claim, a sentence each."""
    return [words.note(each) for each in record["notes"] if each["code"].startswith("privacy.")]


def settings(best: Mapping[str, Any]) -> str:
    """Return chosen settings as text, in no language."""
    return ", ".join(f"{key} = {value}" for key, value in best.items())


def audit(found: Mapping[str, Any], words: Catalogue) -> str:
    """Return what the audits of the trainer say."""
    numbers = {"lower": f"{found['lower']:.3g}", "claimed": f"{up(found['claimed']):g}", "canaries": found["canaries"]}
    key = "privacy.audit" if found["verdict"] == "holds" else "privacy.audit_broken"
    return words.text(key, **numbers, problems=found["replay"])


def clipping(clip: float | str, words: Catalogue) -> str:
    """Return how rows were clipped, in words."""
    return words.term("clip", clip) if isinstance(clip, str) else f"{clip:g}"


def _table(record: Mapping[str, Any], words: Catalogue) -> Iterator[str]:
    yield f"| {words.text('privacy.facts')} |"
    yield "|---|---|"
    for key, value in _facts(record, words):
        yield f"| {key} | {value} |"


def _facts(record: Mapping[str, Any], words: Catalogue) -> Iterator[tuple[str, str]]:
    terms = record["terms"]
    values = {
        "sampling": words.term("sampling", terms["sampling"]),
        "rate": f"{terms['rate']:g}",
        "batch_size": f"{terms['batch_size']}",
        "steps": f"{record['accounted']['steps']}",
        "clip": clipping(terms["clip"], words),
        "mechanism": words.term("mechanism", terms["noise"]),
        "noise_multiplier": f"{up(terms['noise_multiplier'], 6):g}",
        "accountant": words.term("accountant", record["accounted"]["accountant"]),
        "model": f"{record['model']['file']} `{record['model']['sha256']}`",
        "code": "<br>".join(f"{each['file']} `{each['hash']}`" for each in record["code"]),
        "versions": ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
        "time": record["time"],
    }
    for key, value in values.items():
        yield words.text(f"privacy.fact.{key}"), value
    if "search" in record:
        yield words.text("privacy.fact.search"), settings(record["search"]["best"])
    if "audit" in record:
        yield words.text("privacy.fact.audit"), audit(record["audit"], words)
    if "accuracy" in record:
        found = record["accuracy"]
        yield words.text("privacy.fact.accuracy", n=found["n"]), _interval(found)


def _interval(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def lines(record: Mapping[str, Any], words: Catalogue) -> list[str]:
    """Return what the command line prints of a record."""
    terms = record["terms"]
    told = spoken(record["claim"], words)
    found = [
        words.text("privacy.done", name=record["subject"], epsilon=told["epsilon"], delta=told["delta"]),
        words.text("epsilon.unit", unit=told["unit"], relation=told["relation"]),
        words.text(
            "privacy.training",
            steps=record["accounted"]["steps"],
            batch=terms["batch_size"],
            sampling=words.term("sampling", terms["sampling"]),
            mechanism=words.term("mechanism", terms["noise"]),
            noise=f"{up(terms['noise_multiplier'], 4):g}",
            clip=clipping(terms["clip"], words),
        ),
        words.text("epsilon.accountant", accountant=words.term("accountant", record["accounted"]["accountant"])),
    ]
    if "accuracy" in record:
        numbers = {key: f"{record['accuracy'][key]:.3f}" for key in ("value", "low", "high")}
        found.append(words.text("privacy.accuracy", **numbers, n=record["accuracy"]["n"]))
    if "search" in record:
        found.append(words.text("privacy.chosen", settings=settings(record["search"]["best"])))
    if "audit" in record:
        found.append(audit(record["audit"], words))
    return found + [words.text("privacy.note", text=text) for text in remarks(record, words)]
