"""The allowlist of pickles: which classes and functions may be named, and with which arguments they may be called.

A name is here because calling it with the arguments below only builds plain data: no file, no import, no lookup by
name, no callback, and no more memory than the stream itself holds. A rule answers what the call makes, or None where
the arguments are not of the expected shape.
"""

import re
from collections.abc import Callable
from typing import TypeAlias

from .values import Data, Global, Made, Value
from .words import words

Arguments: TypeAlias = tuple[Value, ...]
Rule: TypeAlias = Callable[[Arguments], "Value"]

_SHELVES = ("list", "tuple", "set", "frozenset", "dict")
_PLAIN_DTYPE = re.compile(r"b1|\?|[iufc](1|2|4|8|16|32)|O8?|[SUV]\d{1,9}|[mM]8")
_FRACTION = re.compile(r"-?\d{1,2000}(/\d{1,2000})?")
_DEVICE = re.compile(r"[a-z]{2,16}(:\d{1,4})?")


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
    return isinstance(value, tuple) and all(_is_count(item) for item in value)


def is_dtype(value: Value, objects: bool = False) -> bool:
    """Whether a value is a dtype whose elements are numbers or text, or objects where these are allowed.

    >>> is_dtype(Made("dtype", "f8")), is_dtype(Made("dtype", "O8"))
    (True, False)
    """
    return isinstance(value, Made) and value.kind == "dtype" and (objects or not value.detail.startswith("O"))


