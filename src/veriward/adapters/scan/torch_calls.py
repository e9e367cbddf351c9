"""The part of the allowlist that is torch's: tensors as views of storages, and the names that stand beside them."""

import re

from .arguments import Arguments, Rule, is_count, is_data, is_made, is_sizes, plain
from .values import Data, Global, Made, Value
from .words import words

_DEVICE = re.compile(r"[a-z]{2,16}(:\d{1,4})?")


def _sizes(args: Arguments) -> Value:
    return Made("plain", "moment") if len(args) == 1 and is_sizes(args[0]) else None


def _device(args: Arguments) -> Value:
    match args:
        case (str() as name, *rest) if _DEVICE.fullmatch(name) and all(is_count(item) for item in rest):
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
        if not (is_count(args[1]) and is_sizes(args[2]) and is_sizes(args[3])):
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
            return TENSORS[rebuild.path](inner) if rebuild.path in _REBUILDERS else None
    return None


# Tensors: views of storages, which torch reads as raw bytes and whose bounds it checks.
TENSORS: dict[str, Rule] = {
    "torch.storage._load_from_bytes": _storage,
    "torch._utils._rebuild_tensor": _tensor(4, 4),
    "torch._utils._rebuild_tensor_v2": _tensor(6, 7),
    "torch._utils._rebuild_tensor_v3": _tensor(7, 8),
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _tensor_with_attributes,
    "torch.Size": _sizes,
    "torch.device": _device,
    "torch.serialization._get_layout": plain,
}

_REBUILDERS = words("_rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter", "torch._utils.")

_TENSOR_TYPES = words("Tensor nn.parameter.Parameter", "torch.")

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

TORCH_TYPES = _TORCH_DTYPES | _STORAGE_NAMES | _TENSOR_TYPES


def storage_bytes(path: str) -> int | None:
    """Bytes of an element of a torch storage type, None for another name.

    >>> storage_bytes("torch.FloatStorage"), storage_bytes("os.system")
    (4, None)
    """
    if path not in _STORAGE_NAMES:
        return None
    return STORAGES[path.rpartition(".")[2].removesuffix("Storage")]
