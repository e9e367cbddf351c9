"""Limits in words: what is understood, what is refused, and the hash that shows they were there before."""

from importlib import resources
from pathlib import Path

import pytest

from veriward.core.errors import SettingsError
from veriward.core.policy import Condition, Limit, Policy

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


@pytest.mark.parametrize("name", sorted(p.name for p in (resources.files("veriward") / "policies").iterdir()))
def test_every_shipped_limit_says_why_and_from_where(name: str) -> None:
    policy = Policy.load(name.removesuffix(".toml"))
    assert policy.limit
    assert all(rule.reason and rule.source for rule in policy.limit)
