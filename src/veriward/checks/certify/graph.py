"""A feed-forward network as a short list of operators, in the order in which they run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from veriward.checks.certify.affine import Affine
from veriward.checks.certify.bends import MaxPool, Relu
from veriward.core.ball import Norm

Shape = tuple[int, ...]
Op = Affine | Relu | MaxPool


class Unreadable(Exception):  # noqa: N818 -- a reason for a note, which no user meets as an error
    """A network that cannot be bounded; the text names what it has that is not understood."""


@dataclass(frozen=True, eq=False)
class Input:
    """The rows themselves."""

    shape: Shape
    inputs: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Graph:
    """Operators by number; 0 is the input, the last one gives the scores, (n, outputs), before any softmax.

    `unit` is the unit roundoff of the deployed arithmetic, `tail` by how much scores must differ for the decision to be
    sure after what was taken off the end.
    """

    ops: tuple[Input | Op, ...]
    unit: float
    dtype: torch.dtype
    tail: float = 0.0
    taken_off: str = ""

    def values(self, x: Tensor) -> Tensor:
        """Return the scores of rows in float64, (n, outputs)."""
        found: list[Tensor] = [x.double()]
        for op in self.ops[1:]:
            assert not isinstance(op, Input)
            found.append(op.value(*(found[i] for i in op.inputs)))
        return found[-1]

    @cached_property
    def linear(self) -> tuple[bool, ...]:
        """Whether each operator's value is an affine function of the input."""
        known: list[bool] = []
        for op in self.ops:
            bent = isinstance(op, Relu | MaxPool)
            known.append(not bent and all(known[i] for i in op.inputs))
        return tuple(known)

    @cached_property
    def direct(self) -> tuple[bool, ...]:
        """Where intervals are exact under L-infinity: numbers of the input met at most once on the way."""
        mixed: list[int] = []
        for op in self.ops:
            own = 2 if isinstance(op, Relu | MaxPool) else int(getattr(op, "mixes", False))
            mixed.append(own + max((mixed[i] for i in op.inputs), default=0))
        return tuple(count <= 1 for count in mixed)

    def refined(self, norm: Norm) -> tuple[int, ...]:
        """The operators whose bounds are worth a backward pass: they enter a bend, and their first bounds are not exact.

        What is a bend's own result is left alone: its ends follow from those before it.
        """
        exact = self.direct if norm == "linf" else self.linear
        entering = {i for op in self.ops if isinstance(op, Relu | MaxPool) for i in op.inputs}
        inner = (i for i in entering if not isinstance(self.ops[i], Relu | MaxPool | Input))
        return tuple(sorted(i for i in inner if not exact[i]))

    @property
    def widest(self) -> int:
        """The largest count of numbers that one row becomes."""
        return max(prod(op.shape) for op in self.ops)

    def used(self, ends: Sequence[int]) -> list[int]:
        """Return which operators the given ones depend on, themselves included, latest first."""
        seen, left = set(ends), list(ends)
        while left:
            for i in self.ops[left.pop()].inputs:
                if i not in seen:
                    seen.add(i)
                    left.append(i)
        return sorted(seen, reverse=True)


def pool_first(ops: Sequence[Input | Op]) -> tuple[Input | Op, ...]:
    """Let maxima be taken before ReLUs instead of after them: the same numbers, and far tighter lines.

    A window of open ReLUs has 0 below all its entries, which tells nothing of them; before the ReLU they differ.
    """
    swapped = list(ops)
    for j, pool in enumerate(ops):
        if isinstance(pool, MaxPool):
            (i,) = pool.inputs
            bend = ops[i]
            alone = sum(i in op.inputs for op in ops) == 1
            if isinstance(bend, Relu) and alone and bend.slope.numel() == 1:
                swapped[i] = replace(pool, inputs=bend.inputs)
                swapped[j] = Relu((i,), pool.shape, bend.slope)
    return tuple(swapped)
