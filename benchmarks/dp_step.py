"""One contender of benchmarks/dp.py in a process of its own: no line but those of `ours` and `production` imports veriward.

    PYTHON -m benchmarks.dp_step CONTENDER WORK TASK GRADIENTS.pt

TASK is "clip" (forward and backward pass and the sum of clipped gradients; plain: of gradients) or "step" (a whole step with
noise and optimiser; plain: without noise). The first step of "clip" leaves norms and sums in GRADIENTS.pt. Every line on
stdin asks for some steps; the answer is their CPU seconds. At the end of stdin the peak of resident memory over that before
the first asked step is answered.
"""

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

CLIP, SIGMA, RATE = 1.0, 1.0, 1e-3
Found = tuple[Tensor | None, dict[str, Tensor]]  # norms (n,) and sums
Step = Callable[[], Any]
Made = tuple[Step, Callable[[], Any]]  # a step, and what frees the gradients that it leaves


class Block(nn.Module):
    """A text block and its head: embedding, self-attention, feed-forward net, each after a layer norm."""

    def __init__(self, d: int = 128, heads: int = 4, words: int = 1000) -> None:
        super().__init__()
        self.words, self.heads = nn.Embedding(words, d), heads
        self.norm, self.q, self.k, self.v, self.o = nn.LayerNorm(d), *(nn.Linear(d, d) for _ in range(4))
        self.norm2, self.up, self.down = nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.head = nn.Linear(d, 2)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (n, t) -> (n, 2)."""
        x = self.words(ids)
        z = self.norm(x)
        q, k, v = (f(z).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.o(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = x + self.down(functional.relu(self.up(self.norm2(x))))
        out: Tensor = self.head(x.mean(1))
        return out


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut. He et al., 2016 (arXiv:1512.03385), figure 5 left, with GroupNorm."""

    def __init__(self, c: int, p: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(c, p, 3, stride, 1, bias=False), nn.Conv2d(p, p, 3, 1, 1, bias=False)
        self.norm, self.norm2 = nn.GroupNorm(32, p), nn.GroupNorm(32, p)
        same = c == p and stride == 1
        self.short = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(c, p, 1, stride, bias=False), nn.GroupNorm(32, p))
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, h, w) -> (n, p, h / stride, w / stride)."""
        z = functional.relu(self.norm(self.first(x)))
        return functional.relu(self.norm2(self.second(z)) + self.short(x))


def mlp() -> tuple[nn.Module, Tensor, Tensor]:
    """Shokri's Purchase network with another layer: 600-512-256-100, 256 rows."""
    net = nn.Sequential(nn.Linear(600, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 100))
    return net, torch.randn(256, 600), torch.randint(100, (256,))


def cnn() -> tuple[nn.Module, Tensor, Tensor]:
    """The MNIST network of TensorFlow Privacy's tutorial, 256 rows."""
    first = (nn.Conv2d(1, 16, 8, 2, 3), nn.ReLU(), nn.MaxPool2d(2, 1))
    second = (nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.MaxPool2d(2, 1))
    net = nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10))
    return net, torch.randn(256, 1, 28, 28), torch.randint(10, (256,))


def text() -> tuple[nn.Module, Tensor, Tensor]:
    """64 rows of 64 words."""
    return Block(), torch.randint(1000, (64, 64)), torch.randint(2, (64,))


