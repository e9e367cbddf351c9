"""Overlap of train and test: exact keys, nearest neighbours, texts, and what the check makes of them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriward.adapters.opened import open_subject
from veriward.checks.data import overlap
from veriward.checks.data.keys import input_names, read_keys
from veriward.checks.data.minhash import closest, resemblance, shingles
from veriward.checks.data.neighbours import learn, nearest, threshold
from veriward.checks.data.planted_splits import coin
from veriward.checks.data.splits import Splits
from veriward.core.evidence import Evidence
from veriward.core.rows import open_rows
from veriward.core.subject import Subject

from .measure import measure

DATA = Path(__file__).parents[3] / "shared/data"


def subject(train: Any, test: Any, **more: Any) -> Subject:
    data = {"train": train, "test": test, "label": "y", **more.pop("data", {})}
    model = {"live": coin, "output": "probabilities"}
    input_ = {"kind": "tabular", **({} if "x" in test else {"columns": [next(iter(test))]})}
    return Subject.model_validate({"task": "classification", "model": model, "data": data, "input": input_, **more})


def values(found: Evidence) -> dict[str, float | None]:
    return {e.metric + "".join(f" {v}" for v in e.at.values()): e.value for e in found.estimates}


def keys(train: Any, test: Any, **data: Any) -> dict[str, Any]:
    described = Subject(model=len, data={"train": train, "test": test, "label": "y", **data})
    splits = {which: open_rows(described, which) for which in ("train", "test")}
    held = {which: rows for which, rows in splits.items() if rows is not None}
    return read_keys(held, input_names(held, ("y", data.get("id"))), "y", data.get("id"))


def test_partners_repeats_twins_and_conflicts_agree_with_counting() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 60, 200), generator.integers(0, 90, 150)
    labels = generator.integers(0, 2, 200)
    assert overlap.partners(b, a).tolist() == [int(np.flatnonzero(a == v)[0]) if v in a else -1 for v in b]
    assert overlap.repeats(a).tolist() == [v in a[:n] for n, v in enumerate(a)]
    assert overlap.twins(a).tolist() == [(a == v).sum() > 1 for v in a]
    wanted = [len(set(labels[a == v].tolist())) > 1 for v in a]
    assert overlap.conflicting(a, labels).tolist() == wanted
    empty = np.empty(0, np.int64)
    assert overlap.partners(a, empty).tolist() == [-1] * 200
    assert len(overlap.conflicting(empty, empty)) == len(overlap.twins(empty)) == 0


def test_numbers_are_equal_by_value_whatever_their_type(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b,y\n1,x,0\n-0.0,,1\n2.5,y,0\n7,1,1\n", encoding="utf-8")
    test = {"a": np.array([1, 0, 7]), "b": np.array(["x", None, "1.0"], object), "y": np.array([0, 0, 1])}
    found = keys(str(tmp_path / "train.csv"), test)
    assert overlap.partners(found["test"].inputs, found["train"].inputs)[:2].tolist() == [0, 1]
    assert overlap.partners(found["test"].whole, found["train"].whole)[:2].tolist() == [0, -1]
    nan = {"a": np.array([np.nan, 1.0]), "y": np.array([0, 1])}
    (tmp_path / "gaps.csv").write_text("a,y\n,0\n1,1\n", encoding="utf-8")
    found = keys(str(tmp_path / "gaps.csv"), nan)
    assert found["train"].whole.tolist() == found["test"].whole.tolist()


def test_long_numbers_differ_in_their_last_digit() -> None:
    a = {"id": np.array([6222021234567890123, 1]), "v": np.zeros(2), "y": np.zeros(2, int)}
    b = {"id": np.array([6222021234567890124, 1]), "v": np.zeros(2), "y": np.zeros(2, int)}
    found = keys(a, b, id="id")
    assert overlap.partners(found["test"].ids, found["train"].ids).tolist() == [-1, 1]


def test_pictures_are_equal_in_any_type_and_a_sign_is_no_small_matter() -> None:
    x = np.random.default_rng(0).integers(0, 255, (6, 3, 4, 4)).astype(np.uint8)
    train, test = {"x": x, "y": np.arange(6)}, {"x": x[::-1].astype(np.float32), "y": np.arange(6)}
    found = keys(train, test)
    assert overlap.partners(found["test"].inputs, found["train"].inputs).tolist() == [5, 4, 3, 2, 1, 0]
    signed = keys({"x": -x.astype(np.float32), "y": np.arange(6)}, test)
    assert (overlap.partners(signed["test"].inputs, signed["train"].inputs) == -1).all()


def test_nearest_is_the_nearest_and_measures_small_distances() -> None:
    generator = np.random.default_rng(1)
    pool = generator.normal(size=(700, 5)).astype(np.float32) + 100
    points = (pool[:600] + np.float32(1e-4)).astype(np.float32)
    distance, place = nearest(points, pool)
    true = np.linalg.norm(points.astype(float) - pool[:600].astype(float), axis=1)
    assert (place == np.arange(600)).mean() > 0.9  # float32 far from the origin
    assert distance[place == np.arange(600)] == pytest.approx(true[place == np.arange(600)])
    centred = generator.normal(size=(50, 4)).astype(np.float32)
    gaps = np.linalg.norm(centred[:, None].astype(float) - centred[None].astype(float), axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert nearest(centred, centred, np.arange(50))[0] == pytest.approx(gaps.min(1), rel=1e-5)


def test_the_threshold_is_an_order_statistic() -> None:
    reference = np.random.default_rng(2).permutation(np.arange(1.0, 1000.0))
    assert threshold(reference, 0.01) == 10.0
    assert threshold(reference[:98], 0.01) is None
    flagged = [
        (
            np.random.default_rng(seed).random(200) < (threshold(np.random.default_rng(seed + 999).random(99)) or 0)
        ).mean()
        for seed in range(300)
    ]
    assert np.mean(flagged) == pytest.approx(0.01, abs=0.003)


def test_a_space_ignores_what_never_varies_and_survives_gaps() -> None:
    columns = {
        "a": np.array([0.0, 2.0, np.nan, np.inf]),
        "same": np.ones(4),
        "b": np.array(["x", "y", None, "x"], object),
        "empty": np.full(4, np.nan),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = learn(columns, np.random.default_rng(0)).points(columns)
    assert np.isfinite(points).all()
    assert np.linalg.norm(points[0] - points[1]) == pytest.approx(np.hypot(2.0, 1.0))  # 2 deviations, another category


def test_projections_keep_distances() -> None:
    x = np.random.default_rng(3).normal(size=(40, 3, 20, 20)).astype(np.float32)
    points = learn({"x": x}, np.random.default_rng(0)).points({"x": x})
    assert points.shape == (40, 256)
    flat = x.reshape(40, -1) / x.std()
    ratio = np.linalg.norm(points[0] - points[1:], axis=1) / np.linalg.norm(flat[0] - flat[1:], axis=1)
    assert ratio == pytest.approx(1.0, abs=0.25)


def test_shingles_and_resemblance() -> None:
    assert len(shingles("热水器很好用")) == 3
    assert len(shingles("热水")) == 0
    assert resemblance(shingles("abcde"), shingles("abcdf")) == pytest.approx(1 / 3)
    assert resemblance(shingles(""), shingles("abcd")) == 0.0


def test_near_texts_meet_and_unrelated_ones_do_not() -> None:
    generator = np.random.default_rng(4)
    signs = [chr(c) for c in range(0x4E00, 0x4E00 + 2000)]
    pool = ["".join(generator.choice(signs, 80)) for _ in range(200)]
    texts = [text[:40] + "改" + text[41:] for text in pool[:50]] + [
        "".join(generator.choice(signs, 80)) for _ in range(50)
    ]
    share, place = closest(texts, pool, np.random.default_rng(0))
    assert place[:50].tolist() == list(range(50))
    assert share[:50] == pytest.approx(73 / 81)  # four of 77 shingles changed
    assert (share[50:] == 0).all()


def test_planted_overlap_is_found_in_numbers_and_rows() -> None:
    generator = np.random.default_rng(5)
    train = {f"c{i}": generator.normal(size=600) for i in range(4)} | {"y": generator.integers(0, 2, 600)}
    test = {f"c{i}": generator.normal(size=400) for i in range(4)} | {"y": generator.integers(0, 2, 400)}
    for name in train:
        test[name][:8] = train[name][100:108]
        test[name][20] = test[name][30]
    for i in range(4):
        test[f"c{i}"][8:20] = train[f"c{i}"][:12] + generator.normal(size=12) * 1e-3
    test["y"][:2] = 1 - test["y"][:2]
    found = measure("data/splits", subject(train, test))
    told = values(found)
    assert told["shared_rows"] == 8 / 400
    assert told["duplicate_rows test"] == 1 / 400
    assert told["duplicate_rows train"] == 0
    assert told["label_conflicts"] == 4 / 1000
    assert found.outcomes["shared"].tolist() == [1] * 8 + [0] * 392
    assert found.outcomes["near"][8:20].tolist() == [1] * 12
    assert found.outcomes["near"].sum() < 12 + 400 * 0.03
    pairs = {(w.row, w.details["train_row"]) for w in found.witnesses}
    assert {(n, 100 + n) for n in range(8)} <= pairs
    note = next(n for n in found.assumptions if n.code == "splits.shared")
    assert note.values == {"rows": 8, "same_label": 6}


def test_coarse_tables_give_no_false_alarm_and_copies_none_the_less() -> None:
    generator = np.random.default_rng(6)

    def coarse(n: int) -> dict[str, Any]:
        return {
            "a": generator.integers(0, 3, n),
            "b": generator.choice(np.array(["x", "y"], object), n),
            "y": np.arange(n) % 2,
        }

    found = measure("data/splits", subject(coarse(500), coarse(300)))
    shared = next(e for e in found.estimates if e.metric == "shared_rows")
    assert shared.value is None
    assert shared.why is not None
    assert shared.why.code == "splits.coarse"
    assert found.outcomes["shared"].all()
    some = {"a": np.r_[np.arange(360.0), np.arange(40.0)], "y": np.arange(400) % 2}  # a fifth of train has a twin
    copy = {name: column[:200] for name, column in some.items()}
    assert values(measure("data/splits", subject(some, copy)))["shared_rows"] == 1.0


def test_persons_on_both_sides() -> None:
    train = {"v": np.arange(200.0), "person": np.arange(200), "y": np.arange(200) % 2}
    test = {"v": np.arange(1000.0, 1100.0), "person": np.arange(190, 290), "y": np.arange(100) % 2}
    found = measure("data/splits", subject(train, test, data={"id": "person"}))
    assert values(found)["shared_ids"] == 10 / 100
    assert "splits.no_id" not in {n.code for n in found.untested}


def test_texts_are_compared_as_texts() -> None:
    generator = np.random.default_rng(7)
    signs = np.array([chr(c) for c in range(0x4E00, 0x4E00 + 3000)])
    texts = np.array(["".join(generator.choice(signs, 60)) for _ in range(300)], object)
    test = np.array(
        [t[:-1] + "。" for t in texts[:30]] + ["".join(generator.choice(signs, 60)) for _ in range(70)], object
    )
    train = {"v": generator.normal(size=300), "review": texts, "y": np.arange(300) % 2}
    held = {"v": generator.normal(size=100), "review": test, "y": np.arange(100) % 2}
    found = measure("data/splits", subject(train, held))
    assert values(found)["near_shared_rows review"] == 30 / 100
    assert found.outcomes["near"].tolist() == [1] * 30 + [0] * 70


@pytest.mark.parametrize("rows", [2, 3])
def test_hardly_any_rows(rows: int) -> None:
    split = {"v": np.arange(float(rows)), "y": np.arange(rows) % 2}
    found = measure("data/splits", subject(split, {"v": np.array([5.0, np.nan]), "y": np.array([0, 1])}))
    assert values(found)["near_shared_rows"] is None
    assert values(found)["shared_rows"] == 0.0


def test_only_a_test_split_is_refused() -> None:
    alone = Subject.model_validate(
        {
            "task": "classification",
            "model": {"live": coin, "output": "probabilities"},
            "data": {"test": {"x": np.zeros((4, 2)), "y": np.arange(4) % 2}},
            "input": {"kind": "tabular", "bounds": (0.0, 1.0)},
        }
    )
    why = Splits().refuse(open_subject(alone, device="cpu"))
    assert why is not None
    assert why.code == "splits.no_train"


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "adult-train.csv.gz").is_file(), reason=f"no {DATA}/adult-train.csv.gz")
def test_adult_holds_the_duplicates_that_are_known_of_it() -> None:
    import pandas as pd

    frames = {
        which: pd.read_csv(DATA / f"adult-{which}.csv.gz", header=None, skipinitialspace=True, comment="|")
        for which in ("train", "test")
    }
    columns = [f"c{i}" for i in range(14)]
    for frame in frames.values():
        frame.columns = [*columns, "y"]
        frame["y"] = frame.y.str.rstrip(".")
    told = values(measure("data/splits", subject(frames["train"], frames["test"])))
    for which, frame in frames.items():
        assert told[f"duplicate_rows {which}"] == frame.duplicated().sum() / len(frame)
    merged = frames["test"].merge(frames["train"][columns].drop_duplicates(), on=columns)
    assert told["shared_rows"] == len(merged) / len(frames["test"])
    assert frames["train"].duplicated().sum() == 24
