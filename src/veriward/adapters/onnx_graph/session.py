"""onnxruntime on one thread, silent and deterministic: bytes in, answers out."""

import threading
from collections.abc import Mapping
from typing import Any

from veriward.adapters.doors import door
from veriward.adapters.onnx_graph.tensors import MOST_BYTES, Array
from veriward.core.errors import ArtefactError, ModelError

FATAL = 4  # the one level of messages that onnxruntime may print: what it raises we tell ourselves
PATIENCE_SECONDS = 60.0  # for one tile of a graph that loops as long as it likes


class Session:
    """A model that onnxruntime has accepted."""

    def __init__(self, model: Any, where: str) -> None:
        self.where = where
        self.loops = _has_loop(model)
        runtime = door("onnxruntime", "onnx", f"{where}: an ONNX model")
        runtime.set_default_logger_severity(FATAL)
        runtime.disable_telemetry_events()
        self._options: Any = runtime.RunOptions
        try:
            content = _serialised(model, where)
            self._session = runtime.InferenceSession(
                content, _settings(runtime), providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except ArtefactError:
            raise
        except Exception as error:
            raise ArtefactError(f"{where}: onnxruntime refuses it ({_first_line(error)}); export it again") from error

    def run(self, feeds: Mapping[str, Array], output: str, *, patient: bool = True) -> Any:
        """Return one output for a batch; ModelError for what onnxruntime raises, and for graphs that do not end."""
        options = self._options()
        options.log_severity_level = FATAL
        timer = threading.Timer(PATIENCE_SECONDS, setattr, (options, "terminate", True))
        watched = self.loops or not patient
        if watched:
            timer.start()
        try:
            return self._session.run([output], dict(feeds), options)[0]
        except Exception as error:
            shapes = ", ".join(f"{name} {value.shape}" for name, value in feeds.items())
            raise ModelError(f"{self.where}: onnxruntime answers {shapes[:200]} with: {_first_line(error)}") from error
        finally:
            if watched:
                timer.cancel()


def _settings(runtime: Any) -> Any:
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.use_deterministic_compute = True
    settings.log_severity_level = FATAL
    return settings


def _serialised(model: Any, where: str) -> bytes:
    if model.ByteSize() > MOST_BYTES:
        raise ArtefactError(f"{where}: more than 2 GB with its weights, which this version does not take")
    return bytes(model.SerializeToString())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _has_loop(message: Any) -> bool:
    """Return whether a Loop stands anywhere in a message, subgraphs and functions included."""
    if message.DESCRIPTOR.name == "TensorProto":
        return False
    if message.DESCRIPTOR.name == "NodeProto" and message.op_type == "Loop":
        return True
    return any(
        _has_loop(part)
        for field, value in message.ListFields()
        if field.type == field.TYPE_MESSAGE
        for part in ([value] if hasattr(value, "DESCRIPTOR") else value)
    )
