"""Each verb as a user types it: what it prints, what it writes, how it exits."""

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from veriward.checks.registry import registry
from veriward.cli.app import main
from veriward.reports.json_report import schema


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np
    import pandas as pd
    import skops.io
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("表 格")
    generator = np.random.default_rng(0)
    x = pd.DataFrame(generator.normal(size=(2400, 4)), columns=["a", "b", "c", "d"])
    x["y"] = (x.a + x.b + generator.normal(0, 0.3, 2400) > 0).astype(int)
    x["sex"] = generator.choice(["f", "m"], 2400)
    model = LogisticRegression().fit(x[["a", "b", "c", "d"]][:1200], x.y[:1200])
    skops.io.dump(model, folder / "model.skops")
    (folder / "data").mkdir()
    x[:1200].to_csv(folder / "data/train.csv", index=False)
    x[1200:].to_csv(folder / "data/test.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def assessed(table: Path) -> Path:
    import veriward

    (table / "subject.toml").write_text(
        'name = "table"\n[model]\npath = "model.skops"\n[data]\ntrain = "data/train.csv"\ntest = "data/test.csv"\n'
        'label = "y"\ngroups = ["sex"]\n[threat.evasion]\neps = 0.05\n'
    )
    veriward.assess(table, budget="standard").close()
    return table


def test_init_writes_a_subject_that_assess_takes(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table / "drafted.toml"
    code, printed, _ = call(capsys, "init", table / "model.skops", table / "data", "--out", out)
    assert code == 0
    assert str(out) in printed
    text = out.read_text(encoding="utf-8")
    inferred = [line for line in text.splitlines() if "# inferred: " in line]
    assert len(inferred) >= 8
    assert "label = \"y\"  # inferred: a column of the name 'y'" in text
    code, _, message = call(capsys, "init", table / "model.skops", table / "data", "--out", out)
    assert code == 2
    assert "--force" in message
    code, printed, _ = call(
        capsys, "assess", out, "--checks", "leakage/*", "--checks", "data/splits", "--out", table / "drafted.ward"
    )
    assert code == 0
    assert "leakage/loss" in printed


def test_init_names_the_columns_of_a_model_of_matrices(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What an attacker may move is asked of every table, whether its model takes names or a matrix."""
    import torch

    torch.save(torch.nn.Linear(4, 2).state_dict(), table / "linear.pt")
    (table / "linear.py").write_text("import torch\ndef build(): return torch.nn.Linear(4, 2)\n")
    data, out = table / "data" / "test.csv", table / "linear.toml"
    code, _, message = call(capsys, "init", table / "linear.pt", data, "--factory", "linear:build", "--out", out)
    assert code == 0, message
    text = out.read_text(encoding="utf-8")
    assert "[features]" in text
    assert "inferred: the test data" in text, "no training data were given"


def test_init_says_that_the_folder_of_its_output_is_missing(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, message = call(capsys, "init", table / "model.skops", table / "data", "--out", table / "no" / "x.toml")
    assert code == 2
    assert "no such folder" in message


def test_init_asks_for_the_label(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table / "nolabel.csv").write_text("a,b,c,d,outcome\n1,2,3,4,0\n2,1,0,1,1\n")
    code, _, message = call(capsys, "init", table / "model.skops", table / "nolabel.csv", "--out", table / "x.toml")
    assert code == 2
    assert "a, b, c, d, outcome" in message
    assert not (table / "x.toml").exists()


def test_assess_prints_the_table_and_writes_both_reports(assessed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, progress = call(capsys, "assess", assessed, "--lang", "en")
    assert code in (0, 1, 3)
    assert "fairness/groups" in printed
    assert "fairness/groups" not in progress, "a finished run runs nothing"
    for name in ("table.ward", "table.html", "table.zh.html"):
        assert (assessed / name).stat().st_size > 1000


def test_json_is_valid_and_alone_on_stdout(assessed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call(capsys, "assess", assessed, "--json")
    report: dict[str, Any] = json.loads(printed)
    jsonschema.validate(report, schema())
    assert report["schema"] == "veriward.report/1"
    told = {finding["id"] for finding in report["findings"]} | {left["check"] for left in report["not_run"]}
    assert told == set(registry()), "what does not apply is said, with its reason"
    worst = {f["verdict"] for f in report["findings"]}
    assert code == (1 if "fail" in worst else 3 if worst - {"pass", "not_applicable"} else 0)


def test_report_html_and_json(assessed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call(capsys, "report", assessed / "table.ward", "--lang", "zh")
    assert (code, printed.strip()) == (0, str(assessed / "table.zh.html"))
    code, printed, _ = call(capsys, "report", assessed / "table.ward", "--format", "json")
    assert code == 0
    assert json.loads(printed)["findings"]
    target = assessed / "elsewhere.html"
    code, _, _ = call(capsys, "report", assessed / "table.ward", "--out", target)
    assert code == 0
    assert target.exists()
    code, _, message = call(capsys, "report", assessed / "table.ward", "--format", "docx")
    assert code == 2
    assert "html" in message


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_report_in_the_formats_of_build_servers(assessed: Path, lang: str, capsys: pytest.CaptureFixture[str]) -> None:
    starts = {"md": "## ", "sarif": '{\n  "$schema"', "junit": '<?xml version="1.0"'}
    for form, start in starts.items():
        code, printed, _ = call(capsys, "report", assessed / "table.ward", "--format", form, "--lang", lang)
        assert code == 0
        assert printed.startswith(start)
        target = assessed / f"out.{'xml' if form == 'junit' else form}"
        assert (
            call(capsys, "report", assessed / "table.ward", "--format", form, "--out", target, "--lang", lang)[0] == 0
        )
        assert target.read_text(encoding="utf-8").strip() == printed.strip()


def test_commands_name_the_subject_from_where_one_stands(
    assessed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(assessed.parent)
    _, printed, _ = call(capsys, "assess", assessed.name, "--lang", "en")
    assert f"next    veriward assess {shlex.quote(assessed.name)}" in printed


def test_checks_lists_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    from veriward.checks.registry import registry

    code, printed, _ = call(capsys, "checks", "--json")
    assert code == 0
    assert [row["check"] for row in json.loads(printed)] == list(registry())
    code, printed, _ = call(capsys, "checks", "--lang", "zh")
    assert code == 0
    assert len(printed.splitlines()) == len(registry())


def test_seal_and_verify(assessed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dossier = tmp_path / "sealed.ward"
    for name in ("mine", "other"):
        assert call(capsys, "key", "new", "--out", tmp_path / f"{name}.key")[0] == 0
    assert (tmp_path / "mine.key").stat().st_mode & 0o077 == 0
    assert call(capsys, "key", "new", "--out", tmp_path / "mine.key")[0] == 2
    call(capsys, "assess", assessed, "--out", dossier, "--budget", "quick", "--seal", tmp_path / "mine.key")
    assert call(capsys, "verify", dossier, "--key", tmp_path / "mine.pub")[0] == 0
    code, printed, _ = call(capsys, "verify", dossier, "--key", tmp_path / "other.pub")
    assert code == 1
    assert "another key" in printed
    assert call(capsys, "verify", dossier)[0] == 3
    code, printed, _ = call(
        capsys, "verify", dossier, "--key", tmp_path / "mine.pub", "--reexecute", 2, "--subject", assessed
    )
    assert code == 0
    assert "re-executed 2 items, 0 differ" in printed


def test_unsealed_is_never_called_trusted(assessed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call(capsys, "verify", assessed / "table.ward")
    assert code == 3
    assert "not sealed" in printed
    assert "chain intact" in printed


@pytest.mark.slow
def test_demo_tells_the_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call(capsys, "demo", "--out", tmp_path / "a demo", "--lang", "en")
    assert code == 0
    marks = [
        line[2] for line in printed.splitlines() if line.startswith("  ") and "/" in line[:22] and line[2:3].strip()
    ]
    assert {"✗", "?", "✓"} <= set(marks)
    for name in ("digits", "shop"):
        files = {path.name for path in (tmp_path / "a demo" / name).iterdir()}
        assert {"subject.toml", f"{name}.ward", f"{name}.html", f"{name}.zh.html"} <= files
        assert not [name for name in files if name.endswith(".lock")]
        assert max(path.stat().st_size for path in (tmp_path / "a demo" / name).glob("*.html")) <= 500_000


def test_reports_never_replace_what_is_no_report(assessed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dossier, subject = assessed / "table.ward", assessed / "subject.toml"
    before = dossier.read_bytes(), subject.read_bytes()
    for target in (dossier, subject):
        for form in ("html", "json", "md", "sarif", "junit"):
            code, _, message = call(capsys, "report", dossier, "--format", form, "--out", target)
            assert code == 2
            assert "no report" in message
    assert (dossier.read_bytes(), subject.read_bytes()) == before


def test_limits_that_cannot_be_judged_are_not_passed_over(
    assessed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, out = tmp_path / "typo.toml", tmp_path / "x.ward"
    options = ("--out", out, "--budget", "quick", "--checks", "leakage/*", "--policy", policy)
    policy.write_text('[[limit]]\ncheck = "leakage/*"\nmetric = "tpr_at_fdr"\npass = "<= 0.1"\n')
    assert call(capsys, "assess", assessed, *options)[0] == 3
    policy.write_text('[[limit]]\ncheck = "leekage/*"\nmetric = "tpr_at_fpr"\npass = "<= 0.1"\n')
    code, _, message = call(capsys, "assess", assessed, *options)
    assert code == 2
    assert "leekage/*" in message
