"""Columns counted, leaks told from honest features, and silence on noise."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import bdtrc
from scipy.stats import binom

from veriward.adapters.opened import open_subject
from veriward.checks.data.columns import count_columns
from veriward.checks.data.leak import p_balanced, p_leak, predicted
from veriward.checks.data.planted_splits import coin
from veriward.checks.data.profile import adjusted
from veriward.checks.data.shift import distance, p_shift
from veriward.checks.data.suspicions import suspect
from veriward.core.evidence import Evidence
from veriward.core.intervals import clopper_pearson
from veriward.core.rows import Rows, open_rows
from veriward.core.streams import Stream
from veriward.core.subject import DataSection, Feature, Subject

from .measure import measure_opened


def rows_of(columns: Any) -> Rows:
    found = open_rows(Subject(model=len, data={"test": columns, "label": "y"}), "test")
    assert found is not None
    return found


def measure(columns: Any, *, train: Any = None, data: dict[str, Any] | None = None, **more: Any) -> Evidence:
    values = {"test": columns, "label": "y", **({"train": train} if train is not None else {}), **(data or {})}
    model = {"live": coin, "output": "probabilities"}
    reads = {"kind": "tabular", "columns": [next(name for name in columns if name != "y")]}
    described = {"task": "classification", "model": model, "data": values, "input": reads, **more}
    return measure_opened("data/profile", open_subject(Subject.model_validate(described), device="cpu"))


def value(found: Evidence, metric: str, **at: Any) -> float | None:
    return next(e.value for e in found.estimates if e.metric == metric and at.items() <= dict(e.at).items())


def noise(seed: int, rows: int, columns: int = 6) -> dict[str, Any]:
    """Return normal columns, one of them with gaps, categories and ids, and a label that has nothing to do with them."""
    generator = np.random.default_rng(seed)
    words = np.array([f"w{i}" for i in range(2 + seed % 18)], object)
    numbers = {f"n{i}": generator.normal(size=rows) for i in range(columns)}
    numbers["n0"][generator.random(rows) < 0.1] = np.nan
    made = {"word": generator.choice(words, rows), "code": np.arange(rows), "rare": generator.integers(0, 50, rows)}
    return {**numbers, **made, "y": generator.integers(0, 2, rows)}


def test_the_p_value_is_the_largest_over_all_pairs_of_shares() -> None:
    k, n = (29, 58), (30, 60)
    seen = k[0] / n[0] + k[1] / n[1]
    a, b = np.arange(n[0] + 1), np.arange(n[1] + 1)
    reached = a[:, None] / n[0] + b[None] / n[1] >= seen - 1e-12
    chances = [
        (binom.pmf(a, n[0], p)[:, None] * binom.pmf(b, n[1], min(1.0, 1.8 - p))[None])[reached].sum()
        for p in np.linspace(0.8, 1.0, 401)
    ]
    ours = p_balanced(k, n, 0.9)
    assert max(chances) <= ours <= max(chances) * 1.1


def test_perfect_answers_have_a_p_value_in_closed_form() -> None:
    assert p_balanced((40, 40), (40, 40)) == pytest.approx(0.95**80, rel=0.05)
    assert p_balanced((5, 10_000), (5, 10_000)) == pytest.approx(0.9**5, rel=0.05)  # the large side stands at 1
    assert p_balanced((38, 40), (40, 40)) > 0.05
    assert p_balanced((30, 40), (40, 40)) == 1.0
    assert p_balanced((0, 0), (0, 9)) == 1.0


def test_the_p_value_keeps_its_level_at_the_threshold() -> None:
    generator = np.random.default_rng(0)
    for shares in ((0.95, 0.95), (0.9, 1.0), (0.92, 0.98)):
        hits = sum(
            p_balanced((int(generator.binomial(150, shares[0])), int(generator.binomial(400, shares[1]))), (150, 400))
            <= 0.05
            for _ in range(400)
        )
        assert bdtrc(hits - 1, 400, 0.05) > 1e-3, (shares, hits)


@pytest.mark.parametrize("kind", ["copy", "large", "affine", "text", "gaps", "threshold", "bands"])
def test_a_column_that_all_but_repeats_the_label_leaks(kind: str) -> None:
    generator = np.random.default_rng(1)
    y = generator.integers(0, 2, 600)
    fit = np.arange(600) % 2 == 0
    columns = {
        "copy": y,
        "large": 1e9 + y,
        "affine": 3 - 2.0 * y + generator.normal(size=600) * 0.01,
        "text": np.array([("refused" if v else "granted") if generator.random() < 0.995 else "?" for v in y], object),
        "gaps": np.where(y == 1, np.nan, generator.normal(size=600)),
        "threshold": np.where(y == 1, 1, -1) * generator.exponential(size=600),
        "bands": 2 * generator.integers(0, 5, 600) + y,  # even or odd
    }
    assert p_leak(columns[kind], y, fit) < 1e-3


def test_honest_features_do_not_leak() -> None:
    generator = np.random.default_rng(2)
    y = generator.integers(0, 2, 2000)
    fit = np.arange(2000) % 2 == 0
    assert p_leak(y + generator.normal(size=2000) * 0.4, y, fit) == 1.0  # balanced accuracy .89
    names = np.array([f"person {i}" for i in range(2000)], object)  # every value once: nothing learnt
    assert p_leak(names, y, fit) == 1.0


def test_a_column_may_give_one_class_of_many_away() -> None:
    generator = np.random.default_rng(3)
    y = generator.integers(0, 5, 3000)
    column = np.where(y == 3, "cancelled", "none").astype(object)
    assert p_leak(column, y, np.arange(3000) % 2 == 0) < 1e-6
    assert set(predicted(column, y, np.arange(3000) % 2 == 0)[y == 3].tolist()) == {3}


def test_distances_of_distributions() -> None:
    generator = np.random.default_rng(4)
    a, b = generator.normal(size=800), generator.normal(size=900)
    assert distance(a, b) < 0.1
    assert p_shift(a, b) == 1.0
    assert p_shift(a, b + 1) < 1e-6
    gaps = np.where(np.arange(900) < 300, np.nan, b)
    assert p_shift(a, gaps) < 0.05  # a third is missing in one split alone
    words = np.array(["a", "b", None] * 300, object)
    assert p_shift(words, words[:600]) == 1.0
    assert p_shift(words, np.array(["b"] * 600, object)) < 0.05


def test_columns_are_counted() -> None:
    columns = {
        "number": np.array([1.0, np.nan, np.inf, 4.0]),
        "same": np.ones(4),
        "empty": np.full(4, np.nan),
        "word": np.array(["a", None, " NA ", "?"], object),
        "mixed": np.array(["1", "2.5", "3", "four"], object),
        "flag": np.array([True, False, True, True]),
        "x'\"\n😀１": np.arange(4),
        "y": np.arange(4) % 2,
    }
    features = {"number": Feature(kind="integer", range=(0, 3)), "same": Feature(kind="integer", range=(0, 1))}
    counted, broken = count_columns(rows_of(columns), features)
    assert broken == {}
    by_name = {c["name"]: c for c in counted}
    assert [c["name"] for c in counted] == list(columns)
    assert (by_name["number"]["missing"], by_name["number"]["infinite"], by_name["number"]["outside"]) == (1, 1, 2)
    assert [c["name"] for c in counted if c["constant"]] == ["same", "empty"]
    assert (by_name["word"]["missing"], by_name["word"]["gaps"]) == (1, 2)
    assert by_name["mixed"]["numbers"] == 3
    assert by_name["x'\"\n😀１"]["distinct"] == 4


def test_an_array_is_counted_by_its_features() -> None:
    x = np.ones((5, 2, 2), np.float32)
    x[0, 0, 0], x[1, 0, 1], x[2, 1, 0] = np.nan, np.inf, 7
    counted, _ = count_columns(rows_of({"x": x, "y": np.arange(5)}), {})
    assert (counted[0]["distinct"], counted[0]["constant"], counted[0]["missing"], counted[0]["infinite"]) == (
        4,
        1,
        1,
        1,
    )


def test_a_broken_column_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from veriward.checks.data import columns as module

    honest = module._questions

    def breaks(name: str, kind: str, feature: Any) -> list[str]:
        return ["CAST('x' AS INTEGER)"] * module.QUESTIONS if name == "bad" else honest(name, kind, feature)

    monkeypatch.setattr(module, "_questions", breaks)
    columns = {"a": np.arange(40.0), "bad": np.arange(40.0), "y": np.arange(40) % 2}
    found = measure(columns)
    broken = next(n for n in found.untested if n.code == "profile.broken")
    assert broken.values["columns"] == "bad"
    assert value(found, "missing_share", column="a") == 0.0


def test_the_check_tells_what_was_planted() -> None:
    table = noise(0, 800)
    table |= {"leak": np.where(table["y"] == 1, "yes", "no").astype(object), "same": np.zeros(800)}
    table["mixed"] = np.array([*["1", "2"] * 390, *["many"] * 20], object)
    moved = {**noise(18, 800), "leak": table["leak"], "same": np.zeros(800), "mixed": table["mixed"]}
    moved["n1"] = moved["n1"] + 2
    found = measure(moved, train=table, features={"n2": {"kind": "numeric", "range": [-1, 1]}})
    assert value(found, "leaking_columns") == 1
    assert value(found, "shifted_columns") == 1
    assert value(found, "constant_columns") == 1
    assert value(found, "mixed_columns") == 1
    assert value(found, "missing_share", split="train", column="n0") == np.isnan(table["n0"]).mean()
    assert value(found, "outside_share", split="train", column="n2") == (np.abs(table["n2"]) > 1).mean()
    smallest = np.bincount(table["y"]).min() / 800
    assert value(found, "smallest_class_share", split="train") == smallest
    notes = {n.code: n.values.get("columns") for n in found.assumptions}
    assert (notes["profile.leaking"], notes["profile.shifted"], notes["profile.constant"]) == ("leak", "n1", "same")


def test_gaps_that_tell_the_label_are_said_to_be_gaps() -> None:
    table = noise(2, 800)
    table["n0"] = np.where(table["y"] == 1, np.nan, 1.0)
    codes = {n.code for n in measure(table).assumptions}
    assert {"profile.leaking", "profile.by_gaps"} <= codes


def test_no_value_of_a_column_is_told() -> None:
    table = noise(3, 200)
    table["word"] = np.array(["Wang Xiaoming", "13812345678"] * 100, object)
    found = measure(table, data={"private": ["word"]})
    assert not any(secret in repr(found) for secret in ("Wang", "13812345678"))


def test_few_rows_are_too_few_to_pass() -> None:
    estimates = {e.metric: e for e in measure(noise(4, 40)).estimates}
    assert estimates["leaking_columns"].basis["power"] == 0.0
    estimates = {e.metric: e for e in measure(noise(4, 1000)).estimates}
    assert estimates["leaking_columns"].basis["power"] == 1.0


def test_of_many_columns_those_with_most_gaps_are_told() -> None:
    generator = np.random.default_rng(5)
    table: dict[str, Any] = {f"c{i}": np.where(generator.random(60) < i / 60, np.nan, 1.0) for i in range(50)}
    found = measure({**table, "y": np.arange(60) % 2})
    told = [e for e in found.estimates if e.metric == "missing_share"]
    assert len(told) == 30
    assert min(e.value or 0 for e in told) >= np.median([np.isnan(c).mean() for c in table.values()]) - 0.1
    assert "profile.more_columns" in {n.code for n in found.untested}


def test_numbers_to_predict_leak_too() -> None:
    generator = np.random.default_rng(6)
    y = generator.normal(size=800)
    columns = {"copy": y * 1.1 + 5, "honest": y + generator.normal(size=800), "y": y}
    found = suspect({"test": rows_of(columns)}, DataSection(test=1, label="y"), Stream(1), 800, classify=False)
    p = adjusted(found)["leak"]
    assert p["copy"] < 1e-6
    assert p["honest"] == 1.0


def test_one_person_stays_on_one_side_of_the_rule() -> None:
    person = np.repeat(np.arange(200), 5)
    y = np.random.default_rng(7).integers(0, 2, 200)[person]
    columns = {"name": np.array([f"p{i}" for i in person], object), "person": person, "y": y}
    data = DataSection(test=1, label="y", id="person")
    found = suspect({"test": rows_of(columns)}, data, Stream(1), 1000, classify=True)
    assert dict(found["leak"]) == {"name": 1.0}, "a name tells the label of the person it is of, and nobody else's"


@pytest.mark.slow
def test_noise_is_seldom_flagged_and_a_leak_nearly_always() -> None:
    flags = seen = 0
    runs = 60
    for seed in range(runs):
        train, test = noise(seed, 500), noise(seed + 18_000, 500)
        splits = {"train": rows_of(train), "test": rows_of(test)}
        p = adjusted(suspect(splits, DataSection(test=1, label="y"), Stream(seed), 5000, classify=True))
        flags += min(itertools.chain(p["leak"].values(), p["shift"].values())) <= 0.05
        train["leak"] = train["y"] + np.random.default_rng(seed).normal(size=500) * 0.1
        splits["train"] = rows_of(train)
        p = adjusted(suspect(splits, DataSection(test=1, label="y"), Stream(seed), 5000, classify=True))
        seen += p["leak"]["leak"] <= 0.05
    assert clopper_pearson(flags, runs)[0] <= 0.05
    assert seen >= 0.9 * runs


def test_a_large_file_gives_what_the_same_rows_in_memory_give(tmp_path: Path) -> None:
    import pandas as pd

    table = noise(8, 3000)
    pd.DataFrame(table).to_csv(tmp_path / "rows.csv", index=False)
    a, _ = count_columns(rows_of(str(tmp_path / "rows.csv")), {})
    b, _ = count_columns(rows_of(table), {})
    assert a == b
