"""Limits in words: what is understood, what is refused, and the hash that shows they were there before."""

import re
from pathlib import Path
from typing import get_args

import pytest

from veriward.core.errors import SettingsError
from veriward.core.policy import Condition, Limit, Policy, Task, line_of, shipped

TEXT = """
[[limit]]
check = "evasion/*"
metric = "robust_accuracy"
pass = ">= 50 %"
fail = "< 0.30"
"""


@pytest.mark.parametrize(
    ("text", "sign", "threshold"),
    [(">= 0.5", ">=", 0.5), ("<3", "<", 3.0), (" <= 5 % ", "<=", 0.05), ("> -1e-3", ">", -0.001), ("<= .5", "<=", 0.5)],
)
def test_conditions(text: str, sign: str, threshold: float) -> None:
    assert Condition.parse(text) == Condition(sign, pytest.approx(threshold))


@pytest.mark.parametrize("text", ["0.5", "== 0.5", ">= x", ">= 1.2.3", "", ">= 0.5 < 3", ">= nan", ">= inf", "≥ 0.5"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Condition.parse(text)


def test_the_ends_of_a_condition_follow_its_sign() -> None:
    met = {sign: [Condition(sign, 1.0).met(v) for v in (0.9, 1.0, 1.1)] for sign in (">=", ">", "<=", "<")}
    assert met[">="] == [False, True, True]
    assert met[">"] == [False, False, True]
    assert met["<="] == [True, True, False]
    assert met["<"] == [True, False, False]


@pytest.mark.parametrize("sign", [">=", ">", "<=", "<"])
def test_without_a_fail_condition_its_complement_holds(sign: str) -> None:
    rule = Limit.model_validate({"check": "*", "metric": "m", "pass": f"{sign} 0.5"})
    for value in (0.4, 0.5, 0.6):
        assert rule.passes.met(value) != rule.fails.met(value)


@pytest.mark.parametrize(
    ("passes", "fails"), [(">= 0.5", "> 0.4"), (">= 0.5", "< 0.6"), ("<= 0.1", "> 0.05"), ("<= 0.1", ">= 0.1")]
)
def test_sides_that_agree_or_overlap_are_refused(passes: str, fails: str) -> None:
    with pytest.raises(ValueError, match=r"same way|overlap"):
        Limit.model_validate({"check": "*", "metric": "m", "pass": passes, "fail": fails})


def test_sides_may_touch_where_only_one_holds_the_end() -> None:
    for fails in ("< 0.5", "<= 0.4"):
        Limit.model_validate({"check": "*", "metric": "m", "pass": ">= 0.5", "fail": fails})
    Limit.model_validate({"check": "*", "metric": "m", "pass": "> 0.5", "fail": "<= 0.5"})


def test_the_hash_names_the_limits_and_not_their_spelling() -> None:
    policy = Policy.parse(TEXT, name="p", where="p.toml")
    assert Policy.parse("\n# a comment\n" + TEXT, name="p", where="q.toml").hash == policy.hash
    assert Policy.parse(TEXT.replace("0.30", "0.31"), name="p", where="p.toml").hash != policy.hash
    assert Policy.model_validate(policy.to_dict()).hash == policy.hash


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("limit = 3", "limit"),
        (TEXT.replace("pass =", "passes ="), "passes"),
        (TEXT.replace(">= 50 %", "50"), "50"),
        (TEXT + 'severity = "awful"', "severity"),
        ("[[limit", "TOML"),
    ],
)
def test_mistakes_are_named(text: str, wanted: str) -> None:
    with pytest.raises(SettingsError, match=wanted):
        Policy.parse(text, name="p", where="p.toml")


def test_policies_come_from_files_names_and_objects(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TEXT, encoding="utf-8")
    assert Policy.load(file).name == "mine"
    assert Policy.load(Policy.load(file)) == Policy.load(str(file))
    assert Policy.load(None).name == "default"
    with pytest.raises(SettingsError, match="default"):
        Policy.load("nobody")
    with pytest.raises(SettingsError, match="cannot be read"):
        Policy.load(tmp_path / "absent.toml")


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_limit_says_why_and_from_where_in_both_languages(name: str) -> None:
    policy = Policy.load(name)
    assert policy.limit
    assert policy.description
    chinese = [policy.description_zh]
    for rule in policy.limit:
        assert rule.reason.endswith(".")
        assert rule.source
        assert rule.reason_zh.endswith("。")
        chinese += [rule.reason_zh, rule.source_zh]
    assert [text for text in chinese if not re.search(r"[\u4e00-\u9fff]", text)] == []
    assert [text for text in chinese if re.search(r"[\u4e00-\u9fff][,;:?!]|[,;:] ?[\u4e00-\u9fff]", text)] == []


@pytest.mark.parametrize("name", shipped())
def test_no_shipped_limit_is_set_twice_or_leaves_no_room(name: str) -> None:
    places = [(rule.check, rule.metric, str(rule.at)) for rule in Policy.load(name).limit]
    assert len(set(places)) == len(places)
    for rule in Policy.load(name).limit:
        assert rule.passes.threshold != rule.fails.threshold or rule.passes.threshold == 0


@pytest.mark.parametrize("name", shipped())
def test_limits_of_one_task_are_not_undecided_on_models_of_the_other(name: str) -> None:
    """Metrics of the checks that do both tasks, as docs/checks.md names them: a limit on one of them says its task."""
    classification = {"demographic_parity_difference", "equal_opportunity_difference", "equalized_odds_difference"}
    classification |= {"calibration_difference", "accuracy_difference", "calibration_error", "accuracy_drop"}
    classification |= {"robust_accuracy"}
    regression = {"residual_difference", "absolute_error_difference", "prediction_difference", "error_increase"}
    regression |= {"relative_absolute_error", "mean_absolute_error", "r_squared", "moved_share"}
    for rule in Policy.load(name).limit:
        wanted = {"classification"} if rule.metric in classification else {"regression"}
        assert rule.task in (wanted if rule.metric in classification | regression else {None, "classification"})


def test_tasks_are_those_of_subjects() -> None:
    from veriward.core import subject

    assert get_args(Task) == get_args(subject.Task)


def test_mistakes_name_their_line() -> None:
    text = '# limits\nname = "p"\n\n[[limit]]\ncheck = "a"\nmetric = "m"\npass = ">= 1"\n'
    text += '\n  [[ limit ]] # two\n"check" = 3\n'
    with pytest.raises(SettingsError) as caught:
        Policy.parse(text, name="p", where="p.toml")
    said = str(caught.value)
    assert "line 10: limit.1.check = 3: want a text in quotes" in said
    assert "line 9: limit.1.metric is missing" in said
    with pytest.raises(SettingsError, match=r"p\.toml: line 2: unknown key 'nam'"):
        Policy.parse(text.split("[[limit", maxsplit=1)[0].replace("name", "nam"), name="p", where="p.toml")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (["limit", 0], 2),
        (["limit", 0, "at", "fpr"], 4),
        (["limit", 5, "check"], None),
        (["name"], 1),
        ([], None),
        (["other"], None),
    ],
)
def test_lines_of_keys(path: list[object], line: int | None) -> None:
    assert line_of('name = "p"\n[[limit]]\ncheck = "a"\nat.fpr = "x"\n', path) == line


def test_a_policy_in_one_line_has_no_lines_to_tell() -> None:
    with pytest.raises(SettingsError, match=r"p: limit\.0\.pass is missing"):
        Policy.parse('limit = [{ check = "a", metric = "m" }]', name="p", where="p")
