"""Whatever a user types or hands over: one error that says where, what came, what was wanted; exit 2; nothing lost."""

import json
import os
import pickle
import resource
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from veriward.checks.evasion import plans
from veriward.cli.app import main
from veriward.core import sources
from veriward.core.dossier import Dossier
from veriward.core.journal import SCHEMA, Journal

SUBJECT = """\
name = "tiny"
task = "classification"
[model]
path = "model.pt2"
output = "logits"
[input]
kind = "tabular"
bounds = [0.0, 1.0]
[data]
train = "train.csv"
test = "test.csv"
label = "y"
"""
WEIGHTS = SUBJECT.replace('"model.pt2"', '"model.safetensors"\nfactory = "net:build"')
BUILD = "from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))\n"
Call = Callable[..., tuple[int, str, str]]


def rows(n: int = 60, columns: int = 4, seed: int = 0) -> tuple[Any, Any]:
    x = np.random.default_rng(seed).random((n, columns)).astype(np.float32)
    return x, (x.sum(1) > columns / 2).astype(np.int64)


def net(inputs: int = 4, outputs: int = 2) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model.eval()


def export(model: nn.Module, example: Any, path: Path, *, dynamic: bool = True) -> None:
    shapes = ({0: torch.export.Dim("rows", min=1)},) if dynamic else None
    torch.export.save(torch.export.export(model, (torch.from_numpy(example),), dynamic_shapes=shapes), path)


def csv(x: Any, y: Any, names: str = "abcd") -> str:
    lines = [",".join(map(str, [*row, label])) for row, label in zip(x.tolist(), y.tolist(), strict=True)]
    return "\n".join([",".join([*names, "y"]), *lines]) + "\n"


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("tiny")
    for which, seed in (("train", 1), ("test", 0)):
        x, y = rows(seed=seed)
        np.savez(folder / f"{which}.npz", x=x, y=y)
        (folder / f"{which}.csv").write_text(csv(x, y))
    export(net(), rows()[0][:8], folder / "model.pt2")
    export(net(), rows()[0][:4], folder / "static.pt2", dynamic=False)
    export(net(5), rows(columns=5)[0][:8], folder / "wide.pt2")
    export(net(outputs=1), rows()[0][:8], folder / "value.pt2")
    save_file(net().state_dict(), folder / "model.safetensors")
    (folder / "net.py").write_text(BUILD)
    (folder / "subject.toml").write_text(SUBJECT)
    return folder


