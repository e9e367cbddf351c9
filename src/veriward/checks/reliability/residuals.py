"""How far predicted numbers are off: root mean squared error, R², and the error against always saying the same number.

Ratios of means by the delta method (Casella & Berger, 2002, Statistical Inference, section 5.5.4): the standard error is
that of the mean of the influence of each row. Nearly exact for many rows; the method is printed with each number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from veriward.core.estimate import Estimate, from_basis, not_estimable
from veriward.core.note import note

Array = np.ndarray[Any, Any]
DELTA = "delta method, normal"
DELTA_T = "delta method, Student's t"
FEWEST = 2


def root_mean_squared_error(error: Array) -> Estimate:
    """Return the root of the mean squared error of rows (n,), in units of the target.

    >>> root_mean_squared_error(np.array([3.0, -3.0, 3.0])).value
    3.0
    """
    if len(error) < FEWEST:
        return _few("root_mean_squared_error", "units of the target", len(error))
    scale = float(np.abs(error).max()) or 1.0  # squares of large numbers would overflow
    squares = (error / scale) ** 2
    root = float(np.sqrt(squares.mean()))
    se = _se(squares) / (2 * root) if root else 0.0
    return _normal("root_mean_squared_error", root * scale, se * scale, len(error), "units of the target")


def r_squared(error: Array, target: Array) -> Estimate:
    """Return 1 - squared errors / squared deviations of the target from its mean; a constant target has none.

    >>> r_squared(np.array([0.0, 0.0, 0.0]), np.array([1.0, 2.0, 3.0])).value
    1.0
    """
    if len(error) < FEWEST:
        return _few("r_squared", "share of the variance", len(error))
    away = target - target.mean()
    if not np.ptp(target) or not away.any():
        return not_estimable(
            "r_squared", note("reliability.constant_target"), unit="share of the variance", n=len(away)
        )
    scale = float(np.abs(away).max())
    squares, spread = (error / scale) ** 2, (away / scale) ** 2
    ratio = float(squares.mean() / spread.mean())
    # the mean of the target is estimated too; its influence is zero to the first order
    se = _se((squares - ratio * spread) / spread.mean())
    return _normal("r_squared", 1 - ratio, se, len(error), "share of the variance")


def relative_absolute_error(error: Array, target: Array, guess: float) -> Estimate:
    """Return the absolute error over that of always answering `guess`, row by row: below 1 the model knows something."""
    if len(error) < FEWEST:
        return _few("relative_absolute_error", "ratio", len(error))
    model, baseline = np.abs(error), np.abs(target - guess)
    scale = float(max(model.max(), baseline.max())) or 1.0
    if not baseline.any():
        return not_estimable(
            "relative_absolute_error", note("reliability.baseline_perfect"), unit="ratio", n=len(error)
        )
    ratio, se = ratio_of_means(model / scale, baseline / scale)
    return _normal("relative_absolute_error", ratio, se, len(error), "ratio")


def error_increase(noisy: Array, clean: Array, *, at: Mapping[str, Any]) -> Estimate:
    """Return by which share the mean absolute error of rows grew, (n,) absolute errors each: 0.5 is half as much again.

    >>> error_increase(np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 1.0]), at={}).value
    0.5
    """
    name, unit = "error_increase", "share of the clean error"
    if len(clean) < FEWEST:
        return _few(name, unit, len(clean), at)
    scale = float(max(noisy.max(), clean.max())) or 1.0
    if not clean.any():
        return not_estimable(name, note("reliability.no_clean_error"), at=at, unit=unit, n=len(clean))
    ratio, se = ratio_of_means(noisy / scale, clean / scale)
    basis = {"kind": "mean", "value": ratio - 1, "se": se, "n": len(clean)}
    return from_basis(name, basis, unit=unit, method=DELTA_T, at=at)


def ratio_of_means(above: Array, below: Array) -> tuple[float, float]:
    """Return mean(above) / mean(below) of the same rows, and its standard error."""
    middle = float(below.mean())
    ratio = float(above.mean()) / middle
    return ratio, _se((above - ratio * below) / middle)


def _se(influence: Array) -> float:
    return float(influence.std(ddof=1) / math.sqrt(len(influence)))


def _normal(metric: str, value: float, se: float, n: int, unit: str) -> Estimate:
    return from_basis(metric, {"kind": "normal", "value": value, "se": se, "n": n}, unit=unit, method=DELTA)


def _few(metric: str, unit: str, n: int, at: Mapping[str, Any] | None = None) -> Estimate:
    return not_estimable(metric, note("reliability.too_few_rows"), at=at, unit=unit, n=n)
