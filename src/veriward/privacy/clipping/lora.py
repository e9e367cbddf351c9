"""Low-rank adapters: a frozen linear layer and two small ones that are trained. Hu et al., 2021 (arXiv:2106.09685)."""

import math

import torch
from torch import Tensor, nn

from veriward.core.errors import SettingsError
from veriward.core.streams import Stream


class LoRA(nn.Module):
    """W x + (scale / rank) B A x with W frozen; B starts at zero, so nothing changes before training (section 4.1).

    rank: 1 to the smaller side of W. stream: draws A, uniformly in +-1/sqrt(width) as nn.Linear has it, by no global
    random numbers. Raises SettingsError for another rank. `base` is taken as it is, and frozen.

    >>> net = LoRA(nn.Linear(4, 3), rank=2, stream=Stream.of(0, "doc"))
    >>> [name for name, p in net.named_parameters() if p.requires_grad]
    ['down.weight', 'up.weight']
    """

    def __init__(self, base: nn.Linear, rank: int, *, stream: Stream, scale: float = 1.0) -> None:
        super().__init__()
        p, d = base.weight.shape
        if not 1 <= rank <= min(p, d):
            raise SettingsError(f"rank = {rank}: want 1 to {min(p, d)} for a layer of {d} inputs and {p} outputs")
        self.base = base.requires_grad_(False)
        self.down = _empty(d, rank, base.weight)
        self.up = _empty(rank, p, base.weight)
        self.scale = scale / rank
        with torch.no_grad():
            self.down.weight.copy_((stream.uniform(torch.arange(rank), (d,)) * 2 - 1) / math.sqrt(d))
            self.up.weight.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d) -> (..., p)."""
        out: Tensor = self.base(x) + self.scale * self.up(self.down(x))
        return out


def _empty(d: int, p: int, like: Tensor) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, d, p, bias=False, device=like.device, dtype=like.dtype)
    assert isinstance(layer, nn.Linear)
    return layer
