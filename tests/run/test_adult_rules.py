"""UCI Adult under its true rules: what the attacks find could be a real row, says a judge that knows no rule of ours."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from veriward.adapters.opened import open_subject

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared/data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "adult-train.csv.gz").is_file(), reason=f"no {DATA}/adult-train.csv.gz"),
]


@pytest.fixture(scope="module")
def adult() -> Any:
    """The benchmark's subjects, on fewer rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        module: Any = importlib.import_module("benchmarks.adult")
        patch.setitem(module.ROWS, "train", 5000)
        yield module


@pytest.fixture(scope="module")
def rows(adult: Any) -> Any:
    return {which: adult.table(which) for which in ("train", "test")}


def real(rows: Any, clean: Any, found: Any) -> bool:
    """Whether a row could be: what it says of school and marriage, some real row says; the rest is a matter of budgets."""
    train = rows["train"]
    schools = set(zip(train.education, train.education_num, strict=True))
    spouses = set(zip(train.relationship, train.marital_status, strict=True))
    married = {status for role, status in spouses if role in ("Husband", "Wife")}
    return (
        all(found[name] == clean[name] for name in ("age", "sex", "race", "native_country"))
        and (found["education"], found["education_num"]) in schools
        and (found["capital_gain"] == 0 or found["capital_loss"] == 0)
        and (found["relationship"] not in ("Husband", "Wife") or found["marital_status"] in married)
        and all(isinstance(found[name], str) for name in ("workclass", "occupation"))
        and abs(found["hours_per_week"] - clean["hours_per_week"]) <= 4.9
        and abs(found["capital_gain"] - clean["capital_gain"]) <= 1000
        and abs(found["capital_loss"] - clean["capital_loss"]) <= 100
        and all(float(found[n]).is_integer() for n in ("hours_per_week", "capital_gain", "capital_loss", "fnlwgt"))
    )


@pytest.mark.parametrize("name", ["network", "trees"])
def test_every_success_is_feasible_and_blind_attacks_find_what_is_not(name: str, adult: Any, rows: Any) -> None:
    opened = open_subject(adult.SUBJECTS[name](rows))
    chase, _ = adult.attacked(opened, 40)
    found = adult.successes(chase, name)
    assert len(found) >= 10
    assert all(real(rows, *pair) for pair in found)
    assert not [fault for pair in found for fault in adult.broken(*pair)]
    free, _ = adult.attacked(adult.blind(opened), 40)
    seen = adult.successes(free, name)
    assert len(seen) >= len(found), "rules take moves away"
    assert sum(real(rows, *pair) for pair in seen) < len(seen)
    assert [not adult.broken(*pair) for pair in seen] == [real(rows, *pair) for pair in seen]
