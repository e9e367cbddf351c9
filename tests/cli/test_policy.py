"""`veriward policy`: shown, listed and checked, in both languages; every doubt once, and none where there is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from veriward.cli.app import main
from veriward.cli.doubts import doubts
from veriward.core.policy import Policy, shipped

SOUND = """
[[limit]]
check = "evasion/linf"
metric = "robust_accuracy"
pass = ">= 0.5"
fail = "< 0.3"
sufficient = "standard"
reason = "r"
source = "s"
"""


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["policy", *(str(word) for word in words)])
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def codes(text: str) -> list[str]:
    policy = Policy.parse(text, name="p", where="p.toml")
    return [doubt.code.removeprefix("policy.") for _, doubt in doubts(policy, frozenset({"robust_accuracy"}))]


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", shipped())
def test_show_tells_every_limit_with_reason_and_source(
    name: str, lang: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed, _ = call(capsys, "show", name, "--lang", lang)
    assert code == 0
    policy = Policy.load(name)
    assert policy.hash[:12] in printed
    for rule in policy.limit:
        reason, source = (rule.reason, rule.source) if lang == "en" else (rule.reason_zh, rule.source_zh)
        for told in (rule.check, f"    {rule.metric}", str(rule.passes), str(rule.fails)):
            assert told in printed
        assert reason in printed
        assert source in printed


def test_columns_stand_under_their_heads_in_chinese(capsys: pytest.CaptureFixture[str]) -> None:
    from veriward.cli.options import cells

    _, printed, _ = call(capsys, "show", "default", "--lang", "zh")
    rows = [line for line in printed.splitlines() if line and not line.startswith(" ")][1:]
    starts = {cells(line[: min(line.index(sign) for sign in ("通过", ">=", "<=") if sign in line)]) for line in rows}
    assert len(starts) == 1


def test_show_and_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call(capsys, "show", "credit", "--json", "--lang", "zh")
    shown = json.loads(printed)
    assert code == 0
    assert shown.pop("hash") == Policy.load("credit").hash
    assert Policy.model_validate(shown) == Policy.load("credit")
    code, printed, _ = call(capsys, "list", "--json")
    assert [row["name"] for row in json.loads(printed)] == list(shipped())
    code, printed, _ = call(capsys, "list", "--lang", "zh")
    assert [line.split()[1].partition("@")[0] for line in printed.splitlines()] == list(shipped())


def test_a_sound_policy_has_no_doubts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(SOUND + "at = { eps = 0.1 }\n")
    assert codes(SOUND) == []
    code, printed, _ = call(capsys, "check", file)
    assert (code, printed.splitlines()[-1]) == (0, "the policy can be used")
    assert "1 of a classifier, 1 of a model" in printed


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (SOUND.replace("evasion/linf", "evasion/linv"), ["no_check"]),
        (SOUND.replace("robust_accuracy", "robust_acuracy"), ["not_measured"]),
        (SOUND.replace("evasion/linf", "fairness/groups").replace("robust", "robvst"), ["unknown_metric"]),
        (SOUND.replace('fail = "< 0.3"', ""), ["no_room"]),
        (SOUND.replace('sufficient = "standard"', ""), ["no_budget"]),
        (SOUND.replace('sufficient = "standard"', "").replace("robust_accuracy", "certified_accuracy"), ["not_measured"]),
        (SOUND.replace('source = "s"', ""), ["no_reason"]),
        (SOUND + SOUND, ["repeated"]),
        (SOUND + SOUND + 'at = { eps = 0.1 }\n', []),
        ("", []),
    ],
)  # fmt: skip
def test_each_doubt_is_told(text: str, wanted: list[str]) -> None:
    assert codes(text) == wanted


def test_a_pattern_of_several_checks_is_told() -> None:
    text = SOUND.replace("evasion/linf", "*a*/*s*")  # fairness/groups, leakage/loss and others
    assert "several" in codes(text)


def test_checking_prints_doubts_and_exits_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(SOUND.replace("linf", "linv"))
    code, printed, _ = call(capsys, "check", file, "--lang", "zh")
    assert code == 0
    assert "限值 1（evasion/linv robust_accuracy）：evasion/linv 与已安装的任何检查都不匹配" in printed
    assert "警告 1 条" in printed
    code, printed, _ = call(capsys, "check", file, "--json")
    told = json.loads(printed)
    assert [(warning["limit"], warning["code"]) for warning in told["warnings"]] == [(0, "policy.no_check")]
    assert told["family"] == {"classification": 1, "regression": 1}


def test_mistakes_exit_with_2_and_name_line_key_and_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(SOUND.replace("reason =", "raeson =") + 'severity = "awful"\n')
    code, printed, message = call(capsys, "check", file)
    assert (code, printed) == (2, "")
    assert "line 8: unknown key 'limit.0.raeson'; did you mean 'reason'?" in message
    assert "line 10: limit.0.severity = 'awful': want 'low', 'medium', 'high' or 'critical'" in message
    code, _, message = call(capsys, "check", file, "--lang", "zh")
    assert code == 2
    assert "第 8 行：未知的键 'limit.0.raeson'；是否想写 'reason'？" in message
    for name in ("nobody", tmp_path / "absent.toml", tmp_path):
        assert call(capsys, "check", name)[0] == call(capsys, "show", name)[0] == 2


@pytest.mark.parametrize("words", [["show", "credit"], ["check", "default"], ["list"]])
def test_looking_at_policies_imports_nothing_heavy(words: list[str]) -> None:
    heavy = "torch", "scipy", "pandas", "duckdb", "sklearn", *(("numpy",) if words[0] != "check" else ())
    program = (
        "import sys, contextlib\nfrom veriward.cli.app import main\n"
        f"with contextlib.suppress(SystemExit): main({['policy', *words]!r})\n"
        f"sys.exit(', '.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
