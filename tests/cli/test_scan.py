"""veriward scan, sign and verify FOLDER as a user types them."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from test_verbs import call  # the same call, the same exit codes

HOSTILE = b"cos\nsystem\n(S'true'\ntR."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "models"
    inner.mkdir()
    (inner / "state.pkl").write_bytes(pickle.dumps({"w": [1.0]}))
    (inner / "README.md").write_text("how to use it\n")
    (inner / "vocab.json").write_text('{"a": 1}')
    return inner


def test_exit_codes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "scan", folder)[0] == 0
    assert call(capsys, "scan", folder / "README.md")[0] == 3, "a file that the user names is judged"
    assert call(capsys, "scan", folder / "missing")[0] == 3
    (folder / "bad.pt").write_bytes(HOSTILE)
    code, out, _ = call(capsys, "scan", folder, folder / "missing")
    assert code == 1, "dangerous beats unknown"
    assert "os.system" in out
    assert "they hold no model (text, JSON, tables, images): 2" in out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("modeling.py", "import os\n"),
        ("hook.PTH", "import os\n"),
        ("config.json", '{"auto_map": {"AutoModel": "modeling.Net"}}'),
        ("notes.txt", "\x80\x04."),
    ],
)
def test_text_that_programs_run_is_not_passed_over(
    folder: Path, name: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_text(content, encoding="latin-1")
    assert call(capsys, "scan", folder)[0] == 3


def test_a_link_to_a_file_is_what_a_loader_finds_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "elsewhere").write_bytes(HOSTILE)
    (folder / "model.pt").symlink_to(folder.parent / "elsewhere")
    assert call(capsys, "scan", folder)[0] == 1


def test_links_to_folders_are_told_and_not_followed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "round").symlink_to(folder)
    code, out, _ = call(capsys, "scan", folder)
    assert code == 3
    assert "round: is a link" in out


def test_an_empty_folder_is_undecided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "scan", tmp_path)
    assert code == 3
    assert "nothing was scanned" in out


def test_columns_stand_in_line_in_chinese(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two characters take four cells: ten cells of label are eight characters wide."""
    line = call(capsys, "scan", folder, "--lang", "zh")[1].splitlines()[0]
    assert line.index(str(folder)) == 9


def test_json_is_stable_and_names_of_files_cannot_forge_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a\nclean b").write_bytes(HOSTILE)
    code, out, _ = call(capsys, "scan", "--json", folder)
    document = json.loads(out)
    assert (code, document["schema"]) == (1, "veriward.scan/1")
    assert document["summary"] == {"dangerous": 1, "unknown": 0, "clean": 1, "beside": 2}
    by_outcome = {record["outcome"]: record for record in document["files"]}
    assert set(by_outcome["dangerous"]) == {"path", "outcome", "kind", "sha256", "reasons", "error"}
    assert by_outcome["dangerous"]["reasons"][0]["what"] == "os.system"
    assert "\n" not in by_outcome["dangerous"]["path"]
    assert "\nclean b" not in call(capsys, "scan", folder)[1]


def test_scan_speaks_chinese(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "0 个危险" in call(capsys, "scan", folder, "--lang", "zh")[1]
    (folder / "bad.pt").write_bytes(HOSTILE)
    (folder / "cut.pkl").write_bytes(b"\x80\x04]")
    out = call(capsys, "scan", folder, folder / "missing", "--lang", "zh")[1]
    assert "os.system  指向可执行命令、打开文件或导入任意模块的代码  [bad.pt @ " in out
    assert "pickle 损坏  操作码流在字节 3 处的操作码中间结束  [cut.pkl @ " in out
    assert "无法打开" in out
    said = json.loads(call(capsys, "scan", folder, "--json", "--lang", "zh")[1])
    whys = [reason["why"] for record in said["files"] for reason in record["reasons"]]
    assert whys
    assert all(why.isascii() for why in whys), "programs read English"


def test_a_folder_is_signed_and_verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = folder.parent / "k.key"
    assert call(capsys, "verify", folder)[0] == 2, "not signed yet"
    assert call(capsys, "key", "new", "--out", key)[0] == 0
    code, out, _ = call(capsys, "sign", folder, "--key", key)
    assert (code, "signed 3 files" in out) == (0, True)
    code, out, _ = call(capsys, "verify", folder)
    assert (code, "authorship is not" in out) == (3, True)
    assert call(capsys, "verify", folder, "--key", key.with_suffix(".pub"))[0] == 0
    (folder / "README.md").write_text("other\n")
    code, out, _ = call(capsys, "verify", folder, "--key", key.with_suffix(".pub"), "--lang", "zh")
    assert (code, "README.md 的内容已变" in out) == (1, True)
    assert call(capsys, "verify", folder, "--reexecute", "3")[0] == 2


def test_dossiers_tables_and_pictures_stand_beside_the_models(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.ward").write_bytes(b"SQLite format 3\0" + bytes(100))
    (folder / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert call(capsys, "scan", folder)[0] == 0
    with zipfile.ZipFile(folder / "logo.png", "a") as archive:
        archive.writestr("data.pkl", HOSTILE)
    assert call(capsys, "scan", folder)[0] == 1, "a picture that ends like a zip is one for some readers"


def test_a_reader_that_goes_away_is_no_crash_of_ours(folder: Path) -> None:
    for i in range(3000):
        (folder / f"{i}.pkl").write_bytes(b"N.")
    command = [sys.executable, "-m", "veriward", "scan", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
    assert (process.returncode, told) == (141, b"")


def test_what_never_was_a_dossier_is_wrong_input_not_altered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "verify", folder / "state.pkl")
    assert (code, "is no dossier" in err) == (2, True)
    (folder / "a.ward").write_bytes(b"overwritten")
    assert call(capsys, "verify", folder / "a.ward")[0] == 1


def test_a_folder_that_cannot_be_listed_is_unknown_and_hides_no_attack(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "locked").mkdir()
    real = os.scandir

    def listed(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", listed)
    code, out, _ = call(capsys, "scan", folder)
    assert (code, "locked: cannot be listed (Permission denied)" in out) == (3, True)
    (folder / "bad.pt").write_bytes(HOSTILE)
    assert call(capsys, "scan", folder)[0] == 1
    assert json.loads(call(capsys, "scan", "--json", folder)[1])["summary"]["dangerous"] == 1
