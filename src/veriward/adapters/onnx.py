"""ONNX files: gradients by our own reading of the graph, refereed by onnxruntime; scores by onnxruntime where that fails."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.artefact import Artefact
from veriward.adapters.elsewhere import standing
from veriward.adapters.loading import Loading, choose_device
from veriward.adapters.model import Classes
from veriward.adapters.modules import TILE, ModuleBackend
from veriward.adapters.onnx_graph.answers import Answer, choose_answer
from veriward.adapters.onnx_graph.feed import FLOATS, Feeder
from veriward.adapters.onnx_graph.graph import Graph, read_graph
from veriward.adapters.onnx_graph.logits import logits
from veriward.adapters.onnx_graph.module import GraphModule, read_module
from veriward.adapters.onnx_graph.operator import TooLarge, Unsupported
from veriward.adapters.onnx_graph.referee import judge, trials
from veriward.adapters.onnx_graph.session import Session
from veriward.adapters.onnx_graph.tensors import Array, embed, parsed
from veriward.core.errors import ArtefactError, ModelError, SettingsError
from veriward.core.note import Note, note
from veriward.core.subject import Access, Output, Subject


class OnnxBackend:
    """A graph that onnxruntime runs, in tiles: a row's answer must not depend on how many travel with it."""

    format: str = "onnx"

    def __init__(self, session: Session, feeder: Feeder, answer: Answer) -> None:
        self.session, self.feeder, self.answer = session, feeder, answer
        self.access: Access = "labels" if answer.kind == "labels" else "scores"
        self.classes: Classes | None = answer.classes
        self.columns, self.width = feeder.columns, feeder.width
        self.output = answer.kind
        self.tile = feeder.static or TILE
        self.notes: tuple[Note, ...] = ()  # why there are no gradients, for the reader of the report

    def raw(self, x: Any) -> Tensor:
        """Return probabilities, logits, values or class numbers of whole rows."""
        feeds = self.feeder.feeds(x)
        parts = [self._run(feeds, start, min(start + self.tile, len(x))) for start in range(0, len(x), self.tile)]
        return torch.cat(parts)

    def _run(self, feeds: dict[str, Array], start: int, end: int, *, patient: bool = True) -> Tensor:
        rows = np.minimum(np.arange(start, start + self.tile), end - 1)  # the last row fills the tile
        part = {name: values[rows] for name, values in feeds.items()}
        out = self.answer.tensor(self.session.run(part, self.answer.port.name, patient=patient))
        if not out.ndim or len(out) != self.tile:
            raise ModelError(f"model: answered shape {tuple(out.shape)} for {self.tile} rows; want one answer per row")
        return out[: end - start]

    def tried(self, rows: Array) -> Tensor | None:
        """Return the answers to trial rows, None where the graph does not take them; learns the size of the tiles.

        A graph may call its batch open and still hold the size with which it was exported, which is mostly 1.
        """
        for tile in (self.tile,) if self.feeder.static else (TILE, 1):
            self.tile = tile
            try:
                first = self._run(self.feeder.feeds(rows), 0, min(tile, len(rows)), patient=False)
                return torch.cat([first, self.raw(rows[tile:])]) if tile < len(rows) else first
            except ModelError:
                continue
        self.tile = self.feeder.static or TILE
        return None


