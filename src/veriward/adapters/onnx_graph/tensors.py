"""From the bytes of an ONNX file to its message and its tensors. Nothing but these bytes is read: no path is opened."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from veriward.adapters.doors import door
from veriward.core.errors import ArtefactError

MOST_BYTES = (1 << 31) - 1  # protocol buffers hold no more
Array = np.ndarray[Any, Any]


def parsed(content: bytes, where: str) -> Any:
    """Return the ModelProto; ArtefactError if the bytes are none."""
    onnx = door("onnx", "onnx", f"{where}: an ONNX model")
    if len(content) > MOST_BYTES:
        raise ArtefactError(f"{where}: {len(content)} bytes; want less than 2 GB: keep the weights in external data")
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:
        raise ArtefactError(f"{where}: not a readable ONNX model ({error}); export it again") from error
    _check_names(model, where)
    if not model.graph.node:
        raise ArtefactError(f"{where}: its graph has no node, so it computes nothing; export the model again")
    return model


def _check_names(message: Any, where: str) -> None:
    """Raise ArtefactError for names that are no text: the parser lets them pass as bytes."""
    if message.DESCRIPTOR.name == "TensorProto":  # its numbers are not to be copied for that
        texts: list[Any] = [message.name, message.doc_string]
    else:
        texts = []
        for field, value in message.ListFields():
            parts = [value] if hasattr(value, "DESCRIPTOR") or isinstance(value, str | bytes) else value
            if field.type == field.TYPE_MESSAGE:
                for part in parts:
                    _check_names(part, where)
            elif field.type == field.TYPE_STRING:
                texts += parts
    if any(isinstance(text, bytes) for text in texts):
        raise ArtefactError(f"{where}: holds a name that is no text; export it again")


def all_tensors(message: Any) -> Iterator[Any]:
    """Yield every TensorProto inside a message: weights, attributes, subgraphs, functions."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from all_tensors(part)


def embed(model: Any, read: Callable[[str], bytes], where: str) -> None:
    """Put external tensors into the message, from files that were scanned with it, so that no library opens a file."""
    files: dict[str, bytes] = {}
    total = 0
    for tensor in all_tensors(model):
        total += _fill(tensor, files, read, where) if tensor.data_location or tensor.external_data else 0
        if total > MOST_BYTES:
            raise ArtefactError(f"{where}: more than 2 GB of external tensors, which this version does not take")


def _fill(tensor: Any, files: dict[str, bytes], read: Callable[[str], bytes], where: str) -> int:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name = entries.get("location", "")
    if name not in files:
        files[name] = read(name)
    content = files[name]
    try:
        start = int(entries.get("offset", 0))
        length = int(entries.get("length", len(content) - start))
    except ValueError:
        start, length = -1, 0
    if start < 0 or length < 0 or start + length > len(content):
        raise ArtefactError(
            f"{where}: tensor {tensor.name!r} wants bytes {entries.get('offset', 0)} + {entries.get('length', '…')} "
            f"of {name!r}, which has {len(content)}; the two files do not belong together"
        )
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    tensor.raw_data = content[start : start + length]
    return length


def array(tensor: Any, where: str) -> Array:
    """Return a tensor's numbers; ArtefactError where its data do not fill its shape."""
    from_proto = door("onnx.numpy_helper", "onnx", f"{where}: an ONNX model").to_array
    shape = tuple(tensor.dims)
    try:
        if any(size < 0 for size in shape):
            raise ValueError("a negative size")
        values = np.array(from_proto(tensor))  # a copy: what the message lends must not be written to
    except Exception as error:
        raise ArtefactError(
            f"{where}: tensor {tensor.name!r} of shape {shape} does not hold the numbers it says ({error}); export again"
        ) from error
    return values
