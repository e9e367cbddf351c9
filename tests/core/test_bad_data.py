"""Rows from wherever they are: the same numbers from every kind of table, and one error for what is none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriward.core import sources
from veriward.core.data import load_split
from veriward.core.errors import DataError, SettingsError, some
from veriward.core.sources import as_columns, read_columns
from veriward.core.subject import Subject

NAMES = ("a", "b", "y")
A, B, Y = np.arange(6.0), np.array(["red", "blue", "red", "red", "blue", "red"], object), np.array([0, 1, 0, 1, 0, 1])


def frame() -> Any:
    import pandas as pd

    return pd.DataFrame({"a": A, "b": B, "y": Y})


def polars_table() -> Any:
    import polars as pl

    return pl.DataFrame({"a": A, "b": B.tolist(), "y": Y})


def arrow_table() -> Any:
    import pyarrow as pa

    return pa.table({"a": A, "b": B.tolist(), "y": Y})


def duckdb_table() -> Any:
    import duckdb

    return duckdb.sql("SELECT * FROM (VALUES (0.0::DOUBLE, 'red', 0), (1.0, 'blue', 1)) AS t(a, b, y)")


@pytest.mark.parametrize("make", [frame, polars_table, arrow_table, lambda: {"a": A, "b": B, "y": Y}])
def test_every_kind_of_table_gives_the_same_columns(make: Any) -> None:
    columns = as_columns(make())
    assert tuple(columns) == NAMES
    for name, expected in zip(NAMES, (A, B, Y), strict=True):
        assert columns[name].tolist() == expected.tolist()
    assert columns["b"].dtype == object


def test_a_query_of_duckdb() -> None:
    assert [column.tolist() for column in as_columns(duckdb_table()).values()] == [[0.0, 1.0], ["red", "blue"], [0, 1]]


def test_gaps_are_nan_in_numbers_and_none_in_texts() -> None:
    import pandas as pd
    import polars as pl

    gaps = {"a": [1.0, None], "b": ["red", None], "n": [1, None]}
    for table in (pl.DataFrame(gaps), pd.DataFrame(gaps), pd.DataFrame(gaps).convert_dtypes()):
        columns = as_columns(table)
        assert np.isnan(columns["a"][1])
        assert np.isnan(columns["n"][1])
        assert columns["b"].tolist() == ["red", None]


def test_categories_dates_and_half_precision() -> None:
    import pandas as pd
    import torch

    made = frame().assign(b=frame().b.astype("category"), day=pd.Timestamp("2026-01-31"))
    columns = as_columns(made)
    assert columns["b"].tolist() == B.tolist()
    assert columns["day"][0].startswith("2026-01-31")
    assert as_columns({"x": torch.ones(2, 3, dtype=torch.bfloat16)})["x"].dtype == np.float32
    assert as_columns((torch.ones(2, 3, requires_grad=True), [0, 1]))["x"].shape == (2, 3)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (3, "data.test: data of type int"),
        ("nope.csv", "nope.csv: no such file"),
        ((A, Y, Y), "data of type tuple"),
        ({}, "there are: none"),
        ({"x": A[:, None], "y": Y[:4]}, "lengths differ"),
        ({"x": A[:0, None], "y": Y[:0]}, "no rows"),
        ({"x": A[:, None].astype(complex), "y": Y}, "column 'x': values of type complex128"),
        ({"x": A[:, None], "y": np.eye(6)}, "shape (6, 6)"),
        ({"x": A[:, None], "y": 3}, "lengths differ"),
        ({"pixels": np.zeros((6, 2, 2)), "y": Y}, "call the input array x"),
        ({"x": A[:, None], "y": np.where(Y == 0, np.nan, Y)}, "missing or not finite in row 0"),
        ({"x": A[:, None], "y": [1, 0, None, 1, 0, 1]}, "missing or not finite in row 2"),
    ],
)
def test_what_is_no_data_is_one_error(source: Any, wanted: str) -> None:
    subject = Subject.model_validate({"model": {"live": len}, "data": {"test": source}})
    with pytest.raises(DataError) as told:
        load_split(subject, "test")
    assert wanted in str(told.value)


def test_names_twice_in_a_frame_and_in_a_parquet_file(tmp_path: Path) -> None:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pytest.raises(DataError, match="two columns are called 'a'"):
        as_columns(pd.DataFrame(np.zeros((2, 3)), columns=["a", "b", "a"]))
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="two columns are called 'a'"):
        read_columns(tmp_path / "twice.parquet")
    (tmp_path / "fine.csv").write_text("a,a_1,A_2,y\n1,2,3,0\n")
    assert tuple(read_columns(tmp_path / "fine.csv")[0]) == ("a", "a_1", "A_2", "y")


def test_words_and_codes_of_a_csv_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("yes,code,flag,day,n\nyes,007,true,2026-01-31,1\nno,010,false,2026-02-01,\n")
    columns, total = read_columns(tmp_path / "t.csv")
    assert total == 2
    assert columns["yes"].tolist() == ["yes", "no"]
    assert columns["flag"].tolist() == [True, False]
    assert columns["day"].tolist() == ["2026-01-31", "2026-02-01"]
    assert np.isnan(columns["n"][1])


def test_a_large_file_is_sampled_by_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LARGE_BYTES", 1)
    monkeypatch.setattr(sources, "SAMPLE_ROWS", 100)
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{n},{n % 2}\n" for n in range(1000)))
    columns, total = read_columns(tmp_path / "t.csv")
    again, _ = read_columns(tmp_path / "t.csv")
    other, _ = read_columns(tmp_path / "t.csv", seed=1)
    assert total == 1000
    assert 60 < len(columns["a"]) < 140
    np.testing.assert_array_equal(columns["a"], columns[sources.ROW])
    np.testing.assert_array_equal(columns["a"], again["a"])
    assert columns["a"].tolist() != other["a"].tolist()
    subject = Subject.model_validate({"model": {"live": len}, "data": {"test": "t.csv"}, "folder": tmp_path})
    split = load_split(subject, "test")
    assert split is not None
    assert (split.total, len(split)) == (1000, len(columns["a"]))
    np.testing.assert_array_equal(split.index, columns["a"])


def test_a_subject_made_in_python_tells_mistakes_without_rows() -> None:
    rows = [[0.123456, 1.0]] * 50
    for values in (
        {"model": {"live": len}, "data": {"test": None}},
        {"model": {"live": len}, "data": rows},
        {"model": {}, "data": {"test": (rows, [0] * 50)}},
        {"model": {"live": len}, "data": {"test": (rows, [0] * 50), "lable": "y"}},
    ):
        for make in (Subject.model_validate, lambda values: Subject(**values)):
            with pytest.raises(SettingsError) as told:
                make(values)
            assert "0.123456" not in str(told.value)
            assert str(told.value).startswith("subject: ")


def test_many_or_long_names_are_cut() -> None:
    assert some([]) == "none"
    assert some(range(25)).endswith("19 … (+5)")
    assert len(some(["x" * 1000])) == 60
