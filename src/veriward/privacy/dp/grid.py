"""Noisy sums on a public grid, so that their last bits tell nothing of the sum below the noise.

Float noise cannot reach every float: a float32 normal times 1.5 leaves out every third value between 1.5 and 2. Where
nothing but one row touches a weight (the embedding of a rare word), half of the noisy values there are ones that noise
alone never is, and a single one of them shows the row; in float64 nearly every one does. Mironov, 2012, "On significance
of the least significant bits for differential privacy", found this in Laplace noise, and rounds what comes out.
"""

from torch import Tensor, float32

from veriward.privacy.dp.released import power_of_two_below

STEP = 2.0**-14  # of the noise's standard deviation: hundreds of float32 normals fall into one


def on_grid_(values: Tensor, std: float) -> Tensor:
    """Round noisy sums (any shape, float32 or float64) in place to a grid at most 2**-14 `std` wide; return them.

    Beside a number of 2**23 (float32) steps a float has no bits left for parts of a step: it is added and taken away again.
    Beyond 2**22 steps the grid is that of the floats themselves, which is coarser.

    >>> import torch
    >>> on_grid_(torch.tensor([0.1, 1000.3]), std=1024.0)
    tensor([1.2500e-01, 1.0003e+03])
    """
    bits = 23 if values.dtype == float32 else 52
    high = 1.5 * 2.0**bits * power_of_two_below(std) * STEP
    return values.add_(high).sub_(high)
