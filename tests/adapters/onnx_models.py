"""Small ONNX graphs for the tests: built with onnx.helper, run by onnxruntime and by the torch reading."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from veriward.adapters.artefact import Artefact
from veriward.adapters.loading import Loading
from veriward.adapters.onnx import from_onnx
from veriward.adapters.onnx_graph.graph import read_graph
from veriward.adapters.onnx_graph.module import read_module
from veriward.adapters.onnx_graph.session import Session
from veriward.adapters.scan import ScanResult
from veriward.core.subject import Subject

FLOAT = TensorProto.FLOAT


def initialisers(values: Mapping[str, Any]) -> list[Any]:
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def model_of(
    nodes: Sequence[Any],
    shape: Sequence[Any] | None,
    constants: Mapping[str, Any] = {},
    *,
    opset: int = 17,
    outputs: Sequence[Any] = (),
    elem: int = FLOAT,
) -> Any:
    """A graph from "x" to "y", unless `outputs` says otherwise."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", elem, shape)],
        list(outputs) or [helper.make_tensor_value_info("y", elem, None)],
        initialisers(constants),
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def one_op(op: str, inputs: Sequence[Any], opset: int, outputs: int = 1, **attributes: Any) -> Any:
    """A graph of one operator; the first float array is the input, the others are constants, None is absent."""
    names = ["x", *(f"c{i}" if value is not None else "" for i, value in enumerate(inputs[1:], 1))]
    constants = {f"c{i}": value for i, value in enumerate(inputs[1:], 1) if value is not None}
    out = ["y", *(f"y{i}" for i in range(1, outputs))]
    node = helper.make_node(op, names, out, **attributes)
    elem = helper.np_dtype_to_tensor_dtype(inputs[0].dtype)
    outs = [onnx.ValueInfoProto(name=name) for name in out]
    return model_of([node], [None, *inputs[0].shape[1:]], constants, opset=opset, outputs=outs, elem=elem)


def both(model: Any, x: np.ndarray, output: str = "y") -> tuple[np.ndarray, np.ndarray]:
    """The answers of the torch reading and of onnxruntime."""
    graph = read_graph(model, "test.onnx")
    module = read_module(graph, graph.inputs[0], output)
    ours = module(torch.from_numpy(x)).numpy()
    theirs = Session(model, "test.onnx").run({"x": x}, output)
    return ours, theirs


def artefact_of(model: Any, folder: Path) -> Artefact:
    """A file that passed the scanner."""
    path = folder / "model.onnx"
    content = model if isinstance(model, bytes) else model.SerializeToString()
    path.write_bytes(content)
    return Artefact(path, ScanResult("clean", "onnx", hashlib.sha256(content).hexdigest(), ()))


def opened(model: Any, folder: Path, access: str | None = None, **data: Any) -> Any:
    """The backend of a model, as a subject opens it."""
    test = (np.zeros((2, 1)), [0, 1])
    subject = Subject.model_validate(
        {"model": {"path": "model.onnx", "access": access}, "data": {"test": test, **data}}
    )
    return from_onnx(artefact_of(model, folder), subject, Loading("cpu"))
