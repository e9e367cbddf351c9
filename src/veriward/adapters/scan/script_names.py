"""What a TorchScript program may call: operators on tensors, and the functions of the language.

A program is run by torch's interpreter, without Python, but operators can write files (aten::save), map files into
memory (aten::from_file), call other machines, or belong to any library that happens to be loaded.
Sources: torch/csrc/jit/runtime/register_prim_ops.cpp and register_special_ops.cpp; frontend/ir_emitter.cpp.
"""

import re

from .operators import is_operator
from .result import Outcome
from .words import words

# Operators on numbers, texts, lists and dicts, and those that only programs use.
_PLAIN = words(
    """
    len format size append extend insert pop popitem remove clear reverse sort sorted items keys values get setdefault
    update copy list dict index count hash ord chr hex oct bin str upper lower strip lstrip rstrip split rsplit
    splitlines join startswith endswith replace find rfind capitalize title isdigit isalpha isalnum islower isupper
    isspace isnumeric isdecimal isidentifier istitle zfill center ljust rjust partition rpartition casefold swapcase
    expandtabs __contains__ __is__ __isnot__ __not__ __getitem__ _set_item __range_length __derive_index __upto
    __and__ __or__ __xor__ __lshift__ __rshift__ __interpolate Delete
    warn device tensor as_tensor _infer_size Int Float Bool Complex IntImplicit FloatImplicit ComplexImplicit
    ScalarImplicit dim floordiv percentFormat round abs divmod factorial degrees radians isinf isnan modf frexp ldexp
    mathremainder gcd copysign pow numel stride storage_offset is_contiguous contiguous cpu cuda half float double int
    long short bool requires_grad_ detach_ detach type_as to to_dense item get_device element_size nonzero
    nonzero_numpy unflatten split_with_sizes chunk affine_grid_generator dropout_ is_autocast_enabled
    is_autocast_cpu_enabled _batch_norm_impl_index _thnn_fused_lstm_cell tensor_split unsqueeze_ squeeze_ t_ transpose_
    einsum stft istft interpolate pad embedding_renorm_ equal is_grad_enabled tolist view_as __round_to_zero_floordiv
    _nested_tensor_from_mask _nested_tensor_from_mask_left_aligned to_padded_tensor _unwrap_optional any all min max sum
    """
)
_PRIM = words(
    """
    NumToTensor RaiseException device dtype layout is_cuda is_cpu is_xpu is_mps is_meta is_sparse is_mkldnn is_quantized
    is_nested is_sparse_csr requires_grad data index type itemsize nbytes max min abs rangelist StringIndex EnumName
    EnumValue unchecked_unwrap_optional isinstance shape TupleIndex TupleUnpack ListUnpack name tolist
    """
)
_FUNCTIONS = words(
    """
    int float bool complex str len range enumerate zip list dict tuple sorted min max abs any all round hash ord chr hex
    oct bin divmod hasattr
    """
)
NUMBERS = words("inf nan infj nanj")
NAMESPACES = words("torch ops __torch__ CONSTANTS")

# These take types or names; a program that gave one another meaning would be read wrongly.
SPECIAL = words("annotate uninitialized unchecked_cast isinstance getattr")
RESERVED = NAMESPACES | SPECIAL | words("print fork awaitable super hasattr")

# These believe any size that they are given, and read beyond the end of a tensor.
_UNCHECKED = words("_reshape_alias _reshape_alias_ set_ set_source_Storage_storage_offset data_ptr")
_FILES = words("save from_file load save_ _save _load rpc_async rpc_sync rpc_remote PythonOp IgnoredPythonOp")
_REACHES_OUT = re.compile(r"file|save|load|read|write|open|url|path|exec|system|socket|rpc|script|eval", re.IGNORECASE)
_CLASSES_THAT_REACH_OUT = words("c10d dist_rpc rpc profiler aoti aot_inductor sox torchaudio torchvision image video")


def operator_outcome(namespace: str, name: str) -> Outcome:
    """What an operator may do, by its namespace and name.

    >>> operator_outcome("aten", "add"), operator_outcome("aten", "save"), operator_outcome("image", "read_file")
    ('clean', 'dangerous', 'dangerous')
    """
    if name in _FILES or name in _UNCHECKED:
        return "dangerous"
    if namespace == "aten" and (is_operator(name) or name in _PLAIN):
        return "clean"
    if namespace == "prim" and name in _PRIM:
        return "clean"
    return "dangerous" if namespace not in ("aten", "prim") and _REACHES_OUT.search(name) else "unknown"


def is_function(name: str) -> bool:
    """Whether a bare name is a function of the language that only computes.

    >>> is_function("len"), is_function("print")
    (True, False)
    """
    return name in _FUNCTIONS


def native_outcome(path: str) -> Outcome:
    """What a class written in C++ may do: `unknown`, or `dangerous` where it reaches files or other machines.

    >>> native_outcome("__torch__.torch.classes.dist_rpc.WorkerInfo")
    'dangerous'
    """
    steps = path.removeprefix("__torch__.torch.classes.").split(".")
    return "dangerous" if steps[0] in _CLASSES_THAT_REACH_OUT or _REACHES_OUT.search(steps[-1]) else "unknown"