@pytest.fixture
def folder(shelf: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shelf, tmp_path / "tiny"))


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def called(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return called


@pytest.fixture
def assess(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setitem(plans.EFFORTS, "quick", plans.Effort(200, 5, 1, 20, 50))  # type: ignore[arg-type]  # a dict

    def assessed(*words: object) -> tuple[int, str, str]:
        return call("assess", folder, "--budget", "quick", *words)

    return assessed


@pytest.fixture
def refused(assess: Call) -> Callable[..., str]:
    """Assess, and return the one error line after everything else that an error promises was looked at."""

    def told(*words: object, code: int = 2) -> str:
        exit_code, out, err = assess(*words)
        lines = [line for line in err.splitlines() if not line.startswith(("runs your code", "running "))]
        assert (exit_code, out, len(lines)) == (code, "", 1), (exit_code, out, err)
        assert lines[0].startswith("veriward: ")
        return lines[0].removeprefix("veriward: ")

    return told


# --- subject.toml


TOML = {
    "unknown key": ("[input]", "[input]\nbound = 1", ["'input.bound'", "did you mean 'bounds'"]),
    "unknown section": ("task =", "tsk =", ["'tsk'", "did you mean 'task'"]),
    "key of the library": ("task =", "folder = '/'\ntask =", ["'folder'"]),
    "wrong type": ("[0.0, 1.0]", '"wide"', ["input.bounds", "'wide'", "a list"]),
    "too many": ("[0.0, 1.0]", "[0.0, 1.0, 2.0]", ["input.bounds", "at most 2"]),
    "wrong choice": ('"classification"', '"clasification"', ["task = 'clasification'", "'regression'"]),
    "bounds reversed": ("[0.0, 1.0]", "[1.0, 0.0]", ["input.bounds = [1.0, 0.0]", "low < high"]),
    "bounds not finite": ("[0.0, 1.0]", "[-inf, inf]", ["input.bounds", "finite"]),
    "bounds no numbers": ("[0.0, 1.0]", "[nan, 1.0]", ["input.bounds", "finite"]),
    "columns twice": ("bounds", 'columns = ["a", "a"]\nbounds', ["input.columns", "names a twice"]),
    "name of a path": ('"tiny"', '"a/b"', ["name = 'a/b'", "without /"]),
    "name of two lines": ('"tiny"', '"a\\nb"', ["name"]),
    "name without end": ('"tiny"', f'"{"长" * 50}"', ["at most 100 bytes"]),
    "label missing": ('label = "y"', "", ["data.label is missing"]),
    "label as group": ('label = "y"', 'label = "y"\ngroups = ["y"]', ["label 'y' is also"]),
    "groups no list": ('label = "y"', 'label = "y"\ngroups = "a"', ["data.groups = 'a'", "a list"]),
    "no data": ('train = "train.csv"\ntest = "test.csv"', "", ["want test (or train)"]),
    "data a list": ('test = "test.csv"', 'test = ["test.csv"]', ["data.test", "path of one file"]),
    "no model": ('path = "model.pt2"', "", ["model", "path"]),
    "object in a file": ('path = "model.pt2"', "live = 3", ["[model]", "path"]),
    "no TOML": ("name =", "name = =", ["not valid TOML", "line 1"]),
    "kind not read": ('"tabular"', '"text"', ["input.kind = 'text'", "image and tabular"]),
    "task not read": ('"classification"', '"forecasting"', ["task = 'forecasting'"]),
    "image of columns": ('"tabular"', '"image"', ["an array called x"]),
    "output and task": ('"logits"', '"value"', ["task = 'classification'", "'value'"]),
    "output is none": ('"logits"', '"probabilities"', ["model.output = 'probabilities'", "say 'logits'"]),
    "output no labels": ('"logits"', '"labels"', ["want 60 class numbers"]),
    "favourable": ('label = "y"', 'label = "y"\nfavourable = "maybe"', ["data.favourable = 'maybe'", "it knows 0, 1"]),
    "group missing": ('label = "y"', 'label = "y"\ngroups = ["sex"]', ["data.train", "'sex'", "a, b, c, d"]),
    "id missing": ('label = "y"', 'label = "y"\nid = "who"', ["'who' (data.id)"]),
    "private missing": ('label = "y"', 'label = "y"\nprivate = ["note"]', ["data.private: no column 'note'"]),
    "quasi missing": (
        'label = "y"', 'label = "y"\nquasi_identifiers = ["zip"]', ["data.quasi_identifiers", "'zip'", "a, b, c, d"]
    ),
    "columns missing": ("bounds", 'columns = ["a", "q"]\nbounds', ["data.test: no column q", "a, b, c, d"]),
    "data missing": ("test.csv", "nope.csv", ["nope.csv: no such file"]),
    "data a folder": ("test.csv", ".", ["a folder", ".csv"]),
    "data of other kind": ("test.csv", "net.py", ["kind '.py'", ".parquet"]),
    "data a pattern": ("test.csv", "t*.csv", ["t*.csv: no such file"]),
    "model missing": ("model.pt2", "nope.pt2", ["nope.pt2", "No such file"]),
    "model a folder": ("model.pt2", ".", ["folder", "model file"]),
    "model served": ("model.pt2", "https://models.invalid/a", ["https://models.invalid/a", "not resolved"]),
    "model of other rows": ("model.pt2", "wide.pt2", ["takes 5 inputs", "4 columns"]),
}  # fmt: skip


@pytest.mark.parametrize("case", TOML)
def test_a_wrong_subject_is_one_error(case: str, folder: Path, refused: Callable[..., str]) -> None:
    old, new, wanted = TOML[case]
    assert old in SUBJECT
    (folder / "subject.toml").write_text(SUBJECT.replace(old, new), encoding="utf-8")
    message = refused()
    assert all(part in message for part in wanted), message
    assert not list(folder.glob("tiny.*"))


EPS = ["0", "-1", "nan", "inf", "'wide'", "[]", "[0.1, 0]", "[0.1, 0.1]", "[0.1, 0.10000000001]"]
ADDED = {
    **{f"eps {value}": (f"[threat.evasion]\neps = {value}", "threat.evasion.eps") for value in EPS},
    "norm unknown": ('[threat.evasion]\nnorm = "l3"', "'linf', 'l2' or 'l1'"),
    "norm empty": ("[threat.evasion]\nnorm = []", "at least 1"),
    "feature unknown": ("[features]\nage = { mutable = false }", "features.age: no such column"),
    "feature key": ("[features]\na = { mutabel = false }", "did you mean 'mutable'"),
    "feature kind": ('[features]\na = { kind = "real" }', "'numeric', 'integer'"),
    "feature no table": ("[features]\na = 3", "a table of keys"),
    "range reversed": ("[features]\na = { range = [2, 1] }", "features.a.range = [2, 1]"),
    "range not finite": ("[features]\na = { range = [0, inf] }", "finite"),
    "change in words": ('[features]\na = { change = "lots" }', "features.a.change = 'lots'"),
    "change without end": ('[features]\na = { change = "inf%" }', "features.a.change"),
    "budget not finite": ("[features]\na = { eps = inf }", "features.a.eps"),
    "claim not finite": ("[claims]\nepsilon = inf\ndelta = 1e-5", "claims.epsilon"),
    "rule no text": ("[rules]\nr = 1", "a text in quotes"),
}


@pytest.mark.parametrize("case", ADDED)
def test_a_wrong_section_is_one_error(case: str, folder: Path, refused: Callable[..., str]) -> None:
    text, wanted = ADDED[case]
    (folder / "subject.toml").write_text(f"{SUBJECT}{text}\n")
    assert wanted in refused()


RULES = [
    "__import__('os')", "__import__('os').system('true') <= 1", "a.real <= 1", "a(1) <= 2", "a if b else c", "lambda: 1",
    "a ** 2 <= 1", "a", "", "1 <= 2", "'a' <= b", "a in (1, 2)", "a <= 1\nimport os", "True <= a", "a <= 1e400",
    "a <= 1 / 0", "[a] <= 1", "a[0] <= 1", "zz <= 1", "a := 1", "a <= 0.5", "-" * 1000 + "a <= 1",
    "(" * 500 + "a" + ")" * 500 + " <= 1", "not " * 900 + "a <= 1", "a <= " + "9" * 1900,
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule[:20])
def test_rules_that_are_none_or_that_real_rows_break(rule: str, folder: Path, refused: Callable[..., str]) -> None:
    (folder / "subject.toml").write_text(f"{SUBJECT}[rules]\ncredit = {json.dumps(rule)}\n")
    message = refused()
    assert "credit" in message
    assert len(message) < 400 + len(str(folder))


def test_a_rule_about_texts(folder: Path, refused: Callable[..., str]) -> None:
    table_of_texts(folder)
    (folder / "subject.toml").write_text((folder / "subject.toml").read_text() + '[rules]\nr = "region <= 1"\n')
    assert "column 'region' holds texts; compare it with a quoted value" in refused()


def test_a_subject_that_is_not_there_or_not_text(folder: Path, refused: Callable[..., str]) -> None:
    (folder / "subject.toml").write_bytes(SUBJECT.encode("utf-16"))
    assert "want a readable UTF-8 file" in refused()
    (folder / "subject.toml").unlink()
    assert "veriward init" in refused()


@pytest.mark.parametrize(
    ("words", "wanted"),
    {
        "checks": (["--checks", "nope/*"], "matches no check"),
        "no checks": (["--checks", ","], "names no check"),
        "policy": (["--policy", "nope"], "default, ecommerce"),
        "policy file": (["--policy", "nope.toml"], "--policy nope.toml: cannot be read"),
        "budget": (["--budget", "huge"], "quick, standard, thorough"),
        "device": (["--device", "tpu"], "auto, cpu or cuda"),
        "batch": (["--batch-size", "0"], "--batch-size 0"),
        "workers": (["--workers", "0"], "--workers 0"),
        "engine": (["--engine", "nope"], "--engine nope"),
        "seed": (["--seed", str(10**30)], "at most 15 digits"),
        "lang": (["--lang", "de"], "--lang de: want one of en, zh"),
        "seal": (["--seal", "nope.key"], "not a readable private key"),
        "trust without code": (["--trust", "--no-code"], "contradict"),
        "place": (["--out", "nowhere/x.ward"], "cannot write there"),
    }.values(),
)
def test_wrong_options(words: list[str], wanted: str, folder: Path, refused: Callable[..., str]) -> None:
    assert wanted in refused(*words)
    assert not list(folder.glob("*.ward"))


# --- data


def nan_at(x: Any, value: float = np.nan) -> Any:
    other = x.copy()
    other[5, 1] = value
    return other


X, Y = rows()
TEXTS = np.full((60, 4), "red", object)
CELL = X.astype(object)
CELL[3, 2] = "7 rue Secrète"
FILES: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": ("", ["test.csv: empty"]),
    "header alone": ("a,b,c,d,y\n", ["data.test", "no rows"]),
    "header without end": ("a,b,c,d,y", ["no rows"]),
    "no header": (csv(X, Y).split("\n", 1)[1], ["no column 'y'", "is the header line missing?"]),
    "UTF-16": (csv(X, Y).encode("utf-16"), ["not UTF-8"]),
    "UTF-16 without mark": (csv(X, Y).encode("utf-16-le"), ["want UTF-8"]),
    "Latin-1": (csv(X, Y).replace("a", "ä").encode("latin-1"), ["not UTF-8"]),
    "noise": (np.random.default_rng(0).bytes(4000), ["test.csv", "want UTF-8"]),
    "huge header": ("z" * 2_500_000 + "," + csv(X, Y), ["test.csv", "not a readable table"]),
    "ragged": (csv(X, Y) + "1,2\n", ["differ in how many cells"]),
    "names twice": (csv(X, Y, "abca"), ["two columns are called 'a'"]),
    "names twice but for case": (csv(X, Y, "abcA"), ["two columns are called 'a'", "capitals"]),
    "column missing": (csv(X[:, :3], Y, "abc"), ["takes 4 inputs", "3 columns (a, b, c)"]),
    "other columns": (csv(X, Y, "abcz"), ["takes 4 inputs", "3 columns (a, b, c)"]),
    "wrong label": (csv(X, Y).replace("y\n", "z\n", 1), ["data.test", "'y' (data.label)", "a, b, c, d, z"]),
    "label out of range": (csv(X, np.where(np.arange(60) == 7, 9, Y)), ["data.test: label 9 in row 7", "it knows 0, 1"]),
    "label negative": (csv(X, np.where(np.arange(60) == 7, -1, Y)), ["label -1 in row 7"]),
    "label a fraction": (csv(X, np.where(np.arange(60) == 7, 0.5, Y)), ["3 classes", "model scores 2"]),
    "label missing": (csv(X, np.where(np.arange(60) == 7, np.nan, Y)), ["label 'y' is missing", "row 7"]),
    "label in words": (csv(X, np.where(Y, "many", "few").astype(object)), ["data.train: label", "few, many"]),
    "one class": (csv(X, Y * 0), ["every row has the label 0", "at least two"]),
    "gap": (csv(nan_at(X), Y).replace("nan", ""), ["column 'b' has no value in row 5", "fill the gaps"]),
    "infinite": (csv(nan_at(X, np.inf), Y), ["data.test: column 'b' is infinite in row 5"]),
    "beyond the bounds": (csv(nan_at(X, 300), Y), ["data.test: column 'b'", "input.bounds [0, 1]", "row 5"]),
    "texts": (csv(TEXTS, Y), ["hold texts: a, b, c, d", "takes numbers"]),
    "one text": (csv(CELL, Y), ["data.test", "hold texts: c"]),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_table_is_one_error(case: str, folder: Path, refused: Callable[..., str]) -> None:
    text, wanted = FILES[case]
    (folder / "test.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    message = refused()
    assert all(part in message for part in wanted), message
    assert "Secrète" not in message
    assert str(X[0, 0])[:6] not in message  # nothing of a row


def test_a_wrong_label_column_does_not_print_persons(folder: Path, refused: Callable[..., str]) -> None:
    names = np.array([f"person {n}" for n in range(60)], dtype=object)
    (folder / "test.csv").write_text(csv(X, names))
    assert "person" not in refused()
    (folder / "train.csv").write_text(csv(X, names))
    assert "person" not in refused()


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.path}'",)


ARRAYS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, ["no column 'y'", "there are: none"]),
    "no rows": ({"x": X[:0], "y": Y[:0]}, ["no rows"]),
    "lengths": ({"x": X, "y": Y[:50]}, ["lengths differ", "60", "50"]),
    "a single number": ({"x": np.float32(3), "y": Y}, ["lengths differ"]),
    "one dimension": ({"x": X[:, 0], "y": Y}, ["data.test holds named columns"]),
    "three dimensions": ({"x": X.reshape(60, 2, 2), "y": Y}, ["(2, 2)", "(4,)"]),
    "fewer columns": ({"x": X[:, :3], "y": Y}, ["(3,)", "(4,)"]),
    "labels one hot": ({"x": X, "y": np.eye(2)[Y]}, ["label 'y' has shape (60, 2)"]),
    "complex": ({"x": X.astype(complex), "y": Y}, ["column 'x'", "complex128"]),
    "gap": ({"x": nan_at(X), "y": Y}, ["data.test: column 'x1' has no value in row 5"]),
    "infinite": ({"x": nan_at(X, np.inf), "y": Y}, ["'x1' is infinite in row 5"]),
    "beyond the bounds": ({"x": X * 300, "y": Y}, ["input.bounds [0, 1]", "row 0"]),
    "label of the wrong name": ({"x": X, "target": Y}, ["no column 'y'", "x, target"]),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRAYS)
