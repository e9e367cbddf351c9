"""Plain data as TOML: what a subject.toml is written with."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def inline(value: Any) -> str:
    """Return a value as TOML; its texts, numbers and lists are written as in JSON.

    >>> inline(["a", 0.5, True])
    '["a", 0.5, true]'
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def key(name: str) -> str:
    """Return a key, quoted where it has to be.

    >>> key("age"), key("net.income"), key("年龄")
    ('age', '"net.income"', '"年龄"')
    """
    return name if name.isascii() and name.replace("_", "").replace("-", "").isalnum() else inline(name)


def document(values: Mapping[str, Any]) -> str:
    """Return nested mappings as a TOML document: values first, then a table for every mapping; None is left out.

    >>> print(document({"name": "shop", "model": {"path": "m.pt2", "factory": None}, "data": {"label": "y"}}), end="")
    name = "shop"
    <BLANKLINE>
    [model]
    path = "m.pt2"
    <BLANKLINE>
    [data]
    label = "y"
    """
    return "\n".join(_lines(values, ())) + "\n"


def _lines(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    tables = {name: part for name, part in values.items() if isinstance(part, Mapping)}
    plain = {name: part for name, part in values.items() if name not in tables and part is not None}
    if path and (plain or not tables):
        yield ""
        yield f"[{'.'.join(key(name) for name in path)}]"
    for name, part in plain.items():
        yield f"{key(name)} = {inline(part)}"
    for name, part in tables.items():
        yield from _lines(part, (*path, name))
