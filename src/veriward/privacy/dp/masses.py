"""Masses of privacy losses on a grid, as arrays: connected dots, sums of many losses, and epsilon.

What `dp_accounting` does point by point in Python (and by whole numbers of millions of digits, for many steps of few losses)
is done here by arrays. Every rounding goes up: what is cut off and what floating point may lose are masses of infinite loss.
"""

import math

import numpy as np
from dp_accounting.pld.pld_pmf import DensePLDPmf, PLDPmf
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float64]
CUT = 1e-15  # mass of a sum that may be cut off its ends
LOST = 2.0**-50  # relative error of a mass and of its transform: so much may be lost at every step of a sum
MOST_CELLS = 2**23  # of a sum: a second or two
LARGEST = 700.0  # exp of more leaves double precision


class Masses(DensePLDPmf):  # type: ignore[misc]
    """dp_accounting's masses on a grid, with quicker sums and a quicker epsilon."""

    @classmethod
    def of(cls, pmf: PLDPmf) -> "Masses":
        """Return dp_accounting's masses as ours."""
        dense = pmf.to_dense_pmf()
        return cls(
            dense._discretization, dense._lower_loss, np.asarray(dense._probs, float), dense._infinity_mass, True
        )

    @classmethod
    def dots(cls, width: float, low: int, deltas: Floats, lacks: Floats) -> tuple["Masses", "Masses"]:
        """Return the least masses, of P against Q and of Q against P, with at least these deltas on the grid.

        `deltas` are those of P against Q at the losses from low * width on, `lacks` what they have over 1 - exp(loss).
        Connect the dots: Doroshenko et al., 2022, arXiv:2207.04380, algorithm 1. A line 1 - exp(loss) has no masses, so
        losses below 0 take them from the lacks: their differences do not vanish in rounding. The masses of Q against P
        are exp(-loss) times those of P against Q: straight lines in exp(loss) stay straight.
        """
        losses = (np.arange(len(deltas)) + low) * width
        falls, rises = np.diff(np.minimum.accumulate(deltas)), np.diff(np.maximum.accumulate(lacks))
        high, deep = (
            np.append(start, d / math.expm1(-width)) + np.append(d / math.expm1(min(width, LARGEST)), 0.0)
            for start, d in ((1 - deltas[0], falls), (-lacks[0], rises))
        )
        masses, seam = np.maximum(np.where(losses < 0, deep, high), 0.0), min(max(0, -low), len(losses) - 1)
        masses[seam] += max(-masses[seam], 1 - float(np.min(deltas)) - float(masses.sum()))  # they round apart there
        turned, never = (
            np.exp(np.minimum(-losses, LARGEST)) * masses,
            1.0,
        )  # all of it, where exp leaves double precision
        if losses[0] > -LARGEST:
            never = min(1.0, math.exp(-losses[0]) * float(lacks[0]))
        turned[seam] += max(-turned[seam], 1 - never - float(turned.sum()))
        turned = turned[::-1].copy()
        one = cls(width, low, masses, float(np.min(deltas)), True)
        return one, cls(width, -(low + len(deltas) - 1), turned, never, True)

    def self_compose(self, num_times: int, tail_mass_truncation: float = CUT) -> "Masses":
        """Return the masses of a sum of so many independent losses; all of it infinite if it reached too far for us."""
        if num_times == 1:
            return self
        cut = tail_mass_truncation
        low, high = _below(self._probs, num_times, cut), _above(self._probs, num_times, cut)
        if high - low >= MOST_CELLS:
            return Masses(self._discretization, 0, np.zeros(1), 1.0, True)
        cells = fft.next_fast_len(max(high - low + 1, self.size), real=True)
        found = fft.irfft(_power(fft.rfft(self._probs, cells), num_times), cells)
        kept = np.maximum(np.roll(found, -low)[: high - low + 1], 0.0)
        infinite = -math.expm1(num_times * math.log1p(-self._infinity_mass)) if self._infinity_mass < 1 else 1.0
        infinite = min(1.0, infinite + cut + num_times * LOST)
        return Masses(self._discretization, self._lower_loss * num_times + low, kept, infinite, True)

    def compose(self, other: PLDPmf, tail_mass_truncation: float = CUT) -> "Masses":
        """Return the masses of the sum of two independent losses, its ends cut."""
        if self.size == 1 and self._probs[0] == 1 and self._lower_loss == 0:  # nothing was lost before
            return Masses.of(other)
        both = DensePLDPmf.compose(self, other)
        masses = np.maximum(both._probs, 0.0)
        left = int(np.searchsorted(np.cumsum(masses), tail_mass_truncation / 2))
        right = int(np.searchsorted(np.cumsum(masses[::-1]), tail_mass_truncation / 2))
        left = min(left, len(masses) - 1)
        right = min(right, len(masses) - 1 - left)
        kept = masses[left : len(masses) - right].copy()
        kept[0] += masses[:left].sum()
        lost = both._infinity_mass + float(masses[len(masses) - right :].sum()) + LOST
        return Masses(self._discretization, both._lower_loss + left, kept, lost, True)

    def get_epsilon_for_delta(self, delta: float) -> float:
        """Return the smallest epsilon, at least 0, whose delta is at most this one; infinite if there is none."""
        if self._infinity_mass > delta:
            return math.inf
        first = max(0, -self._lower_loss)  # losses below 0 count for no epsilon
        losses = (np.arange(first, self.size) + self._lower_loss) * self._discretization
        masses = self._probs[first:]
        if not len(losses):
            return 0.0
        above = self._infinity_mass + _from_top(masses)
        below = _from_top(masses * np.exp(-losses))
        deltas = np.append(above[1:], self._infinity_mass) - np.exp(np.minimum(losses, LARGEST)) * np.append(
            below[1:], 0
        )
        at = int(np.argmax(deltas <= delta))  # the first grid point that is an epsilon of delta
        if above[at] <= delta or below[at] == 0:
            return max(0.0, float(losses[at])) if above[at] > delta else 0.0
        return min(max(0.0, math.log((above[at] - delta) / below[at])), float(losses[at]))


