"""One text per value, one hash per text: what keys, fingerprints and the journal are made of."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(value: Any) -> str:
    """Return the JSON text of `value` with sorted keys and no spaces; NaN and infinities are refused.

    Raises ValueError for numbers that JSON lacks and TypeError for objects that are not plain data.

    >>> canonical({"b": 1, "a": (0.5, None)})
    '{"a":[0.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(*parts: Any) -> str:
    """Return the SHA-256 (hex) of the parts, each with its length before it so that no two lists collide.

    >>> digest("ab", "c") == digest("a", "bc")
    False
    """
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else canonical(part).encode()
        total.update(b"b" if isinstance(part, bytes) else b"j")  # bytes never pass for the text of a value
        total.update(len(data).to_bytes(8, "big"))
        total.update(data)
    return total.hexdigest()


def derive_key(seed: int, name: str) -> int:
    """Return the 64-bit key (as a signed integer) of a named stream of random numbers.

    >>> derive_key(0, "a") == derive_key(0, "b")
    False
    """
    return int.from_bytes(bytes.fromhex(digest(seed, name))[:8], "big", signed=True)


def plain(value: Any) -> Any:
    """Return `value` with mappings as dicts, sequences as lists and numpy scalars as Python numbers.

    >>> plain({"rows": (1, 2)})
    {'rows': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return value.item() if hasattr(value, "item") else value
