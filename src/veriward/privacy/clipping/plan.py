"""Which part of a network answers for which parameters, and what cannot be clipped by row at all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from veriward.core.errors import ModelError, some
from veriward.privacy.clipping.layers import KINDS, Calls, HeldByName

JUDGED = (_BatchNorm, _InstanceNorm, nn.MultiheadAttention, nn.RNNBase, nn.Embedding)  # all that `_reason` knows of
FIX = "veriward.privacy.clipping.fix(module)"


@dataclass(frozen=True)
class Part:
    """A module that answers for parameters; kind None: unknown, mapped over rows with everything inside it."""

    path: str
    module: nn.Module
    kind: Callable[[nn.Module, Calls], HeldByName] | None

    def named(self, name: str) -> str:
        """Return the name that the whole network has for a parameter of this part."""
        return f"{self.path}.{name}" if self.path else name

    @property
    def draws(self) -> bool:
        """Say whether running it again would draw anew."""
        return any(isinstance(m, _DropoutNd) and m.training and m.p > 0 for m in self.module.modules())


def parts(module: nn.Module) -> list[Part]:
    """Return the parts with trainable parameters, in the order of `named_modules`; each module once, however often used.

    >>> [(part.path, part.kind is not None) for part in parts(nn.Sequential(nn.Linear(2, 3), nn.PReLU()))]
    [('0', True), ('1', False)]
    """
    return list(_walk(module, "", set()))


def _walk(module: nn.Module, path: str, seen: set[int]) -> Iterator[Part]:
    if id(module) in seen:
        return
    seen.add(id(module))
    own = {name for name, p in module.named_parameters(recurse=False) if p.requires_grad}
    if own:
        known = own <= {"weight", "bias"}  # weight_norm and its like keep the class and swap the parameters
        yield Part(path, module, KINDS.get(type(module)) if known else None)
        return
    for name, child in module.named_children():
        yield from _walk(child, f"{path}.{name}" if path else name, seen)


def refuse(module: nn.Module) -> None:
    """Raise ModelError, naming the module, for what can be seen to have no per-row gradients without running it."""
    parts = list(module.named_modules())  # walked once: this runs before every batch
    for path, part in parts:
        reason = _reason(part)
        if reason:
            raise ModelError(f"{path or 'the module'} ({type(part).__name__}) has no per-row gradients: {reason}")
    owned = [
        (f"{path}.{name}" if path else name, p)
        for path, part in parts
        for name, p in part.named_parameters(recurse=False, remove_duplicate=False)
    ]
    _refuse_ties(owned)
    lazy = [name for name, p in owned if is_lazy(p)]
    if lazy:
        raise ModelError(f"{some(lazy)}: not initialised yet; run the module once before it is clipped by row")
    if not any(p.requires_grad for _, p in owned):
        raise ModelError("the module has no trainable parameter; call requires_grad_() on what is to be trained")


def _reason(part: nn.Module) -> str | None:
    if not isinstance(part, JUDGED):
        return None
    trains = any(p.requires_grad for p in part.parameters(recurse=False))
    if isinstance(part, _BatchNorm) and (part.training or trains or part.running_mean is None):
        return f"it lets rows influence each other; use GroupNorm, or {FIX}"
    if isinstance(part, _InstanceNorm) and part.track_running_stats:
        return (
            f"it keeps running statistics of the rows, which no noise covers; say track_running_stats=False, or {FIX}"
        )
    if isinstance(part, nn.MultiheadAttention | nn.RNNBase) and trains:
        return f"it uses its weights inside one fused call; use {FIX}, which builds it of linear layers"
    if isinstance(part, nn.Embedding) and part.max_norm is not None:
        return "max_norm rewrites weights as they are looked up, before any noise; leave it out"
    if isinstance(part, nn.Embedding) and part.scale_grad_by_freq and trains:
        return "scale_grad_by_freq counts over the whole batch, so rows influence each other; leave it out"
    return None


def _refuse_ties(owned: list[tuple[str, nn.Parameter]]) -> None:
    owners: dict[int, list[str]] = {}
    seen: set[int] = set()
    for name, parameter in owned:  # each module once: one used twice is no tie
        if not is_lazy(parameter) and parameter.numel():
            storage = _storage(parameter)
            owners.setdefault(storage, []).append(name)
            if parameter.requires_grad:
                seen.add(storage)
    tied = next((names for key, names in owners.items() if len(names) > 1 and key in seen), None)
    if tied:
        raise ModelError(
            f"{some(tied)}: one weight in several modules, whose per-row gradients would have to be added before "
            f"they are clipped; give each module a weight of its own, or call one module several times"
        )


def _storage(parameter: nn.Parameter) -> int:
    return cast(Tensor, parameter).untyped_storage().data_ptr()
