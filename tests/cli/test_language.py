"""The command line in Chinese: help, wrong usage, errors and results; which codes of languages are understood."""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer

import veriward.cli
from veriward.cli.app import VERBS, app, command, main
from veriward.cli.help import below
from veriward.cli.options import cells, language, spoken
from veriward.core.errors import SettingsError
from veriward.reports.catalogue import Catalogue
from veriward.reports.phrase_book import templates

HELP = templates("help")
ROOM = Path(veriward.cli.__path__[0])
for verb in VERBS:
    import_module(f"veriward.cli.{verb}")


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def declared() -> Iterator[str]:
    """Every text of help in the source: click drops some of them at the moment, and may show them again."""
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.keyword)
                and node.arg in ("help", "epilog")
                and isinstance(node.value, ast.Constant)
            ):
                yield str(node.value.value)


def shown() -> Iterator[str]:
    """Every text of help that the built command holds."""
    for each in below(typer.main.get_command(app)):
        yield from (text for text in (each.help, each.epilog) if text)
        yield from (text for text in (getattr(parameter, "help", None) for parameter in each.params) if text)


def test_every_text_of_help_has_a_translation() -> None:
    lacking = {text for text in [*declared(), *shown()] if text and text not in HELP["help"]}
    assert not lacking, "add to [help] of reports/catalogues/help.zh.toml:\n" + "\n".join(
        f'"{t}" = ""' for t in lacking
    )


def test_no_translation_of_help_is_stale() -> None:
    assert set(HELP["help"]) - {*declared(), *shown()} == set()


def test_help_is_chinese_and_breaks_into_lines() -> None:
    for said in HELP["help"].values():
        assert re.search(r"[\u4e00-\u9fff]", said)
        assert not re.search(r"[\u4e00-\u9fff][,;:?!]|[,;:] ?[\u4e00-\u9fff]", said)
    texts = [getattr(p, "help", None) or "" for each in below(command("zh")) for p in each.params]
    wide = [text for text in texts if max(map(cells, text.split()), default=0) > 42]
    assert wide == [], "rich breaks lines at blanks alone, and cuts what is wider than its column of 80"


@pytest.mark.parametrize("words", [[], ["--help"], *([verb, "--help"] for verb in VERBS), ["policy", "show", "--help"]])
def test_help_holds_no_english_sentence(words: list[str], chinese: None, capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, err = call(capsys, *words)
    text = re.sub(
        r"veriward( [a-z]+)+|\S*[/<>:|\[\]'_.@-]\S*|[A-Z]+", " ", printed + err
    )  # names, paths, options, metavars
    assert re.search(r"[\u4e00-\u9fff]", text)
    assert re.findall(r"[a-z]{3,} +[a-z]{2,} +[a-z]{2,}", text) == []


def test_the_language_of_help_ends_with_the_call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert "用法" in call(capsys, "assess", "--help", "--lang", "zh")[1]
    for words in (["assess", "--help"], ["--help"]):
        code, printed, _ = call(capsys, *words)
        assert code == 0
        assert "Usage" in printed
        assert not re.search(r"[\u4e00-\u9fff]", printed.replace("验盾", ""))


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["assess", "--foo"], "没有选项 '--foo'"),
        (["assess"], "缺少参数 'SUBJECT'"),
        (["asses"], "没有命令 'asses'"),
        (["assess", ".", "more"], "多余的参数（more）"),
        (["assess", ".", "--seed", "x"], "'x' 不是有效的 int"),
        (["assess", ".", "--seed"], "选项 '--seed' 需要取值"),
        (["assess", "absent.toml"], "absent.toml：文件不存在；veriward init MODEL DATA 可生成初始的 subject.toml"),
        (["report", "absent.ward"], "absent.ward：没有案卷"),
        (["verify", "absent.ward"], "absent.ward：没有案卷"),
        (["convert", "absent.pt"], "absent.pt：无法打开（文件或目录不存在）"),
        (["policy", "show", "nobody"], "--policy nobody：没有该策略"),
        (["assess", ".", "--lang", "fr"], "--lang fr：应为以下之一：en, zh"),
    ],
)
def test_wrong_usage_is_told_in_the_users_language(
    words: list[str],
    wanted: str,
    chinese: None,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, message = call(capsys, *words)
    assert (code, printed) == (2, "")
    assert wanted in message
    assert not re.search(r"\b(want|Error|Usage|Try|such)\b", message)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        *((code, "zh") for code in ("zh", "zh-CN", "zh_TW", "ZH", "zh-Hans-CN", "zh_CN.UTF-8")),
        *((code, "en") for code in ("en", "en-US", "EN")),
    ],
)
def test_regions_and_capitals_do_not_count(given: str, wanted: str) -> None:
    assert language(given) == wanted
    assert spoken(["scan", "--lang", given]) == spoken([f"--lang={given}"]) == wanted


@pytest.mark.parametrize("given", ["fr", "", "english", "chinese", "z", "zhx", "中文", "-", "zh\u0000"])
def test_other_languages_are_refused_with_the_choices(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match="en, zh"):
        language(given)
    code, printed, message = call(capsys, "checks", f"--lang={given}")
    assert (code, printed) == (2, "")
    assert "en, zh" in message


@pytest.mark.parametrize(
    ("locale", "wanted"),
    [("zh_CN.UTF-8", "zh"), ("zh", "zh"), ("en_GB.UTF-8", "en"), ("C", "en"), ("zha_CN", "en"), ("", "en")],
)
def test_the_locale_decides_where_nothing_is_said(locale: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", locale)
    assert language(None) == wanted
    assert spoken([]) == spoken(["assess", "--lang"]) == spoken(["--lang", "fr"]) == wanted


def test_keys_and_their_verification_speak_chinese(
    tmp_path: Path, chinese: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed, _ = call(capsys, "key", "new", "--out", tmp_path / "k")
    assert code == 0
    assert printed.startswith("私钥")
    code, printed, _ = call(capsys, "key", "new", "--out", tmp_path / "l", "--lang", "en")
    assert printed.startswith("private key")


def test_a_crash_and_an_interruption_speak_chinese(
    chinese: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash() -> None:
        raise ZeroDivisionError("by zero")

    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("veriward.checks.registry.registry", crash)
    code, _, message = call(capsys, "checks")
    assert (code, message.splitlines()) == (
        70,
        ["本软件崩溃；加 --debug 可查看出错位置，欢迎据此提交问题报告", "veriward: ZeroDivisionError: by zero"],
    )
    monkeypatch.setattr("veriward.checks.registry.registry", stop)
    code, _, message = call(capsys, "checks")
    assert code == 130
    assert "已中断：已完成的部分会保留" in message


def test_every_stage_of_the_bar_has_a_word() -> None:
    """What a check calls its work, `job.map("attack", …)`, stands beside the bar."""
    source = Path(inspect.getfile(veriward)).parent
    stages = {
        str(node.args[0].value)
        for path in (source / "checks").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "job.map" and isinstance(node.args[0], ast.Constant)
    }
    lacking = sorted(stages - set(Catalogue.load("zh").terms["stage"]))
    assert lacking == [], "add to [term.stage] of reports/catalogues/en/cli.toml and zh/cli.toml"


def test_arguments_tell_their_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    _, printed, _ = call(capsys, "assess", "--help")
    assert "A subject.toml, or its folder." in printed
