"""Every column of a split in blocks, from every kind of source, in the order of the rows."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriward.core.encoding import advice, guess
from veriward.core.errors import DataError
from veriward.core.rows import BLOCK_BYTES, Rows, open_rows, quoted
from veriward.core.subject import Subject

ROWS = 5000
A = np.arange(ROWS, dtype=np.float64)
B = np.array([f"行{i % 7}😀" for i in range(ROWS)], dtype=object)
Y = np.arange(ROWS) % 2


def rows_of(source: Any, which: str = "test") -> Rows:
    found = open_rows(Subject(model=len, data={which: source, "label": "y"}), which)
    assert found is not None
    return found


def text(separator: str = ",") -> bytes:
    lines = [
        separator.join(("a", "b", "y")),
        *(separator.join((f"{a}", b, str(y))) for a, b, y in zip(A, B, Y, strict=True)),
    ]
    return ("\n".join(lines) + "\n").encode()


def csv(folder: Path) -> str:
    (folder / "rows.csv").write_bytes(text())
    return str(folder / "rows.csv")


def packed(folder: Path) -> str:
    (folder / "rows.csv.gz").write_bytes(gzip.compress(text()))
    return str(folder / "rows.csv.gz")


def tabs(folder: Path) -> str:
    (folder / "rows.tsv").write_bytes(text("\t"))
    return str(folder / "rows.tsv")


def parquet(folder: Path) -> str:
    import duckdb

    duckdb.read_csv(csv(folder)).write_parquet(str(folder / "rows.parquet"))
    return str(folder / "rows.parquet")


def frame(folder: Path) -> Any:
    import pandas as pd

    return pd.DataFrame({"a": A, "b": B, "y": Y})


def polars(folder: Path) -> Any:
    import polars as pl

    return pl.DataFrame({"a": A, "b": B.tolist(), "y": Y})


def mapping(folder: Path) -> Any:
    return {"a": A, "b": B, "y": Y}


@pytest.mark.parametrize("make", [csv, packed, tabs, parquet, frame, polars, mapping])
def test_blocks_hold_all_rows_in_order(make: Callable[[Path], Any], tmp_path: Path) -> None:
    rows = rows_of(make(tmp_path))
    assert (rows.names, rows.total) == (("a", "b", "y"), ROWS)
    assert dict(rows.kinds) == {"a": "number", "b": "text", "y": "integer"}
    starts, sizes, seen = [], [], []
    for start, block in rows.blocks(700):
        starts.append(start)
        sizes.append(len(block["a"]))
        seen.append(block)
    assert starts == np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist()
    assert max(sizes) <= 700
    assert np.array_equal(np.concatenate([block["a"] for block in seen]), A)
    assert np.concatenate([block["b"] for block in seen]).tolist() == B.tolist()
    assert next(list(block) for _, block in rows.blocks(names=["y", "a"])) == ["y", "a"]
    wanted = np.array([0, 4, 4999])
    assert rows.take(wanted, ["b", "a"])["a"].tolist() == [0.0, 4.0, 4999.0]
    assert rows.take(wanted, ["b"], longest=2)["b"].tolist() == ["行0", "行4", "行1"]
    with rows.query('SELECT sum(a), count(DISTINCT "b") FROM rows') as result:
        assert result.fetchone() == (A.sum(), 7)


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_arrays_keep_their_shape_and_are_no_columns_of_queries(ending: str, tmp_path: Path) -> None:
    arrays = {"x": np.zeros((12, 3, 2), np.float32), "y": np.arange(12)}
    path = tmp_path / f"rows{ending}"
    if ending == ".npz":
        np.savez(path, **arrays)
    else:
        from safetensors.numpy import save_file

        save_file(arrays, path)
    rows = rows_of(str(path))
    assert (set(rows.names), rows.total, rows.kinds["x"], rows.width("x")) == ({"x", "y"}, 12, "array", 6)
    assert [block["x"].shape for _, block in rows.blocks(5)] == [(5, 3, 2), (5, 3, 2), (2, 3, 2)]
    with rows.query("SELECT sum(y) FROM rows") as result:
        assert int(result.fetchone()[0]) == 66


NAMES = ['a "quoted"', "it's", "#row", "１３８", "select", "😀", " spaced ", "a,b", "a_1"]


@pytest.mark.parametrize("kind", ["csv", "memory"])
def test_odd_names_are_names(kind: str, tmp_path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame({name: [f"v{n}", "w", "u"] for n, name in enumerate(NAMES)}).assign(y=[0, 1, 0])
    source: Any = table
    if kind == "csv":
        table.to_csv(tmp_path / "it's [odd]*.csv", index=False)
        source = str(tmp_path / "it's [odd]*.csv")
    rows = rows_of(source)
    assert [name.strip() for name in rows.names] == [name.strip() for name in [*NAMES, "y"]]
    (_, block), *_ = rows.blocks()
    assert [block[name][0] for name in rows.names[:-1]] == [f"v{n}" for n in range(len(NAMES))]
    assert rows.take(np.array([1]))["#row"].tolist() == ["w"]
    for name in rows.names:
        with rows.query(f"SELECT count({quoted(name)}) FROM rows") as result:
            assert result.fetchone() == (3,)


def test_names_with_line_breaks_are_names_in_memory() -> None:
    rows = rows_of({"a\nb": np.arange(3), "y": np.arange(3)})
    with rows.query(f"SELECT max({quoted(rows.names[0])}) FROM rows") as result:
        assert result.fetchone() == (2,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"a,y\n", "no rows"),
        (b"a,A,y\n1,2,0\n", "two columns"),
        (b"a,a,y\n1,2,0\n", "two columns"),
        (b'"a\nb",y\n1,0\n', "header line is not text"),
    ],
)
def test_the_refusals_of_loading(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(DataError, match=said):
        rows_of(str(tmp_path / "rows.csv"))


def test_what_is_not_there_or_differs_in_length() -> None:
    with pytest.raises(DataError, match="no such file"):
        rows_of("nowhere.csv")
    with pytest.raises(DataError, match="lengths differ"):
        rows_of({"a": np.arange(3), "y": np.arange(4)})
    assert open_rows(Subject(model=len, data={"test": {"y": np.arange(3)}}), "train") is None
    with pytest.raises(DataError, match="capitals"), rows_of({"a": A, "A": A, "y": Y}).query("SELECT 1"):
        pass


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,y\n1,0\n", encoding="utf-8")
    assert rows_of(str(path)).total == 1
    path.write_text("a,b,y\n1,x,0\n2,x,1\n", encoding="utf-8")
    rows = rows_of(str(path))
    assert (rows.names, rows.total) == (("a", "b", "y"), 2)


def test_long_numbers_keep_their_digits_as_texts(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("card,y\n6222021234567890123,0\n,1\n", encoding="utf-8")
    (_, block), *_ = rows_of(str(tmp_path / "rows.csv")).blocks(texts=True)
    assert block["card"].tolist() == ["6222021234567890123", None]


def test_a_mixed_column_is_one_of_texts(tmp_path: Path) -> None:
    lines = ["a,y", *(f"{i},0" for i in range(30_000)), "five,1"]  # far behind what a quick look would see
    (tmp_path / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    rows = rows_of(str(tmp_path / "rows.csv"))
    assert rows.kinds["a"] == "text"
    assert list(rows.blocks())[-1][1]["a"][-1] == "five"


def test_rows_of_long_texts_come_in_small_blocks(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,y\n" + "".join(f"{'字' * 300_000},{i}\n" for i in range(4)), encoding="utf-8")
    rows = rows_of(str(path))
    assert [len(block["a"][0]) for _, block in rows.blocks(2)] == [300_000, 300_000]
    assert rows._height(1 << 20) == BLOCK_BYTES // (path.stat().st_size // 4)
    assert rows.take(np.array([2]), ["a"], longest=5)["a"].tolist() == ["字" * 5]


@pytest.mark.parametrize(
    ("sentence", "encoding", "named"),
    [
        ("性别,年龄,评价\n女,31,这家店的热水器质量很好，送货也快\n", "gb18030", "GB18030"),
        ("性別,年齡,評價\n女,31,這家店的熱水器品質很好，送貨也快\n", "big5", "BIG5"),
        ("prénom,âge,y\nRené,31,0\nZoë,28,1\n", "cp1252", "CP1252"),
        ("a,y\n1,0\n", "utf-16", "UTF-16"),
    ],
)
def test_other_encodings_are_recognised(sentence: str, encoding: str, named: str, tmp_path: Path) -> None:
    assert guess(sentence.encode(encoding)) == named
    path = tmp_path / "rows.csv"
    path.write_bytes(sentence.encode(encoding))
    with pytest.raises(DataError, match=f"probably {named}: iconv -f {named} -t UTF-8 rows.csv > utf8-rows.csv"):
        rows_of(str(path))
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(sentence.encode(encoding)))
    assert f"gunzip -c rows.csv.gz | iconv -f {named}" in (advice(tmp_path / "rows.csv.gz") or "")


def test_a_broken_byte_far_inside_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,y\n" + b"1,0\n" * 400_000 + "女性,1\n".encode("gb18030"))
    assert "GB18030" in (advice(path) or "")
    path.write_bytes("a,y\n女,1\n".encode())
    assert advice(path) is None


@pytest.mark.slow
def test_a_pass_over_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = """
import sys, resource, duckdb, pandas, numpy
from veriward.core.rows import open_rows
from veriward.core.subject import Subject
path = sys.argv[1]
duckdb.sql("SET enable_progress_bar = false")
duckdb.sql(f"COPY (SELECT i AS a, md5(i::VARCHAR) AS b, i % 2 AS y FROM range(8000000) t(i)) TO '{path}'")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = open_rows(Subject(model=len, data={"test": path, "label": "y"}), "test")
last = -1
for start, block in rows.blocks():
    assert start == last + 1 and block["a"][0] == start
    last = start + len(block["a"]) - 1
assert last == 7999999
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    path = tmp_path / "rows.parquet"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400, "MiB; the table itself would take more than 600"
