"""One line per mistake in a TOML file: where, what came, what was wanted."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

# pydantic speaks of Python's types; a file has texts, lists and tables
WANTED = {
    "tuple_type": "a list in square brackets",
    "list_type": "a list in square brackets",
    "model_type": "a table of keys",
    "model_attributes_type": "a table of keys",
    "dict_type": "a table of keys",
    "string_type": "a text in quotes",
    "too_short": "at least {min_length} of them, got {actual_length}",
    "too_long": "at most {max_length} of them, got {actual_length}",
}


def explain(
    where: str,
    error: ValidationError,
    model: type[BaseModel],
    line_of: Callable[[Sequence[Any]], int | None] = lambda path: None,
) -> str:
    """Return a message that names each key, the value that came and the choices; and its line, where `line_of` tells."""
    lines = []
    for item in error.errors(include_url=False):
        number = line_of([part for part in item["loc"] if not _is_union_tag(part)])
        lines.append((f"line {number}: " if number else "") + _line(dict(item), model))
    return f"{where}: " + " · ".join(dict.fromkeys(lines))


def _line(item: dict[str, Any], model: type[BaseModel]) -> str:
    path = [part for part in item["loc"] if not _is_union_tag(part)]
    key = ".".join(str(part) for part in path)
    if item["type"] == "extra_forbidden":
        known = _known_keys(model, path[:-1])
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown key {key!r}; {hint}known here: {', '.join(known)}"
    if item["type"] == "missing":
        return f"{key} is missing"
    message = WANTED.get(item["type"], item["msg"]).format(**item.get("ctx", {}))
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    came = item.get("input")
    plain = came if isinstance(came, list | tuple) and len(came) <= 4 else [came]  # longer ones may be rows
    shown = f" = {came!r:.60}" if all(isinstance(value, str | int | float | bool) for value in plain) else ""
    wanted = "" if item["type"] == "value_error" else "want "
    return f"{key}{shown}: {wanted}{message}"


def _is_union_tag(part: Any) -> bool:
    return isinstance(part, str) and any(sign in part for sign in "[(-")


def _known_keys(model: type[BaseModel], path: list[Any]) -> list[str]:
    """Follow a path of keys through nested models; a dictionary or list leads to its value type."""
    current: Any = model
    for part in path:
        fields = getattr(current, "model_fields", {})
        field = next((f for name, f in fields.items() if part in (name, f.alias)), None)
        current = _model_within(field.annotation) if field else current
    fields = getattr(current, "model_fields", {})
    return sorted(field.alias or name for name, field in fields.items() if not field.exclude)


def _model_within(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_within(arg) for arg in getattr(annotation, "__args__", ()))
    return next((found for found in inner if found is not None), None)
