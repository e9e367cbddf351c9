"""The gate: fail beats undecided, nothing passes unseen, and waivers are answered for and end."""

import datetime
from pathlib import Path

import pytest
from tests.core.test_compare import THREAT, answers, dossier, evidence

from veriward.core.compare import compare
from veriward.core.errors import SettingsError
from veriward.core.gate import decide
from veriward.core.waivers import Waiver, load_waivers

TODAY = datetime.date(2026, 6, 1)


def waiver(**changes: object) -> Waiver:
    fields = {"finding": "evasion/*", "reason": "v2 in May", "owner": "security", "expires": "2026-12-31"}
    return Waiver.model_validate({**fields, **changes})


@pytest.mark.parametrize(("right", "code"), [(1500, 0), (1000, 3), (300, 1)])
def test_codes_without_a_baseline(tmp_path: Path, right: int, code: int) -> None:
    with dossier(tmp_path / "d.ward", {"evasion/linf": evidence(answers(right))}) as found:
        assert decide(found, today=TODAY).code == code


def test_an_error_is_undecided_and_an_unfinished_run_too(tmp_path: Path) -> None:
    with dossier(tmp_path / "e.ward", {}, errors={"evasion/linf": ("ValueError: x", THREAT)}) as raised:
        assert decide(raised, today=TODAY).code == 3
    with dossier(tmp_path / "u.ward", {}, finish=False) as unfinished:
        assert decide(unfinished, today=TODAY).code == 3


def test_a_waiver_covers_until_its_last_day(tmp_path: Path) -> None:
    with dossier(tmp_path / "d.ward", {"evasion/linf": evidence(answers(300))}) as broken:
        assert decide(broken, waivers=[waiver()], today=datetime.date(2026, 12, 31)).code == 0
        late = decide(broken, waivers=[waiver()], today=datetime.date(2027, 1, 1))
        assert (late.code, late.points[0].state) == (1, "expired")
        assert decide(broken, waivers=[waiver(metric="robust_accuracy")], today=TODAY).code == 0
        other = decide(broken, waivers=[waiver(metric="clean_accuracy")], today=TODAY)
        assert (other.code, len(other.unused)) == (1, 1)


def test_an_expired_waiver_of_something_undecided_fails(tmp_path: Path) -> None:
    with dossier(tmp_path / "e.ward", {}, errors={"evasion/linf": ("ValueError: x", THREAT)}) as raised:
        assert decide(raised, waivers=[waiver()], today=TODAY).code == 0
        assert decide(raised, waivers=[waiver(expires="2026-05-31")], today=TODAY).code == 1


def test_a_waiver_never_covers_a_drop(tmp_path: Path) -> None:
    old = dossier(tmp_path / "old.ward", {"evasion/linf": evidence(answers(800))})
    new = dossier(tmp_path / "new.ward", {"evasion/linf": evidence(answers(600))})
    with old, new:
        assert decide(new, compare(new, old), waivers=[waiver()], today=TODAY).code == 1
        assert decide(old, compare(old, old), waivers=[waiver()], today=TODAY).code == 0


def test_what_the_baseline_had_and_the_dossier_lacks_is_undecided(tmp_path: Path) -> None:
    kept = evidence(answers(1900))
    old = dossier(tmp_path / "old.ward", {"a": kept, "b": kept})
    new = dossier(tmp_path / "new.ward", {"a": kept})
    with old, new:
        decision = decide(new, compare(new, old), waivers=[waiver(finding="*")], today=TODAY)
    assert decision.code == 3


def test_files_of_waivers(tmp_path: Path) -> None:
    file = tmp_path / "waivers.toml"
    file.write_text('[[waiver]]\nfinding = "a"\nreason = "r"\nowner = "o"\nexpires = 2027-01-31\n', encoding="utf-8")
    assert load_waivers(file)[0].expires == datetime.date(2027, 1, 31)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[waiver]]\nfindng = "a"\nreason = "r"\nowner = "o"\nexpires = 2027-01-31', "did you mean 'finding'"),
        ('[[waiver]]\nfinding = "a"\nreason = "r"\nexpires = 2027-01-31', "waiver.0.owner is missing"),
        ('[[waiver]]\nfinding = "a"\nreason = ""\nowner = "o"\nexpires = 2027-01-31', "reason"),
        ('[[waiver]]\nfinding = "a"\nreason = "r"\nowner = "o"\nexpires = "never"', "expires"),
        ("[[waivers]]\n", "unknown key 'waivers'"),
        ("waiver = [", "not valid TOML"),
    ],
)
def test_wrong_files_of_waivers_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "waivers.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=message):
        load_waivers(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_waivers(tmp_path / "missing.toml")
