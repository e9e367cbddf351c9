"""What may be done to a row: how it becomes numbers, how far an attacker may move it, how the move is told.

Nobody outside a Domain indexes rows or asks for their length. `encode` gives the numbers that attacks work on, (n, ...);
`decode` gives back what the model takes. `ball` is what the threat allows, inside the domain, in encoded numbers.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from veriward.core.ball import Ball
from veriward.core.data import take
from veriward.core.errors import DataError
from veriward.core.threat import Threat


class Domain(Protocol):
    """One per kind of input."""

    def encode(self, x: Any, rows: Any = None) -> Tensor:
        """Return the rows as numbers, (n, ...), on the CPU."""

    def decode(self, z: Tensor) -> Any:
        """Return encoded rows as what a Model takes."""

    def ball(self, clean: Tensor, threat: Threat) -> Ball:
        """Return what the attacker may reach from each clean row."""

    def project(self, z: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """Return an allowed row near each z."""

    def allowed(self, z: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """Return whether each z lies in the ball and the domain, judged apart from `project`, (n,)."""

    def distance(self, z: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """Return how much of the budget each z spends, (n,): 1 is all of it."""

    def describe(self, z: Tensor, clean: Tensor) -> str:
        """Return the change of one row in the user's words."""


def inward(low: Tensor, high: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Round float64 ends to `dtype` so that nothing between them lies outside.

    >>> low, high = inward(torch.tensor([0.1], dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64), torch.float32)
    >>> bool(low.double() >= 0.1), bool(high.double() <= 0.3)
    (True, True)
    """
    top = torch.tensor(math.inf, dtype=dtype, device=low.device)
    small, large = low.to(dtype), high.to(dtype)
    small = torch.where(small.double() < low, torch.nextafter(small, top), small)
    large = torch.where(large.double() > high, torch.nextafter(large, -top), large)
    return small, torch.maximum(small, large)


@dataclass(frozen=True)
class ArrayDomain:
    """Images, series and plain matrices: every number may move by eps inside the bounds, in raw input units."""

    low: float
    high: float
    dtype: torch.dtype = torch.float32
    mask: Tensor | None = field(default=None, repr=False, compare=False)  # of eps, like a row: 0 cannot be touched
    mask_hash: str = ""  # tells masks apart where a domain is compared or hashed

    def encode(self, x: Any, rows: Any = None) -> Tensor:
        """Return float numbers of the rows; DataError names a row that is not finite or violates the bounds."""
        chosen = x if rows is None else take(x, rows)
        return torch.as_tensor(np.array(chosen)).to(self.dtype)

    def check(self, x: Any, where: str) -> None:
        """Raise DataError for a row that is not finite or that the bounds do not hold for."""
        flat = np.asarray(x).reshape(len(x), -1)
        finite = np.isfinite(flat).all(axis=1)
        if not finite.all():
            raise DataError(f"{where}: row {int((~finite).argmax())} holds NaN or inf; clean the data or drop the row")
        outside = (flat.min(axis=1) < self.low) | (flat.max(axis=1) > self.high)
        if outside.any():
            row = int(outside.argmax())
            raise DataError(
                f"{where}: row {row} lies outside input.bounds [{self.low:g}, {self.high:g}], and all rows span "
                f"[{flat.min():g}, {flat.max():g}]; bounds are in raw input units, correct them or the data"
            )

    def decode(self, z: Tensor) -> Tensor:
        """Return z itself: models of arrays take arrays."""
        return z

    def ball(self, clean: Tensor, threat: Threat) -> Ball:
        """Return the ball of radius eps inside the bounds; a mask scales eps number by number."""
        radii, centre = self._radii(clean, threat), clean.double()
        low = torch.minimum((centre - radii).clamp(min=self.low), centre)  # the row itself is always inside
        high = torch.maximum((centre + radii).clamp(max=self.high), centre)
        small, large = inward(low, high, clean.dtype)
        return Ball(clean, small, large, radii.to(clean.dtype).expand_as(clean), threat.knobs.get("norm", "linf"))

    def _radii(self, clean: Tensor, threat: Threat) -> Tensor:
        """Return each number's budget, float64, like one row or like all."""
        eps = float(threat.knobs["eps"])
        if self.mask is None:
            return torch.full((1,) * clean.ndim, eps, dtype=torch.float64, device=clean.device)
        return eps * self.mask.to(clean.device).double().expand(clean.shape[1:])[None]

    def project(self, z: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """Clamp into the ball."""
        return self.ball(clean, threat).project(z)

    def allowed(self, z: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """Return whether z is within its budget and within the bounds, in float64."""
        exact, same = z.double().flatten(1), (z == clean).flatten(1)
        # an untouched number may stand a rounding error beyond the bound
        inside = (same | ((exact >= self.low) & (exact <= self.high))).all(1)
        return (self.distance(z, clean, threat) <= 1 + 1e-12) & inside

    def distance(self, z: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """Return the distance over eps, (n,) float64."""
        radii = self._radii(clean, threat).expand_as(clean)
        return Ball(clean, clean, clean, radii, threat.knobs.get("norm", "linf")).share(z)

    def describe(self, z: Tensor, clean: Tensor) -> str:
        """Return e.g. "±0.031": no value moves farther."""
        return f"±{(z.double() - clean.double()).abs().max().item():.2g}"
