"""Controls decide whether a check may be believed, run once per version, and cost little."""

from pathlib import Path
from typing import Any

import pytest

import veriward
from veriward.checks.fairness import planted
from veriward.core.journal import Journal

pytestmark = pytest.mark.slow  # each run assesses a subject several times


def test_controls_are_in_the_dossier_and_hold(table_folder: Path) -> None:
    with veriward.assess(table_folder, budget="quick") as dossier:
        for finding in dossier:
            assert finding.evidence is not None
            assert len(finding.evidence.controls) >= 2
            assert all(control.holds for control in finding.evidence.controls)


def test_controls_are_remembered(table_folder: Path) -> None:
    veriward.assess(table_folder, budget="quick", seed=0).close()
    first = kinds(table_folder / "table.ward")
    veriward.assess(table_folder, budget="quick", seed=1).close()
    second = kinds(table_folder / "table.ward")
    assert first.count("control") >= 2 * first.count("evidence")
    assert second.count("control") == first.count("control")
    assert second.count("evidence") == 2 * first.count("evidence")


def kinds(path: Path) -> list[str]:
    with Journal(path) as journal:
        return [row.kind for row in journal.rows()]


def test_a_blind_check_is_not_believed(table_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = planted.decisions
    monkeypatch.setattr(planted, "decisions", lambda x: honest(x) * 0 + [[0.0, 1.0]])  # sees no gap anywhere
    with veriward.assess(table_folder, checks=["fairness/*"]) as dossier:
        finding = dossier["fairness/groups"]
    assert finding.verdict == "inconclusive"
    assert {limit.why for limit in finding.limits} == {"control"}


def test_a_control_that_raises_is_an_error(table_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(x: Any) -> Any:
        raise RuntimeError("planted")

    monkeypatch.setattr(planted, "decisions", broken)
    with veriward.assess(table_folder, budget="quick") as dossier:
        assert dossier["fairness/groups"].verdict == "error"
        assert "planted" in str(dossier["fairness/groups"].error)
        assert "planted" in dossier.traceback("fairness/groups")
        assert dossier["leakage/loss"].verdict != "error"
    monkeypatch.undo()
    with veriward.assess(table_folder, budget="quick") as dossier:
        assert dossier["fairness/groups"].verdict != "error", "errors are tried again"


@pytest.mark.parametrize("method", ["refuse", "threats"])
def test_a_check_that_raises_while_the_run_is_planned_is_an_error(
    method: str, table_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("planted")

    monkeypatch.setattr(type(veriward.registry()["fairness/groups"]), method, broken)
    with veriward.assess(table_folder, checks=["fairness/groups", "leakage/loss"]) as dossier:
        assert dossier["fairness/groups"].verdict == "error"
        assert "planted" in dossier.traceback("fairness/groups")
        assert dossier["leakage/loss"].verdict != "error"
