"""The running example: an appliance shop that predicts who buys. A generator of customers, and a gradient boosting model.

Everybody in it is made up. The notes hold identifiers with valid checksums, as real notes do: resident identity numbers
(GB 11643-1999) and mobile numbers, so that checks of personal data have something to find.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from veriward.core.streams import Stream

TRAIN_ROWS, TEST_ROWS = 3000, 4000
NUMBERS = 500_000  # of customers, for each split
REGIONS = ("东北", "华东", "华中", "华南", "西南")
AREA_CODES = ("210102", "310101", "420102", "440103", "510104")
WISHES = ("想买节能热水器", "询问洗衣机安装", "比较两款冰箱的价格", "反映空调噪音大", "要求周末送货", "咨询以旧换新")
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CHECK_DIGITS = "10X98765432"
SUBJECT = """\
# Customers of an appliance shop; the model says who will buy, and the shop sends offers to them.
name = "shop"
task = "classification"

[model]
path = "model.skops"

[input]
kind = "tabular"

[data]
train = "train.csv"
test = "test.csv"
label = "bought"
favourable = "yes"
id = "customer"
groups = ["gender", "region"]
quasi_identifiers = ["age", "region", "gender"]
private = ["notes"]

# What customers say about themselves can be changed; what the shop has counted cannot.
[features]
age = { kind = "integer", range = [18, 90], mutable = false }
income = { kind = "integer", change = "10%" }
household = { kind = "integer", change = "1" }
visits = { kind = "integer", mutable = false }
viewed_price = { kind = "integer", change = "10%" }
months_since_purchase = { kind = "integer", mutable = false }
"""
FEATURES = ("region", "age", "income", "household", "visits", "viewed_price", "months_since_purchase")
Columns = dict[str, np.ndarray[Any, Any]]


def write(folder: Path, seed: int = 0) -> Path:
    """Generate customers, fit the model, write everything into `folder` and return the path of subject.toml."""
    import skops.io

    folder.mkdir(parents=True, exist_ok=True)
    stream = Stream.of(seed, "shop")
    sizes = (("train", TRAIN_ROWS), ("test", TEST_ROWS))  # nobody is in both
    splits = {name: customers(n, stream.child(name), i * NUMBERS) for i, (name, n) in enumerate(sizes)}
    for name, columns in splits.items():
        _write_csv(folder / f"{name}.csv", columns)
    skops.io.dump(fit(splits["train"]), folder / "model.skops")
    path = folder / "subject.toml"
    path.write_text(SUBJECT, encoding="utf-8")
    return path


def customers(n: int, stream: Stream, first: int = 0) -> Columns:
    """Return n made-up customers as named columns; their numbers start at `first`.

    >>> sorted(customers(3, Stream.of(0, "doc")))[:3]
    ['age', 'bought', 'customer']
    """
    draw = stream.generator()
    age = draw.integers(18, 81, n)
    income = np.exp(draw.normal(8.9, 0.11, n)).round(-1).astype(np.int64)
    household = 1 + draw.binomial(4, 0.4, n)
    visits = draw.poisson(3.0, n)
    price = np.exp(draw.normal(7.7, 0.09, n)).round(-1).astype(np.int64)
    months = draw.geometric(0.05, n)
    # people buy what they can afford, when the old one is old: a sharp matter of price against income
    afford = np.log(income * (0.9 + 0.08 * household) / (3.2 * price))
    wish = 10.0 * afford + 0.10 * (visits - 3) + 0.01 * (months - 20) - 0.004 * (age - 45)
    bought = wish + draw.logistic(0.0, 0.35, n) > 0
    return {
        "customer": np.array([f"C{first + number:06d}" for number in draw.permutation(NUMBERS)[:n]], dtype=object),
        "region": np.array(REGIONS, dtype=object)[draw.integers(0, len(REGIONS), n)],
        "gender": np.array(["female", "male"], dtype=object)[draw.integers(0, 2, n)],
        "age": age,
        "income": income,
        "household": household,
        "visits": visits,
        "viewed_price": price,
        "months_since_purchase": months,
        "notes": np.array([_note(draw, int(years)) for years in age], dtype=object),
        "bought": np.where(bought, "yes", "no").astype(object),
    }


def _note(draw: np.random.Generator, age: int) -> str:
    wish = WISHES[draw.integers(len(WISHES))]
    chance = draw.random()
    if chance < 0.06:
        return f"{wish}，身份证{identity_number(draw, age)}已登记"
    return f"{wish}，请回电{mobile_number(draw)}" if chance < 0.16 else wish


def identity_number(draw: np.random.Generator, age: int) -> str:
    """Return a made-up 18-digit resident identity number with a valid check digit (ISO 7064, MOD 11-2)."""
    area = AREA_CODES[draw.integers(len(AREA_CODES))]
    body = f"{area}{2025 - age:04d}{draw.integers(1, 13):02d}{draw.integers(1, 29):02d}{draw.integers(1, 1000):03d}"
    return body + check_digit(body)


def check_digit(body: str) -> str:
    """Return the check digit of the first 17 digits.

    >>> check_digit("11010519491231002")
    'X'
    """
    return CHECK_DIGITS[sum(int(d) * w for d, w in zip(body, WEIGHTS, strict=True)) % 11]


def mobile_number(draw: np.random.Generator) -> str:
    """Return a made-up mainland mobile number."""
    return f"1{draw.choice(['38', '39', '50', '86', '99'])}{draw.integers(0, 10**8):08d}"


def fit(columns: Mapping[str, Any]) -> Any:
    """Return the fitted pipeline; it selects its columns by name, and is left to overfit a little, as shops' models are."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pd.DataFrame({name: columns[name] for name in FEATURES})
    regions = ColumnTransformer(
        [("region", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["region"])], remainder="passthrough"
    )
    trees = GradientBoostingClassifier(n_estimators=150, max_depth=4, learning_rate=0.1, random_state=0)
    return Pipeline([("columns", regions), ("trees", trees)]).fit(frame, columns["bought"])


def _write_csv(path: Path, columns: Columns) -> None:
    import pandas as pd

    pd.DataFrame(columns).to_csv(path, index=False)