def test_wrong_arrays_are_one_error(case: str, folder: Path, refused: Callable[..., str]) -> None:
    arrays, wanted = ARRAYS[case]
    np.savez(folder / "test.npz", **arrays)
    (folder / "subject.toml").write_text(SUBJECT.replace(".csv", ".npz"))
    message = refused()
    assert all(part in message for part in wanted), message


def test_objects_in_arrays_are_never_unpickled(folder: Path, refused: Callable[..., str]) -> None:
    canary = folder / "canary"
    labels = np.empty(60, object)
    labels[:] = [Canary(canary)] * 60
    np.savez(folder / "test.npz", x=X, y=labels)
    (folder / "subject.toml").write_text(SUBJECT.replace(".csv", ".npz"))
    assert "never unpickled" in refused()
    (folder / "test.npz").write_bytes(pickle.dumps(Canary(canary)))
    assert "never unpickled" in refused()
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("test.npz", b"PK\x03\x04 and no more"),
        ("test.npz", b""),
        ("test.safetensors", b"\x10\0\0\0\0\0\0\0junk"),
        ("test.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}"),
        ("test.parquet", b"PAR1 no footer PAR1"),
    ],
)
def test_damaged_files(name: str, data: bytes, folder: Path, refused: Callable[..., str]) -> None:
    (folder / name).write_bytes(data)
    (folder / "subject.toml").write_text(SUBJECT.replace("test.csv", name))
    assert name in refused()