def from_onnx(artefact: Artefact, subject: Subject, how: Loading) -> OnnxBackend | ModuleBackend:
    """Load an `.onnx` file that passed the scanner.

    Raises ArtefactError for what is no valid graph, and SettingsError where the subject asks for gradients that the
    graph does not give; the message names every operator that has no torch reading.
    """
    where = str(artefact.path)
    model = parsed(artefact.content(), where)
    embed(model, artefact.part, where)
    graph = read_graph(model, where)
    answer = choose_answer(graph, subject.data.classes)
    if not graph.inputs:
        raise ArtefactError(f"{where}: its graph has no input, so it answers nothing about rows; export it again")
    feeder = Feeder(graph.inputs, where)
    # before onnxruntime sees it: what constants ask for beyond all measure is found here
    module = _read(graph, feeder, answer)
    scores = OnnxBackend(Session(model, where), feeder, answer)
    found = _refereed(graph, module, scores, how) if isinstance(module, GraphModule) else module
    if isinstance(found, ModuleBackend) and subject.model.access in (None, "gradients"):
        # one source of answers: scores and gradients both come from the reading, so attack and verification agree
        reading = _before_activation(found, graph, answer, subject)
        whole: Output | None = (
            "probabilities" if reading.output == "logits" else None
        )  # onnxruntime runs the activation too
        reading.others["onnxruntime"] = standing(scores.raw, whole)
        return reading
    if isinstance(found, str):
        scores.notes = (note("model.no_gradients", why=found),)
        if subject.model.access == "gradients":
            raise SettingsError(f"model.access = 'gradients', but {where} gives none: {found}; say 'scores'")
    return scores


def _before_activation(backend: ModuleBackend, graph: Graph, answer: Answer, subject: Subject) -> ModuleBackend:
    """End the reading that the referee passed before its last softmax or sigmoid, unless the subject wants that."""
    if subject.model.output is not None or subject.task not in (None, "classification"):
        return backend
    found = logits(graph, graph.inputs[0], answer.port)
    if found is not None:
        backend.module = found[0].to(backend.device).eval()
        backend.output, backend.notes = "logits", (note("model.activation_off", activation=found[1]),)
    return backend


def _read(graph: Graph, feeder: Feeder, answer: Answer) -> GraphModule | str:
    """Return the graph as a module, or why it has none."""
    port = feeder.ports[0]
    if len(feeder.ports) > 1:
        return f"it takes {len(feeder.ports)} inputs"
    if port.elem not in FLOATS:
        return "its input takes no floating numbers"
    if answer.port.elem not in FLOATS:
        return f"its output {answer.port.name!r} holds no floating numbers"
    try:
        return read_module(graph, port, answer.port.name)
    except Unsupported as error:
        return f"no torch reading of {error}"


def _refereed(graph: Graph, module: GraphModule, scores: OnnxBackend, how: Loading) -> ModuleBackend | str:
    """Return the reading as a backend if it answers as onnxruntime does, else why not."""
    port = scores.feeder.ports[0]
    for rows in trials(port, graph):
        _affordable(graph, module, rows)
        expected = scores.tried(rows)
        if expected is None:
            continue
        verdict: str | None = None
        # a fixed batch is mostly the one of the export alone: whole tiles are tried first
        for tile in dict.fromkeys((None, None if scores.tile == TILE else scores.tile)):
            verdict = judge(_backend(module, scores, Loading("cpu"), tile), rows, expected, port.elem)
            if verdict is None:
                return _backend(module, scores, how, tile)
        return verdict or ""
    return f"onnxruntime takes no trial rows for input {port}; export it with fixed sizes"


def _affordable(graph: Graph, module: GraphModule, rows: Array) -> None:
    """Raise ArtefactError for sizes beyond all measure: our reading counts them, onnxruntime would just ask for memory."""
    try:
        with torch.no_grad():
            module(torch.from_numpy(rows))
    except TooLarge as error:
        raise ArtefactError(f"{graph.where}: its graph makes {error}; export the model again") from error
    except Exception:  # noqa: S110 -- why else it fails is the referee's to tell, with the size of batch that the graph wants
        pass


def _backend(module: GraphModule, scores: OnnxBackend, how: Loading, static: int | None) -> ModuleBackend:
    device = choose_device(how.device)
    backend = ModuleBackend(
        module.to(device).eval(), format="onnx", device=device, batch_size=how.batch_size, static=static
    )
    backend.classes, backend.width = scores.classes, scores.width
    backend.dtype = torch.from_numpy(np.empty(0, FLOATS[scores.feeder.ports[0].elem])).dtype
    return backend
