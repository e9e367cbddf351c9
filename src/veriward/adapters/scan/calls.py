"""The allowlist of pickles: which classes and functions may be named, and with which arguments they may be called.

A name is here because calling it with the arguments below only builds plain data: no file, no import, no lookup by
name, no callback, and no more memory than the stream itself holds. A rule answers what the call makes, or None where
the arguments are not of the expected shape.
"""

import re

from .arguments import (
    SHELVES,
    Arguments,
    Rule,
    is_bytes,
    is_constant,
    is_count,
    is_data,
    is_dtype,
    is_made,
    is_shelf,
    is_sizes,
    plain,
)
from .torch_calls import TENSORS, TORCH_TYPES
from .values import Data, Global, Made, Value
from .words import words

_PLAIN_DTYPE = re.compile(r"b1|\?|[iufc](1|2|4|8|16|32)|O8?|[SUV]\d{1,9}|[mM]8")
_FRACTION = re.compile(r"-?\d{1,2000}(/\d{1,2000})?")


def _shelf(kind: str) -> Rule:
    def rule(args: Arguments) -> Value:
        return Data(kind) if not args or (len(args) == 1 and is_shelf(args[0])) else None

    return rule


def _mapping(args: Arguments) -> Value:
    return Made("dict") if not args or (len(args) == 1 and is_shelf(args[0])) else None


def _default_mapping(args: Arguments) -> Value:
    # The factory is called at every missing key, so it must be a class that builds something empty.
    factory = args[0] if args else None
    fine = factory is None or (isinstance(factory, Global) and factory.path in _FACTORIES)
    return _mapping(args[1:]) if fine else None


def _queue(args: Arguments) -> Value:
    fine = not args or (is_shelf(args[0]) and all(item is None or is_count(item) for item in args[1:]))
    return Made("list") if fine else None


def _bytes(args: Arguments) -> Value:
    match args:
        case ():
            return Data("bytes")
        case (content,) if is_bytes(content) or is_data(content, "list"):  # a number would allocate that many bytes
            return Data("bytes")
        case (text, str() as encoding) if is_constant(text) and _is_encoding(encoding):
            return Data("bytes")
    return None


def _encode(args: Arguments) -> Value:
    # Other encodings are looked up by import, and some of them decompress.
    match args:
        case (str() | Data(kind="str"), str() as encoding) if _is_encoding(encoding):
            return Data("bytes")
    return None


def _is_encoding(name: str) -> bool:
    return name.lower() in ("latin1", "latin-1", "utf-8", "utf8", "ascii")


def _moment(args: Arguments) -> Value:
    # The hash of a date is that of its bytes, which nobody can predict.
    fine = all(is_constant(item) or is_made(item, "plain") for item in args)
    return Made("plain", "moment") if fine and len(args) <= 16 else None


def _fraction(args: Arguments) -> Value:
    # Fraction('1e999999999') would compute that power
    match args:
        case (str() as text,) if _FRACTION.fullmatch(text):
            return Made("plain")
        case (int(), int()):
            return Made("plain")
    return None


def _empty_array(args: Arguments) -> Value:
    # numpy makes an empty array first and fills it by BUILD; the first argument may be any class, so it is pinned.
    match args:
        case (Global() as cls, (0,), bytes() | Data(kind="bytes") | str()) if cls.path == "numpy.ndarray":
            return Made("array")
    return None


def _array_of_buffer(args: Arguments) -> Value:
    match args:
        case (buffer, dtype, shape, "C" | "F") if is_bytes(buffer) and is_dtype(dtype) and is_sizes(shape):
            return Made("array")
    return None


def _dtype(args: Arguments) -> Value:
    match args:
        case (str() as letters, *rest) if _PLAIN_DTYPE.fullmatch(letters) and all(is_constant(item) for item in rest):
            return Made("dtype", letters)
    return None


def _scalar(args: Arguments) -> Value:
    match args:
        case (dtype, content) if is_dtype(dtype) and is_bytes(content):
            return Made("plain")
    return None


def _reconstructor(args: Arguments) -> Value:
    # Protocols 0 and 1 rebuild an instance from its class, a base and the state of the base.
    match args:
        case (Global() as cls, Global() as base, state) if cls.path in _REBUILT and base.path in _BASES:
            return Made("dict") if state is None or is_shelf(state) else None
    return None


_REBUILT = ("collections.OrderedDict", "collections.Counter")

_BASES = ("builtins.object", "builtins.dict")

# Types that hold what they are given.
_BUILTINS: dict[str, Rule] = {
    **{f"builtins.{kind}": _shelf(kind) for kind in SHELVES},
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.complex": plain,
    "builtins.slice": plain,
    "builtins.range": plain,
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _reconstructor,
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": _default_mapping,
    "collections.deque": _queue,
    "datetime.datetime": _moment,
    "datetime.date": _moment,
    "datetime.time": _moment,
    "datetime.timedelta": _moment,
    "datetime.timezone": _moment,
    "decimal.Decimal": plain,
    "fractions.Fraction": _fraction,
}

# Arrays: numpy checks shape against bytes when it fills them, and BUILD is judged on its own.
_ARRAYS: dict[str, Rule] = {
    **{f"numpy.{core}.multiarray._reconstruct": _empty_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array_of_buffer for core in ("core", "_core")},
    "numpy.dtype": _dtype,
}

CALLS: dict[str, Rule] = _BUILTINS | _ARRAYS | TENSORS

_NUMPY_TYPES = words(
    """
    ndarray bool bool_ float16 float32 float64 longdouble complex64 complex128 int8 int16 int32 int64
    uint8 uint16 uint32 uint64 str_ bytes_ datetime64 timedelta64
    """,
    "numpy.",
)

_FACTORIES = words("list dict set tuple int float str bool", "builtins.")

# Names that may stand as values (a dtype in a checkpoint, the type of a column) but that nobody may call.
TYPES: frozenset[str] = (
    TORCH_TYPES | _NUMPY_TYPES | _FACTORIES | {"builtins.object", "builtins.Ellipsis", "builtins.NotImplemented"}
)
