"""What privacy costs in accuracy: digits at epsilon 3 beside opacus at the same settings, UCI Adult at epsilon 1.

opacus comes from this interpreter, or from the one that OPACUS names (`OPACUS=/path/python`); without it the peer is named
as missing. It gets the same rows, first weights, rate, clip, noise multiplier, optimiser, learning rate and steps, in a
process of its own (`dp_accuracy_peer`). Both data sets are public, and the settings were tuned on them: on other splits of
digits, on Adult's training split. What private data would have to pay for that is not in these epsilons.
"""

import csv
import gzip
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from veriward.core.streams import Stream
from veriward.examples.digits import build
from veriward.privacy import dp

DATA = Path(__file__).parents[2] / "shared/data"
SEEDS = 5
STREAM = Stream.of(0, "benchmarks/dp_accuracy")


@dataclass(frozen=True)
class Settings:
    """Public constants of a private training with Adam."""

    epsilon: float
    delta: float
    rate: float
    divisor: float  # about rate times the number of rows that anybody knows
    steps: int
    clip: float
    lr: float

    @property
    def noise_multiplier(self) -> float:
        """The smallest that keeps to the budget."""
        return dp.noise_multiplier(epsilon=self.epsilon, delta=self.delta, sampling_rate=self.rate, steps=self.steps)


DIGITS = Settings(epsilon=3.0, delta=1e-4, rate=0.25, divisor=360.0, steps=150, clip=0.1, lr=0.01)
ADULT = Settings(epsilon=1.0, delta=1e-5, rate=0.05, divisor=1600.0, steps=400, clip=1.0, lr=0.05)
Data = tuple[Tensor, Tensor]


