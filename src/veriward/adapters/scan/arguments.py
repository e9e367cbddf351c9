"""What the arguments of a call are, as far as the emulator knows them."""

from collections.abc import Callable
from typing import TypeAlias

from .values import Data, Made, Value

Arguments: TypeAlias = tuple[Value, ...]
Rule: TypeAlias = Callable[[Arguments], "Value"]

SHELVES = ("list", "tuple", "set", "frozenset", "dict")


def is_constant(value: Value) -> bool:
    """Whether a value is a number, a text, bytes or None.

    >>> is_constant(1), is_constant(Data("list"))
    (True, False)
    """
    return value is None or isinstance(value, int | str | bytes) or is_data(value, "str", "bytes", "float", "int")


def is_data(value: Value, *kinds: str) -> bool:
    """Whether a value is plain content of one of these kinds.

    >>> is_data(Data("list"), "list", "dict")
    True
    """
    return isinstance(value, Data) and value.kind in kinds


def is_made(value: Value, *kinds: str) -> bool:
    """Whether a value is what an allowed call of one of these kinds returned.

    >>> is_made(Made("tensor"), "tensor")
    True
    """
    return isinstance(value, Made) and value.kind in kinds


def is_bytes(value: Value) -> bool:
    """Whether a value is bytes, kept or only measured.

    >>> is_bytes(b"x")
    True
    """
    return isinstance(value, bytes) or is_data(value, "bytes")


def is_sizes(value: Value) -> bool:
    """Whether a value is a tuple of natural numbers: a shape or strides.

    >>> is_sizes((2, 3)), is_sizes((-1,))
    (True, False)
    """
    return isinstance(value, tuple) and all(is_count(item) for item in value)


def is_dtype(value: Value, objects: bool = False) -> bool:
    """Whether a value is a dtype whose elements are numbers or text, or objects where these are allowed.

    >>> is_dtype(Made("dtype", "f8")), is_dtype(Made("dtype", "O8"))
    (True, False)
    """
    return isinstance(value, Made) and value.kind == "dtype" and (objects or not value.detail.startswith("O"))


def is_count(value: Value) -> bool:
    """Whether a value is a natural number that could be a size.

    >>> is_count(3), is_count(True), is_count(-1)
    (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def is_shelf(value: Value) -> bool:
    """Whether a value is a container, whose items were judged when they were pushed.

    >>> is_shelf(()), is_shelf(Data("dict")), is_shelf(Data("str"))
    (True, True, False)
    """
    return isinstance(value, tuple) or is_data(value, *SHELVES) or is_made(value, "dict", "list")


def plain(args: Arguments) -> Value:
    """A rule: a few constants make something plain, such as a range or a decimal.

    >>> plain((1, None)), plain((Data("list"),))
    (Made(kind='plain', detail='', count=0), None)
    """
    # Numbers of millions of digits are turned into decimals in the square of that time, and slices of slices of slices
    # are freed, and hashed by Python 3.12, by recursion.
    fine = all(is_constant(item) and not is_data(item, "str", "bytes", "int") for item in args)
    return Made("plain") if fine and len(args) <= 16 else None
