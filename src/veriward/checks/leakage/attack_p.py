"""Attack P: how unusual is a row's loss among rows that were not trained on? Ye et al., 2022 (arXiv:2111.09679).

It needs no shadows: with the loss itself (`leakage/loss`) it is the floor of what the shadow-model checks find.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def population_p(loss: Array, population: Array) -> Array:
    """Return the p-value of each row's loss, (n,) in (0, 1]: small ones speak for membership, so 1 - p is the score.

    `loss` (n,) of the rows in question and `population` (m,) of non-members, NaN excluded by the caller. The share of
    population rows, and the row itself, whose loss is as small: for a non-member of the same distribution the chance of a
    p-value of at most a is at most a, whatever the losses are. It orders rows as the loss does; what it adds is a
    threshold that is known beforehand.

    >>> population_p(np.array([0.0, 1.0, 9.0]), np.array([1.0, 2.0, 3.0]))
    array([0.25, 0.5 , 1.  ])
    """
    as_small = np.searchsorted(np.sort(population), loss, side="right")
    return np.asarray((1 + as_small) / (1 + len(population)))
