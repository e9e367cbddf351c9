"""Which output of a graph is the answer, what its classes are called, and how it becomes a tensor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.onnx_graph.feed import FLOATS, TEXT
from veriward.adapters.onnx_graph.graph import Graph, Port
from veriward.adapters.onnx_graph.operator import Node
from veriward.core.errors import ArtefactError, ModelError, some

PREFERRED = ("logits", "probabilities", "output_probability", "output", "scores")
NAMES = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")
CLASSICAL = "ai.onnx.ml:"  # the domain of trees, linear models and encoders
Classes = tuple[Any, ...]


@dataclass(frozen=True)
class Answer:
    """The output that is asked for. `kind` is None where its numbers must tell what they are."""

    port: Port
    kind: Literal["labels", "value"] | None
    classes: Classes | None

    def tensor(self, raw: Any) -> Tensor:
        """Return an output of onnxruntime as a tensor: scores by class, values, or class numbers."""
        if isinstance(raw, list):  # ZipMap: one mapping from class to probability for each row
            return torch.tensor(self._unzipped(raw))
        if self.kind == "labels":
            return self._numbered(raw)
        if not isinstance(raw, np.ndarray) or raw.dtype.kind != "f":
            raise ModelError(f"model: output {self.port.name!r} is {type(raw).__name__}; want numbers")
        return torch.from_numpy(raw)

    def _unzipped(self, rows: list[Any]) -> list[list[float]]:
        if not all(isinstance(row, Mapping) for row in rows):
            raise ModelError(f"model: output {self.port.name!r} is a list of {type(rows[0]).__name__}; want mappings")
        names = self.classes or tuple(sorted(rows[0])) if rows else ()
        return [[float(row[name]) for name in names] for row in rows]

    def _numbered(self, raw: Any) -> Tensor:
        if self.classes is None:
            return torch.from_numpy(raw)
        number = {name: i for i, name in enumerate(self.classes)}
        strange = [name for name in raw.reshape(-1).tolist() if name not in number]
        if strange:
            raise ModelError(f"model: answered the class {strange[0]!r}; it knows {some(self.classes)}")
        return torch.tensor([number[name] for name in raw.reshape(-1).tolist()])


def choose_answer(graph: Graph, classes: Classes | None) -> Answer:
    """Return the output to ask for: scores before labels, known names before others, matrices before the rest.

    `classes` are those of the subject, for a graph that gives names of classes alone and does not list them.
    """
    names = class_names(graph)
    scores = [port for port in graph.outputs if port.elem in FLOATS or port.elem == 0]
    if scores:
        by_name = {port.name.lower(): port for port in scores}
        named = [by_name[name] for name in PREFERRED if name in by_name]
        matrices = [port for port in scores if port.shape is not None and len(port.shape) == 2]
        return Answer((named or matrices or scores)[0], _value(graph), names)
    labels = [port for port in graph.outputs if port.elem in (TEXT, 6, 7)]
    if not labels:
        told = some(graph.outputs)
        raise ArtefactError(f"{graph.where}: no output of floating numbers or labels; its outputs are {told}")
    if labels[0].elem == TEXT and not (names or classes):
        raise ArtefactError(f"{graph.where}: answers names of classes alone; list them as data.classes")
    return Answer(labels[0], "labels", names or (classes if labels[0].elem == TEXT else None))


def _value(graph: Graph) -> Literal["value"] | None:
    """A single output from a classical regressor is a value; classifiers use regressors too, beside a label."""
    regressors = [node for node in graph.nodes if node.op.startswith(CLASSICAL) and node.op.endswith("Regressor")]
    return "value" if regressors and len(graph.outputs) == 1 and class_names(graph) is None else None


def class_names(graph: Graph) -> Classes | None:
    """Return the names of the classes where a ZipMap or a classical classifier lists them, in the order of the scores."""
    classical = [node for node in reversed(graph.nodes) if node.op.startswith(CLASSICAL)]
    zipped = [node for node in classical if node.op.endswith("ZipMap")]
    for node in (*zipped, *classical):
        found = _listed(node)
        if found:
            return found
    return None


def _listed(node: Node) -> Classes:
    return next((tuple(node.get(key)) for key in NAMES if node.get(key)), ())
