"""What a model says in many random directions at once, in blocks that fit the memory. Sums never depend on the blocks."""

from collections.abc import Iterator

from torch import Tensor

from veriward.core.ball import Ball

MOST_NUMBERS = 1 << 22  # of candidates that are asked at once


def blocks(count: int, like: Tensor) -> Iterator[range]:
    """Yield runs of directions such that all rows times a run stay below the memory's share.

    >>> [len(part) for part in blocks(5, torch.zeros(1 << 11, 1 << 10))]
    [2, 2, 1]
    """
    height = max(1, MOST_NUMBERS // max(like.numel(), 1))
    for start in range(0, count, height):
        yield range(start, min(start + height, count))


def box(ball: Ball) -> Ball:
    """Return the box around a ball: questions may lie outside the ball, but never where no row of the domain lies."""
    return Ball(ball.clean, ball.low, ball.high, ball.radii, "linf", ball.whole)
