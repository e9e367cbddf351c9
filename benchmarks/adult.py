"""UCI Adult under its true rules, beside the same attacks without them: a network on one-hot columns, boosted trees.

Rules: education and education_num say the same, nobody has both a gain and a loss, husbands and wives are married; age, sex,
race and native country stay. Gains may move by 1000, losses by 100, other numbers by 5 % of their training range. Blind
attacks know neither rules nor blocks nor immutable columns. Every success is judged by `broken`, in plain Python, apart from
the rules of the subject.
"""

import csv
import gzip
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from veriward.adapters.opened import Opened, open_subject
from veriward.checks.balls import ball_threats
from veriward.checks.evasion.attack import run_plan
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.cheapest import shrink
from veriward.checks.evasion.constrained import table_attacks
from veriward.checks.evasion.rows import begin
from veriward.core.estimate import proportion
from veriward.core.streams import Stream
from veriward.core.subject import Subject
from veriward.core.table_domain import TableDomain

DATA = Path(__file__).parents[2] / "shared/data"
NAMES = (
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"),
    *("race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
)
WORDS = ("workclass", "education", "marital_status", "occupation", "relationship", "race", "sex", "native_country")
LEVELS = (
    *("Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th", "HS-grad", "Some-college"),
    *("Assoc-voc", "Assoc-acdm", "Bachelors", "Masters", "Prof-school", "Doctorate"),
)
IMMUTABLE = ("age", "sex", "race", "native_country")
FREE = ("workclass", "education", "marital_status", "occupation", "relationship")
ROWS = {"train": 10_000, "attacked": 500}
STEPS, RESTARTS, QUERIES = 40, 2, 1000
Row = Mapping[str, Any]


def run() -> dict[str, object]:
    """Attack both models with and without the rules; print and return what is left, with intervals and CPU time."""
    if not (DATA / "adult-train.csv.gz").is_file():
        print(f"adult: no {DATA}/adult-train.csv.gz, nothing measured")
        return {"data": "missing"}
    rows = {which: table(which) for which in ("train", "test")}
    return {name: measured(name, make(rows), ROWS["attacked"]) for name, make in SUBJECTS.items()}


def measured(name: str, subject: Subject, most: int) -> dict[str, object]:
    """Return robust accuracy under the rules and blind, on the first rows of the test split."""
    opened = open_subject(subject)
    result: dict[str, object] = {}
    for how, one in (("constrained", opened), ("blind", blind(opened))):
        start = time.process_time()
        chase, clean_rows = attacked(one, most)
        seconds = time.process_time() - start
        faults = [broken(*pair) for pair in successes(chase, name)]
        left = len(chase.clean) - int(chase.done.sum())
        robust = proportion("robust_accuracy", left, clean_rows, bound="upper")
        result[how] = {
            "clean_accuracy": len(chase.clean) / clean_rows,
            "robust_accuracy": [robust.value, robust.low, robust.high],
            "successes": len(faults),
            "feasible_successes": sum(not fault for fault in faults),
            "cpu_seconds": round(seconds, 1),
        }
        print(
            f"{name:8} {how:12} clean {len(chase.clean) / clean_rows:.3f}, robust {robust.value:.3f} [{robust.low:.3f}, "
            f"{robust.high:.3f}], feasible {sum(not f for f in faults)} of {len(faults)} successes, {seconds:.1f} s CPU"
        )
    return result


def attacked(opened: Opened, most: int) -> tuple[Chase, int]:
    """Return the chase after CAA on the first test rows, and how many rows there were."""
    threat, n = ball_threats(opened, "linf")[0], min(most, len(opened.test))
    chase, _, _ = begin(opened, threat, range(n))
    run_plan(table_attacks(opened, STEPS, RESTARTS, QUERIES), chase, Stream.of(0, "adult"))
    shrink(chase)
    chase.verify()
    return chase, n


def blind(opened: Opened) -> Opened:
    """Return the subject as an attacker sees it who knows nothing of the table."""
    assert isinstance(opened.domain, TableDomain)
    free = tuple(
        replace(
            column, block=None, mutable=True, change="any" if column.kind in ("category", "boolean") else column.change
        )
        for column in opened.domain.columns
    )
    return replace(opened, domain=replace(opened.domain, columns=free, rules=()))


def successes(chase: Chase, name: str) -> list[tuple[Row, Row]]:
    """Return the clean and the found row of each success, as the user writes them."""
    where = chase.done
    domain = chase.opened.domain
    assert isinstance(domain, TableDomain)
    pairs = []
    for clean, found in zip(chase.clean[where], chase.found[where], strict=True):
        both = [_written(domain, z, flags=name == "network") for z in (clean, found)]
        pairs.append((both[0], both[1]))
    return pairs


def _written(domain: TableDomain, z: torch.Tensor, *, flags: bool) -> Row:
    columns = domain.decode(z[None])
    if not flags:
        return {key: column.tolist()[0] for key, column in columns.columns.items()}
    row: dict[str, Any] = {}
    for column, value in zip(domain.columns, z.tolist(), strict=True):
        stem, sign, word = column.name.partition("=")
        if sign:  # several ones, or fractions of them, are told as they are
            row.setdefault(stem, [])
            row[stem] += [word] if value == 1 else [(word, value)] if value else []
        else:
            row[stem] = value
    return {key: v[0] if isinstance(v, list) and len(v) == 1 else v for key, v in row.items()}


def broken(clean: Row, found: Row) -> list[str]:
    """Return what of a found row no real row could be, or this attacker could not do."""
    faults = [f"{name} moved" for name in IMMUTABLE if found[name] != clean[name]]
    faults += [f"{name} is no one word" for name in WORDS if not isinstance(found[name], str)]
    level = found["education"]
    if not isinstance(level, str) or level not in LEVELS or LEVELS.index(level) + 1 != found["education_num"]:
        faults.append("education and education_num differ")
    if found["capital_gain"] != 0 and found["capital_loss"] != 0:
        faults.append("a gain and a loss")
    if found["relationship"] in ("Husband", "Wife") and found["marital_status"] not in (
        "Married-civ-spouse",
        "Married-AF-spouse",
    ):
        faults.append("a spouse who is not married")
    numbers = ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")
    faults += [f"{name} is not whole" for name in numbers if float(found[name]) != int(found[name])]
    reach = {"capital_gain": 1000, "capital_loss": 100, "hours_per_week": 0.05 * 98, "fnlwgt": 75_000}
    faults += [f"{name} too far" for name, most in reach.items() if abs(found[name] - clean[name]) > most * (1 + 1e-9)]
    return faults


def table(which: str) -> pd.DataFrame:
    """Return a split with names; the training split shortened."""
    with gzip.open(DATA / f"adult-{which}.csv.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if len(row) == len(NAMES)]
    frame = pd.DataFrame(rows[: ROWS["train"]] if which == "train" else rows, columns=list(NAMES))
    for name in NAMES:
        if name not in WORDS and name != "income":
            frame[name] = frame[name].astype(np.int64)
    return frame.assign(income=frame.income.str.startswith(">50K").astype(np.int64))


def trees(rows: Mapping[str, pd.DataFrame]) -> Subject:
    """Return boosted trees on the raw columns, whose rules speak of words."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("words", encode, list(WORDS))], remainder="passthrough")
    model = Pipeline([("columns", columns), ("trees", HistGradientBoostingClassifier(random_state=0))])
    model.fit(rows["train"].drop(columns="income"), rows["train"].income)
    pairs = " or ".join(f"(education == '{word}' and education_num == {i + 1})" for i, word in enumerate(LEVELS))
    married = "marital_status in ('Married-civ-spouse', 'Married-AF-spouse')"
    rules = {
        "education": pairs,
        "capital": "capital_gain * capital_loss == 0",
        "spouse": f"not (relationship in ('Husband', 'Wife')) or {married}",
    }
    return subject("trees", model, rows, rules)


def network(rows: Mapping[str, pd.DataFrame]) -> Subject:
    """Return a network on one-hot columns, standardised inside; its rules speak of flags."""
    wide = {
        which: pd.get_dummies(frame, columns=list(WORDS), prefix_sep="=", dtype=np.int64)
        for which, frame in rows.items()
    }
    wide["test"] = wide["test"].reindex(columns=wide["train"].columns, fill_value=0)
    x = torch.tensor(wide["train"].drop(columns="income").to_numpy(np.float32))
    model = fitted(x, torch.tensor(rows["train"].income.to_numpy()))
    pairs = " or ".join(f"(`education={word}` == 1 and education_num == {i + 1})" for i, word in enumerate(LEVELS))
    spouse = "`relationship=Husband` == 0 and `relationship=Wife` == 0"
    rules = {
        "education": pairs,
        "capital": "capital_gain * capital_loss == 0",
        "spouse": f"({spouse}) or `marital_status=Married-civ-spouse` == 1 or `marital_status=Married-AF-spouse` == 1",
    }
    return subject("network", model, wide, rules)


def subject(name: str, model: Any, rows: Mapping[str, pd.DataFrame], rules: Mapping[str, str]) -> Subject:
    """Return the subject with what an applicant could change of themselves."""
    features: dict[str, Any] = {word: {"change": "any"} for word in FREE}
    features |= {
        "education_num": {"change": "any"},
        "capital_gain": {"change": "1000"},
        "capital_loss": {"change": "100"},
    }
    for word in IMMUTABLE:
        features[word] = {"mutable": False}
    settings = {
        "name": name,
        "task": "classification",
        "model": {"live": model},
        "input": {"kind": "tabular"},
        "data": {**rows, "label": "income"},
        "features": features,
        "rules": dict(rules),
    }
    return Subject.model_validate(settings)


def fitted(x: torch.Tensor, y: torch.Tensor, hidden: int = 64, epochs: int = 5) -> torch.nn.Module:
    """Return a small network fitted to raw columns; the caller's generator is left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Standardised(x, hidden)
        optimiser = torch.optim.Adam(model.parameters(), 2e-3)
        for batch in [part for _ in range(epochs) for part in torch.randperm(len(x)).split(256)]:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
    return model.eval()


class Standardised(torch.nn.Module):
    """Two layers behind the means and deviations of the training rows."""

    def __init__(self, x: torch.Tensor, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", x.mean(0))
        self.register_buffer("std", x.std(0).clamp(min=0.05))
        self.net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, 2) logits."""
        out: torch.Tensor = self.net((x - self.mean) / self.std)
        return out


SUBJECTS = {"network": network, "trees": trees}
__all__: Sequence[str] = ("run",)