def test_test_rows_of_another_form_than_the_training_rows(folder: Path, refused: Callable[..., str]) -> None:
    (folder / "subject.toml").write_text(SUBJECT.replace("test.csv", "test.npz"))
    assert "data.test holds an array x" in refused()


def test_a_number_column_that_holds_texts_in_one_split(folder: Path, refused: Callable[..., str]) -> None:
    table_of_texts(folder)
    (folder / "test.csv").write_text((folder / "test.csv").read_text().replace("\n0.", "\nnearly 0.", 1))
    assert "column 'a': data.test holds texts and data.train numbers" in refused()


def table_of_texts(folder: Path) -> None:
    """A fitted pipeline that takes a text column, and its data."""
    import pandas as pd
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    for which, seed in (("train", 1), ("test", 0)):
        x, y = rows(seed=seed)
        frame = pd.DataFrame(x[:, :2], columns=["a", "b"])
        frame["region"] = np.where(x[:, 2] > 0.5, "华东", "华南")
        frame["y"] = y
        frame.to_csv(folder / f"{which}.csv", index=False)
    columns = make_column_transformer((OneHotEncoder(), ["region"]), remainder="passthrough")
    model = make_pipeline(columns, LogisticRegression()).fit(frame[["a", "b", "region"]], frame["y"])
    skops.io.dump(model, folder / "model.skops")
    (folder / "subject.toml").write_text(SUBJECT.replace("model.pt2", "model.skops").replace('output = "logits"\n', ""))


