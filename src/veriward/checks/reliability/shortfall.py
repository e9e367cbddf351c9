"""Is a slice wrong more often than the rest by more than a margin? Any model is a little weaker where the classes meet.

The rest's error rate is replaced by its exact upper end at `SPENT`, and `SPENT` is added to the exact binomial tail of the
slice under that rate and the margin (Berger & Boos 1994, J. Am. Stat. Assoc. 89(427)): slice and rest are independent, so
the p-value is valid for every number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from veriward.core.intervals import clopper_pearson, lower_tail, upper_tail

MARGIN = 0.10
SPENT = 1e-6
LEVEL = 0.05


def p_values(wrong: Sequence[int], sizes: Sequence[int], all_wrong: int, rows: int) -> list[float]:
    """Return for each slice the p-value against "its error rate exceeds the rest's by at most the margin".

    >>> p_values([90], [100], 190, 1000)[0] < 1e-5, p_values([20], [100], 190, 1000)[0] > 0.5
    (True, True)
    """
    return [_p_value(int(k), int(n), all_wrong - int(k), rows - int(n)) for k, n in zip(wrong, sizes, strict=True)]


def _p_value(k: int, n: int, rest_wrong: int, rest: int) -> float:
    return min(1.0, upper_tail(k, n, _allowed(rest_wrong, rest)) + SPENT)


def _allowed(rest_wrong: int, rest: int) -> float:
    """Return the largest error rate of a slice that the rest and the margin explain."""
    return min(1.0, clopper_pearson(rest_wrong, rest, 1 - 2 * SPENT)[1] + MARGIN)


def power(rows: int, accuracy: float, slices: int, *, share: float = 0.1, fall: float = 0.3) -> float:
    """Return the chance that these rows show a slice of a tenth of them whose accuracy lies `fall` below the rest's.

    As `hypergeometric.power`, for the margin.

    >>> power(5000, 0.8, 500) > 0.99
    True
    """
    n = round(share * rows)
    if not slices or not 0 < n < rows:
        return 0.0
    rest = min(1.0, accuracy + share * fall)
    allowed = _allowed(round((rows - n) * (1 - rest)), rows - n)
    critical = next((k for k in range(n + 1) if upper_tail(k, n, allowed) + SPENT <= LEVEL / slices), None)
    return 0.0 if critical is None else 1 - lower_tail(critical - 1, n, min(1.0, 1 - rest + fall))
