"""Replace what has no per-row gradients by what has them, in a copy."""

import copy
from collections.abc import Callable
from typing import cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from veriward.privacy.clipping.attention import Attention
from veriward.privacy.clipping.recurrent import Recurrent

MOST_GROUPS = 32  # Wu & He, 2018 (arXiv:1803.08494), section 4.1


def fix(module: nn.Module) -> nn.Module:
    """Return a copy in which no layer mixes rows or hides its weights; the module itself stays as it is.

    BatchNorm becomes GroupNorm with its scale and shift (another function: train it, or train it again), InstanceNorm loses
    its running statistics, MultiheadAttention, LSTM, GRU and RNN become the same functions built of linear layers.
    Raises ModelError for attention without batch_first and for recurrent layers with proj_size.

    >>> fix(nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)))[1]
    GroupNorm(4, 8, eps=1e-05, affine=True, bias=True)
    """
    return _fixed(copy.deepcopy(module), "", {})


def _fixed(module: nn.Module, path: str, known: dict[int, nn.Module]) -> nn.Module:
    if id(module) not in known:
        change = next((new for old, new in CHANGES if isinstance(module, old)), None)
        known[id(module)] = change(module, path).train(module.training) if change else module
        for name, child in module.named_children() if not change else ():
            setattr(module, name, _fixed(child, f"{path}.{name}" if path else name, known))
    return known[id(module)]


def _grouped(module: nn.Module, path: str) -> nn.Module:
    given = cast(nn.BatchNorm2d, module)
    channels = given.num_features
    most = min(MOST_GROUPS, max(1, channels // 2))  # one channel a group would erase inputs without positions
    groups = next(k for k in range(most, 0, -1) if channels % k == 0)
    norm = nn.GroupNorm(groups, channels, eps=given.eps, affine=given.affine)
    if given.affine:
        norm.weight, norm.bias = given.weight, given.bias
    return norm


def _forgetful(module: nn.Module, path: str) -> nn.Module:
    given = cast(nn.InstanceNorm2d, module)
    given.track_running_stats = False
    given.running_mean = given.running_var = given.num_batches_tracked = None
    return given


def _attention(module: nn.Module, path: str) -> nn.Module:
    return Attention.of(cast(nn.MultiheadAttention, module), path or "the module")


def _recurrent(module: nn.Module, path: str) -> nn.Module:
    return Recurrent(cast(nn.RNNBase, module), path or "the module")


CHANGES: tuple[tuple[type[nn.Module], Callable[[nn.Module, str], nn.Module]], ...] = (
    (_BatchNorm, _grouped),
    (_InstanceNorm, _forgetful),
    (nn.MultiheadAttention, _attention),
    (nn.RNNBase, _recurrent),
)