# --- models and code


def test_what_the_model_file_may_not_be(folder: Path, refused: Callable[..., str]) -> None:
    model, canary = folder / "model.pt2", folder / "canary"
    model.write_bytes(b"")
    assert "holds nothing" in refused()
    model.write_text("hello")
    assert "plain text" in refused()
    assert "this version does not load" in refused("--trust")
    model.write_bytes(pickle.dumps(Canary(canary)))
    assert "dangerous" in refused(code=1)
    assert "dangerous" in refused("--trust", code=1)
    assert not canary.exists()


def test_a_truncated_model(folder: Path, refused: Callable[..., str]) -> None:
    model = folder / "model.pt2"
    model.write_bytes(model.read_bytes()[:3000])
    assert "no model that can be read" in refused()
    assert "model.pt2" in refused("--trust")


FACTORIES = {
    "raises when imported": ("raise RuntimeError('boom')", "raised RuntimeError when imported: boom"),
    "is no Python": ("def build(:", "raised SyntaxError"),
    "leaves when imported": ("import sys\nsys.exit(0)", "raised SystemExit"),
    "leaves": ("import sys\ndef build(): sys.exit(0)", "model.factory = 'net:build': raised SystemExit"),
    "raises": ("def build(): raise RuntimeError('boom')", "raised RuntimeError: boom"),
    "wants arguments": ("def build(size): pass", "missing 1 required"),
    "returns nothing": ("def build(): pass", "returned a NoneType"),
    "is no function": ("build = 3", "no function 'build'"),
    "is missing": ("", "no function 'build'"),
    "other layers": ("from torch import nn\ndef build(): return nn.Linear(4, 2)", "missing weight"),
    "other sizes": (BUILD.replace("8", "9"), "size mismatch for 0.weight"),
}


