"""JSON from files that nobody trusts: bounded, and with every key once."""

import json

MAX_JSON_BYTES = 1 << 25  # parsed, this takes some hundred megabytes


class BadJson(ValueError):  # noqa: N818 -- never leaves the package
    """Not JSON, too large, too deep, or (`twice`) with a key that two readers may resolve differently."""

    def __init__(self, message: str, twice: bool = False) -> None:
        super().__init__(message)
        self.twice = twice


def read_json(content: bytes) -> object:
    """The parsed document; raises BadJson.

    >>> read_json(b'{"a": 1}')
    {'a': 1}
    >>> read_json(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    veriward.adapters.scan.jsons.BadJson: the key 'a' stands twice
    """
    if len(content) > MAX_JSON_BYTES:
        raise BadJson(f"{len(content)} bytes of JSON, more than the {MAX_JSON_BYTES} that are read")
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_once)
    except BadJson:
        raise
    except (ValueError, RecursionError) as error:
        raise BadJson(f"not readable as JSON ({type(error).__name__})") from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadJson(f"the key {twice[:60]!r} stands twice", twice=True)
    return found
