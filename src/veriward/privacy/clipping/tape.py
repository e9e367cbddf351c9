"""One forward and one backward pass in which each part of a network meets its inputs and output gradients.

"Book-keeping" (Bu et al., 2023, arXiv:2210.00038): the backward pass goes down to a seed that is spliced in behind every
part. Parameters are not on the way to it, so their gradients are never computed, and `.grad` stays untouched.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from veriward.core.errors import ModelError, SettingsError
from veriward.privacy.clipping.held import Rows
from veriward.privacy.clipping.layers import Calls, HeldByName
from veriward.privacy.clipping.plan import Part
from veriward.privacy.clipping.written import Loss, checked, trainable, unit_rows

LOW = (torch.bfloat16, torch.float16)


class NeedsWhole(Exception):  # noqa: N818 -- a request, not an error
    """A part cannot be mapped over rows by itself: map the whole network."""


class _Tap(torch.autograd.Function):
    """Pass an output on; hand its gradient to `take`."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, _: Tensor, take: Callable[[Tensor], None]) -> Tensor:
        ctx.take = take
        # not `out`: autograd would call it a view, and refuse what works in place on it, or mend it with copies
        return out.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        ctx.take(gradients[0])
        return gradients[0], None, None


def _full(values: Tensor) -> Tensor:
    """Return values in at least float32: norms and sums are never taken in a shorter format."""
    return values.float() if values.dtype in LOW else values


@dataclass
class Taken:
    """What the passes leave of one part; inputs and output gradients go as soon as the last one has come."""

    part: Part
    n: int
    due: int = 0
    calls: Calls = field(default_factory=list)
    held: HeldByName = field(default_factory=dict)

    def hook(self, seed: Tensor) -> Callable[..., Tensor]:
        """Return a forward hook that records a call."""

        def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Tensor:
            came = [value for value in (*args, *kwargs.values()) if value is not None]
            if len(came) != 1 or not isinstance(came[0], Tensor) or not isinstance(out, Tensor):
                raise NeedsWhole
            self._check_rows(came[0], out)
            self.due += 1
            return cast(Tensor, _Tap.apply(out, seed, self._taker(came[0])))  # type: ignore[no-untyped-call]  # torch types no apply

        return record

    def _taker(self, given: Tensor) -> Callable[[Tensor], None]:
        a, version = given.detach(), given._version

        def take(g: Tensor) -> None:
            if a._version != version:
                raise ModelError(
                    f"{self._name}: its input was changed in place after the call; use the operation that returns a "
                    f"new tensor (inplace=False)"
                )
            self.calls.append((_full(a), _full(g.detach())))
            if len(self.calls) == self.due:
                self.settle()

        return take

    def settle(self) -> None:
        """Turn the calls that have come into what is held; parts that the loss does not use hold nothing."""
        if self.calls and self.part.kind is not None:
            self.held = self.part.kind(self.part.module, self.calls)
        elif self.calls:
            self.held = self._mapped()
        self.calls = []

    def _mapped(self) -> HeldByName:
        parts = [unit_rows(self.part.module, self.part.path, a, g) for a, g in self.calls]
        return {name: Rows(torch.stack([part[name].rows for part in parts]).sum(0)) for name in parts[0]}

    @property
    def _name(self) -> str:
        return f"{self.part.path or 'the module'} ({type(self.part.module).__name__})"

    def _check_rows(self, a: Tensor, out: Tensor) -> None:
        if not (a.ndim and out.ndim) or len(a) != self.n or len(out) != self.n:
            raise ModelError(
                f"{self._name}: shapes {tuple(a.shape)} in and {tuple(out.shape)} out for a batch of {self.n} rows; want "
                f"rows first, (n, ...): expand what all rows share, as in positions.expand(n, -1)"
            )


@contextlib.contextmanager
def _hooked(taken: list[Taken], seed: Tensor) -> Iterator[None]:
    handles = [one.part.module.register_forward_hook(one.hook(seed), with_kwargs=True) for one in taken]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run(
    module: nn.Module, parts: list[Part], loss: Loss, x: Tensor, y: Tensor, compute: torch.dtype | None
) -> tuple[list[Taken], Tensor]:
    """Return what is held of each part, and the losses (n,).

    Raises SettingsError for losses that are not one per row or do not depend on the parameters, ModelError for parts
    that do not keep rows first, NeedsWhole where a part takes or returns anything but one tensor.
    """
    taken = [Taken(part, len(x)) for part in parts]
    seed = torch.zeros((), requires_grad=True, device=x.device)
    with torch.enable_grad(), torch.autocast(x.device.type, dtype=compute, enabled=compute is not None):
        with _hooked(taken, seed):
            output = module(x)
        losses = checked(loss(output, y), len(x))
    if not losses.requires_grad:
        raise SettingsError("loss: does not depend on the module's parameters; want a differentiable loss per row")
    # torch checks that someone hears the gradient; the seed's own is never made
    torch.autograd.grad(losses.sum(), [seed], allow_unused=True)
    for one in taken:
        one.settle()
    return taken, losses.detach()


def parameters_of(part: Part) -> dict[str, nn.Parameter]:
    """Return a part's own parameters: those of a known layer, or all inside an unknown one."""
    return trainable(part.module)
