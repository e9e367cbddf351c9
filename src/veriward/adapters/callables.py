"""Any callable: rows in, scores out. Gets whole batches, as named columns where the data has names."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.model import Classes
from veriward.core.data import Table
from veriward.core.errors import ModelError
from veriward.core.subject import Access

BATCH = 4096


class CallableBackend:
    """Calls a function with numpy arrays, or with a pandas frame where the data are named columns."""

    access: Access = "scores"
    format: str = "callable"
    classes: Classes | None = None
    columns: tuple[str, ...] | None = None
    width: int | None = None

    def __init__(self, function: Callable[[Any], Any], *, batch_size: int | None = None) -> None:
        self.function, self.batch = function, batch_size or BATCH

    def raw(self, x: Any) -> Tensor:
        """Return what the function answers, as a tensor on the CPU."""
        rows = x.frame() if isinstance(x, Table) else x.cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
        # each part is a copy: a function may write into what it gets
        blocks = (rows[i : i + self.batch].copy() for i in range(0, len(rows), self.batch))
        parts = [self._tensor(self.function(block)) for block in blocks]
        return torch.cat(parts) if parts else torch.empty(0, 1)

    @staticmethod
    def _tensor(answer: Any) -> Tensor:
        if isinstance(answer, Tensor):
            return answer.detach().cpu()
        array = np.array(answer)  # a copy: frames give arrays that must not be written to
        if array.dtype.kind not in "biuf":
            raise ModelError(f"model: answered {array.dtype}; want scores (rows, classes) or class numbers (rows,)")
        return torch.from_numpy(array)
