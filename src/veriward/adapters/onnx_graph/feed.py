"""From rows to a graph's inputs: one array, or one input per column as skl2onnx writes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from veriward.adapters.onnx_graph.graph import Port
from veriward.adapters.onnx_graph.tensors import Array
from veriward.core.data import Table
from veriward.core.errors import ArtefactError, ModelError

TEXT = 8
FLOATS = {1: "f4", 10: "f2", 11: "f8"}  # onnx.TensorProto.DataType
NUMBERS = {**FLOATS, 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 12: "u4", 13: "u8"}


class Feeder:
    """Knows the inputs of a graph. `columns` are their names where there is one for each column of a table."""

    def __init__(self, ports: Sequence[Port], where: str) -> None:
        self.ports = tuple(ports)
        self.columns = tuple(port.name for port in ports) if len(ports) > 1 else None
        self.width = len(ports) if len(ports) > 1 else _width(ports[0])
        for port in ports:
            if port.elem not in NUMBERS and port.elem != TEXT:
                raise ArtefactError(f"{where}: input {port} is of a type that rows cannot have; want numbers or texts")
            if (
                len(ports) > 1
                and port.shape is not None
                and (len(port.shape) > 2 or port.shape[1:] not in ((), (1,), (None,)))
            ):
                raise ArtefactError(f"{where}: input {port} is one of {len(ports)}, so it must take one column each")
        batches = {port.shape[0] for port in ports if port.shape}
        self.static = next((size for size in batches if size is not None), None)

    def feeds(self, x: Any) -> dict[str, Array]:
        """Return the arrays of whole rows, by the inputs' names; ModelError for rows that do not fit."""
        if self.columns is None:
            port = self.ports[0]
            values = _matrix(x, port) if isinstance(x, Table) else _array(x)
            check_rows(port, values.shape)
            return {port.name: _typed(values, port)}
        columns = x.select(self.columns).columns if isinstance(x, Table) else self._cut(_array(x))
        return {port.name: _column(_typed(columns[port.name], port), port) for port in self.ports}

    def _cut(self, x: Array) -> dict[str, Array]:
        assert self.columns is not None
        if x.ndim != 2 or x.shape[1] != len(self.columns):
            raise ModelError(f"model: takes {len(self.columns)} columns, got rows of shape {x.shape[1:]}")
        return {name: x[:, i] for i, name in enumerate(self.columns)}


def check_rows(port: Port, shape: Sequence[int]) -> None:
    """Raise ModelError for rows of another shape than the graph takes.

    >>> check_rows(Port("x", 1, (None, 4)), (10, 4))
    """
    if port.shape is None:
        return
    wanted = port.shape[1:]
    if len(shape) - 1 != len(wanted) or any(w not in (None, s) for w, s in zip(wanted, shape[1:], strict=True)):
        told = ", ".join(str(size or "any") for size in wanted)
        raise ModelError(
            f"model: input {port.name!r} takes rows of shape ({told}), got rows of shape {tuple(shape[1:])}"
        )


def _width(port: Port) -> int | None:
    return port.shape[1] if port.shape is not None and len(port.shape) == 2 else None


def _array(x: Any) -> Array:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _matrix(x: Table, port: Port) -> Array:
    if port.elem != TEXT:
        return x.matrix()
    return np.column_stack([column.astype(object) for column in x.columns.values()])


def _column(values: Array, port: Port) -> Array:
    return values if port.shape is not None and len(port.shape) == 1 else values[:, None]


def _typed(values: Array, port: Port) -> Array:
    """Return values of the input's type. Whole numbers are rounded to, as a sensor does; texts must not be missing."""
    if port.elem == TEXT:
        if values.dtype == object and any(value is None for value in values.flat):
            raise ModelError(f"model: input {port.name!r} takes texts, and some rows have none; fill the gaps")
        return values.astype(str).astype(object)
    if values.dtype.kind not in "biuf":
        raise ModelError(f"model: input {port.name!r} takes numbers, got {values.dtype}; encode the texts")
    dtype = np.dtype(NUMBERS[port.elem])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.rint(values)
        if not bool(((values >= limits.min) & (values <= limits.max)).all()):
            raise ModelError(f"model: input {port.name!r} takes {dtype}; some rows have no value, or one out of range")
    return np.ascontiguousarray(values.astype(dtype))
