"""Arrays inside plain data: the data goes into the journal as JSON, the arrays beside it as blobs named by hash."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np

from veriward.core.canonical import plain

ARRAY, BYTES = "$array", "$bytes"


def pack(value: Any, blobs: dict[str, bytes]) -> Any:
    """Return `value` as plain data; its arrays and bytes are added to `blobs` and named there by SHA-256.

    >>> blobs = {}
    >>> packed = pack({"broken": np.array([0, 1])}, blobs)
    >>> unpack(packed, blobs.__getitem__)["broken"].tolist()
    [0, 1]
    """
    if isinstance(value, np.ndarray):
        return _named(ARRAY, _array_bytes(value), blobs)
    if isinstance(value, bytes):
        return _named(BYTES, value, blobs)
    if isinstance(value, Mapping):
        return {str(key): pack(item, blobs) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item, blobs) for item in value]
    return plain(value)


def unpack(value: Any, fetch: Callable[[str], bytes]) -> Any:
    """Return what `pack` was given; `fetch` returns a blob by its name."""
    if isinstance(value, dict):
        if set(value) == {ARRAY}:
            return _bytes_array(fetch(value[ARRAY]))
        if set(value) == {BYTES}:
            return fetch(value[BYTES])
        return {key: unpack(item, fetch) for key, item in value.items()}
    return [unpack(item, fetch) for item in value] if isinstance(value, list) else value


def references(value: Any) -> set[str]:
    """Return the names of all blobs that a packed value points to."""
    if isinstance(value, dict):
        if set(value) in ({ARRAY}, {BYTES}):
            return {str(next(iter(value.values())))}
        return set().union(*(references(item) for item in value.values()))
    return set().union(*(references(item) for item in value)) if isinstance(value, list) else set()


def _named(kind: str, data: bytes, blobs: dict[str, bytes]) -> dict[str, str]:
    name = sha256(data).hexdigest()
    blobs[name] = data
    return {kind: name}


def _array_bytes(array: "np.ndarray[Any, Any]") -> bytes:
    from safetensors.numpy import save

    data: bytes = save({"a": np.asarray(array, order="C")})  # ascontiguousarray would make (1,) of ()
    return data


def _bytes_array(data: bytes) -> "np.ndarray[Any, Any]":
    from safetensors.numpy import load

    array: np.ndarray[Any, Any] = load(data)["a"]
    return array
