"""How often does a subject with nothing wrong get any `fail`? The whole job, run on made-up subjects of known innocence.

The model is the law that made the labels, so that it has no weak slice, no proxy, no member and no drift; groups, columns
and categories have nothing to do with its errors. At most 5 % of such subjects may get any `fail` (`docs/why/judging.md`).
"""

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import veriward
from veriward.core.intervals import clopper_pearson

SUBJECTS = int(os.environ.get("VERIWARD_BENCH_SUBJECTS", "100"))
ROWS = 500
SEED = 20_26


def rows(generator: np.random.Generator) -> dict[str, Any]:
    """Return rows whose labels follow the model's own probabilities; groups and categories are drawn apart."""
    columns: dict[str, Any] = {
        "income": generator.normal(50, 10, ROWS),
        "debt": generator.normal(20, 5, ROWS),
        "age": generator.integers(18, 80, ROWS),
        "region": generator.choice(["north", "south", "east", "west"], ROWS).astype(object),
        "device": generator.choice(["a", "b", "c"], ROWS).astype(object),
        "sex": generator.choice(["f", "m"], ROWS).astype(object),
    }
    chance = probabilities(columns)
    return {**columns, "y": (generator.random(ROWS) < chance).astype(np.int64)}


def probabilities(columns: Any) -> np.ndarray:
    """Return the chance of class 1: income against debt."""
    return 1 / (1 + np.exp(-(np.asarray(columns["income"]) - 2.5 * np.asarray(columns["debt"])) / 4))


def model(table: Any) -> np.ndarray:
    """Return the law itself as two columns of probabilities."""
    chance = probabilities(table.columns if hasattr(table, "columns") and isinstance(table.columns, dict) else table)
    return np.column_stack([1 - chance, chance])


def verdicts(number: int, folder: Path) -> dict[str, str]:
    """Return the verdict of every finding of one innocent subject."""
    generator = np.random.default_rng([SEED, number])
    subject = veriward.Subject(
        name=f"null-{number}",
        model={"live": model, "output": "probabilities"},
        data={"train": rows(generator), "test": rows(generator), "label": "y", "groups": ["sex"], "favourable": 1},
        features={"income": {"change": "0.01"}, "debt": {"change": "0.01"}, "age": {"mutable": False}},
    )
    checks = [name for name in veriward.registry() if not name.startswith("evasion/")]  # their subject is not chance
    with veriward.assess(subject, checks=checks, out=folder / f"{number}.ward", seed=number) as dossier:
        return {finding.id: finding.verdict for finding in dossier}


def run() -> dict[str, Any]:
    """Return how many subjects got any `fail`, by finding, and print it."""
    with tempfile.TemporaryDirectory() as folder:
        found = [verdicts(number, Path(folder)) for number in range(SUBJECTS)]
    failed = sum("fail" in each.values() for each in found)
    by_finding: dict[str, dict[str, int]] = {
        name: dict(Counter(each[name] for each in found)) for name in (found[0] if found else {})
    }
    result = {"subjects": SUBJECTS, "any fail": failed, "interval": clopper_pearson(failed, SUBJECTS), **by_finding}
    for name, value in result.items():
        print(name, value)
    return result
