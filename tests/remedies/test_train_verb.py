"""`veriward train` as a user types it: what it prints in two languages, what it writes, how it exits, what it refuses."""

import json
import re
from pathlib import Path

import pytest

from veriward.cli.app import main
from veriward.core.manifest import verify_folder
from veriward.reports.privacy_statement import most_found

from .folders import write

ASKED = ("--private", "--epsilon", "2", "--delta", "1e-4")


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def test_it_trains_tells_and_writes_a_subject_with_its_statement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = write(tmp_path)
    code, out, err = call(capsys, "train", home, *ASKED, "--lang", "en")
    assert code == 0
    assert out.startswith("small: trained with differential privacy, epsilon 2 at delta 0.0001\nprotects: one row")
    assert re.search(r"accuracy: \.?0?\.\d+ \[0\.\d+, 0\.\d+\] on 200 test rows", out)
    assert "step 32 of 32 · epsilon 2 so far" in err
    folder = home / "small-private"
    record = json.loads((folder / "privacy.json").read_text())
    assert record["schema"] == "veriward.privacy/1"
    english, chinese = ((folder / name).read_text() for name in ("privacy.md", "privacy.zh.md"))
    for text in (english, chinese):
        assert record["model"]["sha256"] in text
        assert re.search(r"7\.4\s?%", text)  # exp(2) · 1 % + delta
    assert "epsilon 2 at delta 0.0001" in english
    assert "隐私声明" in chinese

    code, out, err = call(capsys, "train", home, *ASKED, "--lang", "zh")
    assert (code, "该训练此前已完成" in err) == (0, True)
    assert out.startswith("small：差分隐私训练完成，epsilon = 2")


def test_the_share_that_a_test_can_find_is_the_one_of_the_theorem() -> None:
    assert most_found(0.0, 0.0) == 0.01  # no better than guessing
    assert most_found(2.0, 0.0) == pytest.approx(0.0738906, abs=1e-6)
    assert most_found(8.0, 0.0) == pytest.approx(1 - 0.99 * 2.718281828**-8)


def test_json_is_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = write(tmp_path)
    code, out, _ = call(capsys, "train", home, *ASKED, "--json", "--rows", "500", "--out", tmp_path / "new")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "new/privacy.json").read_text())
    assert json.loads(out)["claim"]["relation"] == "add-or-remove-one"


def test_a_seal_covers_the_new_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = write(tmp_path / "home")
    call(capsys, "key", "new", "--out", tmp_path / "maker.key")
    code, out, _ = call(capsys, "train", home, *ASKED, "--seal", tmp_path / "maker.key", "--lang", "en")
    assert (code, "sealed" in out) == (0, True)
    folder = home / "small-private"
    assert verify_folder(folder, tmp_path / "maker.pub").code == 0
    record = folder / "privacy.json"
    record.write_text(record.read_text().replace('"epsilon": 2.0', '"epsilon": 0.1', 1))
    assert verify_folder(folder, tmp_path / "maker.pub").code == 1


def test_fresh_renames_and_spends_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = write(tmp_path)
    for _ in range(3):
        assert call(capsys, "train", home, *ASKED, "--fresh")[0] == 0
    names = sorted(path.name for path in home.iterdir() if path.name.startswith("small-private"))
    assert names == [
        *("small-private", "small-private.holder", "small-private.holder.old1", "small-private.holder.old2"),
        *("small-private.old1", "small-private.old2"),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "want --private"),
        (("--private",), "want --private --epsilon"),
        (("--private", "--epsilon", "2"), "delta: none given"),
        ((*ASKED, "--clip", "tight"), "clip"),
        ((*ASKED, "--no-code"), "--no-code forbids"),
        ((*ASKED, "--ledger", "none.ledger"), "no ledger there"),
        ((*ASKED, "--seal", "none.key"), "none.key"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "train", write(tmp_path), *words, "--lang", "en")
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]


def test_a_large_delta_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("train", write(tmp_path), "--private", "--epsilon", "2", "--delta", "0.01", "--lang", "en")
    code, out, _ = call(capsys, *words)
    assert code == 0
    assert "delta 0.01 is not below 1 / rows = 1 / 400" in out
