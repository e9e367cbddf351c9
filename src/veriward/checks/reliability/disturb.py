"""One item of work of `reliability/noise`: a block of test rows under one trouble at one severity, put to the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.checks.reliability import cells, pictures
from veriward.checks.reliability.asking import answers
from veriward.core.errors import ModelError
from veriward.core.evidence import Witness
from veriward.core.streams import Stream

MOST_EXAMPLES = 6
Kind = tuple[str, int]
Array = np.ndarray[Any, Any]


def suitable(opened: Opened) -> tuple[str, ...]:
    """Return the troubles that the subject's rows can have, by name."""
    if not hasattr(opened.domain, "columns"):
        return pictures.suitable(tuple(opened.domain.encode(opened.test.x, [0]).shape[1:]))
    world = cells.World(opened.domain.columns, torch.empty(0), torch.empty(0))
    return cells.suitable(world, named=opened.domain.named)  # type: ignore[attr-defined]  # a table's


def deviations(opened: Opened) -> tuple[float, ...]:
    """Return the standard deviation of each column of a table, of the training rows where there are any."""
    if not hasattr(opened.domain, "columns"):
        return ()
    rows = opened.domain.encode(opened.split("test" if opened.train is None else "train").x)
    return tuple(cells.spread_of(opened.domain.columns, rows).tolist())


@dataclass(frozen=True)
class Disturb:
    """Disturb a block of test rows and ask. Items are (trouble, severity, rows)."""

    stream: Stream
    deviation: tuple[float, ...]

    def __call__(self, opened: Opened, item: tuple[str, int, Sequence[int]]) -> Mapping[str, Any]:
        """Return the answers, (n,), or that the model refused them."""
        name, severity, rows = item[0], item[1], list(item[2])
        x = self.rows(opened, name, severity, rows)[2]
        if not self._may_refuse(opened, name):
            return {"answer": answers(opened, x), "refused": False}
        try:
            return {"answer": answers(opened, x), "refused": False}
        except ModelError as error:
            if getattr(error, "again", False):  # the network failed, not the model
                raise
            return {"answer": np.empty(0), "refused": True}

    def rows(self, opened: Opened, name: str, severity: int, rows: list[int]) -> tuple[Tensor, Tensor, Any]:
        """Return the rows encoded as they are and disturbed, (n, ...) each, and disturbed as the model takes them."""
        clean, numbers = opened.encoded("test", rows), torch.as_tensor(opened.test.index[rows])
        domain: Any = opened.domain
        if not hasattr(domain, "columns"):
            moved = pictures.corrupt(name, severity, clean.cpu(), (domain.low, domain.high), self.stream, numbers)
            return clean, moved.to(clean.device), domain.decode(moved.to(clean.device))
        z, other = clean.cpu(), self.stream.child("others").integers(numbers, len(opened.test))
        world = cells.World(domain.columns, torch.tensor(self.deviation), domain.encode(opened.test.x, other.numpy()))
        moved = cells.disturb(name, severity, z, world, self.stream, numbers).to(clean.device)
        return clean, moved, cells.reword(name, severity, domain.decode(moved), world, self.stream, numbers)

    def _may_refuse(self, opened: Opened, name: str) -> bool:
        return hasattr(opened.domain, "columns") and cells.TROUBLES[name].may_refuse

    def examples(
        self, opened: Opened, rows: Array, turned: Mapping[Kind, Array], told: Mapping[Kind, Array]
    ) -> Iterator[Witness]:
        """Yield rows that a trouble turned from right to wrong, one for each trouble, with what happened to them."""
        ordered = sorted((kind for kind in turned if turned[kind].any()), key=lambda kind: -int(turned[kind].sum()))
        for name, severity in ordered[:MOST_EXAMPLES]:
            place = int(turned[name, severity].argmax())
            clean, moved, _ = self.rows(opened, name, severity, [int(rows[place])])
            became = str(opened.classes[int(told[name, severity][place])])
            yield _witness(opened, (name, severity), int(rows[place]), clean[0].cpu(), moved[0].cpu(), became)


def _witness(opened: Opened, kind: Kind, row: int, clean: Tensor, moved: Tensor, became: str) -> Witness:
    domain: Any = opened.domain
    was = str(opened.classes[int(opened.targets["test"][row])])
    details: dict[str, Any] = {"was": was, "became": became, "corruption": kind[0], "severity": kind[1]}
    text = domain.describe(moved, clean)
    if not hasattr(domain, "columns"):
        details |= {"clean": clean.numpy(), "adversarial": moved.numpy(), "bounds": [domain.low, domain.high]}
    return Witness(int(opened.test.index[row]), f"{kind[0]} {kind[1]}: {text}".rstrip(": "), kind[1] / 5, details)
