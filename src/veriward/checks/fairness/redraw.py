"""What a column does to the model's answers: other rows' values are put in its place, and the answers compared.

Breiman, 2001 ("Random forests", Machine Learning 45(1), section 10) permutes a column among the rows. Here each row draws
a value of some row by itself, so that rows stay independent and a share of changed decisions is binomial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.core.estimate import Estimate, from_basis, not_estimable, proportion
from veriward.core.note import note

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.streams import Stream

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Answers:
    """Ask the model about a block of rows of a split, as they are or with one column redrawn."""

    stream: Stream

    def __call__(self, opened: Opened, item: tuple[str, Sequence[int], int]) -> Mapping[str, Any]:
        """Return {"answer": class numbers or values, (n,)}, and of rows as they are {"output": (n, outputs)} too.

        `item` is (split, rows, column); column -1 leaves the rows as they are.
        """
        which, rows, column = item[0], list(item[1]), int(item[2])
        encoded = opened.encoded(which, rows)
        if column >= 0:
            encoded = encoded.clone()
            encoded[:, column] = self._drawn(opened, rows, column)
        answer, output = _ask(opened, opened.domain.decode(encoded))
        return {"answer": answer} if column >= 0 else {"answer": answer, "output": output}

    def _drawn(self, opened: Opened, rows: Sequence[int], column: int) -> Any:
        """Return the column's value in test rows drawn at random, one for each row."""
        import torch

        number = torch.as_tensor(list(rows), dtype=torch.int64)
        donors = self.stream.child(str(column)).integers(number, len(opened.test)).reshape(-1)
        return opened.encoded("test", donors.tolist())[:, column]


def _ask(opened: Opened, x: Any) -> tuple[Array, Array]:
    """Return the decision (or value) and all that the model tells about each row."""
    import torch

    from veriward.adapters.model import logarithms

    model: Any = opened.model
    if opened.task == "regression":
        values = model.values(x).cpu().numpy()
        return values, values[:, None]
    if hasattr(model, "scores"):
        scores = model.scores(x)
        return scores.argmax(1).cpu().numpy(), logarithms(scores, opened.output).exp().cpu().numpy()
    labels = model.labels(x).cpu()
    return labels.numpy(), torch.nn.functional.one_hot(labels, len(opened.classes)).double().numpy()


def changed(opened: Opened, before: Array, after: Array) -> Array:
    """Return by how much each row's answer changed, (n,): whether the decision did, or the size in the target's unit."""
    return np.asarray(np.abs(after - before) if opened.task == "regression" else before != after, dtype=np.float64)


def unit_of(opened: Opened) -> str:
    """Return the unit in which effects are told."""
    return "standard deviations of the predictions" if opened.task == "regression" else "share of decisions"


def effect(metric: str, opened: Opened, before: Array, change: Array, at: Mapping[str, Any]) -> Estimate:
    """Return the share of decisions that change, or the mean change in standard deviations of the predictions."""
    if opened.task != "regression":
        return proportion(metric, int(change.sum()), len(change), at=at, unit=unit_of(opened))
    n, deviation = len(change), float(before.std(ddof=1)) if len(before) > 1 else 0.0
    if deviation == 0:
        return not_estimable(metric, note("fairness.constant_predictions"), at=at, unit=unit_of(opened), n=n)
    sizes = change / deviation
    # where no row moved Student knows no error: one unseen row in n may move by a standard deviation
    se = max(float(sizes.std(ddof=1)) / n**0.5, 1 / n)
    basis = {"kind": "mean", "value": float(sizes.mean()), "se": se, "n": n}
    found = from_basis(metric, basis, unit=unit_of(opened), method="Student's t", at=at)
    return replace(found, low=max(found.low or 0.0, 0.0))