def resnet() -> tuple[nn.Module, Tensor, Tensor]:
    """ResNet-18 with GroupNorm and the stem of its paper, 64 rows of 32x32."""
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.GroupNorm(32, 64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
    body = [block for c, p, stride in widths for block in (Residual(c, p, stride), Residual(p, p, 1))]
    net = nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    return net, torch.randn(64, 3, 32, 32), torch.randint(10, (64,))


WORKS = {"mlp": mlp, "cnn": cnn, "text": text, "resnet": resnet}


def loss(output: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of each row, (n,)."""
    return functional.cross_entropy(output, y, reduction="none")


def plain(net: nn.Module, x: Tensor, y: Tensor, task: str) -> Made:
    """Train without privacy."""
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE)

    def step() -> Found:
        optimiser.zero_grad(set_to_none=True)
        loss(net(x), y).mean().backward()
        if task == "step":
            optimiser.step()
        return None, {}

    return step, optimiser.zero_grad


Decided = list[Tensor]  # by ReLU: which units are on; by max pooling: which entry it took; in the order of the calls


def decided(net: nn.Module, x: Tensor) -> Decided:
    """Return what every ReLU and max pooling decides about the rows of x, as one batch."""
    found: Decided = []
    pool = functional.max_pool2d

    def relu(z: Tensor, inplace: bool = False) -> Tensor:
        found.append(z > 0)
        return z * found[-1]

    def pooled(z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        out, place = pool(z, *args, **{**kwargs, "return_indices": True})
        found.append(place)
        return out

    with torch.no_grad(), mock.patch.multiple(functional, relu=relu, max_pool2d=pooled):
        net(x)
    return found


@contextlib.contextmanager
def held(found: Decided, row: int) -> Iterator[None]:
    """Let ReLU and max pooling decide about a batch of one as they did about the row numbered `row`."""
    places = iter(found)

    def relu(z: Tensor, inplace: bool = False) -> Tensor:
        return z * next(places)[row : row + 1]

    def pooled(z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        place = next(places)[row : row + 1]
        return z.flatten(2).gather(2, place.flatten(2)).view(place.shape)

    with mock.patch.multiple(functional, relu=relu, max_pool2d=pooled):
        yield


def loop(dtype: torch.dtype, hold: bool) -> Callable[[nn.Module, Tensor, Tensor, str], Made]:
    """Return the maker of a loop that takes one row after the other: what the others are compared with.

    A unit within rounding of zero may be on in float32 and off in float64, with all that flows through it: no rounding
    error of a gradient, but the gradient of another piece of the network. `hold`: decide as the batch in float32 does.
    """

    def make(net: nn.Module, x: Tensor, y: Tensor, task: str) -> Made:
        found = decided(net, x)
        net.to(dtype)
        x = x.to(dtype) if x.is_floating_point() else x

        @cache
        def step() -> Found:
            norms, sums = [], {name: torch.zeros_like(p) for name, p in net.named_parameters()}
            for i in range(len(x)):
                net.zero_grad()
                with held(found, i) if hold else contextlib.nullcontext():
                    loss(net(x[i : i + 1]), y[i : i + 1]).sum().backward()
                grads = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
                norms.append(torch.stack([g.norm() for g in grads.values()]).norm())
                for name, g in grads.items():
                    sums[name] += g * min(1.0, CLIP / float(norms[-1]))
            return torch.stack(norms), sums

        return step, net.zero_grad

    return make


class TorchNoise:
    """Simulation noise: torch's generator, which opacus draws from as well."""

    name = "simulation"

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def bits(self, count: int) -> Any:
        """Return no coins: all rows are in every batch here."""
        raise NotImplementedError

    def normal_(self, out: Tensor) -> Tensor:
        """Fill with standard normals."""
        return out.normal_(generator=self.generator)


def ours(noise: str) -> Callable[[nn.Module, Tensor, Tensor, str], Made]:
    """Return the maker of our step."""

    def make(net: nn.Module, x: Tensor, y: Tensor, task: str) -> Made:
        from veriward.privacy.clipping import PerRow
        from veriward.privacy.dp import Full, PrivateTraining, SecureSource

        if task == "clip":
            engine = PerRow(net, loss)

            def clip() -> Found:
                found = engine.clipped(x, y, CLIP)
                return found.norms, found.sums

            return clip, lambda: None
        optimiser = torch.optim.SGD(net.parameters(), lr=RATE)
        training = PrivateTraining(
            net, loss, x, y, sampler=Full(), divisor=len(x), clip=CLIP, noise_multiplier=SIGMA, optimiser=optimiser,
            source=SecureSource() if noise == "production" else TorchNoise(),
        )  # fmt: skip
        return training.step, optimiser.zero_grad

    return make


def peer(mode: str) -> Callable[[nn.Module, Tensor, Tensor, str], Made]:
    """Return the maker of opacus' step in a mode."""

    def make(net: nn.Module, x: Tensor, y: Tensor, task: str) -> Made:
        from opacus.grad_sample import get_gsm_class
        from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
        from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

        options: dict[str, Any] = {"max_grad_norm": CLIP, "use_ghost_clipping": True} if mode == "ghost" else {}
        wrapped = get_gsm_class(mode)(net, batch_first=True, loss_reduction="mean", **options)
        kind = DPOptimizerFastGradientClipping if mode == "ghost" else DPOptimizer
        sgd = torch.optim.SGD(wrapped.parameters(), lr=RATE)
        sigma = SIGMA if task == "step" else 0.0
        optimiser = kind(sgd, noise_multiplier=sigma, max_grad_norm=CLIP, expected_batch_size=len(x))
        ghost = DPLossFastGradientClipping(wrapped, optimiser, nn.CrossEntropyLoss(reduction="mean"), "mean")

        def step() -> Found:
            optimiser.zero_grad()
            norms = None
            if mode == "ghost":
                ghost(wrapped(x), y).backward()
                norms = wrapped.per_sample_gradient_norms
            else:
                loss(wrapped(x), y).mean().backward()
            if task == "step":
                optimiser.step()
                return None, {}
            if mode == "ghost":
                optimiser.accumulate()
            else:
                optimiser.clip_and_accumulate()
            return norms, {name.removeprefix("_module."): p.summed_grad for name, p in wrapped.named_parameters()}

        return step, optimiser.zero_grad

    return make


CONTENDERS = {
    "loop": loop(torch.float64, hold=False),
    "held": loop(torch.float64, hold=True),
    "single": loop(torch.float32, hold=True),
    "plain": plain,
    "ours": ours("simulation"),
    "production": ours("production"),
    **{mode: peer(mode) for mode in ("hooks", "ghost", "ew")},
}


def resident(key: str) -> int:
    """Return a line of the kernel's account of this process, in bytes; 0 where there is none."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def warm_up(step: Step, free: Callable[[], Any], file: str) -> int:
    """Get hooks, probes and kernels ready, write what was found, forget the gradients; return the resident memory."""
    found = step()
    if file:
        torch.save({"norms": found[0], "sums": found[1]}, file)
    del found
    step()
    free()
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    return resident("VmRSS")


def main(contender: str, work: str, task: str, file: str) -> None:
    """Answer as the module says."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step, free = CONTENDERS[contender](*WORKS[work](), task)
    before = warm_up(step, free, file if task == "clip" else "")
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.process_time()
        for _ in range(int(line)):
            step()
        print(time.process_time() - start, flush=True)
    print(resident("VmHWM") - before, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
