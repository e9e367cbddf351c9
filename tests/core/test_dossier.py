"""Reading a dossier: what it says, what is missing in it, and that reading runs nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from veriward.core.dossier import Dossier
from veriward.core.errors import DossierError
from veriward.core.journal import Journal

from .chain import PLAN, burgle, write_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run.ward")


def test_findings_come_with_their_arrays(path: Path) -> None:
    with Dossier.open(path) as dossier:
        finding = dossier["a/b"]
        assert finding.estimate("m").value == 0.7
        assert np.array_equal(finding.outcomes["broken"], [0, 1])
        assert (finding.verdict, finding.preregistered, dossier.finished) == ("not_applicable", True, True)
        assert "a/b" in dossier
        assert list(dossier) == [finding]


def test_what_was_not_run_says_why(path: Path) -> None:
    with Dossier.open(path) as dossier:
        with pytest.raises(KeyError, match="not run"):
            dossier["c/d"]
        with pytest.raises(KeyError, match="0 findings"):
            dossier["e/f"]
        with pytest.raises(KeyError, match="m at"):
            dossier["a/b"].estimate("other")


def test_evidence_that_is_missing_is_an_error_and_never_a_pass(tmp_path: Path) -> None:
    with Journal(tmp_path / "x.ward", write=True) as journal:
        journal.append("plan", "p:0", PLAN)
    with Dossier.open(tmp_path / "x.ward") as dossier:
        assert (dossier["a/b"].verdict, dossier.verdict, dossier.finished) == ("error", "error", False)
        assert "interrupted" in str(dossier["a/b"].error)


def test_an_error_keeps_its_message_and_traceback(tmp_path: Path) -> None:
    with Journal(tmp_path / "x.ward", write=True) as journal:
        journal.append("plan", "p:0", PLAN)
        journal.append("error", "k:0", {"evidence": "k", "message": "ValueError: bad", "traceback": b"line 1"})
    with Dossier.open(tmp_path / "x.ward") as dossier:
        assert dossier["a/b"].error == "ValueError: bad"
        assert dossier.traceback("a/b") == "line 1"


def test_a_policy_after_the_evidence_is_not_preregistered(path: Path) -> None:
    with Journal(path, write=True) as journal:
        journal.append("plan", "q:1", {**PLAN, "policy": {"hash": "q" * 64, "limit": []}})
    with Dossier.open(path) as dossier:
        assert not dossier["a/b"].preregistered
        assert dossier["a/b"].verdict == "inconclusive"  # the new plan has not been judged yet
        assert not dossier.finished


def test_a_journal_without_a_plan_is_no_dossier(tmp_path: Path) -> None:
    Journal(tmp_path / "x.ward", write=True).close()
    with pytest.raises(DossierError, match="no plan"):
        Dossier.open(tmp_path / "x.ward")


@pytest.mark.parametrize("body", ["{", "[1]", "3"])
def test_an_unreadable_plan_is_said(path: Path, body: str) -> None:
    burgle(path, ("UPDATE journal SET body = ? WHERE kind = 'plan'", (body,)))
    with pytest.raises(DossierError):
        Dossier.open(path)


def test_reading_runs_no_code_and_imports_nothing_heavy(path: Path) -> None:
    """Whatever a stranger writes into a dossier stays text: no pickle, no torch, no scipy."""
    trap = "__import__('pathlib').Path('trap').touch()"
    burgle(path, ("UPDATE journal SET body = replace(body, '\"?\"', ?) WHERE kind = 'plan'", (f'"{trap}"',)))
    code = (
        "import sys; from veriward.core.dossier import Dossier\n"
        f"with Dossier.open({str(path)!r}) as d: list(d), d.evidence(), d.verdict, d.head\n"
        "print(sorted({'torch', 'scipy', 'sklearn', 'pandas', 'pickle'} & set(sys.modules) - {'pickle'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=path.parent)
    assert run.stdout.strip() == "[]"
    assert not (path.parent / "trap").exists()
