"""From the counts behind a number to its interval and its exact p-values, at any level.

A basis is plain data, so a dossier can be judged again under another policy. Its kinds:

- `{"kind": "binomial", "k": 31, "n": 100}`: a share of independent rows;
- `{"kind": "gap", "families": [[[k, n], ...], ...]}`: the largest gap between groups (see `intervals.gap_interval`);
- `{"kind": "roc", ...}`: a true positive rate at a false positive rate (see `operating.counts`);
- `{"kind": "normal", "value": .7, "se": .02, "n": 500}`: an estimate with a standard error;
- `{"kind": "census", "value": 3}`: a counted fact.
"""

from collections.abc import Callable, Mapping
from typing import Any

from scipy.special import ndtr, ndtri

from veriward.core import operating
from veriward.core.intervals import clopper_pearson, gap_interval, gap_value, lower_tail, upper_tail

Basis = Mapping[str, Any]
SMALLEST_LEVEL = 1e-12  # bisection over the level of an interval stops here


def interval(basis: Basis, confidence: float = 0.95) -> tuple[float, float]:
    """Return (low, high) at the given confidence.

    >>> interval({"kind": "census", "value": 3})
    (3, 3)
    """
    match basis["kind"]:
        case "binomial":
            return clopper_pearson(basis["k"], basis["n"], confidence)
        case "gap":
            return gap_interval(basis["families"], confidence)
        case "roc":
            return operating.lower(basis, (1 - confidence) / 2), operating.upper(basis, (1 - confidence) / 2)
        case "normal":
            half = float(ndtri(0.5 + confidence / 2)) * basis["se"]
            return basis["value"] - half, basis["value"] + half
        case "census":
            return basis["value"], basis["value"]
    raise ValueError(f"basis: unknown kind {basis['kind']!r}; want binomial, gap, roc, normal or census")


def value(basis: Basis) -> float:
    """Return the point estimate that the counts give."""
    match basis["kind"]:
        case "binomial":
            return basis["k"] / basis["n"] if basis["n"] else float("nan")
        case "gap":
            return gap_value(basis["families"])
        case "roc":
            return operating.point(basis)[0] / int(basis["members"])
    return float(basis["value"])


def rows(basis: Basis) -> int:
    """Return how many rows stand behind the number."""
    if basis["kind"] == "gap":
        return sum(n for groups in basis["families"] for _, n in groups)
    if basis["kind"] == "roc":
        return int(basis["members"] + basis["non_members"])
    return int(basis.get("n", 1))


def p_below(basis: Basis, limit: float) -> float:
    """Return the p-value against "the truth is at least `limit`": small means that it is below."""
    match basis["kind"]:
        case "binomial":
            return lower_tail(basis["k"], basis["n"], limit)
        case "gap":
            return _smallest_level(lambda level: gap_interval(basis["families"], 1 - level)[1] < limit)
        case "roc":
            return _smallest_level(lambda level: operating.upper(basis, level) < limit)
        case "normal":
            return _tail(basis["value"] - limit, basis["se"])
    return 0.0 if basis["value"] < limit else 1.0


def p_above(basis: Basis, limit: float) -> float:
    """Return the p-value against "the truth is at most `limit`": small means that it is above."""
    match basis["kind"]:
        case "binomial":
            return upper_tail(basis["k"], basis["n"], limit)
        case "gap":
            return _smallest_level(lambda level: gap_interval(basis["families"], 1 - level)[0] > limit)
        case "roc":
            return _smallest_level(lambda level: operating.lower(basis, level) > limit)
        case "normal":
            return _tail(limit - basis["value"], basis["se"])
    return 0.0 if basis["value"] > limit else 1.0


def scaled(basis: Basis, factor: float) -> Basis:
    """Return the basis as if `factor` times the rows had shown the same shares: what more rows would say."""
    match basis["kind"]:
        case "binomial":
            n = round(basis["n"] * factor)
            return {"kind": "binomial", "k": round(value(basis) * n), "n": n}
        case "gap":
            return {"kind": "gap", "families": [[_grow(k, n, factor) for k, n in g] for g in basis["families"]]}
        case "roc":
            return operating.scaled(basis, factor)
        case "normal":
            return {**basis, "se": basis["se"] / factor**0.5, "n": round(basis["n"] * factor)}
    return basis


def _grow(k: int, n: int, factor: float) -> list[int]:
    m = round(n * factor)
    return [round(k / n * m) if n else 0, m]


def _tail(distance: float, se: float) -> float:
    return float(ndtr(distance / se)) if se > 0 else float(distance >= 0)


def _smallest_level(decided: Callable[[float], bool]) -> float:
    """Return the smallest level at which the interval decides, by bisection on its logarithm, rounded up."""
    low, high = SMALLEST_LEVEL, 1 - 1e-9
    if not decided(high):
        return 1.0
    if decided(low):
        return low
    while high / low > 1.0001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high