def _power(waves: NDArray[np.complex128], count: int) -> NDArray[np.complex128]:
    """Return the powers of a transform; what would be below exp(-80) is 0, and of many steps nearly all of it is."""
    found, kept = np.zeros_like(waves), np.abs(waves) > math.exp(-80 / count)
    found[kept] = waves[kept] ** count
    return found


def _from_top(masses: Floats) -> Floats:
    return np.cumsum(masses[::-1])[::-1]


def _below(masses: Floats, count: int, cut: float) -> int:
    """Return a cell that a sum of `count` is below with at most half of `cut`."""
    return count * (len(masses) - 1) - _above(masses[::-1], count, cut)


def _above(masses: Floats, count: int, cut: float) -> int:
    """Return a cell that a sum of `count` cells is above with at most half of `cut`.

    Chernoff: (count * log E exp(t X) + log(2 / cut)) / t for any t > 0, of which the search finds about the least. It is
    quasi-convex in t, and no t need be far above that of a Gaussian of the same spread.
    """
    cells, most = np.arange(len(masses)), count * (len(masses) - 1)
    kept = masses > 0
    cells, masses = cells[kept], masses[kept]
    mean = float(cells @ masses) / float(masses.sum())
    spread = math.sqrt(count * float((cells - mean) ** 2 @ masses) / float(masses.sum()))
    if spread == 0:
        return round(count * mean)

    def bound(t: float) -> float:
        powers = t * (cells - mean)
        top = float(powers.max())
        return count * (mean + (top + math.log(float(np.exp(powers - top) @ masses))) / t) + math.log(2 / cut) / t

    t, factor = math.sqrt(2 * math.log(2 / cut)) / spread, 1 / 1.5
    best = bound(t)
    while (found := bound(t * factor)) < best:
        best, t = found, t * factor
    return min(most, max(0, math.ceil(best)))
