"""data/profile on pure noise: how often anything is flagged; and how often planted leaks and shifts are, n = 500 a split.

Categories, numbers, ids and gaps at random. A leak is the label with noise, a gap, or a word; balanced accuracy .99 and
above. A shifted column has moved by one standard deviation.
"""

import sys

import numpy as np

from veriward.checks.data.profile import adjusted
from veriward.checks.data.suspicions import suspect
from veriward.core.intervals import clopper_pearson
from veriward.core.rows import Rows, open_rows
from veriward.core.streams import Stream
from veriward.core.subject import DataSection, Subject

ROWS, RUNS, PLANTED = 500, 400, 100
LEVEL = 0.05
Columns = dict[str, np.ndarray]


def run() -> dict[str, object]:
    """Return false alarms on noise, and detection rates, each with its 95 % Clopper-Pearson interval."""
    alarms = sum(_flags(*_noise(seed), seed) != set() for seed in range(RUNS))
    found = {"noise flagged": _share(alarms, RUNS)}
    for kind in ("copy", "gaps", "word", "shift"):
        seen = sum(
            ("leak" if kind != "shift" else "n1") in _flags(*_planted(seed, kind), seed) for seed in range(PLANTED)
        )
        found[f"{kind} found"] = _share(seen, PLANTED)
    for name, (share, low, high) in found.items():
        print(f"{name:15} {share:.3f}  [{low:.3f}, {high:.3f}]", file=sys.stderr)
    return {"rows": ROWS, "runs": RUNS, "planted": PLANTED, **{name: list(values) for name, values in found.items()}}


def _share(k: int, n: int) -> tuple[float, float, float]:
    return (k / n, *clopper_pearson(k, n))


def _noise(seed: int) -> tuple[Columns, Columns]:
    generator = np.random.default_rng(seed)
    words = [np.array([f"w{i}" for i in range(int(generator.integers(2, 30)))], object) for _ in range(4)]
    classes = int(generator.integers(2, 5))

    def split() -> Columns:
        columns: Columns = {f"n{i}": generator.normal(size=ROWS) for i in range(6)}
        columns["n0"][generator.random(ROWS) < 0.2] = np.nan
        columns |= {f"c{i}": generator.choice(names, ROWS) for i, names in enumerate(words)}
        columns["number"] = generator.integers(0, 40, ROWS)
        columns["id"] = np.array([f"{i:016x}" for i in generator.integers(0, 2**60, ROWS)], object)
        columns["y"] = generator.integers(0, classes, ROWS)
        return columns

    return split(), split()


def _planted(seed: int, kind: str) -> tuple[Columns, Columns]:
    train, test = _noise(seed)
    generator = np.random.default_rng([seed, 1])
    for split in (train, test):
        y = split["y"] = (split["y"] > 0).astype(np.int64)
        noisy = np.where(generator.random(ROWS) < 0.005, 1 - y, y)
        if kind == "copy":
            split["leak"] = 3.0 - noisy + generator.normal(size=ROWS) * 0.05
        elif kind == "gaps":
            split["leak"] = np.where(noisy == 1, np.nan, generator.normal(size=ROWS))
        elif kind == "word":
            split["leak"] = np.where(noisy == 1, "refused", "granted").astype(object)
    if kind == "shift":
        test["n1"] = test["n1"] + 1
    return train, test


def _flags(train: Columns, test: Columns, seed: int) -> set[str]:
    data = DataSection(train=train, test=test, label="y")
    found = suspect({"train": _rows(train), "test": _rows(test)}, data, Stream.of(seed, "noise"), ROWS, classify=True)
    return {name for p_values in adjusted(found).values() for name, p in p_values.items() if p <= LEVEL}


def _rows(columns: Columns) -> Rows:
    rows = open_rows(Subject(model=len, data={"test": columns, "label": "y"}), "test")
    assert rows is not None
    return rows
