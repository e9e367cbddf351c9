"""JAX and TensorFlow functions as torch modules, with gradients. The arrays cross by DLPack, in place where they can.

DLPack (dmlc.github.io/dlpack) hands over a pointer with shape, type and device; nothing is copied on a CPU unless the
other side needs its arrays to start at multiples of 64 bytes and they do not.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from veriward.adapters.doors import door
from veriward.core.errors import ModelError

Pull = Callable[[Tensor], Tensor]  # from the gradient by the answer to the gradient by the rows
ALIGNMENT = 64  # bytes: TensorFlow ends the process when an array starts elsewhere


class ForeignModule(nn.Module):
    """A function of another framework. Copies share it: nothing in it is changed, and it may not be copyable."""

    def __init__(self, framework: "_Jax | _TensorFlow") -> None:
        super().__init__()
        self.framework = framework

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's answer to rows (n, ...), where they are."""
        return _Crossing.apply(x, self.framework)  # type: ignore[no-untyped-call,no-any-return]  # torch types none

    def extra_repr(self) -> str:
        """Return which function it is: dossiers of two functions are told apart by this, as torch sees no parameters."""
        return f"function {id(self.framework.function):#x} of process {os.getpid()}"

    def __deepcopy__(self, memo: dict[int, Any]) -> "ForeignModule":
        return type(self)(self.framework)


def from_jax(function: Callable[[Any], Any], *, compiled: bool = True) -> nn.Module:
    """Make a torch module, with gradients, of a JAX function from rows (n, ...) to scores (n, classes).

    The function is compiled for each shape of a batch, which is one shape in an assessment; `compiled=False` leaves
    that out for a function that JAX cannot trace. Parameters stay inside: `from_jax(lambda x: net.apply(params, x))`.
    Raises DependencyMissing where JAX is not installed.

    >>> import veriward as vw
    >>> model = vw.from_jax(lambda x: x * x)  # doctest: +SKIP
    >>> model(torch.tensor([[3.0]]))  # doctest: +SKIP
    tensor([[9.]])
    """
    return ForeignModule(_Jax(function, compiled))


def from_tensorflow(function: Callable[[Any], Any], *, compiled: bool = True) -> nn.Module:
    """Make a torch module, with gradients, of a TensorFlow function from rows (n, ...) to scores (n, classes).

    As `from_jax`; a Keras model on TensorFlow goes in as `from_tensorflow(lambda x: model(x, training=False))`.
    Raises DependencyMissing where TensorFlow is not installed.

    >>> import veriward as vw
    >>> model = vw.from_tensorflow(lambda x: x * x)  # doctest: +SKIP
    >>> model(torch.tensor([[3.0]]))  # doctest: +SKIP
    tensor([[9.]])
    """
    return ForeignModule(_TensorFlow(function, compiled))


