"""Witnesses that are images: clean, attacked and their difference, small enough to stand inside a page."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veriward.core.evidence import Witness
from veriward.reports.png import png

if TYPE_CHECKING:
    import numpy as np

MOST_WITNESSES = 3
PICTURES = 3 * MOST_WITNESSES  # per finding
PAGE_BYTES = 150_000  # of raw pixels on one page
SMALLEST, LARGEST = 16, 96  # pixels a side


@dataclass(frozen=True)
class Triple:
    """Three data URIs and what became of the label."""

    row: int
    text: str
    clean: str
    adversarial: str
    difference: str
    was: str
    became: str


def triples(witnesses: Sequence[Witness], side: int) -> list[Triple]:
    """Return the pictures of the cheapest witnesses, at most `side` pixels a side; none where they are no images."""
    return [_triple(witness, side) for witness in witnesses if is_image(witness.details)][:MOST_WITNESSES]


def is_image(details: Mapping[str, Any]) -> bool:
    """Return whether the details of a witness hold two pictures."""
    shapes = [getattr(details.get(name), "shape", ()) for name in ("clean", "adversarial")]
    return shapes[0] == shapes[1] and len(shapes[0]) in {2, 3} and 0 not in shapes[0]


def side(findings: int) -> int:
    """Return how many pixels a side each picture may have, so that those of all findings fit into one page.

    >>> side(1), side(100)
    (74, 16)
    """
    return min(max(math.isqrt(PAGE_BYTES // (PICTURES * 3 * max(findings, 1))), SMALLEST), LARGEST)


def _triple(witness: Witness, side: int) -> Triple:
    import numpy as np

    clean, attacked = (_pixels(witness.details[name]) for name in ("clean", "adversarial"))
    low, high = witness.details.get("bounds") or (min(clean.min(), attacked.min()), max(clean.max(), attacked.max()))
    moved = attacked - clean
    largest = float(np.abs(moved).max()) or 1.0
    was, became = (str(witness.details.get(name, "")) for name in ("was", "became"))
    pictured = _uri(clean, low, high, side), _uri(attacked, low, high, side), _uri(moved, -largest, largest, side)
    return Triple(witness.row, witness.text, pictured[0], pictured[1], pictured[2], was, became)


def _pixels(array: Any) -> "np.ndarray[Any, Any]":
    """Return (H, W) or (H, W, 3) from (H, W) or (C, H, W); of other numbers of channels, the first."""
    import numpy as np

    values = np.nan_to_num(np.asarray(array, dtype=np.float64))
    if values.ndim == 2:
        return values
    return np.moveaxis(values, 0, -1) if len(values) == 3 else values[0]


def _uri(values: "np.ndarray[Any, Any]", low: float, high: float, side: int) -> str:
    import numpy as np

    step = -(-max(values.shape[:2]) // side)
    scaled = (values[::step, ::step] - low) / ((high - low) or 1.0)
    data = png(np.clip(np.rint(scaled * 255), 0, 255).astype(np.uint8))
    return "data:image/png;base64," + base64.b64encode(data).decode()
