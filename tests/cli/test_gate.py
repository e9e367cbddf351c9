"""`veriward gate` as a pipeline calls it, and the example pipelines, whose commands are run."""

import datetime
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.core.test_compare import answers, dossier, evidence

from veriward.cli.app import main

DOCS = Path(__file__).parents[2] / "docs" / "ci"


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gate")
    for name, right in {"old": 1500, "good": 1490, "worse": 1350, "broken": 300}.items():
        dossier(folder / f"{name}.ward", {"evasion/linf": evidence(answers(right))}).close()
    dossier(folder / "other.ward", {"evasion/linf": evidence(answers(1500))}, test="t2").close()
    return folder


@pytest.mark.parametrize(("new", "code"), [("good", 0), ("worse", 1), ("broken", 1), ("other", 3)])
def test_exit_codes_against_a_baseline(files: Path, new: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    found, printed, _ = call(capsys, "gate", files / f"{new}.ward", "--baseline", files / "old.ward")
    assert found == code
    assert f"exit code {code}" in printed.splitlines()[-1]


def test_the_table_names_what_moved_and_what_is_new(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, _ = call(capsys, "gate", files / "broken.ward", "--baseline", files / "old.ward")
    assert "drop of robust" in printed
    assert "0.600 [" in printed
    assert "new: evasion/linf was pass and is fail" in printed
    _, chinese, _ = call(capsys, "gate", files / "broken.ward", "--baseline", files / "old.ward", "--lang", "zh")
    assert "新增：evasion/linf 由“通过”变为“未通过”" in chinese


def test_json_holds_the_whole_decision(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, _ = call(capsys, "gate", files / "worse.ward", "--baseline", files / "old.ward", "--json")
    found = json.loads(printed)
    assert (found["schema"], found["code"], found["verdict"]) == ("veriward.gate/1", 1, "fail")
    moved = found["comparison"]["moved"][0]
    assert (moved["metric"], moved["verdict"], moved["drop"]["n"]) == ("robust_accuracy", "fail", 2000)


def test_waivers_from_a_file(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
    file = tmp_path / "w.toml"
    text = '[[waiver]]\nfinding = "evasion/*"\nreason = "next release"\nowner = "Security"\nexpires = {}\n'
    file.write_text(text.format(tomorrow), encoding="utf-8")
    code, printed, _ = call(capsys, "gate", files / "broken.ward", "--waivers", file)
    assert (code, f"waived until {tomorrow} by Security" in printed) == (0, True)
    file.write_text(text.format("2020-01-01"), encoding="utf-8")
    code, printed, _ = call(capsys, "gate", files / "broken.ward", "--waivers", file)
    assert (code, "expired 2020-01-01" in printed) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pin", "0000"], "give that reference"),
        (["--margin", "2"], "want a share"),
        (["--waivers", "missing.toml"], "cannot be read"),
        (["--lang", "xx"], "want one of en, zh"),
        (["--key", "missing.pub"], "missing.pub"),
    ],
)
def test_wrong_usage(files: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, told = call(capsys, "gate", files / "good.ward", "--baseline", files / "old.ward", *words)
    assert (code, message in told) == (2, True), told


def test_a_pinned_reference_is_taken(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, _ = call(capsys, "gate", files / "old.ward", "--json")
    pin = json.loads(printed)["head"]
    words = ["gate", files / "good.ward", "--baseline", files / "old.ward", "--pin"]
    assert call(capsys, *words, pin)[0] == 0
    assert call(capsys, *words, pin[:12])[0] == 0
    assert call(capsys, "gate", files / "good.ward", "--pin", pin)[0] == 2


def test_an_altered_dossier_decides_nothing(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    bad = tmp_path / "bad.ward"
    bad.write_bytes((files / "broken.ward").read_bytes())
    connection = sqlite3.connect(bad)
    connection.execute("DROP TRIGGER journal_update")
    connection.execute("UPDATE journal SET body = replace(body, 'fail', 'pass')")
    connection.execute(
        "CREATE TRIGGER journal_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    )
    connection.commit()
    connection.close()
    code, _, told = call(capsys, "gate", bad)
    assert (code, "altered" in told) == (2, True)


def test_the_gate_imports_neither_torch_nor_pandas(files: Path) -> None:
    code = (
        "import sys\nfrom veriward.cli.app import main\n"
        f"try:\n    main(['gate', {str(files / 'good.ward')!r}, '--baseline', {str(files / 'old.ward')!r}])\n"
        "except SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print('LOADED', *{'torch', 'pandas', 'sklearn', 'duckdb', 'jinja2'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.splitlines()[-1].strip() == "LOADED", run.stdout + run.stderr


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small repository with a subject in its root."""
    import skops.io
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("repository")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 3))
    y = (x.sum(axis=1) > 0).astype(int)
    skops.io.dump(LogisticRegression().fit(x[:200], y[:200]), folder / "model.skops")
    np.savez(folder / "test.npz", x=x[200:], y=y[200:])
    (folder / "subject.toml").write_text(
        'name = "model"\n[model]\npath = "model.skops"\n[data]\ntest = "test.npz"\n', encoding="utf-8"
    )
    return folder


def run_script(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what a pipeline would, with veriward on the path and without installing anything."""
    shim = folder / "bin"
    shim.mkdir(exist_ok=True)
    (shim / "veriward").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m veriward "$@"\n', encoding="utf-8")
    (shim / "veriward").chmod(0o755)
    environment = {"PATH": f"{shim}:/usr/bin:/bin", "SUBJECT": ".", "POLICY": "default", "HOME": str(folder)}
    source = str(Path(__file__).parents[2] / "src")
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={**environment, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )


def loaded(name: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load((DOCS / name).read_text(encoding="utf-8"))


def github_script() -> str:
    steps = loaded("github-actions.yml")["jobs"]["gate"]["steps"]
    return "\n".join(f"({step['run']}) || exit $?" for step in steps if "run" in step and step["name"] != "Install")


def gitlab_script() -> str:
    return "\n".join(loaded("gitlab-ci.yml")["model-gate"]["script"])


@pytest.mark.slow
@pytest.mark.parametrize("script", [github_script, gitlab_script], ids=["github", "gitlab"])
def test_the_example_pipelines_run_as_they_stand(  # type: ignore[no-untyped-def]
    script, repository: Path, tmp_path: Path
) -> None:
    repository = Path(shutil.copytree(repository, tmp_path / "repository"))
    first = run_script(script(), repository)
    assert first.returncode in (1, 3), first.stdout + first.stderr
    assert "gate: " in first.stdout
    assert (repository / "model.junit.xml").exists()
    base = repository / "baseline"
    base.mkdir(exist_ok=True)
    (base / "model.ward").write_bytes((repository / "model.ward").read_bytes())
    (base / "model.pin").write_text("0000\n", encoding="utf-8")
    assert run_script(script(), repository).returncode == 2


@pytest.mark.parametrize(("file", "kind"), [("github-actions.yml", "github-workflows"), ("gitlab-ci.yml", "gitlab-ci")])
def test_the_example_pipelines_meet_their_schemas(file: str, kind: str) -> None:
    pytest.importorskip("check_jsonschema", reason="the schemas come with the package check-jsonschema")
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{kind}", str(DOCS / file)]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