@pytest.mark.parametrize("case", FACTORIES)
def test_wrong_factories(case: str, folder: Path, refused: Callable[..., str]) -> None:
    code, wanted = FACTORIES[case]
    (folder / "net.py").write_text(code)
    (folder / "subject.toml").write_text(WEIGHTS)
    assert wanted in refused()


@pytest.mark.parametrize(
    "name", ["net.build", "nit:build", "..net:build", "/net:build", "evil:build", "inner.evil:build", "net:__import__('os')"]
)  # fmt: skip
def test_code_outside_the_folder_never_runs(name: str, folder: Path, refused: Callable[..., str]) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "evil.py").write_text(f"open({str(folder / 'canary')!r}, 'w')\ndef build(): pass\n")
    (folder / "evil.py").symlink_to(outside / "evil.py")
    (folder / "inner").symlink_to(outside)
    (folder / "subject.toml").write_text(WEIGHTS.replace("net:build", name))
    assert "model.factory" in refused()
    assert not (folder / "canary").exists()


def test_no_code_refuses_and_weights_need_a_factory(folder: Path, refused: Callable[..., str]) -> None:
    (folder / "net.py").write_text(f"open({str(folder / 'canary')!r}, 'w')\n")
    (folder / "subject.toml").write_text(WEIGHTS)
    assert "--no-code forbids it" in refused("--no-code")
    assert "contradict" in refused("--no-code", "--trust")
    (folder / "subject.toml").write_text(WEIGHTS.replace('factory = "net:build"\n', ""))
    assert "name model.factory" in refused()
    assert not (folder / "canary").exists()


def test_a_subject_to_which_no_chosen_check_applies(folder: Path, refused: Callable[..., str]) -> None:
    text = SUBJECT.replace('"classification"', '"regression"').replace('output = "logits"\n', "")
    (folder / "subject.toml").write_text(text.replace("model.pt2", "value.pt2"))
    message = refused("--checks", "certify/*")
    assert "no check applies" in message
    assert "certify/bounds" in message
    assert "made for classification" in message, "a sentence, not the code of one"
    assert "任务" in refused("--checks", "certify/*", "--lang", "zh")


# --- what works all the same


def outcomes(path: Path) -> dict[str, Any]:
    with Dossier.open(path) as dossier:
        return {f"{f.id} {name}": array for f in dossier for name, array in f.outcomes.items()}


def test_a_fixed_batch_gives_the_outcomes_of_a_free_one(folder: Path, assess: Call) -> None:
    assess("--out", folder / "free.ward")
    (folder / "subject.toml").write_text(SUBJECT.replace("model.pt2", "static.pt2"))
    assess("--out", folder / "fixed.ward")
    free, fixed = outcomes(folder / "free.ward"), outcomes(folder / "fixed.ward")
    assert free.keys() == fixed.keys()
    assert "evasion/linf broken" in free
    for name, array in free.items():
        np.testing.assert_allclose(array, fixed[name], rtol=1e-5)


@pytest.mark.parametrize("variant", ["bom", "semicolon", "capitals", "parquet", "strings", "reordered"])
def test_tables_of_other_makes(variant: str, folder: Path, assess: Call) -> None:
    text = SUBJECT
    for which, seed in (("train", 1), ("test", 0)):
        x, y = rows(seed=seed)
        file = folder / f"{which}.csv"
        match variant:
            case "bom":
                file.write_bytes(b"\xef\xbb\xbf" + csv(x, y).encode())
            case "semicolon":
                file.write_text(csv(x, y).replace(",", ";"))
            case "capitals":
                file.rename(folder / f"{which.upper()}.CSV")
                text = text.replace(f"{which}.csv", f"{which.upper()}.CSV")
            case "parquet":
                import pandas as pd

                pd.read_csv(file).to_parquet(folder / f"{which}.parquet")
                text = text.replace(f"{which}.csv", f"{which}.parquet")
            case "strings":
                file.write_text(csv(x, np.where(y == 1, "yes", "no").astype(object)))
            case "reordered" if which == "test":
                file.write_text(csv(x[:, ::-1], y, "dcba"))
    (folder / "subject.toml").write_text(text)
    code, out, err = assess("--checks", "leakage/*")
    assert (code, "leakage/loss" in out) == (3, True), err
    reference = folder / "reference.ward"
    (folder / "subject.toml").write_text(SUBJECT.replace(".csv", ".npz"))
    assess("--checks", "leakage/*", "--out", reference)
    for name, array in outcomes(reference).items():
        np.testing.assert_allclose(array, outcomes(folder / "tiny.ward")[name], rtol=1e-4)


