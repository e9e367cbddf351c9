"""Linear models: attack and certificate part the rows at the closed form, under three norms and 2, 3 and 10 classes.

A row falls to class k within a ball of radius r exactly if its margin over k is at most r times the dual norm of the
difference of their weights (Moosavi-Dezfooli, Fawzi & Frossard 2016, arXiv:1511.04599).
"""

from typing import Any

import numpy as np
import pytest
import torch

from veriward.checks.balls import ball_threat

from .measure import Linear, drawn, measure, subject_of

ROWS, COLUMNS = 60, 12
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
CLOSE = 2e-3  # of the radius: rows nearer to it are left to rounding and to the last steps of an ascent


def world(classes: int, kind: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """A linear subject, its labels' rows, and their smallest distances by norm."""
    x, weight = drawn(classes + 20, ROWS, COLUMNS, classes)
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    shaped = x.reshape(-1, 1, 3, 4) if kind == "array" else x
    settings = {"kind": "image" if kind == "array" else "tabular", "bounds": (-100.0, 100.0)}
    return subject_of(Linear(weight), shaped, y, input=settings), x.astype(np.float64), weight.double().numpy()


def smallest(x: np.ndarray, w: np.ndarray, norm: str) -> np.ndarray:
    """The smallest distance at which each row falls to some other class."""
    scores = x @ w.T
    y = scores.argmax(1)
    gap = scores[np.arange(len(x)), y][:, None] - scores
    dual = np.linalg.norm(w[y][:, None] - w[None], ord=DUAL[norm], axis=2)
    return np.where(dual > 0, gap / np.maximum(dual, 1e-300), np.inf).min(1)


@pytest.mark.parametrize(("classes", "kind"), [(2, "matrix"), (3, "array"), (3, "matrix"), (10, "matrix")])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_attacks_break_the_rows_within_the_closed_form_and_no_others(norm: Any, classes: int, kind: str) -> None:
    subject, x, w = world(classes, kind)
    needed = smallest(x, w, norm)
    eps = float(np.quantile(needed, 0.7))
    found = measure(f"evasion/{norm}", subject, threat=ball_threat(norm, "gradients", eps))
    broken, sure = found.outcomes["broken"] == 1, needed < eps * (1 - CLOSE)
    assert (found.outcomes["correct"] == 1).all()
    assert not (broken & (needed > eps * (1 + 1e-6))).any()
    assert broken[sure].all() and sure.sum() > ROWS / 2


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_certificates_hold_for_the_rows_beyond_the_closed_form_and_no_others(norm: Any, classes: int) -> None:
    subject, x, w = world(classes, "matrix")
    needed = smallest(x, w, norm)
    eps = float(np.quantile(needed, 0.7))
    found = measure("certify/bounds", subject, threat=ball_threat(norm, "gradients", eps))
    proved, sure = found.outcomes["certified"] == 1, needed > eps * (1 + CLOSE)
    assert not (proved & (needed < eps * (1 - 1e-6))).any()
    assert proved[sure].all() and sure.any()
