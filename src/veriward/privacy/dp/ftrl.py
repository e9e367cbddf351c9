"""DP-FTRL: noise that is correlated over steps, so that sums of gradients, which weights are, carry less of it.

A factorisation A = B C of the prefix sums: C times the stream of clipped sums gets independent Gaussian noise z, and B turns
that into noisy prefix sums; their differences, which the optimiser sees step by step, carry the noise C^-1 z. All of them
together are *one* Gaussian mechanism, whose sensitivity is how far one row can move C times the stream, also where each
gradient depends on what was released before (Denisov et al., 2022, arXiv:2202.08312, theorem 2.1).

`Cyclic` decides when a row takes part: in steps i, i + b, i + 2 b, ... for a first step i < b. Nothing is amplified. C has
no negative entry, so the worst stream moves by the whole clip in one direction each time, and the sensitivity is the largest
norm of a sum of columns i, i + b, ... of C: computed, not bounded (Choquette-Choo et al., 2023, arXiv:2211.06530).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from veriward.core.errors import SettingsError
from veriward.privacy.dp.bounds import check_count, check_positive
from veriward.privacy.dp.events import Event, shuffled
from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.sampling import Cyclic, Sampler
from veriward.privacy.dp.step_noise import Adder, Normals, Sums

Floats = NDArray[np.float64]
UP = 1 + 1e-12  # sensitivity rounds up


@dataclass(frozen=True)
class TreeNoise:
    """Tree aggregation over `steps` steps. Kairouz et al., 2021 (arXiv:2103.00039), algorithm 1 and appendix B.

    Every node of a binary tree over the steps is a noisy sum; a prefix is the sum of at most log2(steps) + 1 of them.
    A node's estimate also weighs in those below it (Honaker, 2015, "Efficient use of differentially private binary trees",
    from below), which at height h leaves a variance of 1 / (2 - 2^-h). At most log2(steps) + 1 copies of the parameters
    are kept. After `steps` steps a new tree begins, and costs again. Raises SettingsError for steps below 1.

    >>> from veriward.privacy.dp.sampling import Cyclic
    >>> round(TreeNoise(8).sensitivity(Cyclic(10, rows=80)) ** 2, 6)  # one pass: a row is in four nodes
    4.0
    """

    steps: int

    order = 2

    def __post_init__(self) -> None:
        check_count("steps", self.steps)

    def span(self, sampler: Sampler) -> int:
        """See `StepNoise`: one charge covers the whole tree."""
        return self.steps

    def event(self, sampler: Sampler, sigma: float, steps: int) -> Event:
        """See `StepNoise`: one Gaussian for every tree that was begun."""
        return _event(self.sensitivity(sampler), sigma, steps, self.steps)

    def begin(self) -> Adder:
        """See `StepNoise`."""
        return _Tree(self.steps)

    def sensitivity(self, sampler: Sampler) -> float:
        """Return how far one row can move all nodes together, in L2 and clips; SettingsError unless it is `Cyclic`."""
        gap = min(_gap(self, sampler), self.steps)
        times = np.arange(self.steps)
        squares = np.zeros(gap)
        for height in range(self.steps.bit_length()):
            complete = times[: self.steps >> height << height]  # nodes cut off by the end are never released
            nodes, counts = np.unique((complete % gap) * self.steps + (complete >> height), return_counts=True)
            np.add.at(squares, nodes // self.steps, counts.astype(np.float64) ** 2)
        return float(np.sqrt(squares.max())) * UP

    def prefix_error(self, sampler: Sampler) -> float:
        """Return the root mean square, over steps, of the noise on the sum so far, at an event multiplier of 1, in clips."""
        counts = np.arange(1, self.steps + 1)
        heights = np.arange(self.steps.bit_length())
        variances = (counts[:, None] >> heights & 1) @ (1 / (2 - 2.0**-heights))
        return self.sensitivity(sampler) * float(np.sqrt(variances.mean()))


@dataclass(frozen=True)
class BandedNoise:
    """The square root of the prefix sums, cut to `bands` diagonals. Kalinin & Lampert, 2024 (arXiv:2405.13763), section 3.

    C is Toeplitz with 1, 1/2, 3/8, 5/16, ... (Fichtenberger, Henzinger & Upadhyay, 2022, arXiv:2202.11205) and zero after
    `bands` of them; one band is independent noise, `steps` bands are the whole root. `decay` in (0, 1] and `momentum` in
    [0, 1) below decay are those of the optimiser, whose weights are sums of gradients with weights of their own (theorem 1
    there). `bands` - 1 copies of the parameters are kept. After `steps` steps new noise begins, and costs again.
    Raises SettingsError for values out of range.

    >>> from veriward.privacy.dp.sampling import Cyclic
    >>> noise = BandedNoise(steps=40, bands=3)
    >>> noise.column.tolist()
    [1.0, 0.5, 0.375]
    >>> round(noise.sensitivity(Cyclic(10, rows=100)) ** 2, 6) == 4 * (1 + 1 / 4 + 9 / 64)  # four passes, bands apart
    True
    """

    steps: int
    bands: int
    decay: float = 1.0
    momentum: float = 0.0

    order = 2

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        if check_count("bands", self.bands) > self.steps:
            raise SettingsError(f"bands = {self.bands}: more than the {self.steps} steps; want at most as many")
        if not (check_positive("decay", self.decay) <= 1 and 0 <= self.momentum < self.decay):
            raise SettingsError(
                f"decay = {self.decay}, momentum = {self.momentum}: want decay in (0, 1], momentum from 0 to below decay"
            )

    @property
    def column(self) -> Floats:
        """The first entries of C's first column, (bands,)."""
        places = np.arange(1.0, self.bands)
        root = np.cumprod(np.concatenate([[1.0], (2 * places - 1) / (2 * places)]))
        powers = np.arange(self.bands)
        return np.convolve(root * self.decay**powers, root * self.momentum**powers)[: self.bands]

    def span(self, sampler: Sampler) -> int:
        """See `StepNoise`: one charge covers all `steps`."""
        return self.steps

    def event(self, sampler: Sampler, sigma: float, steps: int) -> Event:
        """See `StepNoise`: one Gaussian for every `steps` steps that were begun."""
        return _event(self.sensitivity(sampler), sigma, steps, self.steps)

    def begin(self) -> Adder:
        """See `StepNoise`."""
        return _Banded(self.steps, tuple(self.column[1:].tolist()))

    def sensitivity(self, sampler: Sampler) -> float:
        """Return how far one row can move C times the stream, in L2 and clips. SettingsError unless it is `Cyclic`.

        A later first step cuts the same sum of columns off earlier, so the first of all is the worst.
        """
        total, column = np.zeros(self.steps), self.column
        for start in range(0, self.steps, _gap(self, sampler)):
            total[start : start + self.bands] += column[: self.steps - start]
        return float(np.linalg.norm(total)) * UP

    def prefix_error(self, sampler: Sampler) -> float:
        """Return the root mean square, over steps, of the noise on the (weighted) sum so far; see `TreeNoise`."""
        column, inverse = self.column, np.zeros(self.steps)
        inverse[0] = 1.0
        for place in range(1, self.steps):
            reach = min(place, self.bands - 1)
            inverse[place] = -column[1 : reach + 1] @ inverse[place - reach : place][::-1]
        powers = np.arange(self.steps)
        workload = np.convolve(self.decay**powers, self.momentum**powers)[: self.steps]
        rows = np.cumsum(np.convolve(workload, inverse)[: self.steps] ** 2)
        return self.sensitivity(sampler) * float(np.sqrt(rows.mean()))