def _is_count(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _is_shelf(value: Value) -> bool:
    return isinstance(value, tuple) or is_data(value, *_SHELVES) or is_made(value, "dict", "list")


def _shelf(kind: str) -> Rule:
    def rule(args: Arguments) -> Value:
        return Data(kind) if not args or (len(args) == 1 and _is_shelf(args[0])) else None

    return rule


def _mapping(args: Arguments) -> Value:
    return Made("dict") if not args or (len(args) == 1 and _is_shelf(args[0])) else None


def _default_mapping(args: Arguments) -> Value:
    # The factory is called at every missing key, so it must be a class that builds something empty.
    factory = args[0] if args else None
    fine = factory is None or (isinstance(factory, Global) and factory.path in _FACTORIES)
    return _mapping(args[1:]) if fine else None


def _queue(args: Arguments) -> Value:
    fine = not args or (_is_shelf(args[0]) and all(item is None or _is_count(item) for item in args[1:]))
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


def _plain(args: Arguments) -> Value:
    # Numbers of millions of digits are turned into decimals in the square of that time, and slices of slices of slices
    # are freed, and hashed by Python 3.12, by recursion.
    fine = all(is_constant(item) and not is_data(item, "str", "bytes", "int") for item in args)
    return Made("plain") if fine and len(args) <= 16 else None


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


def _sizes(args: Arguments) -> Value:
    return Made("plain", "moment") if len(args) == 1 and is_sizes(args[0]) else None


def _device(args: Arguments) -> Value:
    match args:
        case (str() as name, *rest) if _DEVICE.fullmatch(name) and all(_is_count(item) for item in rest):
            return Made("plain")
    return None


def _storage(args: Arguments) -> Value:
    """Bytes of torch.save, which the machine reads before it asks: what pickle makes of a tensor outside a checkpoint."""
    match args:
        case (bytes() as content,):
            return Made("storage", count=len(content))  # more than it has elements
        case (Data(kind="bytes", size=size),):
            return Made("storage", count=size)
    return None


def is_inside(args: Arguments) -> bool:
    """Whether the last element of a view (storage, offset, sizes, strides, ...) lies in its storage.

    >>> is_inside((Made("storage", "0", 6), 0, (2, 3), (3, 1)))
    True
    """
    storage, offset, sizes, strides = args[:4]
    if not (isinstance(storage, Made) and isinstance(offset, int) and is_sizes(sizes) and is_sizes(strides)):
        return False
    assert isinstance(sizes, tuple)
    assert isinstance(strides, tuple)
    sides = [
        (size, stride)
        for size, stride in zip(sizes, strides, strict=False)
        if isinstance(size, int) and isinstance(stride, int)
    ]
    if any(size == 0 for size, _ in sides):
        return True
    return len(sizes) == len(strides) and offset + sum((size - 1) * stride for size, stride in sides) < storage.count


def _tensor(least: int, most: int) -> Rule:
    """storage, offset, size, stride [, requires_grad, hooks [, dtype] [, metadata]]."""
    # Where a storage can grow, torch lets it: a view of a tebibyte of four bytes takes a tebibyte.
    rule = view(least, most)
    return lambda args: rule(args) if rule(args) is not None and is_inside(args) else None


def view(least: int, most: int) -> Rule:
    """The same, wherever its last element lies.

    >>> view(4, 4)((Made("storage"), 0, (9,), (1,)))
    Made(kind='tensor', detail='', count=0)
    """

    def rule(args: Arguments) -> Value:
        if not least <= len(args) <= most or not is_made(args[0], "storage"):
            return None
        if not (_is_count(args[1]) and is_sizes(args[2]) and is_sizes(args[3])):
            return None
        return Made("tensor") if all(_is_tensor_detail(item) for item in args[4:]) else None

    return rule


def _is_tensor_detail(value: Value) -> bool:
    is_dtype_name = isinstance(value, Global) and value.path in _TORCH_DTYPES
    return value is None or isinstance(value, bool) or is_made(value, "dict") or is_data(value, "dict") or is_dtype_name


def _parameter(args: Arguments) -> Value:
    match args:
        case (Made(kind="tensor"), bool(), Made(kind="dict"), *state) if all(is_data(item, "dict") for item in state):
            return Made("tensor")
    return None


def _tensor_with_attributes(args: Arguments) -> Value:
    # How torch saves a tensor that somebody gave attributes: torch.export marks its example inputs this way.
    match args:
        case (Global() as rebuild, Global() as cls, tuple() as inner, Data(kind="dict")) if cls.path in _TENSOR_TYPES:
            return _TENSORS[rebuild.path](inner) if rebuild.path in _REBUILDERS else None
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
            return Made("dict") if state is None or _is_shelf(state) else None
    return None


_REBUILT = ("collections.OrderedDict", "collections.Counter")
_BASES = ("builtins.object", "builtins.dict")

# Types that hold what they are given.
_BUILTINS: dict[str, Rule] = {
    **{f"builtins.{kind}": _shelf(kind) for kind in _SHELVES},
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.complex": _plain,
    "builtins.slice": _plain,
    "builtins.range": _plain,
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
    "decimal.Decimal": _plain,
    "fractions.Fraction": _fraction,
}

# Arrays: numpy checks shape against bytes when it fills them, and BUILD is judged on its own.
_ARRAYS: dict[str, Rule] = {
    **{f"numpy.{core}.multiarray._reconstruct": _empty_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array_of_buffer for core in ("core", "_core")},
    "numpy.dtype": _dtype,
}

# Tensors: views of storages, which torch reads as raw bytes and whose bounds it checks.
_TENSORS: dict[str, Rule] = {
    "torch.storage._load_from_bytes": _storage,
    "torch._utils._rebuild_tensor": _tensor(4, 4),
    "torch._utils._rebuild_tensor_v2": _tensor(6, 7),
    "torch._utils._rebuild_tensor_v3": _tensor(7, 8),
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _tensor_with_attributes,
    "torch.Size": _sizes,
    "torch.device": _device,
    "torch.serialization._get_layout": _plain,
}

_REBUILDERS = words("_rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter", "torch._utils.")
_TENSOR_TYPES = words("Tensor nn.parameter.Parameter", "torch.")

CALLS: dict[str, Rule] = _BUILTINS | _ARRAYS | _TENSORS

# Bytes of one element; UntypedStorage counts bytes itself.
STORAGES: dict[str, int] = {
    **dict.fromkeys(("Double", "Long", "ComplexFloat", "UInt64"), 8),
    **dict.fromkeys(("Float", "Int", "QInt32", "UInt32"), 4),
    **dict.fromkeys(("Half", "BFloat16", "Short", "UInt16"), 2),
    **dict.fromkeys(("Byte", "Char", "Bool", "QInt8", "QUInt8", "Untyped", "QUInt4x2", "QUInt2x4"), 1),
    "ComplexDouble": 16,
}
_STORAGE_NAMES = {f"torch.{kind}Storage" for kind in STORAGES} | {"torch.storage.UntypedStorage"}

_TORCH_DTYPES = words(
    """
    float16 float32 float64 half float double bfloat16 complex32 complex64 complex128 bool
    uint8 uint16 uint32 uint64 int8 int16 int32 int64 short int long
    float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu
    strided sparse_coo contiguous_format channels_last channels_last_3d preserve_format
    """,
    "torch.",
)

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
    _TORCH_DTYPES
    | _NUMPY_TYPES
    | _FACTORIES
    | _STORAGE_NAMES
    | _TENSOR_TYPES
    | {"builtins.object", "builtins.Ellipsis", "builtins.NotImplemented"}
)


def storage_bytes(path: str) -> int | None:
    """Bytes of an element of a torch storage type, None for another name.

    >>> storage_bytes("torch.FloatStorage"), storage_bytes("os.system")
    (4, None)
    """
    if path not in _STORAGE_NAMES:
        return None
    return STORAGES[path.rpartition(".")[2].removesuffix("Storage")]
