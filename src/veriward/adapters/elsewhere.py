"""The same model in other environments: another number format, device, runtime, thread count or batch.

A backend that can be moved offers `elsewhere()`: its twins by name. What is asked of any backend is added here: the same
rows in another order, in smaller batches, or rounded to float32. Nothing of the caller's is changed.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.model import Model, answer, checked, named_labels
from veriward.core.data import Table
from veriward.core.errors import ModelError
from veriward.core.subject import Output

SMALL_BATCH = 16
MOST_SINGLE = 400  # rows that are asked one at a time
MOST_SMALL = 512  # rows that are asked in small batches, each of which costs a call
MOST_THREADED = 512  # rows that are asked on two threads, which are slow on tiles where other processes want them too
Raw = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Place:
    """One environment. `enter` sets it up and gives what answers there; `output` where it differs; `most` rows at most."""

    enter: Callable[[], contextlib.AbstractContextManager[Raw]]
    output: Output | None = None
    most: int | None = None


def places(model: Model) -> dict[str, Place]:
    """Return the environments that a model can be asked in, by name; the run's own is not among them."""
    backend: Any = model.backend
    own: Mapping[str, Place] = backend.elsewhere() if hasattr(backend, "elsewhere") else {}
    found = {**own, "reversed_rows": standing(lambda x: backend.raw(_turned(x)).flip(0))}
    if not own:  # tiles fix the batch of torch modules; theirs is varied by the module itself
        small: Raw = lambda x: torch.cat([backend.raw(part) for part in _parts(x, SMALL_BATCH)])  # noqa: E731
        found["small_batches"] = standing(small, most=MOST_SMALL)
        found["float32_inputs"] = standing(lambda x: backend.raw(_rounded(x)))
    return found


def standing(raw: Raw, output: Output | None = None, most: int | None = None) -> Place:
    """Return an environment that needs no setting up."""
    return Place(lambda: contextlib.nullcontext(raw), output, most)


@contextlib.contextmanager
def threads(count: int, raw: Raw) -> Iterator[Raw]:
    """Yield what answers on so many torch threads; the number is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield raw
    finally:
        torch.set_num_threads(before)


def told(model: Model, raw: Tensor, n: int, output: Output) -> Tensor:
    """Return answers as (n, columns) float64 that can be compared: probabilities, values, or ones at the decided class.

    A row whose answer is not a number is NaN. Raises ModelError for answers of another shape.
    """
    flat = raw.detach().cpu().reshape(n, -1) if raw.numel() and raw.numel() % n == 0 else raw.detach().cpu()
    strange = torch.isnan(flat).any(1) | (flat == torch.inf).any(1) if flat.is_floating_point() else torch.zeros(n) > 0
    if not bool(strange.any()):
        return _compared(model, flat, n, output)
    out = _compared(model, torch.where(strange[:, None], torch.zeros_like(flat), flat), n, output)
    return torch.where(strange[:, None], torch.nan, out)


def _compared(model: Model, raw: Tensor, n: int, output: Output) -> Tensor:
    if output == "value":
        return raw.double().reshape(n, 1)
    if output == "labels":
        chosen = named_labels(raw, n, len(model.classes))
        return torch.nn.functional.one_hot(chosen, len(model.classes)).double()
    scores = checked(raw, n, len(model.classes), output).double()
    return scores if output == "probabilities" else torch.softmax(scores, dim=1)


def ask(model: Model, x: Any, name: str | None = None) -> Tensor:
    """Return answers to rows as `told` gives them, in the environment `name`; None is the run's own.

    Raises ModelError where the model does not run there.
    """
    place = standing(model.backend.raw) if name is None else places(model)[name]
    with contextlib.ExitStack() as stack:
        try:
            raw = stack.enter_context(place.enter())
        except Exception as error:  # of making the twin: models may be of any kind
            raise ModelError(f"model: cannot be made to run as {name} ({type(error).__name__})") from error
        out = answer(raw, x)
    model.counter.queries += len(x)
    model.counter.forwards += len(x)
    return told(model, out, len(x), place.output or model.output)


def _turned(x: Any) -> Any:
    return x.take(np.arange(len(x))[::-1]) if isinstance(x, Table) else x.flip(0)


def _parts(x: Any, size: int) -> Iterator[Any]:
    for start in range(0, len(x), size):
        yield x.take(slice(start, start + size)) if isinstance(x, Table) else x[start : start + size]


def _rounded(x: Any) -> Any:
    if not isinstance(x, Table):
        return x.float().to(x.dtype)
    wide = {name for name, column in x.columns.items() if column.dtype == np.float64}
    return Table({name: v.astype(np.float32).astype(v.dtype) if name in wide else v for name, v in x.columns.items()})