def loss(output: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of each row."""
    return nn.functional.cross_entropy(output, y, reduction="none")


def trained(model: nn.Module, rows: Data, settings: Settings) -> float:
    """Train in place with noise from a cipher; return the epsilon of the record."""
    training = dp.PrivateTraining(
        model, loss, *rows, sampler=dp.Poisson(settings.rate), divisor=settings.divisor, clip=settings.clip,
        noise_multiplier=settings.noise_multiplier, optimiser=torch.optim.Adam(model.parameters(), settings.lr),
        source=dp.SecureSource(), physical=4096,
    )  # fmt: skip
    return training.run(settings.steps).epsilon(settings.delta)


def accuracy(model: nn.Module, rows: Data) -> float:
    """Return the share of rows that are named right."""
    with torch.no_grad():
        return float((model(rows[0]).argmax(1) == rows[1]).double().mean())


def interval(values: Sequence[float]) -> list[float]:
    """Return mean and 95 % interval of Student's t."""
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return [round(v, 4) for v in (mean, mean - reach, mean + reach)]


def digits(seed: int) -> dict[str, Data]:
    """Return 1437 training and 360 test rows of scikit-learn's digits, drawn anew for each seed."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.from_numpy((found.images / 16).astype(np.float32)[:, None])
    y = torch.from_numpy(found.target.astype(np.int64))
    order = torch.from_numpy(STREAM.child(f"digits split {seed}").generator().permutation(len(x)))
    return {"train": (x[order[:1437]], y[order[:1437]]), "test": (x[order[1437:]], y[order[1437:]])}


def on_digits() -> dict[str, Any]:
    """Compare five seeds of ours with five of opacus, in pairs: the same split and first weights."""
    splits, models = ([make(seed) for seed in range(SEEDS)] for make in (digits, network))
    with tempfile.TemporaryDirectory() as folder:
        theirs = peer(models, splits, DIGITS, Path(folder))
    epsilons = [trained(model, rows["train"], DIGITS) for model, rows in zip(models, splits, strict=True)]
    ours = [accuracy(model, rows["test"]) for model, rows in zip(models, splits, strict=True)]
    found: dict[str, Any] = {
        "rows": {name: len(part[0]) for name, part in splits[0].items()},
        "noise_multiplier": round(DIGITS.noise_multiplier, 4),
        "epsilon": round(max(epsilons), 4),
        "ours": interval(ours),
        "opacus": theirs if isinstance(theirs, str) else interval(theirs),
    }
    if not isinstance(theirs, str):
        differences = [mine - other for mine, other in zip(ours, theirs, strict=True)]
        mean, error = statistics.fmean(differences), statistics.stdev(differences) / math.sqrt(SEEDS)
        found |= {"difference": round(mean, 4), "standard_error": round(error, 4), "in_errors": round(mean / error, 2)}
    return found


def network(seed: int) -> nn.Module:
    """Return the example's untrained network."""
    return build(STREAM.child(f"weights {seed}"))


def peer(
    models: Sequence[nn.Module], splits: Sequence[Mapping[str, Data]], settings: Settings, folder: Path
) -> list[float] | str:
    """Return opacus' accuracies from the same first weights, or why there are none."""
    job = {
        "weights": [model.state_dict() for model in models],
        "splits": list(splits),
        "noise_multiplier": settings.noise_multiplier,
        **{name: getattr(settings, name) for name in ("rate", "divisor", "steps", "clip", "lr")},
    }
    torch.save(job, folder / "job.pt")
    command = [os.environ.get("OPACUS", sys.executable), "-W", "ignore", "-m", "benchmarks.dp_accuracy_peer"]
    done = subprocess.run(
        [*command, str(folder / "job.pt")], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return "missing: " + (done.stderr.strip().splitlines() or ["ended without a word"])[-1]
    return [float(word) for word in done.stdout.split()]


# UCI Adult: names, ranges and categories as its documentation publishes them, nothing taken from the rows.

CATEGORIES = {
    1: "Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov Without-pay Never-worked",
    3: "Bachelors Some-college 11th HS-grad Prof-school Assoc-acdm Assoc-voc 9th 7th-8th 12th Masters 1st-4th 10th "
    "Doctorate 5th-6th Preschool",
    5: "Married-civ-spouse Divorced Never-married Separated Widowed Married-spouse-absent Married-AF-spouse",
    6: "Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty Handlers-cleaners "
    "Machine-op-inspct Adm-clerical Farming-fishing Transport-moving Priv-house-serv Protective-serv Armed-Forces",
    7: "Wife Own-child Husband Not-in-family Other-relative Unmarried",
    8: "White Asian-Pac-Islander Amer-Indian-Eskimo Other Black",
    9: "Female Male",
    13: "United-States",
}
YEARS, SCHOOL, HOURS, MONEY = 100.0, 16.0, 100.0, 1e5


def adult(which: str) -> Data:
    """Return a split: x (n, 64) in [0, 1], y (n,); unknown words are zeros in all columns of theirs."""
    with gzip.open(DATA / f"adult-{which}.csv.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if len(row) == 15]
    x = np.array([_numbers(row) + _flags(row) for row in rows], np.float32)
    return torch.from_numpy(x), torch.tensor([int(row[14].startswith(">50K")) for row in rows])


def _numbers(row: Sequence[str]) -> list[float]:
    gain, lost = (math.log1p(min(float(row[i]), MONEY)) / math.log1p(MONEY) for i in (10, 11))
    return [float(row[0]) / YEARS, float(row[4]) / SCHOOL, float(row[12]) / HOURS, gain, lost]


def _flags(row: Sequence[str]) -> list[float]:
    return [float(row[i] == word) for i, words in CATEGORIES.items() for word in words.split()]


def on_adult() -> dict[str, Any]:
    """Compare five private seeds with scikit-learn's logistic regression on the same columns."""
    from sklearn.linear_model import LogisticRegression

    if not (DATA / "adult-train.csv.gz").is_file():
        return {"data": "missing"}
    train, test = adult("train"), adult("test")
    plain = LogisticRegression(C=1e3, max_iter=2000).fit(train[0].numpy(), train[1].numpy())
    best = float(plain.score(test[0].numpy(), test[1].numpy()))
    models = [logistic(train[0].shape[1]) for _ in range(SEEDS)]
    epsilons = [trained(model, train, ADULT) for model in models]
    ours = interval([accuracy(model, test) for model in models])
    return {
        "rows": {"train": len(train[0]), "test": len(test[0])},
        "noise_multiplier": round(ADULT.noise_multiplier, 4),
        "epsilon": round(max(epsilons), 4),
        "non_private": round(best, 4),
        "ours": ours,
        "points_lost": [round(100 * (best - ours[place]), 2) for place in (0, 2, 1)],
    }


def logistic(columns: int) -> nn.Module:
    """Return logistic regression, starting at zero."""
    with torch.random.fork_rng():
        model = nn.Linear(columns, 2)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


def run() -> dict[str, object]:
    """Measure both; print and return them."""
    found: dict[str, object] = {"seeds": SEEDS, "torch": torch.__version__}
    for name, measure in (("digits", on_digits), ("adult", on_adult)):
        found[name] = measure()
        print(f"{name:7} {found[name]}")
    return found
