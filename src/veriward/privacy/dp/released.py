"""What a private release says of itself, and the bounds that each one checks."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from veriward.core.errors import DataError, SettingsError
from veriward.privacy.dp.relation import Relation

FINE_BITS = 16  # a grid is at least this many halvings below noise and sensitivity: rounding costs 2^-16 of epsilon
LARGEST = 2.0**60  # grid units; larger values are clamped, which moves no two of them apart


@dataclass(frozen=True, repr=False)
class Released:
    """A value that may leave the house, with what protects it.

    `value`: a number, an index, or an array; `epsilon`, `delta` hold for one `unit` under `neighbouring`, the sampler's
    distance from its law included in delta; `source`: "cryptographic", or "simulation", which protects nothing.
    """

    value: Any
    epsilon: float
    delta: float
    unit: str
    neighbouring: Relation
    source: str

    def __repr__(self) -> str:
        kind = "Released" if self.source == "cryptographic" else f"NotPrivate({self.source})"
        said = f"epsilon={self.epsilon:.6g}, delta={self.delta:.3g}, unit={self.unit}, {self.neighbouring}"
        return f"{kind}({self.value!r}, {said}, source={self.source})"


def slack(epsilon: float, distance: float) -> float:
    """Return what a total variation distance between sampler and law adds to delta: (1 + e^epsilon) distance.

    Both neighbours' outputs move by `distance`, one of them under the factor e^epsilon (triangle inequality in the
    definition; Canonne, Kamath & Steinke, 2020, section 5, argue alike).

    >>> slack(0.0, 2.0**-41) == 2.0**-40
    True
    """
    return distance * (1 + math.exp(min(epsilon, 700.0)))


def check_epsilon(epsilon: float) -> None:
    """Raise SettingsError unless 0 < epsilon < 50: beyond it the sampler's 2^-43 alone would cost a delta above 1."""
    if not 0 < epsilon < 50:
        raise SettingsError(f"epsilon = {epsilon}; want more than 0 and less than 50, usually between 0.1 and 10")


def check_delta(delta: float, least: float = 0.0) -> None:
    """Raise SettingsError unless least <= delta < 1."""
    if not 0 <= delta < 1:
        raise SettingsError(f"delta = {delta}; want at least 0 and less than 1, and well below 1 / number of rows")
    if delta < least:
        raise SettingsError(f"delta = {delta}; the sampler's own distance costs {least:.3g}: want more than that")


def check_sensitivity(sensitivity: float) -> None:
    """Raise SettingsError unless the sensitivity is a positive, finite number with room for a grid below it."""
    if sensitivity == 0:
        raise SettingsError("sensitivity = 0; a value that no row can change needs no noise: check the bounds")
    if not 1e-200 < sensitivity < 1e200:
        raise SettingsError(
            f"sensitivity = {sensitivity}; want a positive, finite number: bound what one row can change"
        )


def check_size(size: int, most: int = 1 << 30) -> None:
    """Raise SettingsError unless 1 <= size <= most."""
    if not 1 <= size <= most:
        raise SettingsError(f"size = {size}; want at least 1 and at most {most} values in one release")


def power_of_two_below(limit: float) -> float:
    """Return the largest power of two <= limit, limit > 0.

    >>> power_of_two_below(0.3), power_of_two_below(4.0)
    (0.25, 4.0)
    """
    return math.ldexp(1.0, math.frexp(limit)[1] - 1)


def numbers_in(value: ArrayLike) -> NDArray[np.float64]:
    """Return `value`, of any shape, as (n,) numbers; raises DataError for what is none, NaN included."""
    try:
        numbers = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise DataError("value: cannot be read as numbers; want a number or an array of them") from error
    if np.isnan(numbers).any():
        raise DataError("value: holds NaN, which noise would not hide; fill or drop missing rows before")
    return numbers


def to_grid(value: ArrayLike, grid: float, size: int) -> NDArray[np.int64]:
    """Return `value`, (size,) or a scalar for size 1, in whole multiples of a grid; rounding happens before the noise.

    Raises DataError for another number of values and for NaN, which no noise can hide.
    """
    numbers = numbers_in(value)
    if len(numbers) != size:
        raise DataError(f"value: {len(numbers)} numbers came; want {size}, the size the mechanism was made for")
    with np.errstate(over="ignore"):
        return np.rint(np.clip(numbers / grid, -LARGEST, LARGEST)).astype(np.int64)


def off_grid(units: NDArray[np.int64], grid: float, value: ArrayLike) -> Any:
    """Return units * grid in the shape of `value`: whole numbers for a grid of 1, else floats."""
    shaped = (units if grid == 1 else units * grid).reshape(np.shape(value))
    return shaped.item() if shaped.ndim == 0 else shaped
