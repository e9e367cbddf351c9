"""Two dossiers side by side: the same rows are paired, other rows are refused, and no silence reads as a gain."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.reports.fixtures import Draft, write

from veriward.core.compare import Comparison, compare
from veriward.core.dossier import Dossier
from veriward.core.errors import SettingsError
from veriward.core.estimate import proportion
from veriward.core.evidence import Evidence
from veriward.core.policy import Limit, Policy
from veriward.core.threat import Threat

ROWS = 2000
THREAT = Threat("misclassify", "scores", {"norm": "linf", "eps": 0.1})
POLICY = Policy(limit=(Limit.model_validate({"check": "*", "metric": "robust_accuracy", "pass": ">= 0.5"}),))


def answers(right: int, looked_at: int = ROWS) -> np.ndarray[Any, Any]:
    """Return 1 for the first rows, 0 for the next, -1 for those that were not looked at."""
    found = np.full(ROWS, -1, np.int8)
    found[:looked_at] = np.arange(looked_at) < right
    return found


def evidence(robust: np.ndarray[Any, Any], **more: Any) -> Evidence:
    seen = robust >= 0
    share = proportion("robust_accuracy", int(robust[seen].sum()), int(seen.sum()))
    fields = {"check": "evasion/linf", "version": "2", "threat": THREAT, **more}
    return Evidence(estimates=(share,), outcomes={"robust": robust}, rows=int(seen.sum()), **fields)


def dossier(path: Path, found: dict[str, Evidence], *, name: str = "shop", test: str = "t1", **more: Any) -> Dossier:
    subject = {
        "name": name,
        "task": "classification",
        "kind": "tabular",
        "format": "skops",
        "access": "scores",
        "output": "probabilities",
        "rows": {"train": None, "test": ROWS},
        "shape": "4",
        "classes": ["0", "1"],
        "groups": [],
        "fingerprints": {"model": "m", "train": "n", "test": test},
        "files": {},
    }
    return write(path, Draft(subject, found, policy=POLICY, **more))


def both(tmp_path: Path, old: Evidence, new: Evidence, **more: Any) -> Comparison:
    before = dossier(tmp_path / "old.ward", {"evasion/linf": old})
    after = dossier(tmp_path / "new.ward", {"evasion/linf": new}, **more)
    with before, after:
        return compare(after, before)


def test_a_drop_on_the_same_rows_is_shown(tmp_path: Path) -> None:
    found = both(tmp_path, evidence(answers(1400)), evidence(answers(1300)))
    moved = found.moved[0]
    assert (moved.finding, moved.metric, moved.verdict) == ("evasion/linf", "robust_accuracy", "fail")
    assert (moved.estimate.value, moved.estimate.n) == (pytest.approx(0.05), ROWS)
    assert (found.changes, found.refused) == ((), ())


def test_no_change_passes_and_a_gain_passes(tmp_path: Path) -> None:
    assert both(tmp_path, evidence(answers(1400)), evidence(answers(1400))).moved[0].verdict == "pass"
    (tmp_path / "b").mkdir()
    assert both(tmp_path / "b", evidence(answers(1400)), evidence(answers(1500))).moved[0].verdict == "pass"


def test_rows_that_one_run_did_not_look_at_do_not_count(tmp_path: Path) -> None:
    found = both(tmp_path, evidence(answers(150, 200)), evidence(answers(1400, 1900)))
    assert found.moved[0].estimate.n == 200
    assert found.moved[0].estimate.value == pytest.approx(-0.25)


def test_other_test_rows_are_refused_with_the_reason(tmp_path: Path) -> None:
    found = both(tmp_path, evidence(answers(1400)), evidence(answers(1000)), test="t2")
    assert found.moved == ()
    assert [(name, why.code) for name, why in found.refused] == [("evasion/linf", "compare.other_rows")]


def test_another_subject_on_other_rows_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds the subject 'shop' on other test rows, not 'bank'"):
        both(tmp_path, evidence(answers(1400)), evidence(answers(1000)), test="t2", name="bank")
    (tmp_path / "b").mkdir()
    renamed = both(tmp_path / "b", evidence(answers(1400)), evidence(answers(1400)), name="shop-v2")
    assert renamed.moved[0].verdict == "pass"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"version": "3"}, "compare.other_version"),
        ({"threat": replace(THREAT, knobs={"norm": "linf", "eps": 0.2})}, "compare.other_threat"),
    ],
)
def test_what_was_measured_otherwise_is_not_compared(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    found = both(tmp_path, evidence(answers(1400)), evidence(answers(1000), **change))
    assert (found.moved, found.refused[0][1].code) == ((), code)


def test_new_fixed_and_gone_findings_are_listed(tmp_path: Path) -> None:
    good, bad = evidence(answers(1500)), evidence(answers(300))
    old = dossier(tmp_path / "old.ward", {"a": good, "b": bad, "c": good})
    new = dossier(tmp_path / "new.ward", {"a": bad, "b": good})
    with old, new:
        found = compare(new, old)
    assert [c.finding for c in found.new] == ["a"]
    assert [c.finding for c in found.fixed] == ["b"]
    assert [(c.finding, c.before) for c in found.gone] == [("c", old["c"].verdict)]


def test_a_check_that_raised_is_not_compared_and_is_no_gain(tmp_path: Path) -> None:
    old = dossier(tmp_path / "old.ward", {"evasion/linf": evidence(answers(300))})
    new = dossier(tmp_path / "new.ward", {}, errors={"evasion/linf": ("ValueError: x", THREAT)})
    with old, new:
        found = compare(new, old)
    assert (found.moved, found.fixed, found.new) == ((), (), ())


def test_errors_of_a_regression_are_compared_in_shares_of_the_baselines_mean(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    errors = generator.exponential(3.0, ROWS)
    worse = errors + generator.normal(0.3, 0.1, ROWS)
    outcomes = [{"absolute_error": np.where(np.arange(ROWS) < 100, np.nan, e)} for e in (errors, worse)]
    old, new = (
        Evidence("reliability/accuracy", "1", Threat("none", "labels"), (), outcomes=outcome) for outcome in outcomes
    )
    moved = both(tmp_path, old, new).moved[0]
    assert (moved.metric, moved.estimate.n, moved.verdict) == ("mean_absolute_error", ROWS - 100, "fail")
    assert moved.estimate.value == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("margin", [-0.1, 1.0, float("nan")])
def test_a_margin_is_a_share(tmp_path: Path, margin: float) -> None:
    with dossier(tmp_path / "d.ward", {"evasion/linf": evidence(answers(10))}) as one, pytest.raises(SettingsError):
        compare(one, one, margin=margin)
