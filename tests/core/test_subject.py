"""A subject describes: what is understood, what is refused, and that describing runs nothing."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriward.core.errors import SettingsError
from veriward.core.fingerprint import PARTS, fingerprints
from veriward.core.subject import Subject

TOML = """
[model]
path = "model.skops"
[data]
test = "test.csv"
label = "y"
"""
ROWS = (np.zeros((4, 2)), np.array([0, 1, 0, 1]))


def subject(**more: Any) -> Subject:
    return Subject.model_validate({"model": len, "data": {"test": ROWS}, **more})


def load(folder: Path, text: str) -> Subject:
    (folder / "subject.toml").write_text(text, encoding="utf-8")
    return Subject.load(folder)


def test_the_folder_names_a_subject_without_a_name(tmp_path: Path) -> None:
    found = load(tmp_path, TOML)
    assert found.name == tmp_path.name
    assert found.place("model.skops") == tmp_path / "model.skops"
    assert not found.is_live


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('[model]\npath = "m"', "data is missing"),
        ('[data]\ntest = "t.csv"\nlabel = "y"', "model is missing"),
        (TOML.replace("label", "lable"), "did you mean 'label'"),
        (TOML.replace('label = "y"', ""), "data.label is missing"),
        (TOML + 'folder = "/"', "folder"),
        ('task = "guessing"\n' + TOML, "task"),
        ('folder = "/"\n' + TOML, "unknown key 'folder'"),
        (TOML + "[input]\nbounds = [1.0, 0.0]", "low < high"),
        (TOML + "[features]\na = { range = [5, 1] }", "range"),
        (TOML + '[features]\na = { change = "-3%" }', "change"),
        (TOML + '[features]\na = { change = "much" }', "change"),
        (TOML + "[features]\na = { eps = 0 }", "eps"),
        (TOML + '[rules]\nr = "a.b < 1"', "rule"),
        (TOML + "[threat.evasion]\neps = [0.1, -1]", "eps"),
        (TOML + "[threat.evasion]\neps = inf", "eps"),
        (TOML + '[threat.evasion]\nnorm = "l7"', "norm"),
        (TOML + "[claims]\ndelta = 1.0", "delta"),
        ('name = "../up"\n' + TOML, "name"),
        ("[model", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, wanted: str) -> None:
    with pytest.raises(SettingsError, match=wanted):
        load(tmp_path, text)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="veriward init"):
        Subject.load(tmp_path)


def test_one_number_or_many() -> None:
    assert subject(threat={"evasion": {"eps": 0.1}}).threat.evasion.eps == (0.1,)
    assert subject(threat={"evasion": {"eps": [0.1, 0.2], "norm": "l2"}}).threat.evasion.norm == ("l2",)


def test_a_subject_cannot_be_changed_and_travels() -> None:
    found = subject(name="s", features={"a": {"change": "10%"}})
    with pytest.raises(ValueError, match="frozen"):
        found.name = "other"
    assert pickle.loads(pickle.dumps(found)).name == "s"


def test_a_live_model_is_never_called_and_never_dumped() -> None:
    def model(x: object) -> object:
        raise AssertionError("describing must not run the model")

    found = subject(model=model)
    assert found.is_live
    assert "live" not in str(found.model_dump()["model"])
    assert set(fingerprints(found)) == set(PARTS)


def test_each_part_has_its_own_fingerprint() -> None:
    data = {"test": (np.zeros((4, 2)), np.array([0, 1, 0, 1])), "groups": []}
    base = fingerprints(subject(data=data))
    changes = {
        "model": {"model": sum},
        "test": {"data": {**data, "test": (np.ones((4, 2)), np.array([0, 1, 0, 1]))}},
        "train": {"data": {**data, "train": ROWS}},
        "input": {"rules": {"r": "x0 < 1"}},
        "groups": {"data": {**data, "groups": ["g"]}},
        "claims": {"claims": {"epsilon": 1.0}},
        "recipe": {"recipe": {"epochs": 3}},
    }
    for part, change in changes.items():
        changed = fingerprints(subject(**{"data": data, **change}))
        assert {name for name in PARTS if changed[name] != base[name]} == {part}


def test_names_and_threats_do_not_change_a_fingerprint() -> None:
    assert fingerprints(subject(name="a")) == fingerprints(subject(name="b", threat={"evasion": {"eps": 0.5}}))
