"""Rows as the JSON that servers of models take."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from veriward.core.data import Table
from veriward.core.endpoint import Endpoint
from veriward.core.errors import ModelError


def encode_rows(x: Any, endpoint: Endpoint) -> bytes:
    """Return a request's body for a Table, or for an array of n rows. Missing values become null.

    >>> encode_rows(np.array([[0.5, 1.0]]), Endpoint())
    b'{"instances":[[0.5,1.0]]}'
    """
    rows = endpoint.rows or ("records" if isinstance(x, Table) else "lists")
    if rows == "tensor":
        body: Any = [_tensor(x, endpoint)]
    elif rows == "split":
        body = {"columns": list(_names(x)), "data": _lists(x)}
    else:
        body = _records(x) if rows == "records" else _lists(x)
    document = {endpoint.request_key: body} if endpoint.request_key else body
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _lists(x: Any) -> list[Any]:
    """Return one list per row, whatever its shape."""
    if isinstance(x, Table):
        return [list(row) for row in zip(*map(_plain, x.columns.values()), strict=True)]
    return _plain(_array(x))


def _records(x: Any) -> list[dict[str, Any]]:
    if not isinstance(x, Table):
        raise ModelError("model.endpoint.rows = 'records': the data have no names of columns; want 'lists'")
    return [dict(zip(x.names, row, strict=True)) for row in _lists(x)]


def _names(x: Any) -> Sequence[str]:
    if isinstance(x, Table):
        return x.names
    if _array(x).ndim != 2:
        raise ModelError("model.endpoint.rows = 'split': the rows are no tables; want 'lists' or 'tensor'")
    return [f"x{i}" for i in range(x.shape[1])]


def _tensor(x: Any, endpoint: Endpoint) -> dict[str, Any]:
    """Return an input of the open inference protocol, KServe's version 2: shape, datatype and the flat numbers."""
    array = np.column_stack(list(x.columns.values())) if isinstance(x, Table) else _array(x)
    if array.dtype == object and endpoint.datatype != "BYTES":
        raise ModelError(f"model.endpoint.datatype = {endpoint.datatype!r}: the columns hold texts; want 'BYTES'")
    if endpoint.datatype == "BYTES":
        array = np.array(["" if value is None else str(value) for value in array.reshape(-1)], object).reshape(
            array.shape
        )
    if endpoint.datatype.startswith(("INT", "UINT")) and bool((array == np.round(array)).all()):
        array = array.astype(np.int64)  # 3.0 is no integer to a strict reader
    return {
        "name": endpoint.tensor,
        "shape": list(array.shape),
        "datatype": endpoint.datatype,
        "data": _plain(array.reshape(-1)),
    }


def _array(x: Any) -> Any:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _plain(array: Any) -> list[Any]:
    """Return nested lists of plain values, None for what is missing: JSON has no NaN."""
    if array.dtype.kind == "f" and bool(np.isnan(array).any()):
        array = array.astype(object)
        array[array != array] = None  # noqa: PLR0124 -- NaN alone differs from itself
    return array.tolist()  # type: ignore[no-any-return]
