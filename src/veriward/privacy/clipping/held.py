"""What is kept of a parameter until the factors are known: enough for its rows' norms and for one weighted sum."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

PIECE = 1 << 14  # numbers that torch may square and add up in a run: of millions it loses 1e-4 of the norm in float32


class Held(Protocol):
    """The gradients of one parameter by row, in whatever form is cheapest."""

    def square(self) -> Tensor:
        """Return the squared L2 norm of each row's gradient, (n,)."""

    def total(self, factors: Tensor, bad: Tensor | None) -> Tensor:
        """Return the sum over rows of factor times gradient, in the parameter's shape.

        factors (n,); rows of `bad` (n,) bool have factor 0 and may hold NaN, which 0 would not erase.
        """


def column(factors: Tensor, like: Tensor) -> Tensor:
    """View factors (n,) so that they scale the rows of `like` (n, ...)."""
    return factors.view(-1, *(1,) * (like.ndim - 1))


def erased(values: Tensor, bad: Tensor | None) -> Tensor:
    """Return values (n, ...) with the rows of `bad` set to zero."""
    return values if bad is None else values.masked_fill(column(bad, values), 0)


def square_of(rows: Tensor) -> Tensor:
    """Return the squared norm of each row (n, ...): (n,)."""
    norms = [torch.linalg.vector_norm(piece, dim=1) for piece in rows.flatten(1).split(PIECE, dim=1)]
    return norms[0].square() if len(norms) == 1 else torch.stack(norms).square().sum(0)


@dataclass(frozen=True)
class Rows:
    """The gradients themselves, (n, *shape of the parameter)."""

    rows: Tensor

    def square(self) -> Tensor:
        """Return squared norms by row."""
        return square_of(self.rows)

    def total(self, factors: Tensor, bad: Tensor | None) -> Tensor:
        """Return the weighted sum over rows."""
        return (factors @ erased(self.rows, bad).flatten(1)).view(self.rows.shape[1:])


@dataclass(frozen=True)
class Lookup:
    """Gradients of a table of which a row touches few lines: one sum for each pair of row and line that occurs.

    Exact, sparse, and free of the cancellation that Gram matrices over equal indices have (Li et al., 2022,
    arXiv:2110.05679, section 4, write the same norm as a sum over pairs of positions).
    """

    sums: Tensor  # (pairs, width)
    row: Tensor  # (pairs,)
    line: Tensor  # (pairs,)
    n: int
    lines: int

    @classmethod
    def of(cls, ids: Tensor, g: Tensor, lines: int) -> "Lookup":
        """ids (n, t) and output gradients (n, t, width) of a table with so many lines."""
        n = len(ids)
        keys = (ids + lines * torch.arange(n, device=ids.device)[:, None]).flatten()
        pairs, place = torch.unique(keys, return_inverse=True)
        sums = g.new_zeros(len(pairs), g.shape[-1]).index_add_(0, place, g.reshape(-1, g.shape[-1]))
        return cls(sums, pairs // lines, pairs % lines, n, lines)

    def square(self) -> Tensor:
        """Return squared norms by row."""
        return self.sums.new_zeros(self.n).index_add_(0, self.row, self.sums.square().sum(1))

    def total(self, factors: Tensor, bad: Tensor | None) -> Tensor:
        """Return the weighted sum over rows."""
        sums = self.sums if bad is None else erased(self.sums, bad[self.row])
        out = sums.new_zeros(self.lines, sums.shape[-1])
        return out.index_add_(0, self.line, sums * factors[self.row, None])