class _Crossing(torch.autograd.Function):
    """Torch's half of the differentiation: asks the other framework forwards, and pulls the gradient back through it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, framework: Any) -> Tensor:
        if not ctx.needs_input_grad[0]:
            return framework.answer(x)  # type: ignore[no-any-return]  # both frameworks answer with tensors
        out, ctx.pull = framework.pulled(x)
        if ctx.pull is None:
            ctx.mark_non_differentiable(out)
        ctx.save_for_backward(x)  # the other side may read it again then, so torch watches for writes into it
        return out  # type: ignore[no-any-return]  # as above

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        _ = ctx.saved_tensors  # raises if somebody wrote into the rows meanwhile
        return ctx.pull(gradient), None


class _Jax:
    """Runs a function on JAX's first device."""

    def __init__(self, function: Callable[[Any], Any], compiled: bool) -> None:
        self.jax = jax = door("jax", "jax", "a JAX function")
        ready = jax.jit if compiled else lambda f: f
        self.function = ready(function)
        self.linearise = ready(lambda x: jax.vjp(function, x))
        self.apply = ready(lambda pull, gradient: pull(gradient)[0])

    def answer(self, x: Tensor) -> Tensor:
        """Return the answer alone."""
        return self._out(self.function(self._sent(x)), x)

    def pulled(self, x: Tensor) -> tuple[Tensor, Pull | None]:
        """Return the answer and its vector-Jacobian product, None where the answer is no floating number."""
        answer, pull = self.linearise(self._sent(x))
        out = self._out(answer, x)
        if not out.is_floating_point():
            return out, None
        return out, lambda gradient: self._received(self.apply(pull, self._sent(gradient)), x).to(x.dtype)

    def _out(self, answer: Any, x: Tensor) -> Tensor:
        if not isinstance(answer, self.jax.Array):
            raise ModelError(f"model: the JAX function answered {type(answer).__name__}; want one array of scores")
        # a copy of the small thing: it may be a constant of the function, and torch code may write into what it gets
        return self._received(answer, x).clone()

    def _sent(self, x: Tensor) -> Any:
        here = x.detach() if self.jax.default_backend() == "gpu" else x.detach().cpu()
        return self.jax.device_put(self.jax.dlpack.from_dlpack(here.contiguous()), self.jax.devices()[0])

    def _received(self, array: Any, x: Tensor) -> Tensor:
        if not torch.cuda.is_available():
            array = self.jax.device_put(array, self.jax.devices("cpu")[0])
        # waits, because JAX answers before it has computed, while the rows it reads belong to torch
        return torch.utils.dlpack.from_dlpack(array.block_until_ready()).to(x.device)


class _TensorFlow:
    """Runs a function where TensorFlow puts it."""

    def __init__(self, function: Callable[[Any], Any], compiled: bool) -> None:
        self.tensorflow = door("tensorflow", "tensorflow", "a TensorFlow function")
        self.function = self.tensorflow.function(function) if compiled else function
        self.connected: bool | None = None  # whether gradients reach the rows; found out at the first question

    def answer(self, x: Tensor) -> Tensor:
        """Return the answer alone."""
        return self._out(self.function(self._sent(x)), x)

    def pulled(self, x: Tensor) -> tuple[Tensor, Pull | None]:
        """Return the answer and its vector-Jacobian product, None where no gradient reaches the rows."""
        rows = self._sent(x)
        with self.tensorflow.GradientTape(persistent=True) as tape:
            tape.watch(rows)
            answer = self.function(rows)
        out = self._out(answer, x)
        if self.connected is None:
            self.connected = out.is_floating_point() and tape.gradient(answer, rows) is not None
        if not self.connected:
            return out, None

        def pull(gradient: Tensor) -> Tensor:
            found = tape.gradient(answer, rows, output_gradients=self._sent(gradient))
            return self._received(self.tensorflow.convert_to_tensor(found), x).to(x.dtype)

        return out, pull

    def _out(self, answer: Any, x: Tensor) -> Tensor:
        if not self.tensorflow.is_tensor(answer):
            came = type(answer).__name__
            raise ModelError(f"model: the TensorFlow function answered {came}; want one tensor of scores")
        return self._received(answer, x).clone()  # as for JAX: it may be a constant of the function

    def _sent(self, x: Tensor) -> Any:
        here = x.detach() if self.tensorflow.config.list_logical_devices("GPU") else x.detach().cpu()
        here = here.contiguous()
        here = here.clone() if here.data_ptr() % ALIGNMENT else here
        capsule = torch.utils.dlpack.to_dlpack(here)  # type: ignore[attr-defined]  # documented, and not exported
        return self.tensorflow.experimental.dlpack.from_dlpack(capsule)

    def _received(self, tensor: Any, x: Tensor) -> Tensor:
        if not torch.cuda.is_available():
            with self.tensorflow.device("CPU:0"):
                tensor = self.tensorflow.identity(tensor)
        return torch.utils.dlpack.from_dlpack(self.tensorflow.experimental.dlpack.to_dlpack(tensor)).to(x.device)
