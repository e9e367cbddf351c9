"""The smoothed model: it answers with the class that its base gives most often under Gaussian noise.

A model of its own, with an accuracy and a robustness of its own. Noise may leave the bounds of the input: the base is
asked there too. Each row's noise hangs on the row's number (or its content), never on its company.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from veriward.core.streams import Stream

CHUNK = 64  # draws at a time: whole tiles, and part of what the noise is, so that more draws only add to fewer
MOST_NUMBERS = 1 << 21  # disturbed at a time


@dataclass(frozen=True)
class Smoothed:
    """g(z) = argmax over c of P(f(z + scale * N(0, I)) = c).

    labels: f, from rows of numbers (n, ...) to class numbers (n,). scale: the standard deviation of each number's noise,
    as one row or a single number; 0: never disturbed. Callable on arrays: fit to be the live model of a Subject.
    """

    labels: Callable[[Tensor], Tensor]
    classes: int
    scale: Tensor
    stream: Stream
    draws: int = 1000  # of a call

    def votes(self, z: Tensor, rows: Tensor, draws: int, purpose: str) -> Tensor:
        """Return how often each class was given, (n, classes) int64. `rows` (n,) number the noise, `purpose` names it.

        >>> g = Smoothed(lambda z: (z[:, 0] > 0).long(), 2, torch.tensor(0.1), Stream.of(0, "doc"))
        >>> g.votes(torch.tensor([[9.0], [-9.0]]), torch.arange(2), 100, "estimate").tolist()
        [[0, 100], [100, 0]]
        """
        votes = torch.zeros(len(z), self.classes, dtype=torch.int64)
        for where, noisy in self.disturbed(z, rows, draws, purpose):
            told = self.labels(noisy.flatten(0, 1)).cpu().view(noisy.shape[:2])
            votes[where] += torch.nn.functional.one_hot(told, self.classes).sum(1)
        return votes

    def disturbed(self, z: Tensor, rows: Tensor, draws: int, purpose: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield positions (m,) and their rows disturbed, (m, chunk, ...), until each row has had its draws."""
        stream, shape = self.stream.child(purpose), tuple(z.shape[1:])
        height = max(1, MOST_NUMBERS // (CHUNK * max(math.prod(shape), 1)))
        scale = self.scale.to(z.device, z.dtype)
        for where in torch.arange(len(z)).split(height):
            for step, first in enumerate(range(0, draws, CHUNK)):
                noise = stream.normal(rows[where].to(z.device), (CHUNK, *shape), step)[:, : draws - first]
                yield where, z[where][:, None] + noise.to(z.dtype) * scale

    def __call__(self, x: Any) -> Tensor:
        """Return the shares of the votes, (n, classes): the answer of a model that is put to use."""
        z = torch.as_tensor(x)
        z = z if z.is_floating_point() else z.double()
        return self.votes(z, _numbers(z), self.draws, "answer").double() / self.draws


def _numbers(z: Tensor) -> Tensor:
    """Return a number for each row by its content, (n,) int64: the same row has the same noise in any company."""
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in z.cpu().numpy())
    return torch.tensor([int.from_bytes(digest, "little", signed=True) for digest in digests], dtype=torch.int64)
