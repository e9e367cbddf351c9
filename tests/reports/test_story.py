"""The sentence a reader takes home, and what is advised."""

from typing import Any

import pytest

from veriward.core.dossier import Dossier
from veriward.core.policy import Policy
from veriward.reports.advice import advise, first
from veriward.reports.catalogue import Catalogue
from veriward.reports.story import story, told

from .fixtures import Draft, fairness, leakage, subject, write

EN, ZH = Catalogue.load("en"), Catalogue.load("zh")
STRICT = Policy.parse('[[limit]]\ncheck = "leakage/*"\nmetric = "realised_fpr"\npass = "<= 0.001"', name="s", where="s")


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.fixture
def leaky(tmp_path: Any) -> Any:
    with write(tmp_path / "leaky.ward", Draft(subject(), {"leakage/loss": leakage(240, 1000)})) as dossier:
        yield dossier


@pytest.fixture
def unfair(tmp_path: Any) -> Any:
    counts = {"gender": {"f": (300, 1000), "m": (800, 1000)}}
    with write(tmp_path / "unfair.ward", Draft(subject(), {"fairness/groups": fairness(counts)})) as dossier:
        yield dossier


def test_a_leak_is_told_against_guessing(leaky: Dossier) -> None:
    sentence = plain(story(leaky, EN))
    assert "accepts 1 % false alarms recognises 24 % of the training rows" in sentence
    assert "24% 的训练样本" in story(leaky, ZH)


def test_a_gap_names_the_groups_at_either_end(unfair: Dossier) -> None:
    sentence = plain(story(unfair, EN))
    assert sentence.startswith("By gender")
    assert "m gets" in sentence
    assert sentence.index("m ") < sentence.index(", f in ")


def test_other_metrics_are_told_by_their_limit(tmp_path: Any) -> None:
    with write(tmp_path / "x.ward", Draft(subject(), {"leakage/loss": leakage(20, 1000)}, policy=STRICT)) as dossier:
        sentence = told(dossier["leakage/loss"], dossier.subject, EN)
        assert plain(sentence).startswith(
            "leakage/loss: realised false positive rate at 1 % FPR is 0.009, and the policy wants"
        )


def test_no_story_claims_security(make: Any) -> None:
    assert "not for all attacks" in story(make("healthy"), EN)
    assert "Nothing was tested" in story(make("empty"), EN)
    assert "not every question is answered" in story(make("broken"), EN)


def test_every_open_finding_has_advice_and_a_pass_has_none(dossier: Dossier) -> None:
    for finding in dossier:
        assert bool(advise(dossier, finding)) == (finding.verdict in {"fail", "error", "inconclusive"})
        assert all(item.text(words) for item in advise(dossier, finding) for words in (EN, ZH))
    assert first(dossier).line(EN)


def test_advice_follows_the_reason(make: Any) -> None:
    assert first(make("one_sided")).command == "veriward assess . --checks evasion/linf --budget standard"
    assert first(make("broken")).command == "veriward assess ."
    assert first(make("healthy")).command == "veriward assess . --seal KEY"
    shop = make("shop")
    assert advise(shop, shop["leakage/loss"])[0].command == "veriward assess . --checks leakage/loss --budget thorough"
