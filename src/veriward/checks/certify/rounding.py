"""What rounding may add: to the answers of the model as it is deployed, and to our own float64 arithmetic.

Every operator's result is written as its exact value plus a rounding error of at most `slack`, the classical bound of a
sum in any order with or without fused multiplications: gamma(n) * (|W| |x| + |b|), Higham 2002, Accuracy and Stability,
sections 3.1 and 4.2. The errors are one more thing that the attacker may choose, so a bound that survives them holds for
the deployed arithmetic, and not for the real numbers alone.
"""

import torch

DOUBLE = 2.0**-53  # unit roundoff of float64
UNITS = {torch.float64: DOUBLE, torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
TENSOR_CORE, FAST_CONVOLUTION = 2.0**-11, 2.0**-20  # TF32; and 16 roundoffs for the Winograd transforms of GPUs
SAFETY = 8  # over the count of our own operations, which is not kept to the last one
TAIL = 32  # roundoffs by which scores must differ to differ after a softmax or a sigmoid too


def gamma(terms: int, unit: float) -> float:
    """Return n u / (1 - n u), the relative error of a sum of n products; infinite where that is not below one half.

    >>> gamma(10, 2.0**-24) < 6.1e-7
    True
    """
    product = terms * unit
    return product / (1 - product) if product < 0.5 else float("inf")


def unit_of(dtypes: set[torch.dtype], device: torch.device) -> float:
    """Return the unit roundoff with which a model of these number formats is computed on a device."""
    coarsest = max((UNITS[dtype] for dtype in dtypes if dtype in UNITS), default=UNITS[torch.float32])
    if coarsest > UNITS[torch.float32]:
        return coarsest
    if torch.get_float32_matmul_precision() != "highest":  # "high" and "medium" let products be taken from bfloat16
        coarsest = max(coarsest, UNITS[torch.bfloat16])
    if device.type != "cpu":
        fast = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
        coarsest = max(coarsest, TENSOR_CORE if fast else FAST_CONVOLUTION)
    return coarsest


def share(terms: int, ours: int, unit: float) -> float:
    """Return the slack of an operator per unit of |W| |x| + |b|: the model's sums, and ours in both directions."""
    return (gamma(terms + 2, unit) if terms else 0.0) + SAFETY * gamma(ours + 64, DOUBLE)
