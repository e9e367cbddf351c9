"""What BUILD may set on an object that an allowed call made.

BUILD hands a state to __setstate__, or writes it into the object's attributes. numpy trusts its states: a dtype whose
flags deny that it holds objects turns raw bytes into pointers. So states of arrays and dtypes must be exactly those
that numpy itself writes.
"""

import re
from math import prod

from .arguments import is_bytes, is_constant, is_data, is_dtype, is_made, is_sizes
from .values import Global, Made, Value

_OBJECT_FLAGS = 63  # what numpy writes for dtype('O'): reference counted, needs initialisation, pickled as a list
_TEXT_FLAGS = {"S": 0, "V": 0, "U": 8}  # U: the elements must be aligned
_TEXT = re.compile(r"([SUV])(\d+)")


def complaint(target: Value, state: Value, stream_bytes: int) -> str | None:
    """Why this BUILD is not harmless, or None.

    >>> complaint(Made("dict"), Made("dict"), 9) is None
    True
    >>> complaint(Made("tensor"), 3, 9)
    'sets a state that a harmless file does not hold'
    """
    if isinstance(target, Global):
        return "changes a class or function itself"
    fine = (
        (is_made(target, "dict") and (state is None or is_data(state, "dict") or is_made(state, "dict")))
        or (is_made(target, "array") and _is_array_state(state, stream_bytes))
        or (isinstance(target, Made) and target.kind == "dtype" and _is_dtype_state(target.detail, state))
    )
    return None if fine else "sets a state that a harmless file does not hold"


def _is_array_state(state: Value, stream_bytes: int) -> bool:
    match state:
        case (1, tuple() as shape, Made(kind="dtype") as dtype, bool(), content) if is_sizes(shape):
            # Objects come as a list, whose items the emulator has seen one by one. numpy allocates the array before it
            # looks how many there are, and each takes a byte of the stream or more.
            count = prod(side for side in shape if isinstance(side, int))
            return is_bytes(content) if is_dtype(dtype) else is_data(content, "list") and count <= stream_bytes
    return False


def _is_dtype_state(letters: str, state: Value) -> bool:
    match state:
        case (3, "<" | ">" | "|" | "=", None, None, None, int() as size, int() as alignment, int() as flags):
            return (size, alignment, flags) in _layouts(letters)
        case (4, "<" | ">" | "|" | "=", None, None, None, -1, -1, 0, (unit_of, unit)) if letters[0] in "mM":
            return (unit_of is None or is_data(unit_of, "dict")) and _is_unit(unit)
    return False


def _layouts(letters: str) -> set[tuple[int, int, int]]:
    """(size, alignment, flags) as numpy writes them for this dtype."""
    if letters.startswith("O"):
        return {(-1, -1, _OBJECT_FLAGS)}
    text = _TEXT.fullmatch(letters)
    if text is None:
        return {(-1, -1, 0)}
    kind, count = text[1], int(text[2])
    return {(4 * count, 4, _TEXT_FLAGS[kind])} if kind == "U" else {(count, 1, _TEXT_FLAGS[kind])}


def _is_unit(unit: Value) -> bool:
    return isinstance(unit, tuple) and len(unit) == 4 and all(is_constant(item) for item in unit)
