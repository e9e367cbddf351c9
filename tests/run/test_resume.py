"""What was measured is never measured twice, and never lost."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import veriward
from veriward.checks.registry import registry
from veriward.core.journal import Journal

from .subjects import write_table

pytestmark = pytest.mark.slow  # each run assesses a subject several times

KILLS = 10


def counts(path: Path) -> dict[str, int]:
    with Journal(path) as journal:
        kinds = [row.kind for row in journal.rows()]
    return {kind: kinds.count(kind) for kind in set(kinds)}


def evidence_of(path: Path) -> list[str]:
    with Journal(path) as journal:
        return [row.body["id"] for row in journal.rows("start")]


def assert_same(left: veriward.Dossier, right: veriward.Dossier) -> None:
    assert list(left.findings) == list(right.findings)
    for name, finding in left.findings.items():
        other = right[name]
        assert finding.verdict == other.verdict
        assert [e.to_dict() for e in finding.estimates] == [e.to_dict() for e in other.estimates]
        assert set(finding.outcomes) == set(other.outcomes)
        for key, values in finding.outcomes.items():
            np.testing.assert_array_equal(values, other.outcomes[key])


@pytest.mark.slow
def test_ten_kills_leave_the_same_findings(digits_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "veriward", "assess", str(digits_folder), "--workers", "1", "--out"]
    start = time.perf_counter()
    whole = subprocess.run([*command, str(tmp_path / "whole.ward")], capture_output=True, check=False)
    duration = time.perf_counter() - start
    assert whole.returncode in (1, 3), whole.stderr.decode()
    killed = tmp_path / "killed.ward"
    moments = duration * np.random.default_rng(0).uniform(0.3, 0.95, KILLS)
    for moment in moments:
        process = subprocess.Popen([*command, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if killed.exists() and killed.stat().st_size:
            assert not veriward.verify(killed).damage
    last = subprocess.run([*command, str(killed)], capture_output=True, check=False)
    assert last.returncode == whole.returncode, last.stderr.decode()
    with veriward.Dossier.open(tmp_path / "whole.ward") as one, veriward.Dossier.open(killed) as other:
        assert one.finished
        assert other.finished
        assert_same(one, other)
    assert counts(tmp_path / "whole.ward")["item"] == counts(killed)["item"]


def test_second_run_adds_nothing(table_folder: Path) -> None:
    for _ in range(2):
        with veriward.assess(table_folder, budget="quick") as dossier:
            assert not [finding.error for finding in dossier if finding.error]
        size = counts(table_folder / "table.ward")
    with Journal(table_folder / "table.ward") as journal:
        last = journal.last()
    veriward.assess(table_folder, budget="quick").close()
    with Journal(table_folder / "table.ward") as journal:
        assert journal.last() == last
    assert size["finish"] == 1


def test_changing_groups_runs_what_reads_them_alone(table_folder: Path) -> None:
    veriward.assess(table_folder, budget="quick").close()
    before = evidence_of(table_folder / "table.ward")
    file = table_folder / "subject.toml"
    file.write_text(file.read_text().replace('groups = ["gender"]', 'groups = ["gender", "region"]'))
    with veriward.assess(table_folder, budget="quick") as dossier:
        gaps = [e for e in dossier["fairness/groups"].estimates if e.metric == "demographic_parity_difference"]
        assert [e.at["attribute"] for e in gaps] == ["gender", "region", "gender × region"]
    reads = [name for name in before if "groups" in registry()[name.partition("@")[0]].reads]
    assert evidence_of(table_folder / "table.ward")[len(before) :] == reads
    assert "fairness/groups" in reads
    assert "evasion/linf" not in reads


def test_changing_a_limit_runs_nothing_and_is_not_preregistered(table_folder: Path) -> None:
    with veriward.assess(table_folder, budget="quick") as dossier:
        assert all(finding.preregistered for finding in dossier)
    before = counts(table_folder / "table.ward")
    policy = table_folder / "strict.toml"
    policy.write_text('[[limit]]\ncheck = "evasion/*"\nmetric = "clean_accuracy"\npass = ">= 0.999"\n')
    with veriward.assess(table_folder, budget="quick", policy=policy) as dossier:
        assert dossier["evasion/linf"].verdict == "fail"
        assert dossier["fairness/groups"].verdict == "not_applicable"
        assert not dossier["evasion/linf"].preregistered
    after = counts(table_folder / "table.ward")
    assert (after["start"], after["item"]) == (before["start"], before["item"])


def test_changing_the_model_runs_everything_again(table_folder: Path) -> None:
    veriward.assess(table_folder, budget="quick").close()
    before = evidence_of(table_folder / "table.ward")
    write_table(table_folder, strength=0.01)
    veriward.assess(table_folder, budget="quick").close()
    asked = [name for name in before if "model" in registry()[name.split("@")[0]].reads]
    assert len(asked) > len(before) / 2
    assert evidence_of(table_folder / "table.ward")[len(before) :] == asked


def test_going_back_to_an_old_subject_costs_nothing(table_folder: Path) -> None:
    file = table_folder / "subject.toml"
    first = file.read_text()
    veriward.assess(table_folder, budget="quick").close()
    file.write_text(first.replace('groups = ["gender"]', 'groups = ["region"]'))
    veriward.assess(table_folder, budget="quick").close()
    before = counts(table_folder / "table.ward")
    file.write_text(first)
    with veriward.assess(table_folder, budget="quick") as dossier:
        assert dossier.subject["groups"] == ["gender"]
    assert counts(table_folder / "table.ward")["item"] == before["item"]


def test_fresh_keeps_the_old_dossier(table_folder: Path) -> None:
    veriward.assess(table_folder, budget="quick").close()
    veriward.assess(table_folder, budget="quick", fresh=True).close()
    assert len(list(table_folder.glob("table*.ward"))) == 2