def test_a_name_with_stars_is_no_pattern(folder: Path) -> None:
    (folder / "te*t[1]?.csv").write_text(csv(X, Y))
    for name in ("text[1]a.csv", "test1a.csv"):
        shutil.copy(folder / "test.csv", folder / name)
    assert sources.read_columns(folder / "te*t[1]?.csv")[1] == 60


def test_paths_with_spaces_quotes_and_chinese(folder: Path, call: Call) -> None:
    place = folder.parent / "我的 模型's"
    shutil.move(folder, place)
    (place / "test.csv").rename(place / '测试 "数据"\'s.csv')
    (place / "subject.toml").write_text(SUBJECT.replace('"test.csv"', "'''测试 \"数据\"'s.csv'''"), encoding="utf-8")
    code, out, _ = call("assess", place, "--budget", "quick", "--checks", "leakage/*")
    assert (code, str(place / "tiny.html") in out) == (3, True)
    assert call("verify", place / "tiny.ward")[0] == 3  # not sealed
    assert call("report", place / "tiny.ward", "--format", "json")[0] == 0


def test_a_file_larger_than_memory_keeps_its_length(
    folder: Path, assess: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "LARGE_BYTES", 1)
    monkeypatch.setattr(sources, "SAMPLE_ROWS", 30)
    assert assess()[0] in (1, 3)
    with Dossier.open(folder / "tiny.ward") as dossier:
        broken = dossier["evasion/linf"].outcomes["broken"]
        assert dossier.subject["rows"] == {"train": 60, "test": 60}
        assert "data.sampled" in {item["code"] for item in dossier.plan["assumptions"]}
    assert len(broken) == 60
    assert 10 <= (broken == -1).sum() <= 50
    np.testing.assert_array_equal(np.unique(broken), [-1, 0, 1])


# --- the dossier: full disks, other writers, foreign and corrupt files


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a disk that is full."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [0, 20_000, 60_000])
def test_a_full_disk_is_told_and_the_same_command_resumes(
    size: int, folder: Path, assess: Call, refused: Callable[..., str]
) -> None:
    assess("--out", folder / "reference.ward")  # also loads what is imported on the way
    with full_disk(size):
        message = refused()
    assert "free some space" in message
    assert "what is finished is kept" in message
    kept = count(folder / "tiny.ward")
    assert (kept > 0) == (size == 60_000)
    assert assess()[0] == 3
    expected = outcomes(folder / "reference.ward")
    for name, array in outcomes(folder / "tiny.ward").items():
        np.testing.assert_array_equal(array, expected[name])
    with Journal(folder / "tiny.ward") as journal:
        assert journal.damage() == []


def count(path: Path) -> int:
    if not path.exists() or not path.stat().st_size:
        return 0
    with Journal(path) as journal:
        return len(list(journal.rows()))


