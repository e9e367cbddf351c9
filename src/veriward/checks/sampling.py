"""Which rows a budget looks at: all, or a sample that depends on the seed and the check alone, not on the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from veriward.checks.contract import Job


def sample(job: Job, name: str, n: int, most: int | None, *, shared: bool = False) -> np.ndarray[Any, Any]:
    """Return the sorted numbers of at most `most` of n rows, drawn from the job's stream `name`; None means all.

    `shared`: checks that give the same name get the same rows, and of two sizes the smaller is part of the larger.
    """
    import numpy as np

    if most is None or n <= most:
        return np.arange(n)
    stream = job.shared(name) if shared else job.stream(name)
    return np.sort(stream.generator().permutation(n)[:most])