@dataclass
class _Tree:
    """The stack of complete subtrees, largest first: their heights differ, as the digits of a binary number."""

    steps: int
    _taken: int = 0
    _stack: list[tuple[int, Sums]] = field(default_factory=list)

    def __call__(self, sums: Sums, scale: float, source: Source, normals: Normals) -> Sums:
        if self._taken == self.steps:
            self._taken, self._stack = 0, []
        self._taken += 1
        height, node, out = 0, normals(_zeros(sums), scale, source), dict(sums)
        while self._stack and self._stack[-1][0] == height:
            _, left = self._stack.pop()
            out = _zip(torch.sub, out, left)
            height += 1
            own, weight = normals(_zeros(sums), scale, source), 1 / (2 - 2.0**-height)
            both = _zip(torch.add, left, node)
            node = {name: new.mul_(weight).add_(both[name], alpha=1 - weight) for name, new in own.items()}
        self._stack.append((height, node))
        return _zip(torch.add, out, node)


class _Banded:
    """Solves C w = z step by step: w_t = z_t - sum of c_j w_(t - j)."""

    def __init__(self, steps: int, below: tuple[float, ...]) -> None:
        self._steps, self._below, self._taken = steps, below, 0
        self._past: deque[Sums] = deque(maxlen=len(below))  # latest first

    def __call__(self, sums: Sums, scale: float, source: Source, normals: Normals) -> Sums:
        if self._taken == self._steps:
            self._taken = 0
            self._past.clear()
        self._taken += 1
        new = normals(_zeros(sums), scale, source)
        for weight, old in zip(self._below, self._past, strict=False):
            new = {name: value.sub_(old[name], alpha=weight) for name, value in new.items()}
        self._past.appendleft(new)
        return _zip(torch.add, sums, new)


def _zeros(sums: Sums) -> Sums:
    return {name: torch.zeros_like(total) for name, total in sums.items()}


def _zip(work: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], left: Sums, right: Sums) -> Sums:
    return {name: work(value, right[name]) for name, value in left.items()}


def _gap(noise: object, sampler: Sampler) -> int:
    """Return after how many steps a row comes back; SettingsError for a sampler that does not keep to one number."""
    if not isinstance(sampler, Cyclic):
        raise SettingsError(
            f"noise: {type(noise).__name__} needs rows that come back after a fixed number of steps, and "
            f"{type(sampler).__name__} does not keep to one; use Cyclic"
        )
    return sampler.span


def _event(sensitivity: float, sigma: float, steps: int, whole: int) -> Event:
    """Return one Gaussian for every `whole` steps that were begun; zero-out, as the order of the rows is fixed."""
    begun = -(-check_count("steps", steps) // whole)
    return replace(shuffled(begun, check_positive("noise_multiplier", sigma) / sensitivity), sampling="cyclic")
