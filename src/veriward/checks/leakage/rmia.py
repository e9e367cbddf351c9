"""The robust membership attack, RMIA. Zarifzadeh, Liu & Shokri, 2024 (arXiv:2312.03262), Algorithm 1.

A member's probability rises by more, against that which other models give it, than a random row's does. The shadow-model
checks bring the probabilities from models; here is the arithmetic alone. One query a row.
"""

from typing import Any

import numpy as np

from veriward.checks.leakage.scores import Scores
from veriward.core.errors import SettingsError

Array = np.ndarray[Any, Any]


def rmia(ratio_x: Array, ratio_z: Array, *, gamma: float = 1.0) -> Scores:
    """Return the share of population rows z whose ratio a row's own exceeds by more than a factor of gamma.

    `ratio_x` (n,) and `ratio_z` (m,), at least 0: Pr(row | model) / Pr(row). By sorting, in O((n + m) log(n + m)), and
    equal to comparing all pairs, ratio_x / ratio_z > gamma, to the last bit. z whose ratio is NaN do not count; x whose
    ratio is NaN, or all x without any z, have no score. Raises SettingsError unless gamma is a positive number.

    >>> rmia(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 2.0, 3.0])).values  # ties do not count
    array([0.  , 0.25, 1.  ])
    >>> rmia(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 2.0, 3.0]), gamma=2.0).values
    array([0.  , 0.  , 0.25])
    """
    if not 0 < gamma < np.inf:
        raise SettingsError(f"rmia: gamma {gamma}; want a positive number")
    x, z = np.asarray(ratio_x, dtype=np.float64), np.asarray(ratio_z, dtype=np.float64)
    distinct, counts = np.unique(z[~np.isnan(z)], return_counts=True)
    if not len(distinct):
        return Scores(np.full(len(x), np.nan))
    below = np.concatenate([[0], np.cumsum(counts)])
    share, order = np.empty(len(x)), np.argsort(x)  # the places of sorted values are found several times faster
    share[order] = below[_exceeded(x[order], distinct, gamma)] / below[-1]
    return Scores(np.where(np.isnan(x), np.nan, share))


def ratios(p: Array, shadow_p: Array, in_: Array, *, offline_a: float | None = None) -> Array:
    """Return Pr(row | model) / Pr(row), (rows,) float64: by how much the model knows a row better than others do.

    `p` (rows,): the model's probability of each row's own class; `shadow_p` (shadows, rows): the shadows'; `in_`
    (shadows, rows) bool: whether the row was trained on. Pr(row) is the mean over the worlds with and without the row:

    - online (`offline_a` None), half the mean of the shadows with it and half of those without it. NaN where a side has
      no shadow. Where no row was trained on by any shadow, as in a population, the mean of all shadows.
    - offline, ((1 + a) Pr_out + 1 - a) / 2: the shadows with the row are taken to say a Pr_out + 1 - a. `offline_a` lies
      in [0, 1]; it is chosen on shadows that play the target, never on the target.

    What is not a finite number in `shadow_p` does not count. Raises SettingsError for shapes or an a that do not fit.

    >>> shadow_p, in_ = np.array([[0.2], [0.4], [0.9]]), np.array([[False], [False], [True]])
    >>> ratios(np.array([0.9]), shadow_p, in_).round(4)  # .9 / ((.3 + .9) / 2)
    array([1.5])
    >>> ratios(np.array([0.9]), shadow_p, in_, offline_a=0.5).round(4)  # .9 / ((1.5 * .3 + .5) / 2)
    array([1.8947])
    """
    model, shadows, inside = np.asarray(p, dtype=np.float64), np.asarray(shadow_p, dtype=np.float64), np.asarray(in_)
    if inside.dtype != bool or shadows.shape != inside.shape or shadows.shape[1:] != model.shape:
        raise SettingsError(
            f"rmia: p {model.shape}, shadow_p {shadows.shape}, in_ {inside.shape} of {inside.dtype}; "
            "want (rows,), (shadows, rows), (shadows, rows) of bool"
        )
    if offline_a is not None and not 0 <= offline_a <= 1:
        raise SettingsError(
            f"rmia: offline_a {offline_a}; want a number from 0 to 1, or None for shadows of both kinds"
        )
    outside = _mean(shadows, ~inside)
    if offline_a is not None:
        marginal = ((1 + offline_a) * outside + 1 - offline_a) / 2
    else:
        marginal = (_mean(shadows, inside) + outside) / 2 if inside.any() else outside
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(model / marginal)


def _exceeded(x: Array, distinct: Array, gamma: float) -> Array:
    """Return how many of the rising values z each x exceeds, x / z > gamma, (n,).

    x / gamma is rounded otherwise than x / z: the place it points at is put right by asking the quotients themselves,
    which fall as z rises.
    """
    padded = np.concatenate([[np.nan], distinct, [np.nan]])  # padded[k] is the k-th z, from one
    with np.errstate(all="ignore"):
        place = np.searchsorted(distinct, x / gamma, side="left")
        while (up := x / padded[place + 1] > gamma).any():
            place = place + up
        while (down := x / padded[place] <= gamma).any():
            place = place - down
    return np.asarray(place)


def _mean(values: Array, chosen: Array) -> Array:
    """Return the mean over the chosen shadows, (rows,); NaN where there is none."""
    chosen = chosen & np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(chosen, values, 0.0).sum(0) / chosen.sum(0))
