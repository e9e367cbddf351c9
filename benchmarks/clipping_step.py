"""One contender of benchmarks/clipping.py in a process of its own: no line but `ours` imports veriward.

    PYTHON -m benchmarks.clipping_step CONTENDER WORK SUMS.pt

Every line on stdin asks for some steps; the answer is their CPU seconds. At the end of stdin the peak of resident memory
over that before the first step is answered. A step makes the (clipped) sum of gradients, nothing else: no noise, no
optimiser.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CLIP = 1.0
Sums = dict[str, Tensor]


class Block(nn.Module):
    """A text block before its head: embedding, self-attention, feed-forward net, each after a layer norm."""

    def __init__(self, d: int = 128, heads: int = 4, words: int = 1000) -> None:
        super().__init__()
        self.words, self.heads = nn.Embedding(words, d), heads
        self.norm, self.q, self.k, self.v, self.o = nn.LayerNorm(d), *(nn.Linear(d, d) for _ in range(4))
        self.norm2, self.up, self.down, self.head = (
            nn.LayerNorm(d),
            nn.Linear(d, 4 * d),
            nn.Linear(4 * d, d),
            nn.Linear(d, 2),
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        z = self.norm(x)
        q, k, v = (f(z).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.o(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = x + self.down(functional.relu(self.up(self.norm2(x))))
        out: Tensor = self.head(x.mean(1))
        return out


def mlp() -> tuple[nn.Module, Tensor, Tensor]:
    """Shokri's Purchase network with another layer: 600-512-256-100, 256 rows."""
    net = nn.Sequential(nn.Linear(600, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 100))
    return net, torch.randn(256, 600), torch.randint(100, (256,))


def cnn() -> tuple[nn.Module, Tensor, Tensor]:
    """The MNIST network of TensorFlow Privacy's tutorial, 256 rows."""
    conv = [
        nn.Conv2d(1, 16, 8, 2, 3),
        nn.ReLU(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(2, 1),
    ]
    net = nn.Sequential(*conv, nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10))
    return net, torch.randn(256, 1, 28, 28), torch.randint(10, (256,))


def text() -> tuple[nn.Module, Tensor, Tensor]:
    """64 rows of 64 words."""
    return Block(), torch.randint(1000, (64, 64)), torch.randint(2, (64,))


WORKS = {"mlp": mlp, "cnn": cnn, "text": text}


def loss(output: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(output, y, reduction="none")


def plain(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[slice], Sums]:
    def step(rows: slice) -> Sums:
        net.zero_grad(set_to_none=True)
        loss(net(x[rows]), y[rows]).mean().backward()
        return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}

    return step


def ours(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[slice], Sums]:
    from veriward.privacy.clipping import PerRow

    engine = PerRow(net, loss)
    return lambda rows: engine.clipped(x[rows], y[rows], CLIP).sums


def peer(mode: str) -> Callable[[nn.Module, Tensor, Tensor], Callable[[slice], Sums]]:
    """Return the maker of opacus' step in a mode: its clipped sums before noise."""

    def make(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[slice], Sums]:
        from opacus.grad_sample import get_gsm_class
        from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
        from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

        options: dict[str, Any] = {"max_grad_norm": CLIP, "use_ghost_clipping": True} if mode == "ghost" else {}
        wrapped = get_gsm_class(mode)(net, batch_first=True, loss_reduction="mean", **options)
        kind = DPOptimizerFastGradientClipping if mode == "ghost" else DPOptimizer
        sgd = torch.optim.SGD(wrapped.parameters(), lr=0.1)
        optimiser = kind(
            sgd, noise_multiplier=0.0, max_grad_norm=CLIP, expected_batch_size=len(x), loss_reduction="mean"
        )
        ghost = DPLossFastGradientClipping(wrapped, optimiser, nn.CrossEntropyLoss(reduction="mean"), "mean")

        def step(rows: slice) -> Sums:
            optimiser.zero_grad()
            if mode == "ghost":
                ghost(wrapped(x[rows]), y[rows]).backward()
                optimiser.accumulate()
            else:
                loss(wrapped(x[rows]), y[rows]).mean().backward()
                optimiser.clip_and_accumulate()
            return {name.removeprefix("_module."): p.summed_grad for name, p in wrapped.named_parameters()}

        return step

    return make


CONTENDERS = {"plain": plain, "ours": ours, **{mode: peer(mode) for mode in ("hooks", "ghost", "ew")}}


def resident(key: str) -> int:
    """Return a line of the kernel's account of this process, in bytes; 0 where there is none."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def main(contender: str, work: str, sums: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, x, y = WORKS[work]()
    step = CONTENDERS[contender](net, x, y)
    step(slice(0, 4))  # hooks, probes and kernels get ready on few rows
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = resident("VmRSS")
    torch.save(step(slice(None)), sums)
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.process_time()
        for _ in range(int(line)):
            step(slice(None))
        print(time.process_time() - start, flush=True)
    print(resident("VmHWM") - before, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
