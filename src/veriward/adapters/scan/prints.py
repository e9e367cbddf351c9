"""Fingerprints of JSON nodes, to tell whether two of them say the same."""

import hashlib
from collections.abc import Iterator

# Names that skops draws anew each time it writes an object, and what only the first node of a file carries.
_FLEETING = ("__id__", "file", "protocol", "_skops_version")


class Prints:
    """Fingerprints of dicts, each computed once: a node within a node within a node is not hashed three times.

    >>> prints = Prints()
    >>> prints.of({"a": [1], "__id__": 5}) == prints.of({"a": [1], "__id__": 6})
    True
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, bytes]] = {}

    def of(self, value: object) -> bytes:
        """The fingerprint of a JSON value, without its ids and file names.

        >>> Prints().of([1]) == Prints().of([2])
        False
        """
        if isinstance(value, dict):
            known = self._known.get(id(value))
            return known[1] if known is not None else self._remember(value)
        if isinstance(value, list):
            return _digest(b"[", (self.of(item) for item in value))
        return _digest(type(value).__name__.encode(), [str(value).encode("utf-8", "surrogatepass")])

    def _remember(self, value: dict[str, object]) -> bytes:
        parts = (self.of(key) + self.of(item) for key, item in value.items() if key not in _FLEETING)
        print_ = _digest(b"{", parts)
        self._known[id(value)] = (value, print_)  # with the dict, lest another one gets its identity
        return print_


def _digest(tag: bytes, parts: Iterator[bytes] | list[bytes]) -> bytes:
    digest = hashlib.sha256(tag)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()
