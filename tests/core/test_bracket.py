"""Between proof and attack: the bracket counts rows, a proof passes a limit, and a contradiction is an error."""

from typing import Any

import numpy as np
import pytest

from veriward.core.bracket import brackets, contradicted
from veriward.core.estimate import proportion
from veriward.core.evidence import Controlled, Evidence
from veriward.core.judge import judge
from veriward.core.note import note
from veriward.core.policy import Policy
from veriward.core.threat import Threat

ROWS = 400
AT = {"norm": "linf", "eps": 0.1}


def attacked(broken: int, wrong: int = 20, **more: Any) -> Evidence:
    """The first rows are wrong as they stand, the last ones are broken."""
    correct, fell = np.ones(ROWS, np.int8), np.zeros(ROWS, np.int8)
    correct[:wrong], fell[ROWS - broken :] = 0, 1
    robust = proportion("robust_accuracy", ROWS - wrong - broken, ROWS, at=AT, bound="upper")
    threat = Threat("misclassify", "gradients", more.pop("knobs", AT))
    return Evidence("evasion/linf", "1", threat, (robust,), outcomes={"correct": correct, "broken": fell}, **more)


def proved(rows: int, start: int = 20, **more: Any) -> Evidence:
    certified = np.zeros(ROWS, np.int8)
    certified[start : start + rows] = 1
    estimate = proportion("certified_accuracy", rows, ROWS, at=AT, bound="lower")
    threat = Threat("misclassify", "gradients", AT)
    return Evidence("certify/bounds", "1", threat, (estimate,), outcomes={"certified": certified}, **more)


def limits(pass_if: str, fail_if: str = "< 0.1") -> Policy:
    limit = {"check": "evasion/*", "metric": "robust_accuracy", "pass": pass_if, "fail": fail_if}
    return Policy.model_validate({"name": "test", "limit": [limit]})


def verdict(evidence: dict[str, Evidence], pass_if: str) -> tuple[str, str]:
    judged = judge(evidence, limits(pass_if))["evasion/linf"][0]
    return judged.verdict, judged.why


def test_rows_fall_into_four_parts() -> None:
    (bracket,) = brackets({"evasion/linf": attacked(80), "certify/bounds": proved(250)})
    assert (bracket.proved, bracket.broken, bracket.wrong, bracket.undecided) == (250, 80, 20, 50)
    assert bracket.contradictions == ()
    assert bracket.certified.value <= bracket.robust.value


def test_other_threats_close_no_bracket() -> None:
    other = attacked(80, knobs={"norm": "linf", "eps": 0.2})
    assert brackets({"evasion/linf": other, "certify/bounds": proved(250)}) == ()


def test_an_attack_alone_does_not_pass_and_a_proof_does() -> None:
    assert verdict({"evasion/linf": attacked(80)}, ">= 0.5") == ("inconclusive", "one_sided")
    both = {"evasion/linf": attacked(80), "certify/bounds": proved(300)}
    assert verdict(both, ">= 0.5") == ("pass", "proved")
    assert verdict(both, ">= 0.72") == ("inconclusive", "interval")  # proved .75, its lower end .70


def test_a_proof_holds_whatever_alarms_say_of_the_attack_but_not_with_a_broken_control() -> None:
    alarm = (note("evasion.random_model"),)
    good, bad = (Controlled("c", "certified_accuracy", 0.4, 0.6, value) for value in (0.5, 0.9))
    attack = attacked(80, alarms=alarm)
    assert verdict({"evasion/linf": attack, "certify/bounds": proved(300, controls=(good,))}, ">= 0.5")[0] == "pass"
    assert verdict({"evasion/linf": attack, "certify/bounds": proved(300, controls=(bad,))}, ">= 0.5")[1] == "alarm"


def test_a_row_both_certified_and_broken_is_named() -> None:
    found = contradicted({"evasion/linf": attacked(80), "certify/bounds": proved(310)})
    assert set(found) == {"evasion/linf", "certify/bounds"}
    assert "320, 321, 322, 323, 324 … (+5)" in str(found["evasion/linf"])


def test_a_contradiction_makes_both_findings_errors_and_nothing_measured_is_lost(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import veriward
    from veriward.checks.evasion.linf import Linf
    from veriward.checks.reliability.accuracy import Accuracy
    from veriward.core import bracket

    def lies(self: Any, subject: Any, threat: Any, *, job: Any) -> Evidence:
        certified = np.ones(60, np.int8)
        estimate = proportion("certified_accuracy", 60, 60, at=dict(Linf().threats(job.opened)[0].knobs), bound="lower")
        return Evidence(self.name, "1", Linf().threats(job.opened)[0], (estimate,), outcomes={"certified": certified})

    monkeypatch.setattr(bracket, "PROOF", "reliability/accuracy")
    monkeypatch.setattr(Accuracy, "run", lies)
    x = np.random.default_rng(0).normal(size=(60, 3))
    subject = veriward.Subject(
        model={"live": lambda rows: np.asarray(rows)[:, :2], "output": "logits"},
        data={"test": (x, x[:, :2].argmax(1))},
        input={"kind": "tabular", "bounds": (-9, 9)},
        threat={"evasion": {"eps": 5.0}},
    )
    chosen = ["evasion/linf", "reliability/accuracy"]
    for _ in range(2):  # again: the same file, the same answer
        with veriward.assess(subject, checks=chosen, out=tmp_path / "x.ward", budget="quick") as dossier:
            for name in chosen:
                assert dossier[name].verdict == "error"
                assert "ContradictionError" in str(dossier[name].error)
            assert dossier.verdicts() == dict.fromkeys(chosen, "error")
            kinds = [row.kind for row in dossier._journal.rows()]
    assert kinds.count("evidence") == 2
    assert kinds.count("void") == 2
