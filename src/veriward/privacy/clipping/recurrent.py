"""LSTM, GRU and plain recurrent networks whose weights are linear layers, so that per-row gradients are known."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from veriward.core.errors import ModelError
from veriward.privacy.clipping.attention import linear_of

State = tuple[Tensor, ...]
Step = Callable[[Tensor, Tensor, State], State]


def lstm_step(x: Tensor, h: Tensor, state: State) -> State:
    """Gates from inputs x (n, 4 d) and state h (n, 4 d) -> (h, c). Hochreiter & Schmidhuber, 1997; gates as in torch."""
    i, f, g, o = (x + h).chunk(4, dim=1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(x: Tensor, h: Tensor, state: State) -> State:
    """Gates from inputs x (n, 3 d) and state h (n, 3 d) -> (h,). Cho et al., 2014 (arXiv:1406.1078), as in torch."""
    (xr, xz, xn), (hr, hz, hn) = x.chunk(3, dim=1), h.chunk(3, dim=1)
    z = (xz + hz).sigmoid()
    new = (xn + (xr + hr).sigmoid() * hn).tanh()
    return ((1 - z) * new + z * state[0],)


def tanh_step(x: Tensor, h: Tensor, state: State) -> State:
    """x (n, d), h (n, d) -> (h,). Elman, 1990."""
    return ((x + h).tanh(),)


def relu_step(x: Tensor, h: Tensor, state: State) -> State:
    """x (n, d), h (n, d) -> (h,)."""
    return ((x + h).relu(),)


STEPS: dict[str, Step] = {"LSTM": lstm_step, "GRU": gru_step, "RNN_TANH": tanh_step, "RNN_RELU": relu_step}


class Direction(nn.Module):
    """One layer in one direction: x (n, t, d) -> (n, t, hidden), last state. `back` reads from the end."""

    def __init__(self, given: nn.RNNBase, suffix: str, back: bool) -> None:
        super().__init__()
        bias = [getattr(given, f"bias_{part}_{suffix}") if given.bias else None for part in ("ih", "hh")]
        self.inputs = linear_of(getattr(given, f"weight_ih_{suffix}"), bias[0])
        self.states = linear_of(getattr(given, f"weight_hh_{suffix}"), bias[1])
        self.mode, self.back = given.mode, back

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over time; the inputs' part of all steps is one product."""
        gates, step, out = self.inputs(x), STEPS[self.mode], []
        times = range(x.shape[1])
        for t in reversed(times) if self.back else times:
            state = step(gates[:, t], self.states(state[0]), state)
            out.append(state[0])
        return torch.stack(out[::-1] if self.back else out, dim=1), state


class Recurrent(nn.Module):
    """`nn.LSTM`, `nn.GRU` or `nn.RNN` in a form for per-row clipping: the same numbers, a loop instead of a fused call.

    Takes x and answers (output, state) as they do, either way of batch_first. Packed sequences and proj_size are refused
    with ModelError: pad the sequences and mask the loss.
    """

    def __init__(self, given: nn.RNNBase, path: str = "module") -> None:
        super().__init__()
        if given.proj_size:
            raise ModelError(
                f"{path} ({type(given).__name__}): proj_size has no form for per-row clipping; leave it out"
            )
        ways = ("", "_reverse") if given.bidirectional else ("",)
        self.layers = nn.ModuleList(
            nn.ModuleList(Direction(given, f"l{layer}{way}", bool(way)) for way in ways)
            for layer in range(given.num_layers)
        )
        self.dropout = nn.Dropout(given.dropout)
        self.mode, self.hidden_size, self.batch_first = given.mode, given.hidden_size, given.batch_first

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """x (n, t, d), or (t, n, d) without batch_first; state as torch's, (layers * directions, n, hidden)."""
        if not isinstance(x, Tensor) or x.ndim != 3:
            raise ModelError(
                f"{self.mode}: got {type(x).__name__}; want a padded batch of three dimensions, not packed"
            )
        x = x if self.batch_first else x.transpose(0, 1)
        start, ends, place = self._start(x, state), [], 0
        for number, layer in enumerate(self.layers):
            x = self.dropout(x) if number else x
            outs = []
            for way in layer:  # type: ignore[attr-defined]  # a ModuleList, which torch types as a Module
                out, end = way(x, tuple(part[place] for part in start))
                outs.append(out)
                ends.append(end)
                place += 1
            x = torch.cat(outs, dim=2)
        last = tuple(torch.stack(parts) for parts in zip(*ends, strict=True))
        return (x if self.batch_first else x.transpose(0, 1)), (last if self.mode == "LSTM" else last[0])

    def _start(self, x: Tensor, state: Any) -> State:
        if state is not None:
            return state if isinstance(state, tuple) else (state,)
        count = sum(1 for part in self.modules() if isinstance(part, Direction))
        zero = x.new_zeros(count, x.shape[0], self.hidden_size)
        return (zero, zero) if self.mode == "LSTM" else (zero,)
