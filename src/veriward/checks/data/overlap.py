"""Which rows are equal, by a 64-bit key per row: across splits, inside one, and under different labels.

Two of n different rows share a key with a chance of at most n^2 / 2^65: less than one in a hundred thousand for the
10^14 pairs of two splits of ten million rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def partners(keys: Array, among: Array) -> Array:
    """Return for each key (n,) the first place of its equal in `among` (m,), -1 where there is none.

    >>> partners(np.array([7, 8]), np.array([5, 7, 7])).tolist()
    [1, -1]
    """
    if not len(among):
        return np.full(len(keys), -1, np.int64)
    order = np.argsort(among, kind="stable")  # of equals, the first stays the first
    place = np.minimum(np.searchsorted(among[order], keys), len(among) - 1)
    return np.where(among[order[place]] == keys, order[place], -1)


def repeats(keys: Array) -> Array:
    """Return which keys (n,) stood there before: what dropping duplicates would drop.

    >>> repeats(np.array([5, 7, 5])).tolist()
    [False, False, True]
    """
    return np.asarray(partners(keys, keys) != np.arange(len(keys)))


def twins(keys: Array) -> Array:
    """Return which keys (n,) have an equal elsewhere.

    >>> twins(np.array([5, 7, 5])).tolist()
    [True, False, True]
    """
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.asarray(counts[place.reshape(-1)] > 1)


def conflicting(inputs: Array, labels: Array) -> Array:
    """Return which rows have an equal, by their inputs (n,), with another label (n,).

    >>> conflicting(np.array([5, 5, 7, 7]), np.array([0, 1, 0, 0])).tolist()
    [True, True, False, False]
    """
    order = np.lexsort((labels, inputs))
    sorted_inputs, sorted_labels = inputs[order], labels[order]
    starts = np.flatnonzero(np.r_[True, sorted_inputs[1:] != sorted_inputs[:-1]])[: len(inputs)]
    if not len(starts):
        return np.zeros(0, bool)
    sizes = np.diff(np.r_[starts, len(inputs)])
    differ = sorted_labels[starts] != sorted_labels[starts + sizes - 1]  # sorted: the ends tell
    found = np.empty(len(inputs), bool)
    found[order] = np.repeat(differ, sizes)
    return found
