"""How well a protected attribute can be told from other columns, or from the model's answers, on held-out rows.

A stand-in is what tells the attribute: Feldman et al., 2015 (arXiv:1412.3756), section 3, call an attribute predictable
from the rest where a classifier of its values errs little. Any classifier gives a lower bound of what can be told.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from veriward.core.delong import area
from veriward.core.estimate import Estimate, not_estimable
from veriward.core.groups import cut
from veriward.core.note import note

Array = np.ndarray[Any, Any]
MOST_TARGETS = 5  # groups of an attribute that are told from the rest
MOST_DISTINCT = 32  # values of a column that are told apart; more are cut into bins
BINS = 20
PRIOR_ROWS = 2.0  # by which a rare value's rate is drawn towards the mean
FEWEST = 20  # rows of either kind, to fit and to test
MOST_GROUPS = 10  # numbers with more distinct values are cut into halves


@dataclass(frozen=True)
class Target:
    """A yes-or-no question about rows: whether each belongs to a group, on the rows to fit and on those held out."""

    group: str | None  # None where the question is the only one of its attribute
    fit: Array
    held: Array

    @property
    def estimable(self) -> bool:
        """Whether both answers are frequent enough on both sides."""
        sides = (self.fit, ~self.fit, self.held, ~self.held)
        return min(int(side.sum()) for side in sides) >= FEWEST


def targets(name: str, fit: Array, held: Array, *, private: bool = False) -> list[Target]:
    """Return the questions about an attribute, the largest group's first: halves of many numbers, else each group.

    >>> [t.group for t in targets("age", np.arange(100), np.arange(50))]
    [None]
    """
    values = np.concatenate([fit, held])
    if is_many(values):
        middle = np.nanmedian(fit.astype(np.float64))
        return [Target(None, fit.astype(np.float64) > middle, held.astype(np.float64) > middle)]
    attribute = cut(name, values, private=private)
    order = np.argsort(-attribute.sizes, kind="stable").tolist()
    if len(order) == 2:
        order = order[:1]  # the second question is the first one's mirror
    if len(attribute.groups) < 2:
        return []
    left, right = attribute.number[: len(fit)], attribute.number[len(fit) :]
    named = len(order) > 1
    return [Target(attribute.groups[i] if named else None, left == i, right == i) for i in order[:MOST_TARGETS]]


def is_many(values: Array) -> bool:
    """Return whether an attribute holds so many numbers that it is cut into halves."""
    return values.dtype.kind in "iuf" and len(np.unique(values)) > MOST_GROUPS


def told(metric: str, fit: Array, held: Array, target: Target, at: dict[str, Any], seed: int) -> Estimate:
    """Return how well boosted trees tell a target from columns, (rows, columns) each: the area on held-out rows."""
    if not target.estimable:
        why = note("fairness.too_few_to_tell", rows=FEWEST)
        return not_estimable(metric, why, at=at, bound="lower", unit="probability", n=len(held))
    score = boosted(fit, target.fit, held, seed)
    return area(metric, score[target.held], score[~target.held], at=at)


def boosted(fit: Array, wanted: Array, held: Array, seed: int) -> Array:
    """Return a score for each held-out row, (n,): larger speaks for the target. Missing numbers may be NaN."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    trees = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=15, early_stopping=False, random_state=seed)
    with threadpool_limits(limits=1):  # small fits: on a busy machine, threads that wait for each other take most time
        return np.asarray(trees.fit(fit, wanted).predict_proba(held)[:, 1])


def by_rates(fit: Array, wanted: Array, held: Array) -> Array:
    """Return for each held-out value how often such values had the target among the rows to fit, (n,).

    >>> by_rates(np.array([0.0, 0.0, 1.0]), np.array([True, True, False]), np.array([1.0, 0.0])).round(2).tolist()
    [0.44, 0.83]
    """
    codes, count = _codes(fit, held)
    hits = np.bincount(codes[: len(fit)], wanted, count)
    rows = np.bincount(codes[: len(fit)], minlength=count)
    rate = (hits + PRIOR_ROWS * wanted.mean()) / (rows + PRIOR_ROWS)
    return np.asarray(rate[codes[len(fit) :]])


def _codes(fit: Array, held: Array) -> tuple[Array, int]:
    """Return a code for each value of both parts and how many there are; gaps have the last one."""
    known = np.unique(fit[~np.isnan(fit)])
    edges = known
    if len(known) > MOST_DISTINCT:
        edges = np.unique(np.nanquantile(fit, np.arange(1, BINS) / BINS))
    values = np.concatenate([fit, held])
    codes = np.searchsorted(edges, values, side="left")
    codes[np.isnan(values)] = len(edges) + 1
    return codes, len(edges) + 2


def power_to_tell(positive: int, negative: int, looked_at: int, *, truth: float, limit: float) -> float:
    """Return the chance that an area of `truth` is shown to lie above `limit` among as many inputs as were looked at.

    The standard error is Hanley & McNeil's (1982, Radiology 143(1), equation 2).

    >>> 0.5 < power_to_tell(500, 500, 10, truth=0.7, limit=0.6) < 1
    True
    """
    from scipy.special import ndtr, ndtri

    q1, q2, square = truth / (2 - truth), 2 * truth**2 / (1 + truth), truth**2
    spread = truth * (1 - truth) + (positive - 1) * (q1 - square) + (negative - 1) * (q2 - square)
    se = float(np.sqrt(spread / (positive * negative)))
    return float(ndtr((truth - limit) / se - ndtri(1 - 0.05 / max(looked_at, 1))))
