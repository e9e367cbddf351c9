"""What a model can do, as protocols, and the counter of what crosses to it.

A check names the protocols it needs and is refused early where the model, or the access that the subject grants, lacks
one. Scores are (n, classes): logits or probabilities as `output` says; a single column is told as two classes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from veriward.core.errors import CapabilityError, ModelError
from veriward.core.evidence import Cost
from veriward.core.subject import Access, Output

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from veriward.adapters.trees.forest import Forest

Classes = tuple[Any, ...]
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")  # Keras writes its errors in bold


@runtime_checkable
class Labels(Protocol):
    """Answers with a class."""

    def labels(self, x: Any) -> Tensor:
        """Return the predicted classes of n rows as numbers in [0, classes), (n,) int64."""


@runtime_checkable
class Scores(Protocol):
    """Answers with a score for each class."""

    def scores(self, x: Any) -> Tensor:
        """Return (n, classes) scores without gradients."""


@runtime_checkable
class Values(Protocol):
    """Answers with a number."""

    def values(self, x: Any) -> Tensor:
        """Return (n,) float64 predictions."""


@runtime_checkable
class Gradients(Protocol):
    """Can be differentiated by its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) scores that carry gradients."""


@runtime_checkable
class Trees(Protocol):
    """Is a sum of trees whose nodes may be read. Backends offer `forest()`, None where there is nothing to read."""

    def trees(self) -> "Forest":
        """Return the trees of the model."""

    def matrix(self, x: Any) -> "npt.NDArray[np.float64]":
        """Return rows as the trees read them, (n, inputs): category values as their codes."""


@dataclass
class Counter:
    """Rows that crossed to the model since the last `take`."""

    forwards: int = 0
    gradients: int = 0
    queries: int = 0

    def take(self) -> Cost:
        """Return the rows so far and start from zero."""
        cost = Cost(0.0, self.forwards, self.gradients, self.queries)
        self.forwards = self.gradients = self.queries = 0
        return cost


class Backend(Protocol):
    """What one file per format provides; everything else is `Opened`'s and `Granted`'s."""

    classes: Classes | None  # the format's own class names in the order of the scores
    columns: tuple[str, ...] | None  # the names of the inputs, where the format knows them
    width: int | None  # the number of inputs, where the format knows it
    access: Access  # the most the format gives
    format: str

    def raw(self, x: Any) -> Tensor:
        """Return the outputs for whole rows as the format gives them: (n, k) or (n,)."""


class Asked:
    """A backend behind a counter: what every kind of access shares."""

    def __init__(self, backend: Backend, output: Output, classes: Classes) -> None:
        self.backend, self.output, self.classes, self.counter = backend, output, classes, Counter()

    def _raw(self, x: Any) -> Tensor:
        raw = answer(self.backend.raw, x)
        self.counter.queries += len(x)
        self.counter.forwards += len(x)
        return raw


class ForLabels(Asked):
    """A classifier that tells its decision alone."""

    def labels(self, x: Any) -> Tensor:
        """Return the predicted classes, (n,) int64."""
        raw = self._raw(x)
        if self.output == "labels":
            return named_labels(raw, len(x), len(self.classes))
        return checked(raw, len(x), len(self.classes), self.output).argmax(1)


class ForScores(ForLabels):
    """A classifier whose scores may be read."""

    def scores(self, x: Any) -> Tensor:
        """Return (n, classes) scores without gradients."""
        return checked(self._raw(x), len(x), len(self.classes), self.output)


class ForGradients(ForScores):
    """A classifier that may be differentiated by its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) scores that carry gradients."""
        return checked(differentiated(self, x), len(x), len(self.classes), self.output)


class ForValues(Asked):
    """A model that predicts a number."""

    def values(self, x: Any) -> Tensor:
        """Return (n,) float64 predictions."""
        raw = self._raw(x)
        return one_number(raw, len(x))


class ForValueGradients(ForValues):
    """A model that predicts a number and may be differentiated by its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n,) predictions that carry gradients."""
        return differentiated(self, x).reshape(-1)


class Readable(Asked):
    """A model whose trees lie open to the attacker."""

    def trees(self) -> "Forest":
        """Return the trees of the model; CapabilityError where there are none to read."""
        read: Callable[[], Forest | None] | None = getattr(self.backend, "forest", None)
        found = read() if read is not None else None
        if found is None:
            raise CapabilityError(f"{self.backend.format}: has no trees that can be read; use its scores")
        return found

    def matrix(self, x: Any) -> "npt.NDArray[np.float64]":
        """Return rows as the trees read them, (n, inputs): category values as their codes."""
        return self.backend.matrix(x)  # type: ignore[attr-defined,no-any-return]  # every backend with trees has it


class ForTreeLabels(Readable, ForLabels):
    """A classifier of trees that tells its decision alone."""


class ForTreeScores(Readable, ForScores):
    """A classifier of trees."""


class ForTreeValues(Readable, ForValues):
    """A regressor of trees."""


Model = ForGradients | ForScores | ForLabels | ForValues | ForValueGradients


def differentiated(model: Asked, x: Tensor) -> Tensor:
    """Return what a backend answers with gradients back to x; CapabilityError where it has none."""
    forward: Callable[[Any], Tensor] | None = getattr(model.backend, "forward", None)
    if forward is None:
        raise CapabilityError(f"{model.backend.format}: gives no gradients; use its scores")
    out = answer(forward, x)
    model.counter.forwards += len(x)
    model.counter.gradients += len(x)
    return out


def granted(backend: Backend, access: Access, output: Output, classes: Classes, *, structure: bool = False) -> Model:
    """Return the model as far as the attacker may reach it; `structure`: trees lie open, where there are any."""
    if structure and access != "gradients":
        if output == "value":
            return ForTreeValues(backend, output, classes)
        return (ForTreeLabels if "labels" in (output, access) else ForTreeScores)(backend, output, classes)
    if output == "value":
        return (ForValueGradients if access == "gradients" else ForValues)(backend, output, classes)
    if output == "labels" or access == "labels":
        return ForLabels(backend, output, classes)
    return (ForGradients if access == "gradients" else ForScores)(backend, output, classes)


def answer(call: Callable[[Any], Tensor], x: Any) -> Tensor:
    """Call the model; what it raises becomes a ModelError that keeps the cause."""
    try:
        return call(x)
    except (ModelError, CapabilityError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # a model that leaves must not end the run
        text = " ".join(_ESCAPES.sub("", str(error)).split())[:300]  # Keras says what was wrong in its third line
        rows = f"{len(x)} rows" + (f" of shape {tuple(x.shape[1:])}" if isinstance(x, Tensor) else "")
        raise ModelError(f"model: raised {type(error).__name__} on {rows}: {text}; --debug shows where") from error


def checked(raw: Tensor, n: int, classes: int, output: Output) -> Tensor:
    """Return raw scores as (n, classes); a single column becomes two classes.

    Raises ModelError for other shapes and for values that are not numbers.
    """
    if raw.is_complex():
        raise ModelError(f"model: answered {raw.dtype}; want real numbers")
    raw = raw.unsqueeze(1) if raw.ndim == 1 else raw
    raw = raw if raw.is_floating_point() else raw.float()
    if raw.ndim == 2 and raw.shape[1] == 1 and classes == 2:
        first = 1 - raw if output == "probabilities" else torch.zeros_like(raw)
        raw = torch.cat([first, raw], dim=1)
    if tuple(raw.shape) != (n, classes):
        raise ModelError(
            f"model: answered with shape {tuple(raw.shape)}, want ({n}, {classes}): a score per row and class"
        )
    wrong = torch.isnan(raw.detach()) | (raw.detach() == torch.inf)  # minus infinity is a class that is ruled out
    if bool(wrong.any()):
        row = int(wrong.any(1).int().argmax())
        raise ModelError(f"model: answered NaN or inf for row {row} of a batch of {n}; want numbers")
    return raw


def one_number(raw: Tensor, n: int) -> Tensor:
    """Return predictions as (n,) float64; ModelError for other shapes and for values that are not numbers."""
    if raw.is_complex() or raw.numel() != n or not bool(torch.isfinite(raw).all()):
        raise ModelError(f"model: answered {tuple(raw.shape)} for {n} rows, or NaN; want one finite number per row")
    return raw.reshape(-1).double()


def named_labels(raw: Tensor, n: int, classes: int) -> Tensor:
    """Return predicted classes as (n,) int64; ModelError for anything but class numbers."""
    labels = raw.reshape(-1)
    if len(labels) != n or bool(((labels < 0) | (labels >= classes) | (labels != labels.round())).any()):
        raise ModelError(f"model: answered {tuple(raw.shape)}; want {n} class numbers in [0, {classes}), or scores")
    return labels.long()


def logarithms(scores: Tensor, output: Output) -> Tensor:
    """Return log-probabilities of scores, (n, classes) float64; probabilities of 0 become the smallest double.

    >>> logarithms(torch.tensor([[0.0, 0.0]]), "logits").exp()
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    if output == "probabilities":
        return scores.double().clamp(min=torch.finfo(torch.float64).tiny).log()
    return torch.log_softmax(scores.double(), dim=1)
