"""Controls of leakage: members' scores are normal around a shift, the others' around zero, so the rate is a formula.

TPR at a given FPR = 1 - Phi(Phi^-1(1 - FPR) - shift): .1 becomes .39 at a shift of 1; without a shift it stays .1.
"""

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


def gaussian_controls() -> tuple[Control, ...]:
    """Return a leaking and a sound world, both compared at 1 % FPR."""
    threat, at = Threat("membership", "scores"), {"fpr": 0.01}
    leaking = {"tpr_at_fpr": (TRUE_RATE - SLACK, TRUE_RATE + SLACK)}
    return (
        Control("Gaussian, leaking", _world(SHIFT), threat, leaking, at),
        Control("Gaussian, sound", _world(0.0), threat, {"tpr_at_fpr": NULL}, at),
    )


def scores(x: object) -> Tensor:
    """Return logits whose loss on class 1 falls with the first column: the row's own score."""
    first = torch.as_tensor(x).double()[:, :1]
    return torch.cat([torch.zeros_like(first), first], dim=1)


def _world(shift: float) -> Subject:
    stream, rows = Stream.of(0, "gaussian control"), torch.arange(ROWS)
    member = stream.child("member").normal(rows, (1,)) + shift
    other = stream.child("other").normal(rows, (1,))
    # a second column and a row of the other class, so that the data look like data: their scores are far below
    return Subject.model_validate(
        {
            "name": "gaussian",
            "task": "classification",
            "model": {"live": scores, "output": "logits"},
            "data": {"train": _rows(member), "test": _rows(other)},
            "input": {"kind": "tabular", "bounds": (-100.0, 100.0)},
        }
    )


def _rows(score: Tensor) -> tuple[object, object]:
    x = torch.cat([score, torch.zeros_like(score)], dim=1)
    x[0, 0] = 50.0  # of class 0: its loss is the largest of all, so it is never named
    y = torch.ones(len(x), dtype=torch.int64)
    y[0] = 0
    return x.numpy(), y.numpy()