def test_a_disk_too_full_for_the_report_keeps_the_dossier(
    folder: Path, assess: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("veriward.reports.write.os.fsync", full)
    code, _, err = assess("--checks", "leakage/*")
    assert (code, "tiny.html: cannot write it (No space left on device); free space" in err) == (2, True)
    assert {path.name for path in folder.glob("*tiny*")} == {"tiny.ward"}
    monkeypatch.undo()
    before = count(folder / "tiny.ward")
    assert assess("--checks", "leakage/*")[0] == 3
    assert count(folder / "tiny.ward") == before  # all of it came from the dossier


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(folder: Path, refused: Callable[..., str]) -> None:
    folder.chmod(0o500)
    try:
        assert "choose another place with --out" in refused()
    finally:
        folder.chmod(0o700)


def test_places_that_cannot_be_written(folder: Path, refused: Callable[..., str], monkeypatch: Any) -> None:
    assert "choose another place with --out" in refused("--out", folder / "net.py" / "x.ward")
    assert "not a file; want a .ward file" in refused("--out", folder)

    def read_only(*_: object) -> int:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr("veriward.core.journal.os.open", read_only)
    assert "Read-only file system" in refused()


def test_a_second_writer_waits(folder: Path, assess: Call, refused: Callable[..., str], call: Call) -> None:
    assess("--checks", "leakage/*")
    with Journal(folder / "tiny.ward", write=True):
        assert "another process is writing to it" in refused()
        assert "another process is writing to it" in refused("--fresh")
        assert call("report", folder / "tiny.ward", "--format", "json")[0] == 0
    assert assess("--checks", "leakage/*")[0] == 3


def test_files_that_are_no_dossier_stay_as_they_are(folder: Path, refused: Callable[..., str], call: Call) -> None:
    with sqlite3.connect(folder / "foreign.ward") as connection:
        connection.execute("CREATE TABLE customers (name)")
    connection.close()
    (folder / "text.ward").write_text("not a database, but a text\n" * 100)
    for name in ("foreign.ward", "text.ward", "net.py", "model.pt2"):
        before = (folder / name).read_bytes()
        assert name in refused("--out", folder / name)
        assert "not a dossier" in refused("--out", folder / name, "--fresh")
        assert call("report", folder / name)[0] == 2
        assert (folder / name).read_bytes() == before
    assert call("verify", folder / "text.ward")[0] == 1
    assert call("report", folder / "nope.ward")[0] == 2
    assert call("verify", folder / "nope.ward")[0] == 2


def test_a_corrupt_dossier_is_not_built_on(folder: Path, assess: Call, refused: Callable[..., str]) -> None:
    ward = folder / "tiny.ward"
    assess("--checks", "leakage/*")
    whole = ward.read_bytes()
    damaged = {
        "half": whole[: len(whole) // 2],
        "edited": whole.replace(b'"seed":0', b'"seed":7'),
        "overwritten": whole[:-3000] + b"\xff" * 2000 + whole[-1000:],
    }
    for data in damaged.values():
        assert data != whole
        ward.write_bytes(data)
        assert "--fresh" in refused("--checks", "leakage/*")
        assert ward.read_bytes() == data
    assert assess("--checks", "leakage/*", "--fresh")[0] == 3
    (old,) = folder.glob("tiny.2*.ward")
    assert old.read_bytes() == damaged["overwritten"]


BODIES = [
    "{not",
    "[]",
    "{}",
    '{"subject":{"name":"tiny"},"policy":{},"checks":[],"not_run":[],"seed":0,"environment":{}}',
]
HALF = '{"subject":{"name":"tiny"},"policy":{"hash":"0"},"checks":[{"id":3}],"not_run":[],"seed":0,"environment":{}}'


@pytest.mark.parametrize("body", [*BODIES, HALF])
def test_a_dossier_with_rows_of_another_make(body: str, folder: Path, call: Call, refused: Callable[..., str]) -> None:
    ward = folder / "tiny.ward"
    with sqlite3.connect(ward) as connection:
        connection.execute("PRAGMA application_id=1463898692")
        connection.execute("PRAGMA user_version=1")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO journal VALUES (1, 'plan', 'k', ?, 'x')", (body,))
    connection.close()
    for format in ("json", "html"):
        code, _, err = call("report", ward, "--format", format)
        assert (code, err.count("\n")) == (2, 1), err
    assert call("verify", ward)[0] == 1
    assert "altered" in refused()


def test_the_dossier_of_another_subject(folder: Path, assess: Call, refused: Callable[..., str]) -> None:
    assess("--checks", "leakage/*")
    (folder / "subject.toml").write_text(SUBJECT.replace('"tiny"', '"other"'))
    assert "holds the subject 'tiny', not 'other'" in refused("--out", folder / "tiny.ward")


# --- the command line itself


def test_a_trace_is_shown_with_debug_alone(folder: Path, call: Call) -> None:
    (folder / "subject.toml").unlink()
    assert "Traceback" not in call("assess", folder)[2]
    assert "Traceback" in call("assess", folder, "--debug")[2]


def test_a_crash_of_ours_and_one_that_wants_to_leave(folder: Path, call: Call, monkeypatch: Any) -> None:
    for error in (ZeroDivisionError("ours"), SystemExit(0)):

        def crash(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("veriward.run.assess.open_subject", crash)
        code, _, err = call("assess", folder)
        assert (code, "a crash of ours" in err, "Traceback" in err) == (70, True, False)


@pytest.mark.parametrize("words", [["nope"], ["assess"], ["assess", ".", "--nope"], ["assess", ".", "--seed", "x"]])
def test_wrong_words(words: list[str], call: Call) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_other_verbs_with_bad_files(folder: Path, call: Call) -> None:
    model, table = folder / "model.pt2", folder / "test.csv"
    for words in (
        ["init", folder / "nope.pt2"],
        ["init", model, folder / "nope.csv"],
        ["init", model, table, "--label", "zz", "--out", folder / "new.toml"],
        ["init", model, table, "--label", "y", "--out", folder / "subject.toml"],
        ["key", "new", "--out", folder / "nowhere" / "k"],
        ["report", folder / "subject.toml"],
        ["report", folder / "nope.ward", "--format", "pdf"],
    ):
        code, _, err = call(*words)
        assert (code, err.count("\n")) == (2, 1), (words, err)
