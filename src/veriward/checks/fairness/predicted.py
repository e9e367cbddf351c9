"""What a model of numbers does to the groups: whom it over- and underestimates, by how much it errs, what it predicts.

Gaps are told in standard deviations of the target, so that one limit suits prices and temperatures alike. Parity of
residuals and of predictions are the mean forms of Agarwal et al., 2019 (arXiv:1905.12843), section 2, for regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from veriward.checks.fairness.compare import MOST_TOLD, place
from veriward.checks.fairness.means import group_means, mean_gap, means
from veriward.core.estimate import Estimate, not_estimable
from veriward.core.groups import Attribute
from veriward.core.note import Note, note

Array = np.ndarray[Any, Any]
UNIT = "standard deviations of the target"
METRICS = {  # the gap, and the groups' own number behind it
    "residual_difference": "mean_residual",
    "absolute_error_difference": "mean_absolute_residual",
    "prediction_difference": "mean_prediction",
}


def compare_predictions(
    truth: Array, predicted: Array, attributes: Sequence[Attribute]
) -> tuple[list[Estimate], list[Note]]:
    """Return the gaps of each attribute, then the groups' own means; truth, predicted (n,) finite, in the target's unit."""
    values = in_deviations(truth, predicted)
    if values is None:
        why = note("fairness.constant_target")
        gone = [not_estimable(m, why, at=place(a), unit=UNIT, n=len(truth)) for a in attributes for m in METRICS]
        return gone, []
    found: list[Estimate] = []
    behind: list[Estimate] = []
    for attribute in attributes:
        at = place(attribute)
        for metric, by_group in METRICS.items():
            groups = means(values[metric], attribute)
            found.append(mean_gap(metric, groups, at, unit=UNIT))
            behind += group_means(by_group, groups, attribute.groups, at, unit=UNIT)
    return found + behind, [n for a in attributes if not a.crossed for n in _single(a)]


def in_deviations(truth: Array, predicted: Array) -> dict[str, Array] | None:
    """Return residuals (truth minus prediction), their sizes and the predictions from the target's mean, in its
    standard deviations; None for a target that is the same in every row.

    >>> {name: v.tolist() for name, v in in_deviations(np.array([-1.0, 1.0]), np.array([0.0, 0.0])).items()}
    {'residual_difference': [-0.70..., 0.70...], 'absolute_error_difference': ..., 'prediction_difference': [0.0, 0.0]}
    """
    scale = max(float(np.abs(truth).max()), float(np.abs(predicted).max()), np.finfo(float).tiny)
    y, z = truth / scale, predicted / scale  # the squares of large numbers would overflow
    deviation = float(y.std(ddof=1)) if len(y) > 1 else 0.0
    if deviation < 1e-12 * float(np.abs(y).max()) or deviation == 0:
        return None
    residual = (y - z) / deviation
    shifted = (z - y.mean()) / deviation
    return {
        "residual_difference": residual,
        "absolute_error_difference": np.abs(residual),
        "prediction_difference": shifted,
    }


def _single(attribute: Attribute) -> list[Note]:
    """Name the groups of one row: a mean of one row tells nothing."""
    single = [name for name, n in zip(attribute.groups, attribute.sizes.tolist(), strict=True) if n == 1]
    shown = single[:MOST_TOLD] + (["…"] if len(single) > MOST_TOLD else [])
    return [note("fairness.groups_single", attribute=attribute.name, groups=", ".join(shown))] if single else []
