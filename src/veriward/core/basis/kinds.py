"""The kinds by name, and the questions that judge and reports ask of any of them."""

from typing import Any

from veriward.core.basis.binned import Binned
from veriward.core.basis.flags import Flags
from veriward.core.basis.kind import Basis, Kind
from veriward.core.basis.means import Mean, Means, Normal
from veriward.core.basis.paired import Paired
from veriward.core.basis.quantiles import Quantile
from veriward.core.basis.roc import Roc
from veriward.core.basis.shares import Binomial, Census, Gap, Worst
from veriward.core.basis.tested import Tested

KINDS: dict[str, Kind] = {
    "binomial": Binomial(),
    "tested": Tested(),
    "paired": Paired(),
    "gap": Gap(),
    "worst": Worst(),
    "flags": Flags(),
    "roc": Roc(),
    "binned": Binned(),
    "mean": Mean(),
    "means": Means(),
    "normal": Normal(),
    "quantile": Quantile(),
    "census": Census(),
}


def kind_of(basis: Basis) -> Kind:
    """Return the kind of a basis; ValueError names the choices."""
    name: Any = basis["kind"]
    if name not in KINDS:
        raise ValueError(f"basis: unknown kind {name!r}; want one of {', '.join(KINDS)}")
    return KINDS[name]


def interval(basis: Basis, confidence: float = 0.95) -> tuple[float, float]:
    """Return (low, high) at the given confidence.

    >>> interval({"kind": "census", "value": 3})
    (3, 3)
    """
    return kind_of(basis).interval(basis, confidence)


def value(basis: Basis) -> float:
    """Return the point estimate that the counts give."""
    return kind_of(basis).value(basis)


def rows(basis: Basis) -> int:
    """Return how many rows stand behind the number."""
    return kind_of(basis).rows(basis)


def p_below(basis: Basis, limit: float) -> float:
    """Return the p-value against "the truth is at least `limit`": small means that it is below."""
    return kind_of(basis).p_below(basis, limit)


def p_above(basis: Basis, limit: float) -> float:
    """Return the p-value against "the truth is at most `limit`": small means that it is above."""
    return kind_of(basis).p_above(basis, limit)


def scaled(basis: Basis, factor: float) -> Basis:
    """Return the basis as if `factor` times the rows had shown the same shares: what more rows would say."""
    return kind_of(basis).scaled(basis, factor)


def reach(basis: Basis, limit: float, *, upwards: bool, level: float, power: float) -> float | None:
    """Return the truth beyond `limit` that these rows would have shown at this level with this power, None if none."""
    return kind_of(basis).reach(basis, limit, upwards=upwards, level=level, power=power)
