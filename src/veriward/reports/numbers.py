"""How numbers read: as many decimals as the interval deserves, intervals rounded outwards, spaces between thousands."""

import math
from collections.abc import Mapping
from typing import Any

from veriward.core.estimate import Estimate

SPACE = "\u00a0"  # between thousands, and before a sign that must not start a line
MOST_DECIMALS = 6
ROUNDING = 1e-9  # what binary fractions add to a decimal number


def thousands(value: float) -> str:
    """Return a whole number with spaces between thousands.

    >>> thousands(96120).replace(SPACE, " ")
    '96 120'
    """
    return f"{value:,.0f}".replace(",", SPACE)


def number(value: Any) -> str:
    """Return a lone number, short; anything else as text.

    >>> number(0.1000001), number(True), number("x")
    ('0.1', 'True', 'x')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 1000):
        return thousands(value)
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def decimals(low: float, high: float) -> int:
    """Return how many decimals show an interval with one or two telling digits.

    >>> decimals(0.27, 0.35), decimals(0.008, 0.043), decimals(120, 300)
    (2, 3, 0)
    """
    spread = high - low
    if spread <= 0:
        return 0
    return min(max(-math.floor(math.log10(spread / 5) + ROUNDING), 0), MOST_DECIMALS)


def point(estimate: Estimate) -> str:
    """Return the value of an estimate, with the decimals of its interval; a dash where there is none.

    >>> point(Estimate("auc", 0.7134, 0.65, 0.78, 90, "", ""))
    '0.71'
    """
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "–"
    if estimate.low == estimate.high:
        return number(estimate.value)
    return f"{estimate.value:.{decimals(estimate.low, estimate.high)}f}"


def interval(estimate: Estimate) -> str:
    """Return "[low, high]", rounded outwards so that a printed interval never claims too much.

    >>> interval(Estimate("auc", 0.7134, 0.6599, 0.7801, 90, "", ""))
    '[0.65, 0.79]'
    """
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return ""
    places = decimals(estimate.low, estimate.high)
    scale = 10**places
    low = math.floor(estimate.low * scale + ROUNDING) / scale
    high = math.ceil(estimate.high * scale - ROUNDING) / scale
    return f"[{low:.{places}f}, {high:.{places}f}]"


def percent(share: float) -> str:
    """Return a share in percent, without the sign.

    >>> percent(0.01), percent(0.345), percent(0.001)
    ('1', '34.5', '0.1')
    """
    return f"{share * 100:.3g}"


def p_value(p: float | None) -> str:
    """Return a p-value: never a bare 0.

    >>> p_value(0.0).replace(SPACE, " "), p_value(0.0421), p_value(None)
    ('< 0.0001', '0.042', '–')
    """
    if p is None:
        return "–"
    return f"<{SPACE}0.0001" if p < 1e-4 else f"{p:.2g}"


def condition(text: str) -> str:
    """Return a condition of a policy in the signs of print.

    >>> condition(">= 0.5").replace(SPACE, " ")
    '≥ 0.50'
    """
    sign, _, threshold = text.partition(" ")
    shown = f"{float(threshold):.2f}" if len(threshold) < 4 and "." in threshold else threshold
    return {">=": "≥", "<=": "≤"}.get(sign, sign) + SPACE + shown


def settings(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values as texts, without those that are not set."""
    return [(str(name), listed(value)) for name, value in values.items() if value is not None]


def listed(value: Any) -> str:
    """Return a value, a list as its items."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {listed(item)}" for name, item in value.items())
    return ", ".join(listed(item) for item in value) if isinstance(value, list | tuple) else number(value)
