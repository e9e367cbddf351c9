"""The likelihood ratio attack, LiRA. Carlini et al., 2022 (arXiv:2112.03570), Algorithm 1.

Each shadow says by a number phi how well it knows a row. Over the shadows that were trained with the row phi is taken as
normal, over those without it too, and the target's phi is judged by which of the two it fits. The shadow-model checks
bring phi from models; here is the arithmetic alone.

Where the published program and the paper part, this follows the paper: each side has its own standard deviation, the
offline score is one-sided, and the means are means, not medians. Two rules the paper leaves open: variances are unbiased,
so that sides of unequal size can be compared, and the global one is taken around each row's own mean, so that rows of
unlike difficulty do not widen it.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from veriward.checks.leakage.scores import Scores
from veriward.core.errors import SettingsError

Array = np.ndarray[Any, Any]
Variance = Literal["row", "global", "auto"]
Shape = Literal["spherical", "full"]
LEAST = float(np.log(1e-45))  # the least log-probability beside the largest one, as in the published program
MANY = 64  # shadows from which each row has its own variance: the paper's ablation on the number of shadow models

ROUNDING = 1e-9  # of phi: shadows that differ by less do not differ


def logit_scaled(scores: Array, y: Array) -> Array:
    """Return phi = log(p / (1 - p)) of each row's own class, (..., rows) float64.

    `scores` (..., rows, classes): logits or log-probabilities; phi is the same, and stays exact where p rounds to 1,
    since 1 - p is summed from the other classes. `y` (rows,): the classes' numbers. A class less likely than the
    likeliest by more than a factor of 1e45, as one of probability 0, counts as that: phi is finite. Raises SettingsError
    for fewer than two classes, and for shapes and numbers of classes that do not fit.

    >>> logit_scaled(np.log([[0.75, 0.15, 0.10]]), np.array([0])).round(4)  # log(.75 / .25)
    array([1.0986])
    >>> logit_scaled(np.array([[80.0, 0.0], [0.0, -np.inf]]), np.array([0, 0])).round(2)
    array([ 80.  , 103.62])
    """
    s, labels = np.asarray(scores, dtype=np.float64), np.asarray(y)
    if s.ndim < 2 or s.shape[-1] < 2 or labels.shape != s.shape[-2:-1]:
        raise SettingsError(
            f"logit_scaled: scores {s.shape}, y {labels.shape}; "
            "want (..., rows, classes) of two classes or more, and (rows,)"
        )
    own = labels[:, None] == np.arange(s.shape[-1])
    if not own.any(-1).all():
        raise SettingsError(f"logit_scaled: y holds numbers that are no class; want 0 to {s.shape[-1] - 1}")
    with np.errstate(invalid="ignore"):  # an infinite logit: phi is NaN, which does not count
        s = np.maximum(s - s.max(axis=-1, keepdims=True), LEAST)
    others = np.where(own, -np.inf, s)
    top = others.max(axis=-1, keepdims=True)
    rest = top[..., 0] + np.log(np.exp(others - top).sum(axis=-1))
    return np.asarray(np.where(own, s, 0.0).sum(axis=-1) - rest)


def logit(confidence: Array) -> Array:
    """Return phi = log(p / (1 - p)) of the confidence in each row's own class, of any shape, where nothing else is known.

    Confidences of 0 and 1 give -103.62 and 103.62. A float32 of .9999999 knows 1 - p to one digit: prefer `logit_scaled`.

    >>> logit(np.array([0.0, 0.5, 0.75])).round(4)
    array([-103.6163,    0.    ,    1.0986])
    """
    p, least = np.asarray(confidence, dtype=np.float64), np.exp(LEAST)
    return np.asarray(np.log(np.maximum(p, least)) - np.log(np.maximum(1 - p, least)))


def residuals(predictions: Array, y: Array, *, signed: bool = False) -> Array:
    """Return phi of a model of numbers, (..., rows) float64: minus the absolute error, or the signed error.

    `predictions` (..., rows), `y` (rows,). Of the absolute error larger speaks for membership, as `lira_offline` needs.
    The signed error is nearer to a normal distribution, and members show in its spread: for `lira_online` alone.

    >>> residuals(np.array([[1.0, 5.0]]), np.array([2.0, 2.0])), residuals(np.array([1.0]), np.array([2.0]), signed=True)
    (array([[-1., -3.]]), array([-1.]))
    """
    error = np.asarray(predictions, dtype=np.float64) - np.asarray(y, dtype=np.float64)
    return error if signed else -np.abs(error)


def lira_online(
    phi: Array, in_: Array, target: Array, *, variance: Variance = "auto", shape: Shape = "spherical"
) -> Scores:
    """Return the log likelihood ratio of each row, with normal distributions of shadows with and without the row.

    `phi` (shadows, rows, queries) or (shadows, rows) of the shadows, `in_` (shadows, rows) bool whether the row was
    trained on, `target` (rows, queries) or (rows,) phi of the model in question.

    `variance`: of each row ("row"), or one of all rows around their own means ("global"); "auto" takes the first from 64
    shadows on. `shape`: several queries of a row are normal with one variance and independent ("spherical", the paper's
    section on augmentations), or correlated ("full").

    A row needs two shadows on each side, with one global variance one; without them, or without any spread, its score is
    NaN. What is not a finite number in `phi` does not count. Raises SettingsError for shapes that do not fit.

    >>> phi = np.array([[0.0, 5.0], [2.0, 5.0], [3.0, 6.0], [5.0, 7.0]])
    >>> in_ = np.array([[False, False], [False, True], [True, True], [True, True]])
    >>> found = lira_online(phi, in_, np.array([4.0, 6.0]), variance="row")  # N(4, 2) against N(1, 2): 9 / 4
    >>> found.values, found.unscored
    (array([2.25,  nan]), 1)
    """
    phi, in_, target = _checked(phi, in_, target)
    rule = _rule(variance, len(phi))
    sides = [_fit(phi, chosen, rule, shape) for chosen in (in_, ~in_)]
    inside, outside = (side.log_density(target) for side in sides)
    return Scores(inside - outside)


def lira_offline(
    phi: Array, in_: Array, target: Array, *, variance: Variance = "auto", shape: Shape = "spherical"
) -> Scores:
    """Return -log Pr[Z > phi] of each row, Z normal as phi of the shadows without the row: one-sided.

    The paper's score, 1 - Pr[Z > phi], is 1 - exp(-score): the same order of rows, without the ties that rounding to 1
    makes among the most exposed. Several queries are tested for a shift that they share. Shadows that were trained on a
    row do not count. Arguments and errors as in `lira_online`.

    >>> phi, none = np.array([[0.0], [2.0]]), np.zeros((2, 1), dtype=bool)
    >>> found = lira_offline(phi, none, np.array([1.0 + 2**0.5]), variance="row")
    >>> (1 - np.exp(-found.values)).round(4)  # one standard deviation above: Phi(1)
    array([0.8413])
    """
    from scipy.special import log_ndtr

    phi, in_, target = _checked(phi, in_, target)
    side = _fit(phi, ~in_, _rule(variance, len(phi)), shape)
    return Scores(np.asarray(-log_ndtr(-side.shift(target))))


@dataclass(frozen=True)
class _Normal:
    """Normal distributions, one for each row."""

    mean: Array  # (rows, queries), NaN where the shadows do not give a distribution
    covariance: Array  # (rows, queries, queries), of full rank

    def log_density(self, target: Array) -> Array:
        """Return the logarithm of the density at `target` (rows, queries), up to a constant of all sides, (rows,)."""
        off = target - self.mean
        near = np.einsum("rq,rq->r", off, self._solved(off))
        return np.asarray(-0.5 * (near + np.linalg.slogdet(self.covariance)[1]))

    def shift(self, target: Array) -> Array:
        """Return by how many standard deviations all queries together lie above, (rows,): N(0, 1) without the row."""
        ones = np.ones_like(target)
        weight = self._solved(ones)
        return np.asarray((weight * (target - self.mean)).sum(-1) / np.sqrt((weight * ones).sum(-1)))

    def _solved(self, vector: Array) -> Array:
        return np.asarray(np.linalg.solve(self.covariance, vector[..., None])[..., 0])


def _fit(phi: Array, chosen: Array, variance: str, shape: Shape) -> _Normal:
    """Return the normal distribution of phi over the chosen shadows; `chosen` (shadows, rows) bool."""
    chosen = chosen & np.isfinite(phi).all(-1)
    weight = chosen[..., None]
    n = chosen.sum(0)
    mean = np.where(weight, phi, 0.0).sum(0) / np.maximum(n, 1)[:, None]
    off = np.where(weight, phi - mean, 0.0)
    scatter, free = np.einsum("srq,srp->rqp", off, off), np.maximum(n - 1, 0)
    if variance == "global":
        scatter, free = np.broadcast_to(scatter.sum(0), scatter.shape), np.where(n > 0, free.sum(), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = scatter / free[:, None, None]
    queries = phi.shape[-1]
    if shape == "spherical":
        covariance = np.trace(covariance, axis1=1, axis2=2)[:, None, None] / queries * np.eye(queries)
    usable = _usable(covariance, mean)
    return _Normal(
        np.where(usable[:, None], mean, np.nan), np.where(usable[:, None, None], covariance, np.eye(queries))
    )


def _usable(covariance: Array, mean: Array) -> Array:
    """Return which rows have a spread in every direction, and one above what rounding makes of equal phi, (rows,) bool."""
    usable = np.asarray(np.isfinite(covariance).all((1, 2)))
    usable &= np.trace(covariance, axis1=1, axis2=2) > (ROUNDING**2 * mean**2).sum(-1)
    rank = np.linalg.matrix_rank(covariance[usable], hermitian=True)
    usable[usable] = rank == covariance.shape[-1]
    return usable


def _rule(variance: Variance, shadows: int) -> str:
    return ("row" if shadows >= MANY else "global") if variance == "auto" else variance


def _checked(phi: Array, in_: Array, target: Array) -> tuple[Array, Array, Array]:
    """Return float64 phi (shadows, rows, queries) and target (rows, queries), and bool `in_` (shadows, rows)."""
    shadows, model, inside = np.asarray(phi, dtype=np.float64), np.asarray(target, dtype=np.float64), np.asarray(in_)
    if inside.dtype != bool or shadows.shape[:2] != inside.shape or shadows.shape[1:] != model.shape:
        raise SettingsError(
            f"lira: phi {shadows.shape}, in_ {inside.shape} of {inside.dtype}, target {model.shape}; "
            "want (shadows, rows, queries), (shadows, rows) of bool, (rows, queries)"
        )
    model = np.where(np.isfinite(model), model, np.nan)
    return (shadows, inside, model) if shadows.ndim == 3 else (shadows[..., None], inside, model[..., None])
