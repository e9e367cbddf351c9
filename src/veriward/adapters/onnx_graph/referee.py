"""onnxruntime as the referee over our reading of a graph: both answer the same random rows, or there are no gradients."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.modules import TILE, ModuleBackend
from veriward.adapters.onnx_graph.feed import FLOATS
from veriward.adapters.onnx_graph.graph import Graph, Port
from veriward.adapters.onnx_graph.operator import Unsupported
from veriward.adapters.onnx_graph.tensors import Array
from veriward.core.errors import ModelError
from veriward.core.streams import Stream

Answers = Callable[[Array], Tensor]
TOLERANCE = {1: 1e-4, 10: 1e-2, 11: 1e-4}  # of the largest answer, by the input's type; rounding alone stays far below
USUAL = (32, 224, 28, 64)  # sizes tried for axes that the graph leaves open
MOST_GUESSES = 16
MOST_NUMBERS = 1 << 22  # in a row: larger ones are not tried


def trials(port: Port, graph: Graph) -> Iterator[Array]:
    """Yield 64 rows, half standard normal, half uniform in [0, 1], for each guess at the sizes that a graph leaves open."""
    if port.shape is None or not port.shape:
        return
    widths = [size for value in graph.constants.values() if value.ndim == 2 for size in value.shape]
    guesses = (*widths, *USUAL) if len(port.shape) == 2 else USUAL
    open_axes = [i for i, size in enumerate(port.shape[1:]) if size is None]
    channels = [(size,) if size is not None else guesses for size in port.shape[1:]]
    seen: set[tuple[int, ...]] = set()
    for shape in product(*channels) if len(open_axes) < 2 else _square(channels, open_axes):
        if shape not in seen and len(seen) < MOST_GUESSES and math.prod(shape) <= MOST_NUMBERS:
            seen.add(shape)
            yield _rows(shape).astype(FLOATS.get(port.elem, "f4"))


def _square(channels: Sequence[Sequence[int]], open_axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Pictures of open size are square in the guess."""
    for size in USUAL:
        yield tuple(size if i in open_axes else sizes[0] for i, sizes in enumerate(channels))


def _rows(shape: tuple[int, ...]) -> Array:
    # large rows are drawn less often: the random numbers must not cost more than the model
    count = max(1, min(TILE // 2, MOST_NUMBERS // (4 * max(1, math.prod(shape)))))
    rows, stream = torch.arange(TILE // 2) % count, Stream.of(0, "onnx referee")
    normal, uniform = stream.child("normal").normal(rows, shape), stream.child("uniform").uniform(rows, shape)
    # interleaved, so that the first rows, of a small tile, hold both
    return torch.stack([normal, uniform], 1).reshape(TILE, *shape).numpy()


def judge(backend: ModuleBackend, rows: Array, expected: Tensor, elem: int) -> str | None:
    """Return why a reading may not be used, None if it may: it must answer as onnxruntime does, whatever the row's place."""
    try:
        answers = backend.raw(torch.from_numpy(rows))
        turned = backend.raw(torch.from_numpy(rows[::-1].copy())).flip(0)
    except (ModelError, Unsupported) as error:
        return f"the torch reading fails: {error}"
    except Exception as error:
        return (
            f"the torch reading fails on rows of shape {rows.shape[1:]}: {(str(error).splitlines() or [''])[0][:200]}"
        )
    if answers.shape != expected.shape:
        return f"the torch reading answers {tuple(answers.shape)}, onnxruntime {tuple(expected.shape)}"
    for what, other in (("differs from onnxruntime", expected), ("depends on a row's place in its batch", turned)):
        difference = measured(answers, other)
        if not difference <= TOLERANCE[elem]:
            return f"the torch reading {what}: by {difference:.2g} of the largest answer (want {TOLERANCE[elem]:.0e})"
    return None


def measured(answers: Tensor, expected: Tensor) -> float:
    """Return the largest difference over the largest answer; infinite where only one of both is a finite number.

    >>> measured(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))
    0.2
    """
    a, b = answers.double(), expected.double()
    finite = torch.isfinite(b)
    if not bool(finite.any()) or not torch.equal(torch.isfinite(a), finite):
        return float("inf")
    difference, scale = (a - b)[finite].abs().max(), b[finite].abs().max()
    return float(difference / scale) if float(scale) > 0 else float(np.sign(float(difference)))
