"""Do predicted probabilities mean what they say? Calibration, log loss and Brier score, from one number per row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.core.estimate import Estimate, calibration, mean

if TYPE_CHECKING:
    from torch import Tensor

    from veriward.core.subject import Output

Array = np.ndarray[Any, Any]
BINS = 15  # Guo et al., 2017 (arXiv:1706.04599), section 2 and the experiments
MOST_LOSS = 708.0  # minus the logarithm of the smallest double: a class that was ruled out


def judged(scores: Tensor, output: Output, y: Tensor) -> dict[str, Array]:
    """Return for each row the decision, the probability of the decided class, the log loss and the Brier score, (n,).

    scores (n, classes), y (n,). A row that rules out every class has NaN. The Brier score is the sum over the classes
    (Brier 1950, Monthly Weather Review 78(1)), in [0, 2].
    """
    from veriward.adapters.model import logarithms

    log_p = logarithms(scores, output)
    p = log_p.exp()
    own = log_p.gather(1, y[:, None]).squeeze(1)
    hit = p.gather(1, y[:, None]).squeeze(1)
    label = scores.argmax(1)  # as the model decides: rounding in the softmax may tie what the scores tell apart
    return {
        "answer": label.cpu().numpy().astype(np.int32),
        "confidence": p.gather(1, label[:, None]).squeeze(1).cpu().numpy(),
        "log_loss": (-own).clamp(min=0.0, max=MOST_LOSS).cpu().numpy(),
        "brier": (p.square().sum(1) - 2 * hit + 1).clamp(min=0.0).cpu().numpy(),
    }


def quality(rows: Mapping[str, Array], right: Array) -> list[Estimate]:
    """Return calibration error, log loss and Brier score of rows as `judged` gives them; right (n,) of booleans."""
    usable = np.isfinite(rows["confidence"]) & np.isfinite(rows["log_loss"])
    bins = binned(rows["confidence"][usable], right[usable])
    return [
        calibration("calibration_error", bins, at={"bins": BINS}),
        mean("log_loss", rows["log_loss"][usable], unit="nats"),
        mean("brier_score", rows["brier"][usable], unit="squared probability"),
    ]


def binned(confidence: Array, right: Array, bins: int = BINS) -> list[list[float]]:
    """Return [right rows, rows, sum of confidences] of bins of equal width, ((m - 1) / bins, m / bins].

    >>> binned(np.array([0.5, 1.0]), np.array([True, True]), 2)
    [[1.0, 1.0, 0.5], [1.0, 1.0, 1.0]]
    """
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    sums = [np.bincount(place, weights, bins) for weights in (right.astype(float), None, confidence)]
    found: list[list[float]] = np.stack([part.astype(float) for part in sums], axis=1).tolist()
    return found
