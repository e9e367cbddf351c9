"""Controls of leakage: members' scores are normal around a shift, the others' around zero, so the rate is a formula.

TPR at a given FPR = 1 - Phi(Phi^-1(1 - FPR) - shift): .1 becomes .39 at a shift of 1; without a shift it stays .1.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.checks.contract import Control
from veriward.core.streams import Stream
from veriward.core.subject import Subject
from veriward.core.threat import Threat

ROWS = 1000
SHIFT = 2.0
TRUE_RATE = 0.372  # 1 - Phi(2.326 - 2)
SLACK = 0.10  # three standard errors of 1000 rows, and the threshold's own
NULL = (0.0, 0.03)
SHARP = 0.005  # errors on members, in standard deviations of those on others
SHARP_RATE = 0.988  # 2 Phi(Phi^-1(.505) / .005) - 1: who errs by less than .01253 is named
RIGHT, LUCKY = 0.9, 0.6  # share of members, and of others, that are decided rightly: an advantage of .3


def gaussian_controls() -> tuple[Control, ...]:
    """Return a leaking and a sound world, both compared at 1 % FPR."""
    threat, at = Threat("membership", "scores"), {"fpr": 0.01}
    leaking = {"tpr_at_fpr": (TRUE_RATE - SLACK, TRUE_RATE + SLACK)}
    return (
        Control("Gaussian, leaking", _world(SHIFT), threat, leaking, at),
        Control("Gaussian, sound", _world(0.0), threat, {"tpr_at_fpr": NULL}, at),
    )


def error_controls() -> tuple[Control, ...]:
    """Return a model of numbers that errs less on members by a known amount, and one that does not."""
    threat, at = Threat("membership", "scores"), {"fpr": 0.01}
    leaking = {"tpr_at_fpr": (SHARP_RATE - SLACK, 1.0)}
    return (
        Control("Gaussian errors, leaking", _errors(SHARP), threat, leaking, at),
        Control("Gaussian errors, sound", _errors(1.0), threat, {"tpr_at_fpr": NULL}, at),
    )


def label_controls() -> tuple[Control, ...]:
    """Return decisions that are right more often on members by a known amount, and one world without a difference."""
    threat = Threat("membership", "labels")

    def near(advantage: float) -> dict[str, tuple[float, float]]:
        return {"membership_advantage": (advantage - 1e-9, advantage + 1e-9)}

    return (
        Control("decisions, leaking", _decided(RIGHT), threat, near(RIGHT - LUCKY)),
        Control("decisions, sound", _decided(LUCKY), threat, near(0.0)),
    )


def values(x: object) -> Tensor:
    """Return the first column."""
    return torch.as_tensor(x).double()[:, 0]


def labels(x: object) -> Tensor:
    """Return the class that stands in the first column."""
    return torch.as_tensor(x)[:, 0].long()


def _errors(size: float) -> Subject:
    """Targets lie `size` standard deviations off the prediction for members, one for the others."""
    stream, rows = Stream.of(0, "gaussian control"), torch.arange(ROWS)
    drawn = {which: stream.child(which).normal(rows, (2,)).double() for which in ("train", "test")}
    data = {
        which: (x.numpy(), (x[:, 0] + x[:, 1] * (size if which == "train" else 1.0)).numpy())
        for which, x in drawn.items()
    }
    return _subject("regression", values, "value", data)


def _decided(right: float) -> Subject:
    """Of the members the first share `right` is decided rightly, of the others the share LUCKY."""
    order, y = np.arange(ROWS), np.arange(ROWS) % 2
    data = {}
    for which, share in (("train", right), ("test", LUCKY)):
        told = np.where(order < round(share * ROWS), y, 1 - y).astype(np.float64)
        data[which] = (np.stack([told, np.zeros(ROWS)], axis=1), y)
    return _subject("classification", labels, "labels", data)


def scores(x: object) -> Tensor:
    """Return logits whose loss on class 1 falls with the first column: the row's own score."""
    first = torch.as_tensor(x).double()[:, :1]
    return torch.cat([torch.zeros_like(first), first], dim=1)


def _world(shift: float) -> Subject:
    stream, rows = Stream.of(0, "gaussian control"), torch.arange(ROWS)
    member = stream.child("member").normal(rows, (1,)) + shift
    other = stream.child("other").normal(rows, (1,))
    # a second column and a row of the other class, so that the data look like data: their scores are far below
    return _subject("classification", scores, "logits", {"train": _rows(member), "test": _rows(other)})


def _subject(task: str, model: Callable[..., Any], output: str, data: Mapping[str, Any]) -> Subject:
    return Subject.model_validate(
        {
            "name": "gaussian",
            "task": task,
            "model": {"live": model, "output": output},
            "data": data,
            "input": {"kind": "tabular", "bounds": (-100.0, 100.0)},
        }
    )


def _rows(score: Tensor) -> tuple[object, object]:
    x = torch.cat([score, torch.zeros_like(score)], dim=1)
    x[0, 0] = 50.0  # of class 0: its loss is the largest of all, so it is never named
    y = torch.ones(len(x), dtype=torch.int64)
    y[0] = 0
    return x.numpy(), y.numpy()
