"""Linear models of which every distance is a formula, and one attack run on them as the runner would."""

from typing import Any

import numpy as np
import torch

from veriward.adapters.opened import Opened, open_subject
from veriward.checks.balls import ball_threat
from veriward.checks.evasion.attack import Attack
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.goals import Misclassify
from veriward.core.streams import Stream

from .measure import Linear, drawn, subject_of

NORMS = ("linf", "l2", "l1")
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


def needed(x: np.ndarray, weight: torch.Tensor, y: np.ndarray, norm: str) -> np.ndarray:
    """The distance of each row to the nearest other decision: margin over the dual norm of the weights' difference."""
    scores, w = x.astype(np.float64) @ weight.double().numpy().T, weight.double().numpy()
    best = np.full(len(x), np.inf)
    for other in range(len(w)):
        length = np.linalg.norm(w[y] - w[other], DUAL[norm], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            distance = (scores[np.arange(len(x)), y] - scores[:, other]) / length
        best = np.where(y == other, best, np.minimum(best, distance))
    return best


def linear(classes: int, norm: str, kind: str, rows: int = 48, columns: int = 24) -> tuple[Opened, np.ndarray]:
    """An opened linear model, far from its bounds, and each row's distance."""
    x, weight = drawn(classes, rows, columns, classes)
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    shaped = x.reshape(-1, 1, 4, columns // 4) if kind == "image" else x
    settings = {"kind": "image" if kind == "image" else "tabular", "bounds": (-100.0, 100.0)}
    opened = open_subject(subject_of(Linear(weight), shaped, y, input=settings), device="cpu")
    return opened, needed(x, weight, y, norm)


def chase_of(opened: Opened, norm: str, eps: float, rows: Any = None) -> Chase:
    """A chase of test rows that the model decides as their labels say."""
    chosen = list(range(len(opened.test))) if rows is None else list(rows)
    goal = Misclassify(opened.targets["test"][chosen], opened.output, len(opened.classes))
    threat = ball_threat(norm, "gradients", eps)  # type: ignore[arg-type]
    return Chase(opened, threat, opened.encoded("test", chosen), goal, torch.as_tensor(chosen))


def broken(attack: Attack, chase: Chase, seed: int = 0) -> np.ndarray:
    """Which rows the attack breaks, each asked again."""
    attack.run(chase, Stream.of(seed, "attack"))
    chase.verify()
    assert not chase.rejected
    return chase.done.numpy()
