"""Does one column give the label away? A rule learnt from that column on some rows, judged on the others.

Kaufman, Rosset, Perlich & Stitelman, 2012, "Leakage in data mining", ACM TKDD 6(4): a feature that is too good to be true.
An honest feature predicts; a leaking one all but repeats the label. So the suspicion is a balanced accuracy above
`THRESHOLD`, and its p-value is exact for "the balanced accuracy is at most that".
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
THRESHOLD = 0.95
CELLS = 256
LEAVES, SMALLEST_LEAF = 64, 5
CLASSES = 20  # the most frequent ones are looked at, each against the rest


def p_balanced(k: tuple[int, int], n: tuple[int, int], level: float = THRESHOLD) -> float:
    """Return the p-value against "the mean of two shares is at most `level`": k of n rows each are right.

    The largest chance, over all pairs of shares with that mean, that the mean of the observed ones is as large: the
    shares go through cells, in each of which both stand at their upper ends, so that the maximum is never missed.

    >>> round(p_balanced((100, 100), (100, 100)), 5)
    0.00004
    """
    from scipy.special import bdtrc

    seen = k[0] / n[0] + k[1] / n[1] if min(n) else 0.0
    if seen <= 2 * level:
        return 1.0
    ends = np.linspace(max(0.0, 2 * level - 1), 1.0, CELLS + 1)
    first, second = ends[1:, None], np.minimum(1.0, 2 * level - ends[:-1, None])
    hits = np.arange(max(0, int(np.floor(n[0] * (seen - 1) - 1e-9))), n[0] + 1)
    needed = np.maximum(np.ceil(n[1] * (seen - hits / n[0]) - 1e-9), 0)
    reached = np.where(needed > n[1], 0.0, np.where(needed <= 0, 1.0, bdtrc(np.maximum(needed - 1, 0), n[1], second)))
    return float(min(1.0, (_mass(hits, n[0], first) * reached).sum(1).max()))


def _mass(k: Array, n: int, share: Array) -> Array:
    """Return the binomial probabilities of k out of n, (cells, len(k))."""
    from scipy.special import gammaln, xlog1py, xlogy

    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.asarray(np.exp(ways + xlogy(k, share) + xlog1py(n - k, -share)))


def predicted(column: Array, classes: Array, fit: Array) -> Array:
    """Return the class number (n,) that a rule tells from one column (n,), learnt on the rows `fit` (n,) bool.

    Numbers: a tree, missing values on a branch of their own. Categories: the class that is most frequent among their
    rows, each class weighted alike.
    """
    if column.dtype == object:
        return _by_category(column, classes, fit)
    from sklearn.tree import DecisionTreeClassifier

    values = _near_zero(column.astype(np.float64))[:, None]
    tree = DecisionTreeClassifier(
        max_leaf_nodes=LEAVES, min_samples_leaf=SMALLEST_LEAF, class_weight="balanced", random_state=0
    )
    return np.asarray(tree.fit(values[fit], classes[fit]).predict(values))


def _near_zero(values: Array) -> Array:
    """Return numbers (n,) moved and scaled so that float32, in which trees see them, keeps what tells them apart."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.nan_to_num(values, nan=np.nan, posinf=1.0, neginf=-1.0).astype(np.float32)
    low, middle, high = np.quantile(finite, [0.25, 0.5, 0.75])
    spread = high - low or np.abs(finite - middle).max() or 1.0
    return np.asarray(np.clip((values - middle) / spread, -1e9, 1e9), np.float32)


def _by_category(column: Array, classes: Array, fit: Array) -> Array:
    _, codes = np.unique(np.array([repr(value) for value in column]), return_inverse=True)
    counts = np.zeros((codes.max() + 1, classes.max() + 1))
    np.add.at(counts, (codes[fit], classes[fit]), 1)
    shares = counts / np.maximum(counts.sum(0), 1)
    return np.asarray(shares.argmax(1)[codes])


def p_leak(column: Array, classes: Array, fit: Array) -> float:
    """Return the p-value against "no class is told from the rest with a balanced accuracy above `THRESHOLD`".

    column (n,), classes (n,) numbers of the labels, fit (n,) bool: the rule is judged on the other rows. Bonferroni over
    the classes.
    """
    told, truth = predicted(column, classes, fit)[~fit], classes[~fit]
    numbers, sizes = np.unique(truth, return_counts=True)
    if len(numbers) < 2:
        return 1.0
    chosen = numbers[np.argsort(-sizes, kind="stable")][: 1 if len(numbers) == 2 else CLASSES]
    p_values = [p_balanced(*_recognised(told == c, truth == c)) for c in chosen]
    return min(1.0, len(chosen) * min(p_values))


def _recognised(told: Array, truth: Array) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how many rows of the class, and of the rest, are recognised, and how many there are."""
    return (int((told & truth).sum()), int((~told & ~truth).sum())), (int(truth.sum()), int((~truth).sum()))


def smallest_p(classes: Array, fit: Array) -> float:
    """Return the p-value that a copy of the label would get: the least that these rows can show."""
    return p_leak(classes.astype(np.float64), classes, fit) if len(np.unique(classes[fit])) > 1 else 1.0
