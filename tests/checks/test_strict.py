"""The strict plan: AutoAttack's members, and that subjects can ask for it."""

from typing import Any

import numpy as np
import pytest
import torch

from veriward.adapters.opened import open_subject
from veriward.checks.balls import ball_threat
from veriward.checks.evasion.apgd import APGD
from veriward.checks.evasion.fab import FAB
from veriward.checks.evasion.plans import EFFORTS, plan
from veriward.checks.evasion.square import Square
from veriward.checks.evasion.strict import strict_plan

from .chased import NORMS, needed
from .measure import Linear, drawn, measure, subject_of

STRICT = {"evasion": {"plan": "strict-autoattack", "norm": list(NORMS)}}


def test_the_plan_is_autoattacks() -> None:
    assert strict_plan("linf", 10) == (APGD("ce", 0, 100, 1), APGD("dlr", 9, 100, 1), FAB(9, 100, 1), Square(5000))
    assert strict_plan("l2", 1000) == strict_plan("linf", 10)
    assert strict_plan("l1", 10)[0] == APGD("ce", 0, 100, 1, wide=True)
    assert strict_plan("linf", 3) == (APGD("ce"), APGD("margin", 2), FAB(2), Square(5000))
    assert strict_plan("linf", 2)[1:3] == (APGD("margin", 1), FAB(1))


def test_a_subject_chooses_it_and_keeps_what_its_access_allows() -> None:
    x, weight = drawn(1, 20, 8, 3)
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    white = open_subject(subject_of(Linear(weight), x, y, threat=STRICT), device="cpu")
    assert plan(white, "linf", EFFORTS["quick"]) == strict_plan("linf", 3)
    black = open_subject(
        subject_of(lambda rows: np.asarray(rows) @ weight.numpy().T, x, y, threat=STRICT), device="cpu"
    )
    assert plan(black, "linf", EFFORTS["quick"]) == (Square(5000),)
    usual = open_subject(subject_of(Linear(weight), x, y), device="cpu")
    assert plan(usual, "linf", EFFORTS["quick"]) != strict_plan("linf", 3)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_few_classes_are_attacked_as_well_and_it_is_said(classes: int, norm: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("veriward.checks.evasion.strict.QUERIES", 50)  # the others have broken what there is by then
    x, weight = drawn(classes, 24, 12, classes)
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    distance = needed(x, weight, y, norm)
    eps = float(np.quantile(distance, 0.9))
    settings = {"input": {"kind": "tabular", "bounds": (-100.0, 100.0)}, "threat": STRICT}
    found = measure(
        f"evasion/{norm}", subject_of(Linear(weight), x, y, **settings), threat=ball_threat(norm, "gradients", eps)
    )  # type: ignore[arg-type]
    sure = np.abs(distance - eps) > 1e-3 * eps
    assert np.array_equal((found.outcomes["broken"] == 1)[sure], (distance < eps)[sure])
    told = {item.code for item in found.assumptions}
    assert ("evasion.strict_few_classes" in told) == (classes < 4)
