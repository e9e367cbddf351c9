"""How the numbers that attacks move become the inputs of trees: which column each input reads, and category codes.

Found by asking the adapter about rows that differ in one column, and checked on real rows: what is not understood exactly
is not certified at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.adapters.trees.forest import Bools, Floats, Forest, Ints
from veriward.checks.certify.boxes import Boxes
from veriward.checks.certify.reach import Around, Choices
from veriward.core.ball import Ball
from veriward.core.errors import ModelError

PROBES = 64


@dataclass(frozen=True, eq=False)
class View:
    """The trees of a model behind the domain of a subject: input i reads the column `column[i]`.

    `codes` gives, for inputs of categories, what each of the domain's codes becomes; those in `unknown` have no answer.
    """

    forest: Forest
    column: Ints  # (width,)
    codes: Mapping[int, Floats] = field(default_factory=dict)
    unknown: Mapping[int, Bools] = field(default_factory=dict)

    def around(self, ball: Ball) -> Around:
        """Return the balls around encoded rows in the inputs of the trees."""
        clean, low, high, radii = (
            _float64(part)[:, self.column] for part in (ball.clean, ball.low, ball.high, ball.radii)
        )
        whole, jump = (_flags(part, self.column) for part in (ball.whole, ball.jump))
        whole &= ((clean == np.round(clean)) | np.isnan(clean)).all(0)  # otherwise rows break their own kind
        choices = {}
        for i, values in self.codes.items():
            spent = _choice_costs(
                ball.norm, bool(jump[i]), clean[:, i], low[:, i], high[:, i], radii[:, i], len(values)
            )
            choices[i] = Choices(values, np.where(self.unknown[i], np.inf, spent))
            known = ~np.isnan(clean[:, i])
            inputs = np.where(known, values[np.where(known, clean[:, i], 0).astype(np.int64)], np.nan)
            for part in (clean, low, high):
                part[:, i] = inputs  # what else it may become is listed
            whole[i] = False
        return Around(clean, low, high, radii, ball.norm, whole, jump, choices)

    def encoded(self, boxes: Boxes, clean: Tensor, around: Around, points: Floats) -> Tensor:
        """Return encoded rows (k, columns) like `clean`, with the inputs of the trees at `points` (k, width)."""
        z = clean.clone()
        if z.dtype == torch.float32:
            points = _single(boxes, points)
        moved = ~((points == around.clean) | (np.isnan(points) & np.isnan(around.clean)))
        for i in np.flatnonzero(moved.any(0)).tolist():
            values = points[:, i]
            if i in self.codes:
                values = self._code(i, values, around.choices[i].spent)
            rows = torch.as_tensor(moved[:, i])
            column = torch.as_tensor(values).to(z.dtype)
            z[rows, int(self.column[i])] = column[rows].to(z.device)
        return z

    def _code(self, i: int, values: Floats, spent: Floats) -> Floats:
        """The cheapest of the domain's codes that becomes each value."""
        known = self.codes[i]
        same = (known == values[:, None]) | (np.isnan(known) & np.isnan(values)[:, None])
        return np.asarray(np.where(same, spent, np.inf).argmin(1), np.float64)


def view_of(opened: Opened) -> View | None:
    """Return the trees of a subject's model with the way from its columns to their inputs; None where either is unclear."""
    forest = opened.forest
    if forest is None:
        return None
    rows = opened.encoded("test", list(range(min(PROBES, len(opened.test)))))
    if rows.ndim != 2 or not len(rows):
        return None
    columns = getattr(opened.domain, "columns", None)
    base = _inputs(opened, rows)
    if base is None or base.shape != (len(rows), forest.width):
        return None
    words = {c: len(column.vocabulary) for c, column in enumerate(columns or ()) if column.vocabulary}
    column = _columns(opened, rows[:1], base[0], words)
    if column is None:
        return None
    codes = {i: _codes(opened, rows[:1], int(c), i, words[int(c)]) for i, c in enumerate(column) if int(c) in words}
    plain = np.array([int(c) not in words for c in column], bool)
    same = base[:, plain] == _float64(rows)[:, column[plain]]
    if not (same | np.isnan(base[:, plain])).all():
        return None  # numbers are changed on their way
    return View(
        forest, column, {i: values for i, (values, _) in codes.items()}, {i: no for i, (_, no) in codes.items()}
    )


def _inputs(opened: Opened, z: Tensor) -> Floats | None:
    """What the trees read of encoded rows; None where the model gives such rows no answer."""
    try:
        return np.asarray(opened.model.backend.matrix(opened.domain.decode(z)), np.float64)  # type: ignore[attr-defined]
    except ModelError:
        return None


def _columns(opened: Opened, row: Tensor, base: Floats, words: Mapping[int, int]) -> Ints | None:
    """The column that each input reads; None where one reads several or none."""
    reads = np.full((len(base), row.shape[1]), False)
    for c in range(row.shape[1]):
        steps = range(words[c]) if c in words else (0.0, 1.0)  # any two numbers: one of them is another
        for value in steps:
            trial = row.clone()
            trial[0, c] = float(value)
            inputs = _inputs(opened, trial)
            if inputs is not None:
                reads[:, c] |= ~((inputs[0] == base) | (np.isnan(inputs[0]) & np.isnan(base)))
    if (reads.sum(1) != 1).any():
        return None
    column: Ints = reads.argmax(1).astype(np.int32)
    return column if len(np.unique(column)) == len(column) else None


def _codes(opened: Opened, row: Tensor, column: int, i: int, count: int) -> tuple[Floats, Bools]:
    """What each code of a column of categories becomes, and which codes the model does not answer."""
    values, unknown = np.full(count, np.nan), np.zeros(count, bool)
    for code in range(count):
        trial = row.clone()
        trial[0, column] = float(code)
        inputs = _inputs(opened, trial)
        unknown[code] = inputs is None
        if inputs is not None:
            values[code] = inputs[0, i]
    return values, unknown


def _choice_costs(norm: str, jump: bool, clean: Floats, low: Floats, high: Floats, radii: Floats, count: int) -> Floats:
    """What each code costs each row, (n, count)."""
    codes = np.arange(count)
    moved = np.abs(codes - clean[:, None])
    spent = np.where(moved > 0, moved / np.maximum(radii, 1e-300)[:, None], 0.0)
    if jump and norm != "linf":
        spent = np.where(moved > 0, 1.0, spent)
    if norm == "l2":
        spent = np.square(spent)
    inside = (codes >= low[:, None]) & (codes <= high[:, None])
    return np.where(inside | (moved == 0), spent, np.inf)


def _single(boxes: Boxes, points: Floats) -> Floats:
    """Points as float32 numbers in the same cells, where there are any."""
    cell, rounded = boxes.cell(points), points.astype(np.float32)
    now = boxes.cell(rounded.astype(np.float64))
    inward = np.where(now > cell, -np.inf, np.inf).astype(np.float32)
    return np.where(now == cell, rounded, np.nextafter(rounded, inward)).astype(np.float64)


def _float64(part: Tensor) -> Floats:
    return part.detach().cpu().double().numpy().copy()


def _flags(part: Tensor | None, column: Ints) -> Bools:
    if part is None:
        return np.zeros(len(column), bool)
    return np.asarray(part.cpu().numpy().astype(bool).reshape(-1)[column])
