"""What privacy parameters must lie in. One sentence each: what came, what was wanted, what to do."""

import math
import warnings

from veriward.core.errors import SettingsError


class DeltaWarning(UserWarning):
    """Delta is so large that publishing a whole row would satisfy it."""


def check_positive(name: str, value: float) -> float:
    """Return a finite number above 0 as a float; SettingsError otherwise.

    >>> check_positive("sigma", 2)
    2.0
    """
    if not (_is_number(value) and math.isfinite(value) and value > 0):
        raise SettingsError(f"{name} = {value}: want a finite number above 0")
    return float(value)


def check_rate(name: str, value: float) -> float:
    """Return a sampling rate in (0, 1] as a float; SettingsError otherwise."""
    if not (_is_number(value) and 0 < value <= 1):
        raise SettingsError(f"{name} = {value}: want the share of rows in a batch, above 0 and at most 1")
    return float(value)


def check_count(name: str, value: int) -> int:
    """Return a whole number of at least 1; SettingsError otherwise."""
    if not _is_number(value) or not math.isfinite(value) or value != int(value) or value < 1:
        raise SettingsError(f"{name} = {value}: want a whole number, at least 1")
    return int(value)


def check_delta(delta: float, rows: int | None = None) -> float:
    """Return delta in (0, 1) as a float; SettingsError otherwise. With `rows` known, warn (DeltaWarning) from 1/rows on.

    Publishing one row, drawn at random, has delta 1/rows and protects nobody (Dwork & Roth, 2014, section 2.3).

    >>> check_delta(1e-5, rows=1000)
    1e-05
    """
    if not (_is_number(delta) and 0 < delta < 1):
        raise SettingsError(f"delta = {delta}: want a probability above 0 and below 1, e.g. 1e-5")
    if rows is not None and delta * check_count("rows", rows) >= 1:
        text = f"delta = {delta} is not below 1/rows = 1/{rows}: publishing a row at random would satisfy it"
        warnings.warn(text, DeltaWarning, stacklevel=3)
    return float(delta)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
