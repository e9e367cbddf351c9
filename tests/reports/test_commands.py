"""Commands are for copying: they name the subject, the policy and the options of the run."""

import os
from pathlib import Path
from typing import Any

import pytest

from veriward.core.dossier import Dossier
from veriward.core.policy import Policy
from veriward.core.subject import Subject
from veriward.reports.advice import actions, first
from veriward.reports.commands import assess, verify
from veriward.run.place import place

from .fixtures import Draft, evasion, subject, write


def test_a_run_elsewhere_is_told_from_the_dossiers_folder_and_from_any_other(make: Any, tmp_path: Path) -> None:
    rich = make("rich")
    words = "--policy ../rules.toml --out rich.ward --budget quick --seed 7"
    assert assess(rich) == f"veriward assess '../模型' {words}"
    (tmp_path / "sub").mkdir()
    near = assess(rich, base=tmp_path.parent)
    assert near is not None
    assert near.startswith("veriward assess '模型' --policy rules.toml --out ")
    far = assess(rich, base=Path("/"))
    assert far is not None
    assert str(tmp_path.parent).lstrip("/") in far
    assert verify(rich, tmp_path / "sub") == f"veriward verify {os.path.join('..', 'rich.ward')}"


def test_old_dossiers_lie_beside_their_subject(make: Any) -> None:
    assert assess(make("healthy")) == "veriward assess ."


def test_what_was_made_in_python_has_no_command(tmp_path: Path) -> None:
    nowhere = {"subject": None, "folder": None, "policy": None}
    with write(tmp_path / "x.ward", Draft(subject(), {"evasion/linf": evasion(90, 80, 100)}, place=nowhere)) as dossier:
        assert first(dossier).command is None


def test_the_three_worst_come_first_and_no_action_twice(make: Any) -> None:
    found = actions(make("rich"))
    assert len(found) == 3
    assert "evasion/linf" in str(found[0].command)
    assert len(set(found)) == 3
    assert len(actions(make("several_eps"), 9)) == len(set(actions(make("several_eps"), 9)))


def test_every_action_of_every_dossier_is_a_command_of_ours_or_a_sentence(dossier: Dossier) -> None:
    for action in actions(dossier, 20):
        assert action.command is None or action.command.startswith("veriward ")


@pytest.mark.parametrize(
    ("policy", "named"),
    [(None, "default"), ("ecommerce", "ecommerce"), ("p/my.toml", "../p/my.toml"), (Policy.load("default"), None)],
)
def test_a_place_holds_no_absolute_path(policy: Any, named: str | None, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "drafted.toml").write_text(
        '[model]\npath = "m.skops"\n[data]\ntest = "t.csv"\nlabel = "y"\n', encoding="utf-8"
    )
    written = place(Subject.load(tmp_path / "s" / "drafted.toml"), tmp_path / "out" / "x.ward", policy)
    assert written == {"subject": "../s/drafted.toml", "folder": "../s", "policy": named}
