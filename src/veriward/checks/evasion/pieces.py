"""How many rows go to a model at once: as many as fit, and half as many for good whenever memory runs out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from veriward.adapters.modules import TILE

Found = TypeVar("Found")
NUMBERS = {"cpu": 1 << 18}  # of input differentiated at once: small rows share the cost of a call, large ones the cache
MANY_NUMBERS = 1 << 24  # on other devices
ALL = 1 << 40


@dataclass
class Pieces:
    """`size` rows at a time; `backend` is told when not even one of its tiles fits."""

    backend: Any
    size: int = ALL

    @classmethod
    def of(cls, backend: Any, clean: Tensor) -> "Pieces":
        """Return the pieces in which rows like `clean` (n, ...) are differentiated: whole tiles."""
        numbers = NUMBERS.get(clean.device.type, MANY_NUMBERS) // max(1, clean[:1].numel())
        return cls(backend, max(TILE, numbers // TILE * TILE))

    def over(self, n: int, call: Callable[[slice], Found]) -> list[Found]:
        """Return what `call` makes of each piece of n rows; raises MemoryError where a single row is too many.

        >>> Pieces(None, 2).over(3, lambda part: (part.start, part.stop))
        [(0, 2), (2, 3)]
        """
        found, start = list[Found](), 0
        while start < n or not found:
            part = slice(start, min(start + self.size, n))
            try:
                found.append(call(part))
                start = max(part.stop, 1)
            except (MemoryError, torch.OutOfMemoryError):
                if part.stop - part.start <= 1:
                    raise
                self._halve(part.stop - part.start)
        return found

    def _halve(self, rows: int) -> None:
        self.size = rows // 2
        tile = getattr(self.backend, "tile", None)
        if tile is not None and getattr(self.backend, "static", None) is None and self.size < tile:
            # smaller tiles may round otherwise; better than no answer at all
            self.backend.tile = self.size
